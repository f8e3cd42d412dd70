"""What is measured: the checkpoint, the baselines and folders of saved maps, as one kind of thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from imltool.data.sets import NamedSet
from imltool.errors import UsageError
from imltool.evaluation.baselines import BASELINES, Predict
from imltool.evaluation.maps import MapFolder
from imltool.evaluation.runner import (
    CALIBRATED,
    HALF,
    PLAIN,
    Counting,
    ImageRow,
    OnMap,
    evaluate_maps,
    evaluate_set,
)
from imltool.pictures.images import RGB, Map

if TYPE_CHECKING:
    import torch

    from imltool.inference.localizer import Localizer

BASELINE_SCORE_THRESHOLD = 0.5


@dataclass(frozen=True)
class Method:
    """One localizer to measure.

    Attributes:
        label: its name in tables and in the CSV.
        baseline: its key in `BASELINES`, None for the checkpoint.
        predict: pictures → maps at their own sizes.
        thresholds: name → pixel threshold; the checkpoint has a calibrated one, baselines do not.
        score_threshold: image operating point, a score strictly above it.
        maps: where its maps were saved, None for a method that predicts.
    """

    label: str
    baseline: str | None
    predict: Predict
    thresholds: dict[str, float]
    score_threshold: float
    maps: MapFolder | None = None

    def rows(
        self, one: NamedSet, *, batch: int = 8, counting: Counting = PLAIN, on_map: OnMap | None = None
    ) -> Iterator[ImageRow]:
        """Score a set: a row per sample, in the set's order."""
        if self.maps is not None:
            source = self.maps.source(one.name)
            return evaluate_maps(one.samples, source, self.thresholds, counting=counting, on_map=on_map)
        return evaluate_set(one.samples, self.predict, self.thresholds, batch=batch, counting=counting, on_map=on_map)


def checkpoint_label(name: str) -> str:
    """A checkpoint's name in tables; one named like a baseline must not be taken for it."""
    return f"{name} (checkpoint)" if name in BASELINES else name or "checkpoint"


def choose_methods(
    localizer: Localizer | None, baselines: Sequence[str], device: str | torch.device, seed: int, tiles: bool = False
) -> list[Method]:
    """The checkpoint, if there is one, then the baselines in the order given (names of `BASELINES`).

    Args:
        tiles: the checkpoint sees large pictures in tiles too, see `imltool.inference.tiles`.
    """
    methods = []
    if localizer:
        header = localizer.header
        thresholds = {HALF: 0.5, CALIBRATED: header.pixel_threshold}
        from imltool.inference.tiles import maps_with_tiles

        seen: Predict = partial(maps_with_tiles, localizer) if tiles else localizer.maps
        methods.append(Method(checkpoint_label(header.name), None, seen, thresholds, header.score_threshold))
    architecture = localizer.header.architecture if localizer else None
    for name in baselines:
        predict = BASELINES[name](architecture, device, seed)
        methods.append(Method(name, name, predict, {HALF: 0.5}, BASELINE_SCORE_THRESHOLD))
    return methods


def maps_method(maps: MapFolder) -> Method:
    """A folder of saved maps as a method; it has no calibrated threshold."""
    return Method(maps.name, None, _cannot_predict, {HALF: 0.5}, BASELINE_SCORE_THRESHOLD, maps)


def _cannot_predict(images: Sequence[RGB]) -> list[Map]:
    raise UsageError("saved maps cannot be made for other pictures", "measure this with a checkpoint or a baseline")
