"""Prepare pictures for the page: decode them for display, embed them ahead of the person, decode masks on demand."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from imltool.annotate.pictures import PictureFolder
from imltool.annotate.records import DrawnBox
from imltool.data.box_formats import Box
from imltool.errors import ImageError
from imltool.files import sha256_file
from imltool.inference.localizer import Localizer
from imltool.pictures.draw import fit
from imltool.pictures.images import RGB, Mask, encode_jpeg, read_rgb
from imltool.scan.picture_outputs import find_regions
from imltool.teacher.sam import Embedding, SamTeacher
from imltool.teacher.teacher import BoxMask

VIEW_SIDE = 4096
"""Longest side of a picture sent to the page, pixels: enough for zooming, and not too large for browsers."""
MASK_SIDE = 1024
"""Longest side of a mask sent to the page, pixels; SAM's own masks have 256."""
VIEW_QUALITY = 95
KEPT = 16
"""Number of prepared pictures in memory: each has an embedding of about 4 MB and a view of up to a few MB."""
SUGGESTED = 5
"""Greatest number of suggestions for a picture."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class View:
    """A picture for display in the page.

    Attributes:
        sha256: SHA-256 of the file.
        width, height: size of the upright picture, pixels.
        jpeg: the picture, shrunk to `VIEW_SIDE` if it is larger.
    """

    sha256: str
    width: int
    height: int
    jpeg: bytes

    @property
    def facts(self) -> tuple[str, int, int]:
        return self.sha256, self.width, self.height


class _Latest(OrderedDict[str, Value]):
    """Keeps the `KEPT` most recently used values."""

    def put(self, key: str, value: Value) -> None:
        self[key] = value
        self.move_to_end(key)
        while len(self) > KEPT:
            self.popitem(last=False)

    def take(self, key: str) -> Value | None:
        if key in self:
            self.move_to_end(key)
        return self.get(key)


class Superseded(Exception):
    """Other pictures have been requested."""


@dataclass(frozen=True)
class _Ready:
    """The worker's result for a picture: its embedding and suggestions, or why there are none."""

    embedding: Embedding | None = None
    suggestions: tuple[Box, ...] = ()
    fault: str = ""


class EmbeddingWorker:
    """Prepares requested pictures in order, in its own thread. Thread-safe.

    An embedding in progress pauses while a mask is decoded, and is discarded when another picture is requested first,
    so that the annotator need not wait for it.

    Args:
        localizer: the student that suggests regions; None for no suggestions.
    """

    def __init__(self, pictures: PictureFolder, teacher: SamTeacher, localizer: Localizer | None = None) -> None:
        self.pictures, self.teacher, self.localizer = pictures, teacher, localizer
        self._views: _Latest[View] = _Latest()
        self._ready: _Latest[_Ready] = _Latest()
        self._pixels: tuple[str, RGB] | None = None
        self._wanted: tuple[str, ...] = ()
        self._state = threading.Condition()
        self._reading = threading.Lock()
        self._quiet = threading.Event()
        self._quiet.set()
        self._decoding = 0
        self._closed = False
        self._now: str | None = None
        self._hooks = [layer.register_forward_pre_hook(self._pause_or_stop) for layer in teacher.network.layers]
        self._worker = threading.Thread(target=self._work, name="imltool-annotate-embedding", daemon=True)
        self._worker.start()

    def view(self, name: str) -> View:
        """Return the picture for the page. Raises `ImageError` when it cannot be read."""
        with self._state:  # held only briefly: a mask must not wait while a picture is being read
            view = self._views.take(name)
        if view is not None:
            return view
        with self._reading:  # one picture at a time, because decoded pictures can be large
            with self._state:
                view = self._views.take(name)
            return view or self._read(name)[0]

    def _read(self, name: str) -> tuple[View, RGB]:
        path = self.pictures.path(name)
        rgb = read_rgb(path)
        try:
            view = View(
                sha256_file(path), rgb.shape[1], rgb.shape[0], encode_jpeg(fit(rgb, VIEW_SIDE), VIEW_QUALITY, 0)
            )
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error
        with self._state:
            self._views.put(name, view)
            self._pixels = (name, rgb)
        return view, rgb

    def want(self, names: Sequence[str]) -> None:
        """Set the pictures to prepare, the most urgent first; ends waiting for other pictures."""
        with self._state:
            self._wanted = tuple(names)
            self._state.notify_all()

    def ready(self, name: str, timeout: float) -> bool:
        """Wait until a picture is embedded, or cannot be embedded.

        Returns False when the time is over or other pictures have been requested. A picture that was not requested is
        queued after those that were.
        """
        with self._state:
            if name not in self._ready and name not in self._wanted:
                self._wanted = (*self._wanted, name)
                self._state.notify_all()
            self._state.wait_for(lambda: self._decided(name), timeout)
            return name in self._ready and not self._closed

    def _decided(self, name: str) -> bool:
        """Whether waiting for a picture has ended."""
        return name in self._ready or name not in self._wanted or self._closed

    def _made(self, name: str) -> _Ready:
        with self._state:
            if name not in self._ready and name not in self._wanted:
                self._wanted = (name, *self._wanted)
                self._state.notify_all()
            self._state.wait_for(lambda: self._decided(name))
            made = self._ready.take(name)
        if made is None and not self._closed:
            raise Superseded
        if made is None or made.embedding is None:
            raise ImageError(made.fault if made else "the server is stopping")
        return made

    def mask(self, name: str, drawn: DrawnBox) -> BoxMask:
        """The teacher's mask at the size shown in the page, at most `MASK_SIDE`. Waits for the embedding.

        Raises `ImageError` when there is no embedding, `Superseded` when other pictures are requested meanwhile.
        """
        made = self._made(name).embedding
        assert made is not None
        height, width = made.size
        scale = min(1.0, MASK_SIDE / max(height, width))
        return self._decode(made, (max(1, round(height * scale)), max(1, round(width * scale))), drawn)

    def full_mask(self, name: str, drawn: DrawnBox) -> Mask:
        """The mask at the picture's size, bool [H,W], as `imltool pseudo` makes it for the box. Raises as `mask`."""
        made = self._made(name).embedding
        assert made is not None
        return self._decode(made, made.size, drawn).mask

    def _decode(self, embedding: Embedding, size: tuple[int, int], drawn: DrawnBox) -> BoxMask:
        down, across = size[0] / embedding.size[0], size[1] / embedding.size[1]
        box = np.array(drawn.box, dtype=np.float32) * np.array([across, down, across, down], dtype=np.float32)
        clicks = np.array(
            [(click.x * across, click.y * down, click.inside) for click in drawn.clicks], dtype=np.float32
        ).reshape(-1, 3)
        with self._first():
            return self.teacher.refine(replace(embedding, size=size), box, clicks)

    def suggestions(self, name: str) -> tuple[Box, ...]:
        """The student's regions as XYXY boxes, largest first. Waits for them. Raises as `mask` does."""
        return self._made(name).suggestions

    @contextmanager
    def _first(self) -> Iterator[None]:
        """Make an embedding in progress pause."""
        with self._state:
            self._decoding += 1
            self._quiet.clear()
        try:
            yield
        finally:
            with self._state:
                self._decoding -= 1
                if not self._decoding:
                    self._quiet.set()

    def _pause_or_stop(self, *_: Any) -> None:
        self._quiet.wait()
        if self._closed or (self._next() not in (self._now, None)):
            raise Superseded

    def _next(self) -> str | None:
        return next((name for name in self._wanted if name not in self._ready), None)

    def _work(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._closed or self._next() is not None)
                if self._closed:
                    return
                self._now = name = self._next()
            assert name is not None
            try:
                made = self._prepare(name)
            except Superseded:
                continue
            except ImageError as error:
                made = _Ready(fault=error.message)
            except Exception as error:  # one picture must not end the session (most likely it ran out of memory)
                made = _Ready(fault=f"{name}: no mask could be made ({type(error).__name__}: {error})")
            with self._state:
                self._ready.put(name, made)
                self._state.notify_all()

    def _prepare(self, name: str) -> _Ready:
        self._pause_or_stop()
        with self._reading:
            held = self._pixels
            rgb = held[1] if held and held[0] == name else self._read(name)[1]
        embedding = self.teacher.embed(rgb)
        self._pause_or_stop()
        suggestions = self._suggest(rgb) if self.localizer else ()
        with self._state:
            if self._pixels and self._pixels[0] == name:
                self._pixels = None
        return _Ready(embedding, suggestions)

    def _suggest(self, rgb: RGB) -> tuple[Box, ...]:
        assert self.localizer is not None
        (values,) = self.localizer.maps([rgb])
        regions = find_regions(values, self.localizer.header.pixel_threshold)[:SUGGESTED]
        return tuple(
            (float(one.x), float(one.y), float(one.x + one.width), float(one.y + one.height)) for one in regions
        )

    def close(self) -> None:
        """Stop preparing; waiting calls raise `ImageError`."""
        with self._state:
            self._closed = True
            self._quiet.set()
            self._state.notify_all()
        self._worker.join(timeout=10)
        for hook in self._hooks:  # the teacher may be used elsewhere
            hook.remove()
