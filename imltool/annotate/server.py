"""The local server: pictures, masks and changes for the page, only on the loopback interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from imltool.annotate.embedding_worker import MASK_SIDE, EmbeddingWorker, Superseded, View
from imltool.annotate.pictures import PictureFolder
from imltool.annotate.records import Content, DrawnBox, Seconds, is_judged
from imltool.annotate.store import AnnotationStore, Conflict, NothingLeft
from imltool.config import Exact
from imltool.data.rle import decode_mask, encode_mask, runs_of
from imltool.pages.server import clipped_box, mount_page, new_app, picked, thumbnail_answer
from imltool.pictures.draw import fit
from imltool.pictures.images import Mask

PAGE = Path(__file__).parent / "page"
AHEAD = 2
"""Number of pictures embedded after the open one."""
WAIT = 25.0
"""Longest time for the answer whether a picture is embedded, seconds; the page asks again."""


class ChangeBody(Exact):
    """A change by the page: the revision it started from, and the complete annotation of the picture."""

    base: int = Field(ge=0)
    content: Content
    suggested: bool = False


class StepBody(Exact):
    """Undo or redo from a revision."""

    base: int = Field(ge=0)
    direction: Literal["undo", "redo"]


class TimeBody(Exact):
    """Seconds worked since the last report."""

    seconds: Seconds


def build_app(pictures: PictureFolder, worker: EmbeddingWorker, store: AnnotationStore, teacher: str) -> FastAPI:
    """The application of the page. Pictures are identified by their position in the folder, never by a path."""
    app = new_app()

    @app.exception_handler(Superseded)
    def superseded(_: Request, __: Superseded) -> JSONResponse:
        return JSONResponse({"error": "another picture was opened before this one was embedded"}, 503)

    def name_of(index: int) -> str:
        return picked(pictures.names, index)

    def shown(index: int, name: str, view: View, status: int = 200) -> JSONResponse:
        history = store.history(name)
        present = history.present
        answer = {
            "index": index,
            "name": name,
            "width": view.width,
            "height": view.height,
            "revision": history.revision,
            "verdict": history.content.verdict,
            "boxes": [_shown(box) for box in history.content.boxes],
            "can_undo": bool(history.past),
            "can_redo": bool(history.future),
            "seconds": round(history.seconds, 1),
            "changed_file": bool(present and present.sha256 != view.sha256),
            "progress": asdict(store.overview().progress),
        }
        return JSONResponse(answer, status)

    def changing(index: int, change: Callable[[str, View], object]) -> JSONResponse:
        name = name_of(index)
        view = worker.view(name)
        status = 200
        try:
            change(name, view)
        except Conflict:
            status = 409
        except NothingLeft:
            pass
        return shown(index, name, view, status)

    @app.get("/api/folder")
    def folder() -> JSONResponse:
        found = store.overview()
        answer = {
            "annotator": store.annotator,
            "teacher": teacher,
            "suggestions": worker.localizer is not None,
            "left_out": pictures.left_out,
            "pictures": [
                {"name": name, "verdict": found.verdicts.get(name), "boxes": found.boxes.get(name, 0)}
                for name in pictures.names
            ],
            "progress": asdict(found.progress),
        }
        return JSONResponse(answer)

    @app.get("/api/pictures/{index}")
    def open_picture(index: int) -> JSONResponse:
        name = name_of(index)
        verdicts = store.overview().verdicts
        # in the order in which the page opens them
        others = (*pictures.names[index + 1 :], *pictures.names[:index])
        later = [other for other in others if not is_judged(verdicts.get(other))]
        worker.want([name, *later[:AHEAD]])
        view = worker.view(name)
        return shown(index, name, view)

    @app.get("/api/pictures/{index}/view.jpg")
    def view_of(index: int) -> Response:
        return Response(worker.view(name_of(index)).jpeg, media_type="image/jpeg")

    @app.get("/api/pictures/{index}/thumbnail.webp")
    def thumbnail(index: int) -> Response:
        return thumbnail_answer(pictures.path(name_of(index)))

    @app.get("/api/pictures/{index}/embedded")
    def embedded(index: int) -> JSONResponse:
        name = name_of(index)
        ready = worker.ready(name, WAIT)
        return JSONResponse({"embedded": ready, "suggestions": worker.suggestions(name) if ready else []})

    @app.post("/api/pictures/{index}/mask")
    def mask(index: int, drawn: DrawnBox) -> JSONResponse:
        name = name_of(index)
        begun = time.perf_counter()
        answer = worker.mask(name, _inside(drawn, worker.view(name)))
        found = {
            **_runs(answer.mask),
            "predicted_iou": round(answer.predicted_iou, 3),
            "milliseconds": round((time.perf_counter() - begun) * 1000),
        }
        return JSONResponse(found)

    @app.post("/api/pictures/{index}/change")
    def change(index: int, body: ChangeBody) -> JSONResponse:
        def save(name: str, view: View) -> None:
            history = store.history(name)
            if history.revision != body.base:
                raise Conflict
            before = history.content.boxes
            boxes = tuple(_with_mask(_inside(box, view), name, before) for box in body.content.boxes)
            content = Content(verdict=body.content.verdict, boxes=boxes)
            store.save(name, body.base, content, view.facts, body.suggested)

        return changing(index, save)

    def _with_mask(box: DrawnBox, name: str, before: tuple[DrawnBox, ...]) -> DrawnBox:
        """The box with its accepted mask: the stored one, or the teacher's present answer."""
        if box.accepted != "mask":
            return box.model_copy(update={"mask": None})
        kept = next((old.mask for old in before if old.mask and old.same_prompt(box)), None)
        return box.model_copy(update={"mask": kept or encode_mask(worker.full_mask(name, box))})

    @app.post("/api/pictures/{index}/step")
    def step(index: int, body: StepBody) -> JSONResponse:
        return changing(index, lambda name, view: store.step(name, body.base, body.direction, view.facts))

    @app.post("/api/pictures/{index}/time")
    def spend(index: int, body: TimeBody) -> JSONResponse:
        store.spend(name_of(index), body.seconds)
        return JSONResponse(asdict(store.overview().progress))

    mount_page(app, PAGE)
    return app


def _inside(drawn: DrawnBox, view: View) -> DrawnBox:
    return drawn.model_copy(update={"box": clipped_box(drawn.box, view.width, view.height)})


def _runs(mask: Mask) -> dict[str, list[int]]:
    return {"size": list(mask.shape), "runs": runs_of(mask)}


def _shown(box: DrawnBox) -> dict[str, object]:
    """A box for the page, with an accepted mask small enough to draw."""
    shown = box.model_dump(mode="json", exclude={"mask"})
    if box.mask is not None:
        shown["shown"] = _small_runs(*box.mask["size"], box.mask["counts"])
    return shown


@lru_cache(maxsize=64)  # each answer about a picture contains all its masks
def _small_runs(height: int, width: int, counts: str) -> dict[str, list[int]]:
    mask = decode_mask({"size": [height, width], "counts": counts})
    return _runs(fit(mask.astype(np.uint8) * 255, MASK_SIDE) > 127)
