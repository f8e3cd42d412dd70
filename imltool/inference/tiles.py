"""Large pictures in overlapping tiles, which keep small edits that a forward pass on the whole picture averages away.

A tile shows `TILE_SIDE` pixels of the picture at the student's input size, several times finer than in the whole
picture. Tiles are blended with each other, and the result with the map of the whole picture. All of this is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from imltool.inference.localizer import Localizer, resize_map
from imltool.pictures.images import RGB, Map
from imltool.pictures.pixels import resample
from imltool.student.settings import StudentSettings
from imltool.traces.stack import Traces, tiled_traces

TILE_SIDE = 640
"""Width and height of a tile in pixels of the picture."""
STEP = 0.75
"""Largest distance of neighbouring tiles, in tile sides: at least a quarter of each tile overlaps the next."""
LEAST_SIDE = 800
"""Pictures whose longer side has at most this many pixels are not cut: tiles would hardly be smaller than they are."""

Tile = tuple[RGB, Traces | None]
"""A tile at the network's input size, uint8 [S,S,3], and its traces."""
P = TypeVar("P")
M = TypeVar("M")


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut. Positions are on a canvas: the picture resized so that a tile has the student's input size.

    Attributes:
        side: side of a tile on the canvas, equal to the student's input size for a picture of `TILE_SIDE`×`TILE_SIDE`
            pixels.
        cells: side of the trace grid of a tile.
        height, width: of the canvas, at least `side`: a picture narrower than a tile is stretched, as the whole picture
            is.
        unit: all positions are multiples of it, so that they fall on whole cells of the trace grid, too.
    """

    side: int
    cells: int
    height: int
    width: int
    unit: int

    @classmethod
    def of(cls, shape: tuple[int, ...], architecture: StudentSettings) -> Tiling:
        """The tiling of a picture [H,W,…] for a student."""
        side = architecture.side_for((TILE_SIDE, TILE_SIDE))
        cells = architecture.trace_grid(side)
        unit = side // math.gcd(side, cells)
        height, width = (max(side, round(pixels * side / TILE_SIDE / unit) * unit) for pixels in shape[:2])
        return cls(side, cells, height, width, unit)

    @property
    def grid(self) -> tuple[int, int]:
        """(width, height) of the trace grid of the canvas; a tile covers cells×cells of it."""
        return self.width * self.cells // self.side, self.height * self.cells // self.side

    def corners(self) -> list[tuple[int, int]]:
        """(top, left) of every tile on the canvas, row by row."""
        return [(top, left) for top in self._starts(self.height) for left in self._starts(self.width)]

    def _starts(self, length: int) -> list[int]:
        count = math.ceil((length - self.side) / (self.side * STEP)) + 1
        return [round(start / self.unit) * self.unit for start in np.linspace(0, length - self.side, count)]


def is_tiled(shape: tuple[int, ...]) -> bool:
    """Whether a picture [H,W,…] is large enough to be cut."""
    return max(shape[:2]) > LEAST_SIDE


def take_traces(localizer: Localizer, rgb: RGB, tiles: bool) -> tuple[Traces, ...]:
    """Traces for the student: none, the picture's stack, or that and a finer one for cutting tiles.

    Args:
        rgb: uint8 [H,W,3].
        tiles: whether to process large pictures in tiles.

    Raises `ImageError`.
    """
    if not localizer.sees_traces:
        return ()
    if tiles and is_tiled(rgb.shape):
        architecture = localizer.header.architecture
        whole = architecture.trace_grid(architecture.side_for(rgb.shape))
        return tiled_traces(rgb, TILE_SIDE, Tiling.of(rgb.shape, architecture).grid, whole)
    return (localizer.traces(rgb),)


def predict_by_size(
    pictures: Sequence[P],
    is_large: Callable[[P], bool],
    predict_tiled: Callable[[P], M],
    predict_batch: Callable[[list[P]], Sequence[M]],
) -> list[M]:
    """Apply `predict_tiled` to large pictures one by one and `predict_batch` to the rest; results in input order.

    Args:
        is_large: whether to process a picture in tiles, see `is_tiled`.
        predict_batch: not called when all pictures are large.
    """
    others = [each for each in pictures if not is_large(each)]
    made = iter(predict_batch(others) if others else ())
    return [predict_tiled(each) if is_large(each) else next(made) for each in pictures]


def maps_with_tiles(localizer: Localizer, images: Sequence[RGB]) -> list[Map]:
    """`Localizer.maps` of pictures uint8 [H,W,3]; large ones are also processed in tiles."""
    return predict_by_size(
        images,
        lambda rgb: is_tiled(rgb.shape),
        lambda rgb: tiled_map(localizer, rgb, take_traces(localizer, rgb, tiles=True)),
        localizer.maps,
    )


def tiled_map(localizer: Localizer, rgb: RGB, traces: tuple[Traces, ...], batch: int = 8) -> Map:
    """Map of a large picture, float32 [H,W] in [0,1]: the mean of the whole picture's map and the tiles' map.

    In overlaps, the weight of a tile grows with the distance from its edges.

    Args:
        rgb: uint8 [H,W,3].
        traces: its `take_traces`.
        batch: tiles per forward pass; halved when memory does not suffice, down to one.

    Raises MemoryError when memory does not suffice for one tile.
    """
    tiling = Tiling.of(rgb.shape, localizer.header.architecture)
    corners, side = tiling.corners(), tiling.side
    whole = resize_map(localizer.small_maps([rgb], traces[:1] or None)[0], (tiling.height, tiling.width))
    total, weight = np.zeros_like(whole), np.zeros_like(whole)
    window = _window(side)
    maps = _maps_of_tiles(localizer, _tiles(tiling, rgb, traces), batch)
    for (top, left), tile in zip(corners, maps, strict=True):
        place = slice(top, top + side), slice(left, left + side)
        total[place] += window * tile
        weight[place] += window
    # in place, and freeing one array at a time: the map of a large picture needs the memory
    total /= weight
    del weight
    total += whole
    del whole
    total /= 2
    return resize_map(total, rgb.shape)


def _tiles(tiling: Tiling, rgb: RGB, traces: tuple[Traces, ...]) -> Iterator[Tile]:
    canvas = resample(rgb, (tiling.width, tiling.height))
    side, cells = tiling.side, tiling.cells
    for top, left in tiling.corners():
        stack = None
        if traces:
            y, x = top * cells // side, left * cells // side
            stack = traces[1][:, y : y + cells, x : x + cells]
        yield canvas[top : top + side, left : left + side], stack


def _maps_of_tiles(localizer: Localizer, tiles: Iterator[Tile], batch: int) -> Iterator[Map]:
    """The map of each tile, float32 [S,S]; the batch size is halved when memory does not suffice."""
    waiting: list[Tile] = []
    while True:
        waiting += islice(tiles, max(0, batch - len(waiting)))
        if not waiting:
            return
        now = waiting[:batch]
        try:
            stacks = [stack for _, stack in now if stack is not None]
            found = localizer.probabilities([rgb for rgb, _ in now], stacks or None)
        except MemoryError:
            if batch == 1:
                raise
            batch //= 2
        else:
            waiting = waiting[batch:]
            yield from found


def _window(side: int) -> NDArray[np.float32]:
    """Weight of each pixel of a tile, float32 [S,S]: 1 in the middle, falling linearly towards each edge, never 0."""
    ramp = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) * (2 / side)
    return np.outer(ramp, ramp).astype(np.float32)
