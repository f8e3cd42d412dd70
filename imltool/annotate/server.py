"""The local server: pictures, masks and changes for the page, on the loopback interface alone."""

from __future__ import annotations

import secrets
import signal
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from imltool.annotate.desk import MASK_SIDE, PictureDesk, Superseded, View
from imltool.annotate.guard import Guard
from imltool.annotate.pictures import PictureFolder
from imltool.annotate.records import History
from imltool.annotate.states import Content, DrawnBox, Seconds
from imltool.annotate.store import AnnotationStore, Conflict, NothingLeft
from imltool.data.rle import decode_mask, encode_mask, runs_of
from imltool.errors import ImageError, ImlError, UsageError
from imltool.pictures.draw import fit
from imltool.pictures.images import Mask

LOOPBACK = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
AHEAD = 2
"""Pictures embedded beyond the one that is open."""
WAIT = 25.0
"""Seconds an answer to "is it embedded?" may take; the page asks again."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChangeBody(_Body):
    """A change of the page: the revision it started from, and all that is now said about the picture."""

    base: int = Field(ge=0)
    content: Content
    suggested: bool = False


class StepBody(_Body):
    """Undo or redo, from a revision."""

    base: int = Field(ge=0)
    direction: Literal["undo", "redo"]


class TimeBody(_Body):
    """Seconds at work since the last report."""

    seconds: Seconds


def build_app(
    pictures: PictureFolder, desk: PictureDesk, store: AnnotationStore, teacher: str, token: str, port: int
) -> Guard:
    """The guarded application. All paths below are behind `/TOKEN`; pictures go by their position, never by a path."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(ImlError)
    def told(_: Request, error: ImlError) -> JSONResponse:
        status = 422 if isinstance(error, ImageError) else 507
        return JSONResponse({"error": error.message, "remedy": error.remedy}, status)

    @app.exception_handler(Superseded)
    def superseded(_: Request, __: Superseded) -> JSONResponse:
        return JSONResponse({"error": "another picture was opened before this one was embedded"}, 503)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    def name_of(index: int) -> str:
        if not 0 <= index < len(pictures.names):
            raise HTTPException(404, "no such picture")
        return pictures.names[index]

    def progress() -> dict[str, Any]:
        found = store.overview()
        judged = sum(verdict is not None for verdict in found["verdicts"].values())
        kept = ("median_seconds", "fault", "rows")
        return {"done": judged, **{key: found[key] for key in kept}}

    def picture(index: int, history: History, view: View) -> dict[str, Any]:
        present = history.present
        return {
            "index": index,
            "name": pictures.names[index],
            "width": view.width,
            "height": view.height,
            "revision": history.revision,
            "verdict": history.content.verdict,
            "boxes": [_shown(box) for box in history.content.boxes],
            "can_undo": bool(history.past),
            "can_redo": bool(history.future),
            "seconds": round(history.seconds, 1),
            "changed_file": bool(present and present.sha256 != view.sha256),
            "progress": progress(),
        }

    def changing(index: int, change: Callable[[str, View], object]) -> Any:
        name = name_of(index)
        view = desk.view(name)
        status = 200
        try:
            change(name, view)
        except Conflict:
            status = 409
        except NothingLeft:
            pass
        return JSONResponse(picture(index, store.history(name), view), status)

    @app.get("/api/folder")
    def folder() -> dict[str, Any]:
        found = store.overview()
        return {
            "annotator": store.annotator,
            "teacher": teacher,
            "suggestions": desk.localizer is not None,
            "left_out": pictures.left_out,
            "pictures": [
                {"name": name, "verdict": found["verdicts"].get(name), "boxes": found["boxes"].get(name, 0)}
                for name in pictures.names
            ],
            "progress": progress(),
        }

    @app.get("/api/pictures/{index}")
    def open_picture(index: int) -> Any:
        name = name_of(index)
        verdicts = store.overview()["verdicts"]
        # the order in which the page goes on
        others = (*pictures.names[index + 1 :], *pictures.names[:index])
        later = [other for other in others if verdicts.get(other) is None]
        desk.want([name, *later[:AHEAD]])
        view = desk.view(name)
        return JSONResponse(picture(index, store.history(name), view))

    @app.get("/api/pictures/{index}/view.jpg")
    def view_of(index: int) -> Response:
        return Response(desk.view(name_of(index)).jpeg, media_type="image/jpeg")

    @app.get("/api/pictures/{index}/embedded")
    def embedded(index: int) -> dict[str, Any]:
        name = name_of(index)
        if not desk.ready(name, WAIT):
            return {"embedded": False, "suggestions": []}
        return {"embedded": True, "suggestions": desk.suggestions(name)}

    @app.post("/api/pictures/{index}/mask")
    def mask(index: int, drawn: DrawnBox) -> Any:
        name = name_of(index)
        begun = time.perf_counter()
        answer = desk.mask(name, _inside(drawn, desk.view(name)))
        found = {
            **_runs(answer.mask),
            "predicted_iou": round(answer.predicted_iou, 3),
            "milliseconds": round((time.perf_counter() - begun) * 1000),
        }
        return JSONResponse(found)  # thousands of numbers: not to be validated one by one in another thread

    @app.post("/api/pictures/{index}/change")
    def change(index: int, body: ChangeBody) -> Any:
        def save(name: str, view: View) -> None:
            history = store.history(name)
            if history.revision != body.base:
                raise Conflict
            boxes = tuple(_with_mask(_inside(box, view), name, history.content.boxes) for box in body.content.boxes)
            content = Content(verdict=body.content.verdict, boxes=boxes)
            store.save(name, body.base, content, view.facts, body.suggested)

        return changing(index, save)

    def _with_mask(box: DrawnBox, name: str, before: tuple[DrawnBox, ...]) -> DrawnBox:
        """The box with the mask that was accepted: the one kept, or the teacher's answer now."""
        if box.accepted != "mask":
            return box.model_copy(update={"mask": None})
        kept = next((old.mask for old in before if old.mask and old.same_prompt(box)), None)
        return box.model_copy(update={"mask": kept or encode_mask(desk.full_mask(name, box))})

    @app.post("/api/pictures/{index}/step")
    def step(index: int, body: StepBody) -> Any:
        return changing(index, lambda name, view: store.step(name, body.base, body.direction, view.facts))

    @app.post("/api/pictures/{index}/time")
    def spend(index: int, body: TimeBody) -> dict[str, Any]:
        store.spend(name_of(index), body.seconds)
        return progress()

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return Guard(app, token, frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"}))


def _inside(drawn: DrawnBox, view: View) -> DrawnBox:
    """The box cut off at the picture's border. Raises `HTTPException` when nothing of it is inside."""
    x1, y1, x2, y2 = drawn.box
    box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(view.width)), min(y2, float(view.height)))
    if box[2] - box[0] < 0.5 or box[3] - box[1] < 0.5:
        raise HTTPException(422, "a box lies outside the picture")
    return drawn.model_copy(update={"box": box})


def _runs(mask: Mask) -> dict[str, Any]:
    return {"size": list(mask.shape), "runs": runs_of(mask)}


def _shown(box: DrawnBox) -> dict[str, Any]:
    """A box as the page gets it: an accepted mask small enough to draw."""
    shown = box.model_dump(mode="json", exclude={"mask"})
    if box.mask is not None:
        shown["shown"] = _small_runs(*box.mask["size"], box.mask["counts"])
    return shown


@lru_cache(maxsize=64)  # each answer about a picture holds all its masks
def _small_runs(height: int, width: int, counts: str) -> dict[str, Any]:
    mask = decode_mask({"size": [height, width], "counts": counts})
    return _runs(fit(mask.astype(np.uint8) * 255, MASK_SIDE) > 127)


class AnnotateServer:
    """The server of one sitting.

    Attributes:
        address: what to open; holds the token of this run.

    Raises `UsageError` when the port is taken.
    """

    def __init__(
        self, pictures: PictureFolder, desk: PictureDesk, store: AnnotationStore, teacher: str, port: int = 0
    ) -> None:
        self._socket = socket.socket()
        try:
            self._socket.bind((LOOPBACK, port))
            self._socket.listen()  # from now on a browser waits instead of being turned away
        except OSError as error:
            self._socket.close()
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}", "leave --port out to take a free one"
            ) from None
        token = secrets.token_urlsafe(24)
        bound = self._socket.getsockname()[1]
        self.address = f"http://{LOOPBACK}:{bound}/{token}/"
        app = build_app(pictures, desk, store, teacher, token, bound)
        # a page may hold a question open: the end does not wait for it
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until the process is asked to end (Ctrl-C, SIGTERM); then raises `KeyboardInterrupt`."""
        # uvicorn hands the signal on once it has stopped: the default would end the process before all is written
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._server.run(sockets=[self._socket])
