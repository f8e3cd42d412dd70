"""A checkpoint's metadata, readable without torch: architecture, thresholds, and the data its weights have seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open

from imltool.config import Settings, first_fault
from imltool.errors import ConfigError, WeightsError
from imltool.student.operating_points import SCORE_DIGITS
from imltool.student.settings import MEAN, STD, StudentSettings
from imltool.traces.stack import VERSION
from imltool.versions import __version__

FORMAT = 3
READABLE = (2, 3)
"""Format 2 is that of the bundled checkpoints; it calls `tta_flips` `mirrors`."""
HEADER_KEY = "imltool"


class TrainingSet(Settings):
    """A data set the student has seen, in training or in validation.

    Attributes:
        name: the set's name; a test set with the name of a training set is in distribution.
        files: SHA-256 of every picture file used.
        similar: perceptual hash of every picture used (`data.near_duplicates.fingerprint`), by which the same
            photograph is recognised in another file.
    """

    name: str
    files: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()


class ReliabilityBin(Settings):
    """Number of calibration pictures with an image score in one range, and how many of them are tampered."""

    low: float
    high: float
    pictures: int
    tampered: int


class Ancestor(Settings):
    """A student whose weights a run started from: its name, the SHA-256 of its file, the step it was saved at."""

    name: str
    sha256: str
    step: int = 0


class Figures(Settings):
    """Metrics on validation or calibration pictures; None for those that need pictures of which there are none.

    Attributes:
        n_tampered, n_authentic: numbers of pictures.
        pixel_f1: F1 of the tampered ones at 0.5, mean over pictures.
        pixel_f1_calibrated: F1 at `pixel_threshold`, mean over sets.
        balance: `pixel_f1_calibrated` minus the false-positive area of authentic pictures at the same threshold.
        image_auc: of the image scores.
        fp_area: share of authentic pictures marked at 0.5, mean over pictures.
        image_tpr, image_fpr: shares of tampered and of authentic pictures with a score above `score_threshold`.
    """

    n_tampered: int = 0
    n_authentic: int = 0
    pixel_f1: float | None = None
    pixel_f1_calibrated: float | None = None
    pixel_threshold: float = 0.5
    balance: float = 0.0
    image_auc: float | None = None
    fp_area: float | None = None
    score_threshold: float = 0.5
    image_fpr: float | None = None
    image_tpr: float | None = None


THRESHOLDS = (
    *("pixel_threshold", "score_threshold", "score_fpr"),
    *("score_authentic", "authentic_scores", "reliability"),
)
"""Fields of a header that a calibration sets; they do not hold for other weights."""


class CheckpointHeader(Settings):
    """Metadata of a checkpoint.

    Attributes:
        pixel_threshold: map values above it count as tampered, see `Calibration`.
        score_threshold: image scores above it count as an indication of tampering.
        score_fpr: share of the authentic calibration pictures above `score_threshold`, None when it was not measured.
        score_authentic: the number of these pictures; 0 when the share was not measured.
        authentic_scores: image scores of these pictures by set name, ascending, from which other operating points are
            computed (`student.operating_points`).
        trace_version: the version of the traces the weights were trained with.
        reliability: the reliability curve of the image score on the calibration split, from low to high scores.
        ancestry: the students the weights were trained from, the most recent first; empty for another start.
        training_sets: the data the weights were fitted to, including the runs of `ancestry`.
        validation_sets: the data used to choose the checkpoint and fit its thresholds; counts as seen, too.
        figures: validation metrics at the saved step, or those of the last calibration; None without either.
        configuration: the resolved training configuration.
    """

    format: int = FORMAT
    name: str = "student"
    architecture: StudentSettings = Field(default_factory=StudentSettings)
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    pixel_threshold: float = 0.5
    score_threshold: float = 0.5
    score_fpr: float | None = None
    score_authentic: int = 0
    authentic_scores: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    trace_version: int = 1
    reliability: tuple[ReliabilityBin, ...] = ()
    ancestry: tuple[Ancestor, ...] = ()
    training_sets: tuple[TrainingSet, ...] = ()
    validation_sets: tuple[TrainingSet, ...] = ()
    step: int = 0
    figures: Figures | None = None
    configuration: dict[str, Any] = Field(default_factory=dict)
    tool_version: str = __version__

    @field_validator("figures", mode="before")
    @classmethod
    def _no_figures(cls, value: Any) -> Any:
        return value or None  # earlier versions wrote {} without a validation split

    @field_validator("score_threshold", "authentic_scores")
    @classmethod
    def _as_reported(cls, value: Any) -> Any:
        """Scores of checkpoints that were calibrated before scores were rounded."""
        if isinstance(value, dict):
            return {name: tuple(round(score, SCORE_DIGITS) for score in scores) for name, scores in value.items()}
        return round(value, SCORE_DIGITS)

    @property
    def input_size(self) -> int:
        """Side of the square network input in pixels; if `max_input_size` is set, the side for small pictures."""
        return self.architecture.input_size

    def with_architecture(self, changes: Mapping[str, object]) -> CheckpointHeader:
        """The header with other settings of its architecture. Raises `ConfigError` for values that they cannot have."""
        try:
            architecture = StudentSettings.model_validate(self.architecture.model_dump() | dict(changes))
        except ValidationError as error:
            name, fault = first_fault(error)
            raise ConfigError(f"{name}: {fault}, got {error.errors()[0]['input']!r}") from None
        return self.model_copy(update={"architecture": architecture})


def read_header(path: Path) -> CheckpointHeader:
    """The header of a checkpoint, without its tensors. Raises `WeightsError` when it is not a student's."""
    if not path.is_file():
        raise WeightsError(f"weights {path} do not exist", "give a checkpoint made by imltool train")
    try:
        with safe_open(path, framework="np") as handle:
            text = (handle.metadata() or {}).get(HEADER_KEY)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file: {error}", "give a checkpoint made by imltool train"
        ) from error
    if text is None:
        raise WeightsError(f"{path} is not a student's checkpoint", "give a checkpoint made by imltool train")
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        if values.get("format") not in READABLE:
            raise WeightsError(
                f"{path} has checkpoint format {values.get('format')}, this imltool reads {FORMAT}", "update imltool"
            )
        architecture = values.get("architecture")
        if isinstance(architecture, dict) and "mirrors" in architecture:
            architecture["tta_flips"] = architecture.pop("mirrors")
        return CheckpointHeader.model_validate(values | {"format": FORMAT})
    except (ValueError, ValidationError) as error:
        raise WeightsError(f"{path} has a damaged header: {str(error).splitlines()[0]}") from error


def refuse_other_traces(path: Path, header: CheckpointHeader) -> None:
    """Raises `WeightsError` when a checkpoint was trained with another version of the traces than this imltool's."""
    if header.architecture.traces and header.trace_version != VERSION:
        raise WeightsError(
            f"{path} was trained with version {header.trace_version} of the traces, this imltool makes {VERSION}",
            "use the imltool it was made with, or train again",
        )
