"""The `imltool` command: registers every subcommand and turns errors into one line and an exit code.

Exit codes, the same for all commands: 0 done · 1 fatal · 2 usage · 3 finished, something failed · 4 found what it was
asked to look for (`scan --fail-on-detect`: an indication; `verify`: a change) · 130 interrupted (Ctrl-C, SIGTERM).
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from imltool.cli import (
    adapt,
    annotate,
    common,
    compare,
    data,
    evaluate,
    export,
    model,
    pseudo,
    review,
    scan,
    study,
    synth,
    train,
    validate,
    verify,
    version,
    weights,
)
from imltool.errors import EXIT_FATAL, EXIT_INTERRUPTED, EXIT_OK, ImlError
from imltool.interrupt import interrupt_arrived, interrupted_by_sigterm
from imltool.versions import __version__

STDOUT_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""An error with one of these codes and no file name comes from stdout: files are written under `files.writing`."""


class _Interrupted(ImlError):
    """Ctrl-C or SIGTERM inside a command; what a KeyboardInterrupt becomes outside depends on the version of typer."""

    exit_code = EXIT_INTERRUPTED


class _Commands(TyperGroup):
    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            interrupt_arrived()
            resume = " with --resume" if context.invoked_subcommand == "train" else ""
            remedy = f"what was written is kept; the same command{resume} resumes it"
            raise _Interrupted("interrupted", remedy) from None

    def get_command(self, context: Any, name: str) -> Any:
        command = super().get_command(context, name)
        if command is not None:
            _leave_out_types(command, context)
        return command

    def format_help(self, context: Any, formatter: Any) -> None:
        _leave_out_types(self, context)
        super().format_help(context, formatter)


def _leave_out_types(command: Any, context: Any) -> None:
    """Make help show the names of values without Python types and ranges, which leaves room for descriptions."""
    for option in [*command.params, command.get_help_option(context)]:
        if isinstance(option, TyperArgument):
            option.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
        elif getattr(option, "is_flag", False) or getattr(option, "count", False):
            option.metavar = ""
        option._get_number_range_help_str = lambda: None  # noqa: SLF001 a wrong value is refused with its range
    for below in getattr(command, "commands", {}).values():
        _leave_out_types(below, context)


app = typer.Typer(
    name="imltool",
    cls=_Commands,
    help="Find where a photo was edited. Taught with boxes, works offline.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done · 1 fatal · 2 usage · 3 finished with failures · "
    "4 found (scan --fail-on-detect, verify) · 130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imltool {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, common.option("--version", "Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Investigate": {"scan": scan.scan, "review": review.review, "verify": verify.verify},
    "Teach": {"pseudo": pseudo.pseudo, "synth": synth.synth, "train": train.train, "adapt": adapt.adapt},
    "Measure": {
        "eval": evaluate.evaluate,
        "compare": compare.compare,
        "validate": validate.validate,
        "study": study.study,
    },
    "Tool": {"export": export.export, "version": version.version},
}
"""Panel of the help → its commands by name."""
for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(common.logged(command))
app.add_typer(annotate.app, name="annotate", rich_help_panel="Teach")
app.add_typer(data.app, name="data", rich_help_panel="Teach")
app.add_typer(model.app, name="model", rich_help_panel="Tool")
app.add_typer(weights.app, name="weights", rich_help_panel="Tool")


@cache
def command_tree() -> Any:
    """All commands as a Click command, built once for programs that run several."""
    return get_command(app)


def _fail(message: str, remedy: str = "") -> None:
    common.stderr.quiet = False
    line = f"error: {message}" + (f" → {remedy}" if remedy else "")
    common.stderr.print(line, style="red", highlight=False, markup=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code. Tracebacks are shown with `-vv` only."""
    arguments = sys.argv[1:] if arguments is None else arguments
    common.write_utf8()
    with interrupted_by_sigterm():
        code = run(arguments)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments` and return the exit code."""
    common.arguments[:] = arguments
    try:
        return _invoke(arguments)
    except ImlError as error:
        _debug(arguments)
        _fail(error.message, error.remedy)
        return error.exit_code
    except BrokenPipeError:
        # the reader of stdout (head, less) went away: no error, and nothing more to flush
        common.stop_stdout()
    except OSError as error:
        _debug(arguments)
        if error.filename is not None or error.errno not in STDOUT_FAULTS:
            return _internal(error)
        common.stop_stdout()
        _fail(f"stdout cannot be written: {error.strerror}", "send it where there is space; files are not affected")
        return EXIT_FATAL
    except MemoryError:
        _fail("out of memory", "close other programs, or work on fewer or smaller pictures")
        return EXIT_FATAL
    except ModuleNotFoundError as error:
        _debug(arguments)
        package = (error.name or "").partition(".")[0]
        if package in ("", "imltool"):
            return _internal(error)
        # a workstation that only scans has no PyTorch
        _fail(f"this command needs the package {package}, which is not installed", "see docs/install.md")
        return EXIT_FATAL
    except Exception as error:
        _debug(arguments)
        return _internal(error)
    return EXIT_OK


def _invoke(arguments: list[str]) -> int:
    """Run the command, flush stdout and return the exit code."""
    try:
        command_tree()(arguments)
        code = EXIT_OK
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else EXIT_OK
    sys.stdout.flush()
    return code


def _internal(error: Exception) -> int:
    fault = f"internal fault: {type(error).__name__}: {' '.join(str(error).split())}"
    _fail(fault, "run again with -vv and report what it shows")
    return EXIT_FATAL


def _debug(arguments: list[str]) -> None:
    counts = {"-v": 1, "--verbose": 1, "-vv": 2, "-vvv": 3}
    if sum(counts.get(argument, 0) for argument in arguments) > 1:
        traceback.print_exc()
