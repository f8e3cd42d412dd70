"""`imltool model`: what the student is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imltool.cli import common

app = typer.Typer(help="Look at a student.", no_args_is_help=True)


@app.callback()
def _model() -> None:
    pass


@app.command()
def info(
    weights: Annotated[
        Path | None, typer.Option("--weights", "-w", help="Checkpoint; default: the bundled student.", metavar="FILE")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Training configuration to read instead.", metavar="FILE")
    ] = None,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Parameters, FLOPs and switches of a student, with the tool that counted them."""
    common.setup_logging(verbose, quiet)
    from imltool.config import load_settings
    from imltool.errors import UsageError
    from imltool.journal import dump_json
    from imltool.training.settings import TrainSettings

    if weights is not None and (config is not None or set_):
        raise UsageError("--weights and --config/--set exclude each other", "give the checkpoint or the configuration")
    from imltool.student.info import describe_architecture, describe_checkpoint

    if config is not None or set_:
        facts = describe_architecture(load_settings(TrainSettings, config, set_).student)
    else:
        facts = describe_checkpoint(weights)
    if as_json:
        common.stdout.print(dump_json(facts), markup=False, highlight=False)
        return
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _shown(value))
    common.stdout.print(table)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
