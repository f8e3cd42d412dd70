"""`report.html`: one file that opens offline, written case by case from a template."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from urllib.parse import quote

from markupsafe import Markup

from imltool.errors import ImageError, ImlError
from imltool.evidence.facts import describe
from imltool.files import atomic, human_size
from imltool.pictures.draw import fit, palette
from imltool.pictures.images import encode_jpeg, read_rgb
from imltool.scan import verdicts
from imltool.scan.companions import COMPANION_WORDS
from imltool.scan.decisions import CONCLUSIONS, STATUSES, Decision, latest, read_decisions
from imltool.scan.paper import COMPANIONS_HEIGHT, PictureSizes, picture_sizes, words_height
from imltool.scan.picture_outputs import SMALLEST_REGION
from imltool.scan.previews import Preview, read_preview
from imltool.scan.results import ScanResult
from imltool.scan.run_record import REPORT, RunRecord
from imltool.scan.score_reading import TICKS, ScoreScale, scale_position
from imltool.scan.selection import Selection
from imltool.scan.verify import expand_again
from imltool.templates import environment
from imltool.texts import command_text, data_uri, printable, readable

WHOLE = 1000
"""Cases whose picture, map and overlay are embedded in the report, from the highest score. The others refer to the
files beside it, so that a report of 10,000 pictures still opens (our choice)."""
PAGE = 100
"""Rows of a table that a browser shows at once (our choice)."""
PAPER_SIDE, PAPER_QUALITY = 1000, 75
"""Longest side and JPEG quality of an overlay on paper: 140 pixels per inch over the sheet's width (our choice)."""
REGIONS_SHOWN = 20
FOLDERS_SHOWN = 20


@dataclass(frozen=True)
class Shown:
    """One analysed file in a report. A thumbnail or preview is None if it is missing, was changed or is not shown."""

    row: ScanResult
    thumbnail: str | None
    preview: Preview | None


def write_report(
    out: Path, run: RunRecord, results: Sequence[ScanResult], selection: Selection | None = None
) -> Iterator[ScanResult]:
    """Write the report of `results`, highest score first; yield each result once the report holds it.

    It is streamed to disk from the previews that the scan kept, so that memory does not grow with the results.

    Args:
        out: the scan's output folder.
        run: the content of `run.json`.
        selection: which analysed files to show, None for all; failed files are always listed.

    Raises `OutputError`; an earlier report is then kept.
    """
    with atomic(out / REPORT) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        yield from render(handle, out, run, results, selection or Selection())


def render(
    handle: TextIO,
    out: Path,
    run: RunRecord,
    results: Sequence[ScanResult],
    selection: Selection,
    paper: bool = False,
    most: int | None = None,
) -> Iterator[ScanResult]:
    """Write the page into `handle`; yield each result once the page holds it. See `write_report`.

    Args:
        paper: make a page for printing: every case on its own sheet, nothing to click, no script.
        most: largest number of cases shown (those with the highest scores) and of failed files listed.
    """
    decisions = latest(read_decisions(out))
    chosen = selection.choose(results, decisions)
    cases = chosen[:most]
    failed = [result for result in results if result.status != "ok"]
    placed: list[ScanResult] = []
    scores = ScoreScale(run.model.authentic_scores, run.model.reliability)
    place = _places(run, out)

    def entries() -> Iterator[Shown]:
        whole = len(cases) if paper else WHOLE
        for number, result in enumerate(cases):
            preview = read_preview(out, result)
            yield Shown(result, preview.thumbnail if preview else None, preview if number < whole else None)
            placed.append(result)  # the generator is resumed for the next case when the page holds this one

    pieces = (
        environment("imltool.scan", **FILTERS, breakable=_BREAKABLE[paper])
        .get_template("report.html.j2")
        .generate(
            run=run,
            paper=paper,
            selection=selection,
            entries=entries(),
            cases=len(cases),
            left_out=len(chosen) - len(cases),
            failed=failed[:most],
            failed_left_out=len(failed) - len(failed[:most]),
            legend=[f"rgb({red},{green},{blue})" for red, green, blue in palette()[::51]],
            smallest_region=SMALLEST_REGION,
            regions_shown=REGIONS_SHOWN,
            folders_shown=FOLDERS_SHOWN,
            whole=WHOLE,
            page=PAGE,
            words=[*reversed(verdicts.WORDS)],
            scores=scores,
            ticks=[{"one_in": tick, "at": scale_position(tick)} for tick in TICKS],
            companion_words=COMPANION_WORDS,
            decisions=decisions,
            statuses=STATUSES,
            conclusions=CONCLUSIONS,
            decided_counts=Counter(decision.status for decision in decisions.values()).most_common(),
            place=place,
            large=partial(_large_overlay, out),
            sized=partial(_sized, place, decisions, scores, paper),
        )
    )
    for piece in pieces:
        handle.write(piece)
        while placed:
            yield placed.pop(0)
    yield from failed


def _breakable(path: str, paper: bool) -> Markup:
    """A path as HTML that wraps after slashes, dashes and underscores, not in the middle of a word."""
    marked = re.sub(r"(?<=[/_-])(?=[^/_-])", "\0", printable(path))
    if paper:  # spans, because in a PDF a break opportunity would become a character of the name
        return Markup().join(Markup('<span class="part">{}</span>').format(part) for part in marked.split("\0"))
    return Markup("<wbr>").join(marked.split("\0"))


_BREAKABLE = {paper: partial(_breakable, paper=paper) for paper in (False, True)}


def _places(run: RunRecord, out: Path) -> Callable[[str], str]:
    """The function from a picture's name to its absolute path or address when it was scanned."""
    roots = {root.label: root.path for root in run.inputs}
    known: dict[str, str] = {}
    if any(above in roots for label in roots for above in _above(label)):
        # files of a folder and one given by name may share a name, and only the scan's order decides which was numbered
        with suppress(ImlError, OSError, ValueError):
            known = {item.name: readable(str(item.path)) for item in expand_again(run.inputs, out).inputs}

    def place(name: str) -> str:
        if name in known or name in roots:
            return known.get(name) or roots[name]
        label = next((above for above in _above(name) if above in roots), None)
        return name if label is None else f"{roots[label]}/{name.removeprefix(label).lstrip('/')}"

    return place


def _above(name: str) -> Iterator[str]:
    """The folders above a name, the nearest first and "" last."""
    while name:
        name = name.rpartition("/")[0]
        yield name


def _sized(
    place: Callable[[str], str],
    decisions: Mapping[str, Decision],
    scores: ScoreScale,
    paper: bool,
    row: ScanResult,
) -> PictureSizes:
    """Sizes of a case's pictures on paper. A page printed from a browser has the companion maps too."""
    assert row.width and row.height and row.score is not None
    decision = decisions.get(row.path)
    paths = [place(row.path), row.sha256 or "", row.map or "", row.mask or ""]
    paths += [] if paper else [row.overlay or "", *row.companions.values()]
    words = COMPANIONS_HEIGHT * -(-len(row.companions) // 2) * (not paper) + words_height(
        row.path,
        scores.read(row.score).sentences(),
        paths,
        describe(row.context),
        [remark.text for remark in row.remarks],
        1 + min(len(row.regions), REGIONS_SHOWN + 1) + (2 + len(row.stability) if row.stability else 0),
        decision.text if decision else None,
    )
    return picture_sizes(row.width, row.height, words)


def _large_overlay(out: Path, row: ScanResult) -> str:
    """The overlay as a data URI, large enough for a sheet of paper; "" when it cannot be read."""
    try:
        rgb = fit(read_rgb(out / str(row.overlay)), PAPER_SIDE)
    except ImageError:
        return ""
    return data_uri("jpeg", encode_jpeg(rgb, PAPER_QUALITY))


def percent(share: float) -> str:
    """Format a share in [0,1] for a table: 0.0123 → `1.2 %`; `< 0.1 %` for less than that but not 0."""
    value = 100.0 * share
    if 0 < value < 0.1:
        return "< 0.1\N{NO-BREAK SPACE}%"
    return f"{value:.1f}\N{NO-BREAK SPACE}%"


def _keys(row: ScanResult, decision: Decision | None = None) -> dict[str, object]:
    """Keys by which the report sorts and filters a row; the filter searches `text`."""
    name = printable(row.path)
    searched = [name, *(value for _, value in describe(row.context)), *(remark.text for remark in row.remarks)]
    if decision:
        searched += [decision.text, decision.conclusion or ""]
    return {
        "name": name,
        "status": decision.status if decision else "open",
        "decision": f"{decision.status} {decision.conclusion or ''}" if decision else "open",
        "sha256": row.sha256,
        "score": row.score,
        "verdict": row.verdict,
        "rank": verdicts.WORDS.index(row.verdict or verdicts.INCONCLUSIVE),
        "area": row.tampered_area,
        "regions": len(row.regions),
        "size": (row.width or 0) * (row.height or 0),
        "remarks": len(row.remarks),
        "text": "\n".join(searched).lower(),
    }


FILTERS: dict[str, Callable[..., Any]] = {
    "printable": printable,
    "human_size": human_size,
    "percent": percent,
    "base": lambda name: PurePosixPath(name).name,
    "command": command_text,
    "beside": quote,
    "facts": describe,
    "keys": _keys,
    "utc": lambda stamp: stamp.replace("T", " ").replace("Z", " UTC"),
}
