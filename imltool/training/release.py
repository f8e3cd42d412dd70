"""From a finished run to the file that is shipped: half the size, calibrated as it is stored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from imltool.config import load_settings
from imltool.device import choose_device
from imltool.errors import DataError
from imltool.student.checkpoint import load_checkpoint, save_checkpoint
from imltool.student.localizer import Localizer
from imltool.student.model import Student
from imltool.training.provenance import hash_sets, joined, refuse_overlap, without_machine
from imltool.training.settings import TrainSettings
from imltool.training.validation import Validation


@torch.no_grad()
def centre_threshold(student: Student, threshold: float) -> None:
    """Shift the student's logits, in place, so that a probability of `threshold` becomes 0.5.

    The order of the network's own values stays as it is. BCE on small regions leaves probabilities too low to be cut at
    0.5, which is where published figures and users cut them (our choice; thresholds of 0 and 1 are held inside
    0.001..0.999).
    """
    held = min(max(threshold, 0.001), 0.999)
    bias: Any = student.fusion.refinement.body[-1].bias
    bias -= math.log(held / (1 - held))


def release(run: Path, out: Path, device: str = "auto", checkpoint: str = "best") -> dict[str, Any]:
    """Write RUN's `best` or `last` checkpoint as float16, calibrated, and return the figures on the calibration split.

    The calibration split is the validation split where a run has none of its own.
    First the calibrated pixel threshold (see `Calibration`) is moved to 0.5, then the weights are rounded to float16,
    then both thresholds are fitted once more on the rounded weights: they are those of the file as it is shipped.

    Raises `WeightsError` or `ConfigError` when RUN is not a finished run, `DataError` without a validation split.
    """
    settings = load_settings(TrainSettings, run / "config.yaml")
    data = settings.data
    if not (data.calibration or data.validation):
        raise DataError(
            f"{run} has no split to calibrate on", "list one under data.calibration or data.validation and train again"
        )
    student, header = load_checkpoint(run / f"{checkpoint}.safetensors")
    calibration = Validation(data, data.calibration or data.validation)
    seen = [Validation(data, sources).files() for sources in (data.validation, data.calibration) if sources]
    held_out = hash_sets(joined(seen))
    refuse_overlap(header.training_sets, held_out, "held-out")  # files may have moved since the run began
    localizer = Localizer(student, header, choose_device(device), None)
    _, found = calibration.run(localizer)
    centre_threshold(student, found.pixel_threshold)
    student.half().float()
    figures, found = calibration.run(localizer)
    header = found.into(header, figures).model_copy(
        update={
            "configuration": without_machine(header.configuration),
            "validation_sets": held_out,
        }
    )
    save_checkpoint(out, student.state_dict(), header, half=True)
    return figures
