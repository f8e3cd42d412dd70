"""Layers over a picture: its map, companion maps, the outline of its mask, traces and copied places."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.errors import ImageError
from imltool.pictures.draw import palette
from imltool.pictures.images import RGB, open_header, read_rgb
from imltool.pictures.strips import strips
from imltool.review.copies import CopiedPlace, find_copied_places
from imltool.review.folder import ScanFolder
from imltool.review.pyramid import BoundedCache, Pixels, Pyramid
from imltool.scan.companions import COMPANIONS
from imltool.scan.picture_outputs import mask_outlines, wash_colours
from imltool.scan.results import ScanResult
from imltool.traces.stack import TRACES, Traces, picture_traces

ORIGINAL, MAP, WASH = "original", "map", "wash"
LAYERS = (ORIGINAL, MAP, WASH, *COMPANIONS)
DECODE_BYTES = 7
"""Peak memory of decoding a picture, bytes per pixel."""
TOGETHER = 30_000_000
"""Pictures with more pixels are processed one at a time (our choice)."""
OUTLINE_POINTS = 40_000
"""Points of an outline sent to the page at most; beyond that, the smallest parts are left out."""


class Layers:
    """The layers of a scan's pictures, made when they are requested. Safe to use from several threads."""

    def __init__(self, folder: ScanFolder) -> None:
        self.folder = folder
        self._pyramids: BoundedCache[Pyramid] = BoundedCache(lambda pyramid: pyramid.nbytes)
        self._traces: BoundedCache[Traces] = BoundedCache(lambda traces: traces.nbytes, 50_000_000)
        self._others: BoundedCache[list[Any]] = BoundedCache(lambda _: 1, 200)
        self._heavy = threading.Lock()

    def pyramid(self, result: ScanResult, layer: str) -> Pyramid:
        """A layer of a picture in tiles. Raises `ImageError` when it cannot be made, `KeyError` for an unknown one."""
        base = MAP if layer == WASH else layer
        files = {MAP: result.map, **result.companions}
        # before the lock is taken, which this may need itself
        rgb = None if base == ORIGINAL or base in files else self.rgb(result)

        def make() -> Pyramid:
            with self._turn(result):
                if rgb is not None:
                    return Pyramid.of(COMPANIONS[base](rgb))
                return Pyramid.of(
                    self._original(result) if base == ORIGINAL else read_levels(self._output(result, files[base]))
                )

        expected = DECODE_BYTES * (result.width or 0) * (result.height or 0)
        return self._pyramids.get((result.path, base), make, expected)

    def _turn(self, result: ScanResult) -> AbstractContextManager[object]:
        """A lock for large pictures, which are processed one at a time to bound memory; no lock for others."""
        return self._heavy if (result.width or 0) * (result.height or 0) > TOGETHER else nullcontext()

    def tile(self, result: ScanResult, layer: str, level: int, column: int, row: int) -> Pixels | None:
        """A tile of a layer, coloured; None if there is no such tile. Raises the same errors as `pyramid`."""
        found = self.pyramid(result, layer).tile(level, column, row)
        if found is None or layer not in (MAP, WASH):
            return found
        return palette()[found] if layer == MAP else wash_colours()[found]

    def _original(self, result: ScanResult) -> Pixels:
        with self.folder.evidence(result) as path:
            rgb = read_rgb(path)
        if rgb.shape[:2] != (result.height, result.width):
            raise ImageError(f"{result.path} has another size than when it was scanned")
        return rgb

    def _output(self, result: ScanResult, name: str | None) -> Path:
        if name is None:
            raise ImageError(f"{result.path} has no map: {result.reason}")
        return self.folder.output(name)

    def outline(self, result: ScanResult) -> list[list[int]]:
        """The outlines of the mask, the largest part first; each is a list of x, y, x, y … in pixels."""
        return self._others.get((result.path, "outline"), lambda: self._outline(result))

    def _outline(self, result: ScanResult) -> list[list[int]]:
        mask = read_levels(self._output(result, result.mask))
        large = sorted(mask_outlines(mask), key=cv2.contourArea, reverse=True)
        drawn, points = [], 0
        tolerance = max(mask.shape) / 4000
        for outline in large:
            smooth = np.asarray(cv2.approxPolyDP(outline, tolerance, True)).reshape(-1)
            points += len(smooth) // 2
            if points > OUTLINE_POINTS:
                break
            drawn.append([int(value) for value in smooth])
        return drawn

    def rgb(self, result: ScanResult) -> RGB:
        """The picture at full size, uint8 [H,W,3]. Raises `ImageError`."""
        return self.pyramid(result, ORIGINAL).levels[0]

    def traces(self, result: ScanResult) -> Traces:
        """The traces that a student gets as input, float16 [len(TRACES),GRID,GRID]. Raises `ImageError`."""

        def make() -> Traces:
            rgb = self.rgb(result)
            with self._turn(result):
                return picture_traces(rgb)

        return self._traces.get(result.path, make)

    def trace_picture(self, result: ScanResult, number: int) -> NDArray[np.uint8]:
        """A trace as a layer, uint8 RGBA [GRID,GRID,4]: blue below the usual value, orange above it, transparent at it.

        Values beyond ±3 (approximately standard deviations) have the full colour.
        """
        values = np.clip(self.traces(result)[number].astype(np.float32) / 3.0, -1.0, 1.0)
        shown = np.empty((*values.shape, 4), np.uint8)
        shown[..., :3] = np.where(values[..., None] > 0, (255, 140, 0), (0, 110, 255))
        shown[..., 3] = np.rint(np.abs(values) * 230)
        return shown

    def trace_contrasts(self, result: ScanResult) -> list[float | None]:
        """The difference of each trace's mean between the mask and the rest, in the trace's standard deviations.

        None for all when the mask is empty or covers everything. This shows where a trace differs, not how the student
        used it.
        """
        mask = read_levels(self._output(result, result.mask))
        side = self.traces(result).shape[-1]
        inside = np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)) > 127
        if not inside.any() or inside.all():
            return [None] * len(TRACES)
        contrasts: list[float | None] = []
        for plane in self.traces(result).astype(np.float32):
            spread = float(plane.std())
            contrasts.append(float(plane[inside].mean() - plane[~inside].mean()) / spread if spread > 1e-6 else 0.0)
        return contrasts

    def copies(self, result: ScanResult) -> list[CopiedPlace]:
        """Pairs of similar places in the picture, the best supported first. Raises `ImageError`."""

        def make() -> list[CopiedPlace]:
            rgb = self.rgb(result)
            with self._turn(result):
                levels = read_levels(self._output(result, result.map)) if result.map else None
                return find_copied_places(rgb, levels)

        return self._others.get((result.path, "copies"), make)


def read_levels(path: Path) -> NDArray[np.uint8]:
    """A grey PNG of 8 or 16 bits as uint8 [H,W], by its highest 8 bits. Raises `ImageError`."""
    with open_header(path) as picture:
        if picture.format != "PNG":
            raise ImageError(f"{path}: not a PNG")
        try:
            picture.load()
            levels = np.empty((picture.height, picture.width), np.uint8)
            for rows in strips(levels.shape):
                part = np.asarray(picture.crop((0, rows.start, picture.width, rows.stop)))
                levels[rows] = part if part.dtype == np.uint8 else (part.astype(np.uint32) >> 8).astype(np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"{path}: damaged picture ({error})") from error
    return levels
