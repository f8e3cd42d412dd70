"""Validation of a student in training, and the calibration that goes into its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imltool.evaluation.counts import LEVELS, count_pixels, level_histogram, level_threshold
from imltool.evaluation.metrics import f1, image_auc
from imltool.student.localizer import Localizer, image_score
from imltool.training.data import LabelledPictures, read_labelled
from imltool.training.settings import DataSettings

TARGET_FPR = 0.05
"""Share of authentic validation pictures allowed above the score threshold (our choice)."""
CURVE_STEP = 64
"""Calibration looks at every 64th of the 65536 map levels: steps of a thousandth."""


@dataclass(frozen=True)
class Calibration:
    """Thresholds fitted on the validation split.

    Attributes:
        pixel_threshold: maximises the mean pixel F1 over tampered pictures.
        pixel_f1: that F1.
        score_threshold: the smallest that at most 5 % of the authentic pictures exceed.
        score_fpr: the share that exceeds it.
    """

    pixel_threshold: float
    pixel_f1: float
    score_threshold: float
    score_fpr: float | None


class Validation:
    """The validation pictures of a run, each kept at its own resolution.

    Their labels are what the sources say: pseudo-masks where boxes are the annotation, so that choosing a checkpoint
    uses no pixel mask either.
    """

    def __init__(self, data: DataSettings) -> None:
        self._sets = [LabelledPictures(read_labelled(data, source)) for source in data.validation]

    def __len__(self) -> int:
        return sum(len(pictures.items) for pictures in self._sets)

    def run(self, localizer: Localizer, batch: int = 16) -> tuple[dict[str, Any], Calibration]:
        """Figures (pixel_f1 at 0.5, pixel_f1_calibrated, image_auc, fp_area, counts) and the calibration.

        Figures that need tampered or authentic pictures are None without them.
        """
        levels = np.arange(0, LEVELS, CURVE_STEP)
        curve = np.zeros(len(levels))
        f1s: list[float] = []
        scores: dict[bool, list[float]] = {True: [], False: []}
        false_areas: list[float] = []
        for pictures in self._sets:
            for start in range(0, len(pictures.items), batch):
                loaded = [pictures.get(i) for i in range(start, min(start + batch, len(pictures.items)))]
                maps = localizer.maps([rgb for rgb, _ in loaded])
                for values, (_, mask) in zip(maps, loaded, strict=True):
                    tampered = bool(mask.any())
                    scores[tampered].append(image_score(values))
                    if tampered:
                        f1s.append(float(f1(count_pixels(values, mask))))
                        curve += f1(level_histogram(values, mask).counts_above(levels))
                    else:
                        false_areas.append(float((values > 0.5).mean()))
        calibration = _calibrate(levels, curve, len(f1s), scores[False])
        figures = {
            "n_tampered": len(f1s),
            "n_authentic": len(false_areas),
            "pixel_f1": float(np.mean(f1s)) if f1s else None,
            "pixel_f1_calibrated": calibration.pixel_f1 if f1s else None,
            "pixel_threshold": calibration.pixel_threshold,
            "image_auc": image_auc(scores[True], scores[False]) if f1s and false_areas else None,
            "fp_area": float(np.mean(false_areas)) if false_areas else None,
            "score_threshold": calibration.score_threshold,
            "image_fpr": calibration.score_fpr,
            "image_tpr": float(np.mean(np.array(scores[True]) > calibration.score_threshold)) if f1s else None,
        }
        return figures, calibration


def _calibrate(levels: np.ndarray, curve: np.ndarray, tampered: int, authentic: list[float]) -> Calibration:
    best = int(curve.argmax())
    threshold = level_threshold(int(levels[best])) if tampered else 0.5
    pixel_f1 = float(curve[best] / tampered) if tampered else 0.0
    if not authentic:
        return Calibration(threshold, pixel_f1, 0.5, None)
    ordered = np.sort(np.array(authentic))
    allowed = int(np.floor(TARGET_FPR * len(ordered)))
    score = float(ordered[len(ordered) - 1 - allowed])
    return Calibration(threshold, pixel_f1, score, float((ordered > score).mean()))
