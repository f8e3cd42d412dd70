"""What every command shares: option types, console, logging, progress and exit codes.

stdout carries data only; progress, tables for people and log go to stderr unless a command says otherwise.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    TimeRemainingColumn,
)
from rich.text import Text

from imltool.errors import EXIT_FAILURES, EXIT_FOUND

if TYPE_CHECKING:
    from imltool.data.accounts import Account
    from imltool.teacher.embeddings import EmbeddingFolder


def _open_streams() -> None:
    """Whoever started imltool may have closed them (`>&-`): then there is nobody to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 it stays open


_open_streams()
log = logging.getLogger("imltool")
stderr = Console(stderr=True)
stdout = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)  # a piped table stays whole

GENERAL = "General"
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="NAME", rich_help_panel=GENERAL)
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        help="What runs the network: auto, torch, onnx or openvino.",
        metavar="NAME",
        rich_help_panel=GENERAL,
    ),
]
CLUSTER = "Many processes or machines (docs/scale.md)"
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--engine-cluster", metavar="NAME", help="Spread the work: ray (needs imltool[ray]).", rich_help_panel=CLUSTER
    ),
]
ClusterAddressOption = Annotated[
    str | None,
    typer.Option(
        "--cluster-address",
        metavar="HOST:PORT",
        help="A cluster that runs; default: one on this machine for as long as the command takes.",
        rich_help_panel=CLUSTER,
    ),
]
ClusterWorkersOption = Annotated[
    int | None,
    typer.Option(
        "--cluster-workers",
        metavar="N",
        min=1,
        help="Processes (default: one a CPU; with CUDA one a GPU).",
        rich_help_panel=CLUSTER,
    ),
]
EmbeddingsOption = Annotated[
    Path | None,
    typer.Option("--embeddings", help="Keep the teacher's embeddings here, and take those kept before.", metavar="DIR"),
]
EmbeddingsSizeOption = Annotated[
    float,
    typer.Option(
        "--embeddings-size",
        help="Bound of that folder, 10^9 bytes; a picture takes 0.004. The least recently used go first.",
        metavar="GB",
        min=0.005,
    ),
]


class ComputeChoice(str, Enum):
    """`imltool.engines.network.Compute`."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


ComputeOption = Annotated[
    ComputeChoice,
    typer.Option(
        "--compute",
        help="What the student computes in: bf16, where the processor has it, and int8, a graph by imltool export, "
        "are faster and change maps.",
        rich_help_panel=GENERAL,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of every random choice.", min=0, rich_help_panel=GENERAL)]
VerboseOption = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="More log (-vv: debug).", rich_help_panel=GENERAL)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", rich_help_panel=GENERAL)]
ConfigOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config", "-c", help="YAML configuration (see configs/). Repeatable, the last wins.", metavar="FILE"
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change one setting: a.b=value. Repeatable.", metavar="KEY=VALUE")
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights", "-w", help="A checkpoint, or a student by name (default: the bundled one).", metavar="FILE|NAME"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
MAX_LEFT_OUT = "--max-left-out SHARE"
MaxLeftOutOption = Annotated[
    float,
    typer.Option(
        "--max-left-out",
        help="Refuse to start when a larger share of a source's pictures has to be left out.",
        metavar="SHARE",
        min=0.0,
        max=1.0,
    ),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Test set: DIR with tampered/, masks/, authentic/, a manifest, or LAYOUT:DIR. Repeatable.",
        metavar="NAME=DIR",
    ),
]
ListOption = Annotated[
    list[str] | None,
    typer.Option("--list", help="Only the pictures of a set that FILE names. Repeatable.", metavar="NAME=FILE"),
]
SamplesOption = Annotated[
    Path, typer.Option("--samples", help="Without --data: the folder whose data sets are used.", metavar="DIR")
]
SAMPLES = Path("sample_images")


class RateColumn(ProgressColumn):
    """Items a second, or seconds an item when slower than one a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", style="progress.data.speed")


def setup_logging(verbose: int = 0, quiet: bool = False) -> None:
    """Send imltool's log to stderr at the level `-v`/`-q` ask for."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    if stderr.is_terminal:
        handler: logging.Handler = RichHandler(
            console=stderr, show_path=verbose > 1, show_time=verbose > 0, markup=False
        )
    else:  # a file or a pipe: one line a message, whatever its length
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.setLevel(level)  # a log file may want more
    handler.addFilter(lambda record: not hasattr(record, "said"))
    log.handlers[:] = [handler]
    logging.getLogger("PIL").handlers[:] = [logging.NullHandler()]  # what it says of damaged files is in their reasons
    log.setLevel(level)
    log.propagate = False
    stderr.quiet = quiet


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A rich progress display on stderr; silent under `-q` and when stderr is not a terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal or stderr.quiet,
        transient=True,
    ) as progress:
        yield progress


def note(message: str) -> None:
    """One line for the log file alone."""
    log.info("%s", message, extra={"said": True})


def say(message: str) -> None:
    """One line for the person at the terminal, on stderr, unless `-q`."""
    note(message)
    if not stderr.quiet:
        stderr.print(message, highlight=False, markup=False, soft_wrap=True)


def say_accounts(accounts: Sequence[Account]) -> None:
    """The table of pictures used and left out, for the terminal and the log file."""
    from imltool.data.accounts import account_lines

    for line in account_lines(accounts):
        say(line)


def embedding_folder(folder: Path | None, size: float) -> EmbeddingFolder | None:
    """What `--embeddings` and `--embeddings-size` ask for."""
    if folder is None:
        return None
    from imltool.teacher.embeddings import EmbeddingFolder

    return EmbeddingFolder(folder, round(size * 1e9))


def stop_stdout() -> None:
    """Send what is still to be written to stdout nowhere: its reader went away, and flushing it would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def finish(failures: int, found: int = 0) -> None:
    """End the command: exit code 4 when something was found that it had to tell, else 3 when something failed, else 0.

    What was found goes first: whoever asked for it must not miss it among damaged files.
    """
    if found:
        raise typer.Exit(EXIT_FOUND)
    if failures:
        raise typer.Exit(EXIT_FAILURES)
