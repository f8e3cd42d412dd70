"""Parts that all commands share: option types, console, logging, progress and exit codes.

stdout is for data only; progress, tables for people and the log go to stderr unless a command states otherwise.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from imltool.errors import EXIT_FAILURES, EXIT_FOUND
from imltool.journal import dump_json
from imltool.texts import command_text

if TYPE_CHECKING:
    from imltool.data.accounts import Account
    from imltool.data.boxes import BoxReport
    from imltool.pages.server import PageServer
    from imltool.student.header import Figures
    from imltool.tables import Table
    from imltool.teacher.embeddings import EmbeddingFolder


def _open_streams() -> None:
    """Replace stdout and stderr by the null device where the caller closed them (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 it stays open


def write_utf8() -> None:
    """Make stdout UTF-8 unless it is a terminal, which gets what it can show.

    Otherwise it has the system's encoding, which on Windows, and in some locales, lacks the letters of most file names.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


_open_streams()
log = logging.getLogger("imltool")
arguments: list[str] = []
"""Arguments of the command line, for records."""
stderr = Console(stderr=True)
stdout = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)  # a piped table is not cut

GENERAL = "General"


def option(names: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """An option: its names, a space and the name of its value (`"--out,-o DIR"`), then its help and its group."""
    flags, _, metavar = names.partition(" ")
    return typer.Option(*flags.split(","), help=help, metavar=metavar or None, rich_help_panel=panel, **more)


def argument(name: str, help: str, **more: Any) -> Any:
    """An argument: its name and its help."""
    return typer.Argument(help=help, metavar=name or None, **more)


DeviceOption = Annotated[str, option("--device NAME", "auto, cpu, cuda or mps.", GENERAL)]
EngineOption = Annotated[str, option("--engine NAME", "What runs the network: auto, torch, onnx or openvino.", GENERAL)]
CLUSTER = "Many processes or machines (docs/scale.md)"
ClusterOption = Annotated[
    str | None, option("--engine-cluster NAME", "Spread the work: ray (needs `imltool[ray]`).", CLUSTER)
]
ClusterAddressOption = Annotated[
    str | None,
    option(
        "--cluster-address HOST:PORT",
        "A running cluster (default: one started on this machine and stopped with the command).",
        CLUSTER,
    ),
]
ClusterWorkersOption = Annotated[
    int | None,
    option("--cluster-workers N", "Worker processes (default: one per CPU; with CUDA one per GPU).", CLUSTER, min=1),
]
EmbeddingsOption = Annotated[
    Path | None, option("--embeddings DIR", "Cache the teacher's image embeddings here for later runs.")
]
EmbeddingsSizeOption = Annotated[
    float,
    option(
        "--embeddings-size GB",
        "Size limit of that folder (a picture takes 0.004); the least recently used are removed.",
        min=0.005,
    ),
]


def out_option(help: str, metavar: str = "DIR") -> Any:
    """`--out`, `-o`."""
    return option(f"--out,-o {metavar}", help)


def teacher_option(help: str = "mobile-sam, vit-b, vit-l, vit-h, or hq-vit-b and others of SAM-HQ.") -> Any:
    """`--teacher`."""
    return option("--teacher NAME", help)


TeacherWeightsOption = Annotated[
    Path | None, option("--weights,-w FILE", "The teacher's weights, when not bundled; for sam2 a folder.")
]
BoxFormatOption = Annotated[str | None, option("--format NAME", "Format of the boxes (default: detected).")]
CategoryOption = Annotated[list[str] | None, option("--category NAME", "Use only boxes of this category. Repeatable.")]
BoxesOfOption = Annotated[
    Literal["stored", "displayed"] | None,  # `imltool.data.boxes.Raster`
    option(
        "--boxes-of",
        "For pictures with an EXIF orientation: whether boxes refer to the stored raster or the displayed picture, "
        "if their size does not decide it (default: displayed, with a warning).",
    ),
]
RestartOption = Annotated[bool, option("--restart", "Discard the earlier results in the folder instead of resuming.")]
PortOption = Annotated[
    int, option("--port N", "Port of the page (default: a free one).", min=0, max=65535, show_default=False)
]
NoBrowserOption = Annotated[bool, option("--no-browser", "Do not open the page.")]


Sensitivity = Literal["low", "medium", "high"]
"""`imltool.scan.verdicts.Sensitivity`; importing it here, and the next one, would slow down every start."""
PrecisionOption = Annotated[
    Literal["fp32", "bf16", "int8"],  # `imltool.engines.network.Compute`
    option(
        "--precision",
        "Inference precision: fp32, bf16 (if the CPU or GPU supports it) or int8 (needs a graph from `imltool "
        "export --precision int8`). bf16 and int8 are faster and change maps slightly.",
        GENERAL,
    ),
]
SeedOption = Annotated[int, option("--seed N", "Seed of every random choice.", GENERAL, min=0)]
ConfigOption = Annotated[
    list[Path] | None, option("--config,-c FILE", "YAML configuration (see configs/). Repeatable, the last wins.")
]
SetOption = Annotated[list[str] | None, option("--set KEY=VALUE", "Change one setting: a.b=value. Repeatable.")]
WeightsOption = Annotated[
    Path | None, option("--weights,-w FILE|NAME", "A checkpoint, or a student by name (default: the bundled one).")
]
JsonOption = Annotated[bool, option("--json", "Print the result as JSON on stdout.")]
MAX_LEFT_OUT = "--max-left-out SHARE"
MaxLeftOutOption = Annotated[
    float,
    option(
        "--max-left-out SHARE",
        "Refuse to start when a larger share of a source's pictures has to be left out.",
        min=0.0,
        max=1.0,
    ),
]
DataOption = Annotated[
    list[str] | None,
    option(
        "--data NAME=DIR", "Test set: DIR with tampered/, masks/, authentic/, a manifest, or LAYOUT:DIR. Repeatable."
    ),
]
ListOption = Annotated[
    list[str] | None, option("--list NAME=FILE", "Only the pictures of a set that FILE names. Repeatable.")
]
SamplesOption = Annotated[Path, option("--samples DIR", "Without --data: the folder whose data sets are used.")]
SAMPLES = Path("sample_images")


class RateColumn(ProgressColumn):
    """Items per second since the task began, or seconds per item below one per second, and the time left.

    Items kept from an earlier run (the task's field `kept`) are not counted.
    """

    def render(self, task: Task) -> Text:
        done = task.completed - task.fields.get("kept", 0)
        if done <= 0 or not task.elapsed:
            return Text("")
        rate = done / (task.finished_time or task.elapsed)
        text = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        left = f", {duration((task.total - task.completed) / rate)} left" if task.total and not task.finished else ""
        return Text(text + left, style="progress.data.speed")


def duration(seconds: float) -> str:
    """Format a time span: `4.2 s`, `3:05`, `2:00:07`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def setup_logging(verbose: int = 0, quiet: bool = False) -> None:
    """Send imltool's log to stderr at the level that `-v` and `-q` select."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    if stderr.is_terminal:
        handler: logging.Handler = RichHandler(
            console=stderr, show_path=verbose > 1, show_time=verbose > 0, markup=False
        )
    else:  # a file or a pipe: one line per message of any length
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.setLevel(level)  # a log file may want more
    handler.addFilter(lambda record: not hasattr(record, "said"))
    log.handlers[:] = [handler]
    logging.getLogger("PIL").handlers[:] = [logging.NullHandler()]  # damaged files are reported with our own reason
    log.setLevel(level)
    log.propagate = False
    stderr.quiet = quiet


def logged(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options `--verbose` and `--quiet`, which set up the log before it runs."""
    verbose = Annotated[int, option("--verbose,-v", "More log (-vv: debug).", GENERAL, count=True, show_default=False)]
    quiet = Annotated[bool, option("--quiet,-q", "Errors only.", GENERAL)]

    @wraps(command)
    def run(*, verbose: int, quiet: bool, **given: Any) -> None:
        setup_logging(verbose, quiet)
        command(**given)

    own = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=0, annotation=verbose),
        inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=quiet),
    ]
    # what typer reads
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "verbose": verbose, "quiet": quiet}
    return run


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A rich progress display on stderr; silent under `-q` and when stderr is not a terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        RateColumn(table_column=Column(no_wrap=True)),  # in a narrow terminal the bar gets shorter
        console=stderr,
        disable=not stderr.is_terminal or stderr.quiet,
        transient=True,
    ) as progress:
        yield progress


def print_table(table: Table, console: Console) -> None:
    """Print a table: folded to the width of a terminal, or at full width into a file or a pipe."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table as RichTable

    shown = RichTable(box=box.SIMPLE_HEAD)
    for index, head in enumerate(table.heads):
        shown.add_column(head, justify="left" if index < table.text_columns else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(escape(cell) for cell in row))
    if console.is_terminal:
        console.print(shown, soft_wrap=False)
    else:
        Console(file=console.file, width=10_000, quiet=console.quiet).print(shown)


def print_results(text: str, table: Table, as_json: bool) -> None:
    """Print the table of results on stdout; with `as_json`, their file on stdout and the table on stderr."""
    if as_json:
        typer.echo(text)
    print_table(table, stderr if as_json else stdout)


def note(message: str) -> None:
    """Write one line to the log file only."""
    log.info("%s", message, extra={"said": True})


def say(message: str, whole: bool = False) -> None:
    """Print a message for the user on stderr, unless `-q`.

    It is wrapped between words on a terminal; a file or a pipe gets one line.

    Args:
        whole: let the terminal wrap the line, so that paths and commands can be copied.
    """
    note(message)
    if not stderr.quiet:
        if stderr.is_terminal and not whole:
            message = textwrap.fill(message, stderr.width, break_long_words=False, break_on_hyphens=False)
        stderr.print(message, highlight=False, markup=False, soft_wrap=True)


def say_accounts(accounts: Sequence[Account]) -> None:
    """Print the table of pictures used and left out, on the terminal and in the log file."""
    from imltool.data.accounts import account_lines

    for line in account_lines(accounts):
        say(line)


def log_boxes(report: BoxReport) -> None:
    """Log the faults of annotations as errors, and how boxes were interpreted as warnings."""
    for fault in report.faults:
        log.error("%s: %s", fault.image, fault.message)
    for line in report.notes:
        log.warning("%s", line)


def print_line(text: str) -> None:
    """Print a line of data on stdout, unwrapped and without markup."""
    stdout.print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value on stdout as one line of JSON."""
    print_line(dump_json(value))


def command_line() -> str:
    """The command line, quoted so that it can be typed again."""
    return command_text(["imltool", *arguments])


def serve(server: PageServer, what: str, no_browser: bool) -> None:
    """Print the address of a page, say `what` it shows, open it in a browser, and serve it until Ctrl-C."""
    print_line(server.address)
    say(f"{what}; Ctrl-C ends")
    if not no_browser:
        import webbrowser

        webbrowser.open(server.address)
    with suppress(KeyboardInterrupt):  # this is how the work in a page is ended
        server.run()


def show_checkpoint(file: Path, figures: Figures, as_json: bool) -> None:
    """Print a checkpoint that was written on stdout: SHA-256, size and name, or with the figures of its calibration."""
    from imltool.files import sha256_file

    size, digest = file.stat().st_size, sha256_file(file)
    if as_json:
        print_json({"file": str(file), "size_bytes": size, "sha256": digest, "calibration": figures.model_dump()})
    else:
        print_line(f"{digest}  {size}  {file}")


def embedding_folder(folder: Path | None, size: float) -> EmbeddingFolder | None:
    """The folder for `--embeddings` and `--embeddings-size` (GB); None without one."""
    if folder is None:
        return None
    from imltool.teacher.embeddings import EmbeddingFolder

    return EmbeddingFolder(folder, round(size * 1e9))


def stop_stdout() -> None:
    """Discard the rest of stdout: its reader is gone, and flushing would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def finish(failures: int, found: int = 0) -> None:
    """End the command: exit code 4 when it found what it was asked to report, else 3 when something failed, else 0.

    Code 4 takes precedence: a finding must not be missed among damaged files.
    """
    if found:
        raise typer.Exit(EXIT_FOUND)
    if failures:
        raise typer.Exit(EXIT_FAILURES)
