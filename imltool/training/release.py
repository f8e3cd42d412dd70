"""Turn a finished run into the file that is shipped, calibrated with its stored weights; fit thresholds again."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from imltool.config import load_settings
from imltool.device import choose_device
from imltool.errors import DataError, UsageError, WeightsError
from imltool.inference.localizer import Localizer
from imltool.student.checkpoint import load_checkpoint, save_checkpoint
from imltool.student.header import THRESHOLDS, CheckpointHeader, Figures
from imltool.student.model import Student
from imltool.student.operating_points import TARGET_FPR, pictures_needed
from imltool.training.initialise import Start
from imltool.training.provenance import hash_sets, joined, merged_sets, refuse_overlap, without_machine
from imltool.training.settings import DataSettings, TrainSettings
from imltool.training.validation import Validation
from imltool.weights import student_file

log = logging.getLogger("imltool")


@torch.no_grad()
def centre_threshold(student: Student, threshold: float) -> None:
    """Shift the student's logits, in place, so that a probability of `threshold` becomes 0.5.

    The order of the network's values does not change. BCE on small regions leaves probabilities too low for the
    threshold of 0.5 that publications and users apply (our choice; thresholds of 0 and 1 are moved by 1e-7).
    """
    held = min(max(threshold, 1e-7), 1 - 1e-7)
    bias: Any = student.fusion.refinement.body[-1].bias
    bias -= math.log(held / (1 - held))


def average(files: Sequence[Path], out: Path) -> None:
    """Write the mean weights of several checkpoints of one architecture, for instance of a run and its continuation.

    The header is that of the last checkpoint, with the ancestry, training sets and validation sets of all. Thresholds
    are not fitted: `release` or `calibrate` does that.

    Raises `WeightsError` when a file is not a checkpoint or has another architecture or version of the traces, and
    `UsageError` for a single file.
    """
    if len(files) < 2:
        raise UsageError("one checkpoint has no average", "give two or more")
    students, headers = zip(*(load_checkpoint(path) for path in files), strict=True)
    last = headers[-1]
    for path, header in zip(files, headers, strict=True):
        if header.architecture != last.architecture:
            raise WeightsError(
                f"{path} has another architecture than {files[-1]}", "average checkpoints of one architecture"
            )
    states = [student.state_dict() for student in students]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(weight.dtype)
        if weight.is_floating_point()
        else weight
        for name, weight in states[-1].items()
    }
    own = [Start(path, header).ancestry for path, header in zip(files, headers, strict=True)]
    unfitted = CheckpointHeader.model_fields
    header = last.model_copy(
        update={
            "ancestry": tuple(dict.fromkeys(itertools.chain(*(line[:1] for line in own), *(line[1:] for line in own)))),
            "training_sets": merged_sets(*(one.training_sets for one in headers)),
            "validation_sets": merged_sets(*(one.validation_sets for one in headers)),
        }
        | {name: unfitted[name].get_default(call_default_factory=True) for name in (*THRESHOLDS, "figures")}
    )
    save_checkpoint(out, mean, header)


def release(run: Path, out: Path, device: str = "auto", checkpoint: str = "best") -> Figures:
    """Write a calibrated float16 checkpoint of `run` and return the metrics on the calibration split.

    `checkpoint` is `best`, `last`, or a checkpoint file made from the run's, such as one by `average`.

    A run without a calibration split is calibrated on its validation split. First the calibrated pixel threshold (see
    `Calibration`) is moved to 0.5, then the weights are rounded to float16. Finally both thresholds are fitted again
    with the rounded weights, so that they are right for the file as it is shipped.

    Raises `WeightsError` or `ConfigError` when `run` is not a finished run, `DataError` without a validation split.
    """
    settings = load_settings(TrainSettings, run / "config.yaml")
    data = settings.data
    if not (data.calibration or data.validation):
        raise DataError(
            f"{run} has no split to calibrate on", "list one under data.calibration or data.validation and train again"
        )
    file = run / f"{checkpoint}.safetensors" if checkpoint in ("best", "last") else Path(checkpoint)
    student, header = load_checkpoint(file)
    calibration = Validation(data, data.calibration or data.validation)
    calibration.warn()
    seen = joined([Validation(data, sources).files() for sources in (data.validation, data.calibration) if sources])
    held_out = hash_sets(seen)
    refuse_overlap(header.training_sets, held_out, seen, "held-out")  # files may have moved since the run began
    localizer = _localizer(student, header, device)
    _, found = calibration.run(localizer)
    centre_threshold(student, found.pixel_threshold)
    student.half().float()
    figures, found = calibration.run(localizer)
    header = found.into(header, figures).model_copy(
        update={
            "configuration": without_machine(header.configuration),
            "validation_sets": merged_sets(header.validation_sets, held_out),
        }
    )
    save_checkpoint(out, student.state_dict(), header, half=True)
    return figures


def _localizer(student: Student, header: CheckpointHeader, device: str) -> Localizer:
    return Localizer.of(student, header, choose_device(device))


def calibrate(
    weights: Path | None,
    data: DataSettings,
    out: Path,
    device: str = "auto",
    tta_flips: int | None = None,
    tta_scales: tuple[float, ...] | None = None,
    keep_weights: bool = False,
) -> Figures:
    """Fit a checkpoint's thresholds to the pictures of `data.calibration`, write it, and return the metrics on them.

    With authentic pictures alone, only the operating point of the image score is fitted and the pixel threshold is
    unchanged. With forgeries too, the fitted pixel threshold is moved to 0.5 as in `release`. The weights are stored as
    float16.

    Args:
        weights: a checkpoint or a known student's name, None for the default one.
        tta_flips, tta_scales: settings of test-time augmentation (`StudentSettings`) of the written file, None to keep
            the checkpoint's.
        keep_weights: with forgeries too, leave the weights and the pixel threshold unchanged.

    Raises `WeightsError`, and `DataError` without a calibration split, when it holds no authentic picture, or when one
    of its pictures was trained on.
    """
    if not data.calibration:
        raise DataError("no pictures to calibrate on", "list them under data.calibration, or give --authentic")
    if not any(source.kind == "authentic" for source in data.calibration):
        raise DataError("no authentic pictures to calibrate on", "add a source of kind authentic")
    if out.exists() and out.samefile(student_file(weights)):
        raise UsageError(f"{out} is the checkpoint that is calibrated", "give another file to write")
    student, header = load_checkpoint(student_file(weights))
    augmented = {"tta_flips": tta_flips, "tta_scales": tta_scales}
    header = header.with_architecture({name: value for name, value in augmented.items() if value is not None})
    calibration = Validation(data, data.calibration)
    calibration.warn()
    used = hash_sets(calibration.files())
    refuse_overlap(header.training_sets, used, calibration.files(), "calibration")
    localizer = _localizer(student, header, device)
    student.half().float()
    keeps = keep_weights or all(source.kind == "authentic" for source in data.calibration)
    figures, found = calibration.run(localizer, pixel_threshold=header.pixel_threshold if keeps else None)
    needed = pictures_needed(TARGET_FPR)
    if few := [f"{name} {len(scores)}" for name, scores in found.authentic_scores.items() if len(scores) < needed]:
        log.warning(
            "a false-alarm rate of %g %% needs %d authentic pictures of each kind; fewer: %s. Their highest score is "
            "the threshold, and new pictures may exceed it more often",
            100 * TARGET_FPR,
            needed,
            ", ".join(few),
        )
    if figures.n_tampered and keep_weights:
        calibrated = found.into(header, figures)
    elif figures.n_tampered:
        centre_threshold(student, found.pixel_threshold)
        student.half().float()
        figures, found = calibration.run(localizer)
        calibrated = found.into(header, figures)
    else:
        kept = {key: getattr(header, key) for key in ("figures", "reliability")}
        calibrated = found.into(header, None).model_copy(update=kept)
    seen = merged_sets(header.validation_sets, used)
    save_checkpoint(out, student.state_dict(), calibrated.model_copy(update={"validation_sets": seen}), half=True)
    return figures
