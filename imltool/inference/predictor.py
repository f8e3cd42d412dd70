"""The Python interface of a student: maps, masks and scores for pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imltool.device import choose_device
from imltool.engines.network import Compute
from imltool.errors import ImageError, UsageError
from imltool.inference.localizer import Localizer, image_score
from imltool.inference.tiles import maps_with_tiles
from imltool.pictures.images import RGB, Map, Mask, read_rgb, rgb_of

if TYPE_CHECKING:
    from PIL.Image import Image

    AnyPicture = str | Path | NDArray[Any] | Image
    """A file, an array uint8 [H,W,3] RGB or [H,W] grey, or a Pillow picture."""


@dataclass(frozen=True)
class Prediction:
    """A student's result for a picture.

    Attributes:
        map: probability that each pixel was tampered with, float32 [H,W] in [0,1] at the picture's own size.
        mask: bool [H,W], True where `map` is above the threshold.
        score: score of the whole picture in [0,1], see `imltool.inference.localizer.image_score`.
        indication: whether `score` is above the checkpoint's score threshold.
    """

    map: Map
    mask: Mask
    score: float
    indication: bool


class Predictor:
    """A student ready to predict; made by `imltool.load_student`.

    Attributes:
        localizer: the network and its checkpoint's header.
        threshold: map values above it belong to the mask.
        score_threshold: scores above it are an indication.
        tiles: whether large pictures are also processed in tiles.
    """

    def __init__(self, localizer: Localizer, threshold: float | None = None, tiles: bool = False) -> None:
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise UsageError(f"threshold {threshold}", "give one in [0,1]")
        self.localizer = localizer
        self.threshold = localizer.header.pixel_threshold if threshold is None else threshold
        self.score_threshold = localizer.header.score_threshold
        self.tiles = tiles

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self.localizer.header.name

    @property
    def engine(self) -> str:
        """The engine that runs the network and its version."""
        return self.localizer.engine

    def __call__(self, picture: AnyPicture) -> Prediction:
        """The prediction for one picture.

        Args:
            picture: a file's path; an array uint8 [H,W,3] RGB or [H,W] grey, assumed to be upright; or a Pillow
                picture. The EXIF orientation of files and Pillow pictures is applied. They may have any mode; alpha is
                dropped.

        Raises `ImageError` when the picture cannot be used, MemoryError when memory does not suffice.
        """
        (prediction,) = self.predict([picture])
        return prediction

    def predict(self, pictures: Iterable[AnyPicture], batch: int = 8) -> Iterator[Prediction]:
        """Predictions for pictures, in their order, `batch` at a time; see `__call__`."""
        remaining = iter(pictures)
        while images := [_pixels(picture) for picture in islice(remaining, batch)]:
            maps = maps_with_tiles(self.localizer, images) if self.tiles else self.localizer.maps(images)
            for values in maps:
                score = image_score(values)
                yield Prediction(values, values > self.threshold, score, score > self.score_threshold)


def _pixels(picture: AnyPicture) -> RGB:
    """The picture as uint8 [H,W,3] RGB."""
    if isinstance(picture, str | Path):
        return read_rgb(Path(picture))
    if not isinstance(picture, np.ndarray):
        return rgb_of(picture)
    if picture.dtype != np.uint8:
        raise ImageError(f"an array of {picture.dtype} is no picture: give uint8 values from 0 to 255")
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ImageError(f"an array of shape {list(picture.shape)} is no picture: give [H,W,3] RGB or [H,W] grey")
    return np.ascontiguousarray(picture)


def load_student(
    weights: str | Path | None = None,
    device: str = "auto",
    *,
    engine: str = "auto",
    precision: Compute = "fp32",
    threshold: float | None = None,
    tiles: bool = False,
) -> Predictor:
    """Load a student for use in a program: `load_student("boxprompt-traces")(picture).score`.

    Args:
        weights: a bundled student's name, a checkpoint file, or `hf-hub:OWNER/NAME[@REVISION]` for one on the Hugging
            Face hub; None takes the default student.
        device: "auto", "cpu", "cuda" or "mps".
        engine: the engine that runs the network: "auto", "torch", "onnx" or "openvino".
        precision: inference precision: "fp32", "bf16" if the processor supports it, or "int8" with such a graph.
        threshold: map values above it belong to the mask; None takes the checkpoint's.
        tiles: also process large pictures in tiles, see `imltool.inference.tiles`.

    Raises `WeightsError` when the weights do not exist or cannot be used, `UsageError` for an unavailable choice.
    """
    file = None if weights is None else Path(weights)
    return Predictor(Localizer.load(file, choose_device(device), engine, precision), threshold, tiles)
