"""The requests of the page of `imltool review`: rows, pictures in tiles, evidence, and changes of decisions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError

from imltool.config import Exact
from imltool.errors import ImageError
from imltool.evidence.facts import describe
from imltool.files import human_size
from imltool.pages.server import clipped_box, mount_page, new_app, picked, thumbnail_answer
from imltool.review.folder import ScanFolder
from imltool.review.journal import DecisionJournal, Stale
from imltool.review.layers import LAYERS, ORIGINAL, Layers
from imltool.review.pyramid import TILE, Pixels, encode_tile
from imltool.review.trace_words import TRACE_WORDS
from imltool.review.writer import ExportWriter
from imltool.scan.companions import COMPANION_WORDS
from imltool.scan.decisions import CONCLUSIONS, STATUSES, Decision, Opinion
from imltool.scan.results import ScanResult
from imltool.scan.score_reading import TICKS, ScoreScale, scale_position
from imltool.scan.verdicts import WORDS
from imltool.texts import printable
from imltool.traces.stack import GROUPS, TRACES

PAGE = Path(__file__).parent / "page"


class DecisionBody(Exact):
    """A change sent by the page: the revision from which it started, and the whole opinion on the picture."""

    base: int = Field(ge=0)
    opinion: Opinion


def build_app(folder: ScanFolder, journal: DecisionJournal, writer: ExportWriter) -> FastAPI:
    """The application of the page. Pictures are addressed by the index of their row in the results, never by path."""
    app = new_app()
    layers = Layers(folder)

    @app.exception_handler(ValidationError)
    def malformed(_: Request, error: ValidationError) -> JSONResponse:
        return JSONResponse({"error": error.errors()[0]["msg"]}, 422)

    def analysed(index: int) -> ScanResult:
        result = picked(folder.results, index)
        if result.status != "ok":
            raise ImageError(f"{result.path} was not analysed: {result.reason}")
        return result

    def scale() -> ScoreScale:
        return ScoreScale(folder.run.model.authentic_scores, folder.run.model.reliability)

    def changes(rows: int, decisions: int) -> dict[str, object]:
        folder.refresh()
        journal.refresh()
        reading = scale()
        known = {result.path: index for index, result in enumerate(folder.results)}
        touched = {row.path for row in journal.rows[decisions:]}
        return {
            "rows": [_line(result, reading, journal.latest(result.path)) for result in folder.results[rows:]],
            "decided": {
                known[path]: _mark(journal.latest(path)) for path in touched if path in known and known[path] < rows
            },
            "decisions": len(journal.rows),
            "finished": folder.is_finished,
            "fault": writer.fault,
            "report": writer.state,
        }

    @app.get("/api/folder")
    def whole() -> JSONResponse:
        run = folder.run
        answer = {
            "title": printable(", ".join(root.given for root in run.inputs)),
            "case": run.case.model_dump(),
            "examiner": journal.examiner,
            "out": printable(str(folder.out.resolve())),
            "model": run.model.name,
            "notes": run.verdicts.notes,
            "threshold": run.parameters.threshold,
            "verdicts": [*reversed(WORDS)],
            "statuses": STATUSES,
            "conclusions": CONCLUSIONS,
            "ticks": [{"one_in": tick, "at": scale_position(tick)} for tick in TICKS] if scale().is_calibrated else [],
            "companions": [
                {"name": name, "title": title, "text": text} for name, (title, text) in COMPANION_WORDS.items()
            ],
            **changes(0, 0),
        }
        return JSONResponse(answer)

    @app.get("/api/changes")
    def newer(rows: int, decisions: int) -> JSONResponse:
        return JSONResponse(changes(max(rows, 0), max(decisions, 0)))

    @app.get("/api/pictures/{index}")
    def picture(index: int) -> JSONResponse:
        result = picked(folder.results, index)
        reading = scale().read(result.score) if result.score is not None else None
        point = folder.run.verdicts.indication
        answer = {
            "index": index,
            "path": printable(result.path),
            "place": printable(folder.place(result)),
            "sha256": result.sha256,
            "size": human_size(result.size_bytes) if result.size_bytes is not None else None,
            "width": result.width,
            "height": result.height,
            "status": result.status,
            "reason": result.reason and printable(result.reason),
            "score": result.score,
            "threshold": point and point.threshold,
            "verdict": result.verdict,
            "verdict_reason": result.verdict_reason,
            "position": reading and reading.position,
            "one_in": reading and reading.one_in,
            "reading": reading.sentences() if reading else [],
            "tampered_area": result.tampered_area,
            "regions": [region.model_dump() for region in result.regions],
            "stability": [one.model_dump() for one in result.stability or ()],
            "facts": describe(result.context),
            "remarks": [remark.text for remark in result.remarks],
            "files": {
                name: printable(str(folder.out.resolve() / file))
                for name, file in {"map": result.map, "mask": result.mask, **result.companions}.items()
                if file
            },
            "decision": _decided(journal, result.path),
        }
        return JSONResponse(answer)

    @app.get("/api/pictures/{index}/thumbnail.webp")
    def thumbnail(index: int) -> Response:
        result = analysed(index)
        assert result.overlay is not None
        return thumbnail_answer(folder.output(result.overlay))

    @app.get("/api/pictures/{index}/layers/{layer}")
    def layer_size(index: int, layer: str) -> dict[str, int]:
        if layer not in LAYERS:
            raise HTTPException(404, "no such layer")
        levels = layers.pyramid(analysed(index), layer).levels
        return {"width": levels[0].shape[1], "height": levels[0].shape[0], "tile": TILE, "levels": len(levels)}

    @app.get("/api/pictures/{index}/layers/{layer}/{level}/{column}/{row}")
    def tile(index: int, layer: str, level: int, column: int, row: int) -> Response:
        if layer not in LAYERS:
            raise HTTPException(404, "no such layer")
        found = layers.tile(analysed(index), layer, level, column, row)
        if found is None:
            raise HTTPException(404, "no such tile")
        return _tile_answer(found, level == 0 or layer != ORIGINAL)

    @app.get("/api/pictures/{index}/companions/ghost.png")
    def ghosts(index: int) -> Response:
        return _tile_answer(layers.pyramid(analysed(index), "ghost").levels[0])

    @app.get("/api/pictures/{index}/outline")
    def outline(index: int) -> JSONResponse:
        return JSONResponse({"parts": layers.outline(analysed(index))})

    @app.get("/api/pictures/{index}/traces")
    def traces(index: int) -> JSONResponse:
        result = analysed(index)
        contrasts = layers.trace_contrasts(result)
        seen = folder.run.model.traces
        used = None if seen is None else {number for name in seen for number in GROUPS.get(name, ())}
        answer = {
            "used": used is None or bool(used),
            "traces": [
                {"number": number, "title": title, "text": text, "contrast": contrasts[number]}
                for number, (title, text) in enumerate(TRACE_WORDS[name] for name in TRACES)
                if not used or number in used
            ],
        }
        return JSONResponse(answer)

    @app.get("/api/pictures/{index}/traces/{number}.png")
    def trace(index: int, number: int) -> Response:
        if not 0 <= number < len(TRACES):
            raise HTTPException(404, "no such trace")
        return _tile_answer(layers.trace_picture(analysed(index), number))

    @app.get("/api/pictures/{index}/copies")
    def copies(index: int) -> JSONResponse:
        return JSONResponse({"copies": [asdict(copy) for copy in layers.copies(analysed(index))]})

    @app.post("/api/pictures/{index}/decision")
    def decide(index: int, body: DecisionBody) -> JSONResponse:
        folder.refresh()  # a scan that was restarted has other rows
        result = analysed(index)
        boxes = body.opinion.boxes
        if boxes is not None:
            boxes = tuple(clipped_box(box, result.width or 0, result.height or 0) for box in boxes)
        status = 200
        try:
            journal.decide(result, body.base, body.opinion.model_copy(update={"boxes": boxes}))
            writer.changed()
        except Stale:
            status = 409
        return JSONResponse(_decided(journal, result.path), status)

    @app.post("/api/report")
    def report() -> JSONResponse:
        writer.write_reports()
        return JSONResponse({"report": writer.state})

    mount_page(app, PAGE)
    return app


def _tile_answer(pixels: Pixels, lossless: bool = True) -> Response:
    data, kind = encode_tile(pixels, lossless)
    return Response(data, media_type=kind)


def _line(result: ScanResult, scale: ScoreScale, decision: Decision | None) -> dict[str, object]:
    """The data of a picture by which the list shows and filters it."""
    camera = result.context.camera if result.context else None
    model = " ".join(part for part in ((camera.make, camera.model) if camera else ()) if part)
    reading = scale.read(result.score) if result.score is not None else None
    return {
        "path": printable(result.path),
        "verdict": result.verdict,
        "reason": result.reason and printable(result.reason),
        "score": result.score,
        "position": reading and reading.position,
        "one_in": reading and reading.one_in,
        "rarity": reading and reading.rarity,
        "regions": len(result.regions),
        "camera": model,
        "remarks": [remark.text for remark in result.remarks],
        "sha256": result.sha256,
        "size": [result.width, result.height],
        **_mark(decision),
    }


def _mark(decision: Decision | None) -> dict[str, object]:
    """The data of a picture's decision for the list."""
    return {
        "status": decision.status if decision else "open",
        "conclusion": decision.conclusion if decision else None,
        "decided": decision is not None,
        "note": bool(decision and decision.text),
    }


def _decided(journal: DecisionJournal, path: str) -> dict[str, object]:
    """The latest decision on a picture and its earlier ones, for the page."""
    rows = journal.history(path)
    present = rows[-1] if rows else None
    opinion = present.opinion if present else Opinion()
    return {
        "revision": present.revision if present else 0,
        "opinion": opinion.model_dump(mode="json"),
        "examiner": present.examiner if present else None,
        "time": present.time if present else None,
        "history": [
            {
                "revision": row.revision,
                "examiner": row.examiner,
                "time": row.time,
                "status": row.status,
                "conclusion": row.conclusion,
                "text": row.text,
                "boxes": None if row.boxes is None else len(row.boxes),
            }
            for row in reversed(rows)
        ],
    }
