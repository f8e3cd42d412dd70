"""`report.html`: one file that opens offline, made from a template, picture by picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from imltool.files import atomic, human_size
from imltool.scan.facts import describe
from imltool.scan.inputs import Plan, printable
from imltool.scan.outputs import SMALLEST_REGION, palette
from imltool.scan.pipeline import INDICATION, NO_INDICATION, WORKERS, Row
from imltool.scan.previews import Preview, make_preview
from imltool.scan.record import REPORT

REGIONS_SHOWN = 20


def write_report(out: Path, plan: Plan, run: dict[str, Any], rows: Sequence[Row]) -> Iterator[Row]:
    """Write the report of `rows`, highest score first; yield each row once it is in it.

    Pictures are read again for their previews, which keeps memory flat and results free of a second copy.

    Args:
        out: the scan's output folder, whose maps are shown.
        plan: where the pictures lie.
        run: what `run.json` holds.
        rows: rows as `scan` yields them.

    Raises `OutputError`; an earlier report is then still there.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imltool.scan"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(printable=printable, human_size=human_size, percent=percent, base=_base, case=_case)
    analysed = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: (-row["score"], row["path"]))
    failed = [row for row in rows if row["status"] != "ok"]
    placed: list[Row] = []

    def entries() -> Iterator[dict[str, Any]]:
        for row, preview in _previews(out, plan, analysed, run["parameters"]["threshold"]):
            placed.append(row)
            yield {**row, "preview": preview}

    pieces = environment.get_template("report.html.j2").generate(
        run=run,
        entries=entries(),
        failed=failed,
        total=len(analysed),
        legend=[f"rgb({red},{green},{blue})" for red, green, blue in palette()[::51]],
        smallest_region=SMALLEST_REGION,
        regions_shown=REGIONS_SHOWN,
        words={"yes": INDICATION, "no": NO_INDICATION},
    )
    with atomic(out / REPORT) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        for piece in pieces:
            handle.write(piece)
            while placed:
                yield placed.pop(0)
    yield from failed


def percent(share: float) -> str:
    """A share in [0,1] in words short enough for a table: 0.0123 → `1.2 %`, and `< 0.1 %` below that."""
    value = 100.0 * share
    if 0 < value < 0.1:
        return "< 0.1\N{NO-BREAK SPACE}%"
    return f"{value:.1f}\N{NO-BREAK SPACE}%"


def _case(row: Row) -> dict[str, Any]:
    """What the case view shows of a row's context."""
    return {"facts": describe(row["context"]), "remarks": [remark["text"] for remark in row["remarks"]]}


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _previews(out: Path, plan: Plan, rows: Sequence[Row], threshold: float) -> Iterator[tuple[Row, Preview | None]]:
    """Previews made in threads, a few ahead, in the order of `rows`."""
    sources = {item.name: item.path for item in plan.inputs}
    waiting: deque[tuple[Row, Future[Preview | None]]] = deque()
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="imltool-report")
    try:
        for row in rows:
            source = sources.get(row["path"])
            waiting.append((row, pool.submit(make_preview, source, row["sha256"], out / row["map"], threshold)))
            if len(waiting) > 2 * WORKERS:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
