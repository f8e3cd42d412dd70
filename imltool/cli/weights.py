"""`imltool weights`: which model files are known, where they are, and how to get them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imltool.cli import common

if TYPE_CHECKING:
    from imltool.weights import WeightsInfo

app = typer.Typer(help="Model files: list, verify, import, fetch.", no_args_is_help=True)


@app.command("list")
@common.logged
def list_(as_json: common.JsonOption = False) -> None:
    """List all known weights: kind, place, licence, SHA-256, size."""
    from imltool.weights import WEIGHTS

    rows = [_describe(info) for info in WEIGHTS.values()]
    if as_json:
        common.print_json(rows)
        return
    from imltool.files import human_size
    from imltool.tables import Table

    heads = ("name", "kind", "where", "licence", "SHA-256", "size")
    cells = [
        [*(row[key] for key in ("name", "kind", "where", "licence")), row["sha256"][:12], human_size(row["size_bytes"])]
        for row in rows
    ]
    common.print_table(Table("", heads, cells, 5), common.stdout)
    if any(row["where"] == "absent" for row in rows):
        common.say("to get absent ones: imltool weights fetch NAME, or imltool weights import FILE")


def _describe(info: WeightsInfo) -> dict[str, Any]:
    from imltool.weights import place

    path = place(info)
    where = ("bundled" if info.bundled else "cache") if path.is_file() else "absent"
    return {**asdict(info), "where": where, "path": str(path)}


@app.command()
@common.logged
def verify(
    names: Annotated[
        list[str] | None, common.argument("NAME", "Weights by name; default: all that are present.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Check weights by their SHA-256; exit code 3 when a file is wrong or a named one is absent."""
    from imltool.weights import verify as verify_weights

    failures = 0
    for outcome in verify_weights(names or ()):
        failures += outcome.status != "ok"
        if as_json:
            facts = {"name": outcome.info.name, "status": outcome.status, "path": str(outcome.path)}
            common.print_json({**facts, "sha256": outcome.sha256, "expected": outcome.info.sha256})
        else:
            common.print_line(f"{outcome.info.name}  {outcome.status}  {outcome.sha256 or '–'}  {outcome.path}")
        if outcome.status == "wrong":
            common.log.error("%s: expected SHA-256 %s", outcome.path, outcome.info.sha256)
    common.finish(failures)


@app.command("import")
@common.logged
def import_(
    file: Annotated[Path, common.argument("FILE", "A weights file brought from elsewhere.")],
) -> None:
    """Identify a file by its SHA-256 and copy it to the folder where imltool looks for it."""
    from imltool.weights import import_file

    info, path = import_file(file)
    common.say(f"{file} is {info.name}" + (", which is bundled" if info.bundled else ""))
    common.print_line(str(path))


@app.command()
@common.logged
def fetch(name: Annotated[str, common.argument("NAME", "Weights by name, see `imltool weights list`.")]) -> None:
    """Download an official file and check its SHA-256."""
    from imltool.weights import fetch as fetch_weights
    from imltool.weights import get_info, place

    info = get_info(name)
    with common.progress_bar() as bar:
        task = bar.add_task(f"{name} (MB)", total=info.size_bytes // 1_000_000)
        fetch_weights(info, lambda present: bar.update(task, completed=present // 1_000_000))
    common.say(f"{name} is complete, its SHA-256 is correct")
    common.print_line(str(place(info)))
