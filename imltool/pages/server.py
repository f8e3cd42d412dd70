"""A server for one person's browser: on the loopback interface only, protected by a token that is new in each run."""

from __future__ import annotations

import getpass
import secrets
import signal
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from imltool.errors import ImageError, ImlError, UsageError
from imltool.pages.guard import Guard
from imltool.pictures.thumbnails import read_thumbnail

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
SHARED = Path(__file__).parent / "shared"
"""Scripts that the pages import as `./shared/NAME.js`."""


def new_app() -> FastAPI:
    """An application without pages, which returns errors as JSON `{"error", "remedy"}`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(ImlError)
    def known(_: Request, error: ImlError) -> JSONResponse:
        status = 422 if isinstance(error, ImageError) else 507
        return JSONResponse({"error": error.message, "remedy": error.remedy}, status)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    return app


def mount_page(app: FastAPI, page: Path) -> None:
    """Serve the files of `page`, and the shared scripts below `shared/`. Call this after all other routes are added."""
    app.mount("/shared", StaticFiles(directory=SHARED))
    app.mount("/", StaticFiles(directory=page, html=True))


class PageServer:
    """The server of one run; its socket is bound at once.

    Args:
        app: makes the application; the token is put before its paths.
        port: 0 takes a free one.

    Attributes:
        address: the address to open, with the token of this run.

    Raises `UsageError` when the port is taken.
    """

    def __init__(self, app: Callable[[], FastAPI], port: int = 0) -> None:
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
        # a page may keep a request open: shutting down does not wait for it
        config = uvicorn.Config(
            Guard(app(), token, frozenset({f"{LOOPBACK}:{bound}", f"localhost:{bound}"})),
            lifespan="off",
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until the process is asked to end (Ctrl-C, SIGTERM), then raise `KeyboardInterrupt`."""
        # uvicorn raises the signal again when it has stopped: by default it would end the process before all is written
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._server.run(sockets=[self._socket])


def person_name(given: str | None, option: str) -> str:
    """The name of the person whose work is recorded: given with `option`, else the user's. Raises `UsageError`."""
    try:
        name = (getpass.getuser() if given is None else given).strip()
    except (KeyError, OSError):  # a container without a user database
        raise UsageError("the name of the user is unknown", f"give {option} NAME") from None
    if not name or len(name) > 100 or not name.isprintable():
        who = option.removeprefix("--")
        raise UsageError(f"an {who}'s name is 1 to 100 printable characters", f"give {option} NAME")
    return name


def picked(pictures: Sequence[T], index: int) -> T:
    """The picture at the index in an address. Raises `HTTPException` when there is none."""
    if not 0 <= index < len(pictures):
        raise HTTPException(404, "no such picture")
    return pictures[index]


def thumbnail_answer(path: Path) -> Response:
    """The thumbnail of a picture file, kept in memory. Raises as `read_thumbnail` does."""
    return Response(_thumbnail(path), media_type="image/webp")


_thumbnail = lru_cache(maxsize=4000)(read_thumbnail)  # a few kB each


def clipped_box(box: tuple[float, float, float, float], width: int, height: int) -> tuple[float, float, float, float]:
    """An XYXY box clipped to the picture. Raises `HTTPException` when less than half a pixel of a side is inside."""
    x1, y1, x2, y2 = box
    cut = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if cut[2] - cut[0] < 0.5 or cut[3] - cut[1] < 0.5:
        raise HTTPException(422, "a box is outside the picture")
    return cut
