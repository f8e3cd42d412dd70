"""Validation of a student during training, and the calibration stored in its checkpoint."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imltool.data.accounts import account_lines, require_used
from imltool.evaluation.counts import CURVE_THRESHOLDS, count_pixels, rank_pixels
from imltool.evaluation.metrics import f1, flagged_area, image_auc
from imltool.files import sha256_text
from imltool.inference.localizer import Localizer, image_score
from imltool.student.header import THRESHOLDS, CheckpointHeader, Figures, ReliabilityBin
from imltool.student.operating_points import TARGET_FPR, operating_point
from imltool.texts import listed
from imltool.traces.stack import Traces
from imltool.training.data import LabelledPictures, file_identity
from imltool.training.prepared import ArrayCache, Arrays
from imltool.training.provenance import joined
from imltool.training.settings import MAX_LEFT_OUT_OPTION, DataSettings, SourceSettings
from imltool.training.sources import read_source

log = logging.getLogger("imltool")
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Thresholds fitted on the validation split.

    Attributes:
        pixel_threshold: the one of `CURVE_THRESHOLDS` that maximises mean pixel F1 of tampered pictures minus mean
            false-positive area of authentic ones. Both are means over sets, so that a large set does not outweigh the
            small ones. Ties are resolved towards 0.5 (our choice: F1 alone, which ignores authentic pictures, would
            mark a fifth of each of them).
        pixel_f1: the mean over sets of the mean pixel F1 at that threshold.
        balance: F1 minus false-positive area at that threshold, by which checkpoints of a run are compared.
        score_threshold: the threshold of the `operating_point` for `TARGET_FPR`.
        score_fpr: share of the `score_authentic` authentic pictures whose score exceeds it.
        authentic_scores: their image scores by set name, ascending.
        reliability: share of tampered pictures in up to ten ranges of the score, with about equally many pictures each.
    """

    pixel_threshold: float
    pixel_f1: float
    score_threshold: float
    score_fpr: float | None
    score_authentic: int = 0
    authentic_scores: dict[str, tuple[float, ...]] = field(default_factory=dict)
    balance: float = 0.0
    reliability: tuple[ReliabilityBin, ...] = ()

    def into(self, header: CheckpointHeader, figures: Figures | None) -> CheckpointHeader:
        """`header` with these thresholds and the validation metrics."""
        return header.model_copy(update={"figures": figures, **{name: getattr(self, name) for name in THRESHOLDS}})


class Validation:
    """The validation or calibration pictures of a run, each kept at its own resolution.

    Labels are those of the sources: pseudo-masks when the annotation is boxes, so that choosing a checkpoint uses no
    pixel masks either.

    Raises `DataError` when a source cannot be read or its unusable share exceeds `data.max_left_out`.

    Attributes:
        accounts: the number of pictures that each source has, uses and leaves out.
        notes: how masks were interpreted, one line each.
    """

    def __init__(self, data: DataSettings, sources: tuple[SourceSettings, ...]) -> None:
        self._names = [source.name for source in sources]
        readings = [read_source(data, source) for source in sources]
        self.accounts = [reading.account for reading in readings]
        self.notes = [
            f"{source.name}: {note}" for source, one in zip(sources, readings, strict=True) for note in one.notes
        ]
        require_used(self.accounts, data.max_left_out, MAX_LEFT_OUT_OPTION)
        self._sets = [
            LabelledPictures(one.samples, source.change) for source, one in zip(sources, readings, strict=True)
        ]
        self._cache = ArrayCache(data.cache, {"content": "traces of whole pictures"})

    def files(self) -> dict[str, list[Path]]:
        """Every picture file, by source name."""
        parts = zip(self._names, self._sets, strict=True)
        return joined([{name: [item.image for item in pictures.items]} for name, pictures in parts])

    def warn(self) -> None:
        """Log the table of sources when a picture is left out; for commands that do not show the table themselves."""
        if any(account.lost for account in self.accounts):
            for line in account_lines(self.accounts):
                log.warning("%s", line)

    def masks(self) -> list[Path]:
        """Every mask file, source by source."""
        return [item.mask for pictures in self._sets for item in pictures.items if item.mask is not None]

    def _traces(self, localizer: Localizer, pictures: LabelledPictures, number: int) -> Traces:
        """The traces of picture `number` of a set, cached as for training samples."""
        architecture = localizer.header.architecture

        def make() -> Arrays:
            return {"traces": localizer.traces(pictures.get(number)[0])}

        changed = (pictures.change,) if pictures.change else ()
        seen = (architecture.input_size, architecture.max_input_size)
        key = sha256_text(repr((*file_identity(pictures.items[number].image), *changed, *seen)))
        return self._cache.get(key, make)["traces"]

    def run(
        self, localizer: Localizer, batch: int = 16, pixel_threshold: float | None = None
    ) -> tuple[Figures, Calibration]:
        """Metrics and the calibration.

        Args:
            pixel_threshold: keep this one, which the metrics then refer to, instead of fitting one.
        """
        thresholds = CURVE_THRESHOLDS if pixel_threshold is None else np.array([pixel_threshold], np.float32)
        f1_curves: dict[str, list[np.ndarray]] = {}
        false_curves: dict[str, list[np.ndarray]] = {}
        f1s: list[float] = []
        tampered: list[float] = []
        authentic: dict[str, list[float]] = {}
        false_areas: list[float] = []
        for name, pictures in zip(self._names, self._sets, strict=True):
            lost = []
            for start in range(0, len(pictures.items), batch):
                numbers = range(start, min(start + batch, len(pictures.items)))
                loaded = [pictures.get(number) for number in numbers]
                traces = [self._traces(localizer, pictures, one) for one in numbers] if localizer.sees_traces else None
                maps = localizer.maps([rgb for rgb, _ in loaded], traces)
                for number, values, (_, mask) in zip(numbers, maps, loaded, strict=True):
                    if pictures.items[number].tampered and not mask.any():
                        lost.append(pictures.items[number].name)  # neither a forgery nor authentic
                        continue
                    counts = rank_pixels(values, mask).counts_above(thresholds)
                    if mask.any():
                        tampered.append(image_score(values))
                        f1s.append(float(f1(count_pixels(values, mask))))
                        f1_curves.setdefault(name, []).append(f1(counts))
                    else:
                        authentic.setdefault(name, []).append(image_score(values))
                        false_areas.append(float((values > 0.5).mean()))
                        false_curves.setdefault(name, []).append(flagged_area(counts))
            if lost:
                log.warning("source %s: no edit is left after %s in %s", name, pictures.change, listed(lost))
        hit, false = (_mean_curve(curves, len(thresholds)) for curves in (f1_curves, false_curves))
        calibration = _calibrate(hit, false, tampered, authentic, pixel_threshold)
        untouched = list(itertools.chain(*authentic.values()))
        figures = Figures(
            n_tampered=len(f1s),
            n_authentic=len(false_areas),
            pixel_f1=float(np.mean(f1s)) if f1s else None,
            pixel_f1_calibrated=calibration.pixel_f1 if f1s else None,
            pixel_threshold=calibration.pixel_threshold,
            balance=calibration.balance,
            image_auc=image_auc(tampered, untouched) if f1s and false_areas else None,
            fp_area=float(np.mean(false_areas)) if false_areas else None,
            score_threshold=calibration.score_threshold,
            image_fpr=calibration.score_fpr,
            image_tpr=float(np.mean(np.array(tampered) > calibration.score_threshold)) if f1s else None,
        )
        return figures, calibration


def _mean_curve(curves: Mapping[str, Sequence[np.ndarray]], size: int) -> np.ndarray:
    """The mean over sets of the means over their pictures, float [T], T = `size`; zeros without pictures."""
    means = [np.mean(ones, axis=0) for ones in curves.values()]
    return np.mean(means, axis=0) if means else np.zeros(size)


def _calibrate(
    f1_curve: np.ndarray,
    false_curve: np.ndarray,
    tampered: Sequence[float],
    authentic: Mapping[str, Sequence[float]],
    kept: float | None,
) -> Calibration:
    """The calibration, from curves over `CURVE_THRESHOLDS`, or over the one threshold `kept`."""
    gain = f1_curve - false_curve
    equals = np.flatnonzero(gain == gain.max())
    best = int(equals[np.abs(CURVE_THRESHOLDS[equals] - 0.5).argmin()])
    fitted = float(CURVE_THRESHOLDS[best]) if tampered else 0.5
    threshold = fitted if kept is None else kept
    pixel_f1 = float(f1_curve[best]) if tampered else 0.0
    balance = float(gain[best])
    if not authentic:
        return Calibration(threshold, pixel_f1, 0.5, None, balance=balance)
    score = operating_point(authentic, TARGET_FPR).threshold
    untouched = np.concatenate([np.array(scores) for scores in authentic.values()])
    return Calibration(
        threshold,
        pixel_f1,
        score_threshold=score,
        score_fpr=float((untouched > score).mean()),
        score_authentic=len(untouched),
        authentic_scores={name: tuple(sorted(scores)) for name, scores in authentic.items()},
        balance=balance,
        reliability=_reliability(np.array(tampered), untouched) if tampered else (),
    )


def _reliability(tampered: np.ndarray, authentic: np.ndarray) -> tuple[ReliabilityBin, ...]:
    scores = np.concatenate([tampered, authentic])
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, BINS + 1)))
    edges = np.array([0.0, *edges[1:-1], 1.0])
    bins = []
    for low, high in itertools.pairwise(edges):
        last = high == edges[-1]
        found = [int(((part >= low) & ((part < high) | last)).sum()) for part in (tampered, authentic)]
        bins.append(ReliabilityBin(low=float(low), high=float(high), pictures=sum(found), tampered=found[0]))
    return tuple(bins)
