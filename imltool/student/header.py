"""What a checkpoint says of itself, readable without torch: architecture, thresholds, what the weights have seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open

from imltool.config import Settings
from imltool.errors import WeightsError
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
        name: the set's name; a test set of the name of a training set is in distribution.
        files: SHA-256 of every picture file used.
        similar: perceptual hash of every picture used (`evaluation.near_duplicates.fingerprint`), by which the same
            photograph is known in another file.
    """

    name: str
    files: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()


class ReliabilityBin(Settings):
    """Calibration pictures whose image score is in one range: how many there are, and how many were tampered with."""

    low: float
    high: float
    pictures: int
    tampered: int


class Ancestor(Settings):
    """A student whose weights a run started from: its name, the SHA-256 of its file, the step it was saved at."""

    name: str
    sha256: str
    step: int = 0


THRESHOLDS = (
    *("pixel_threshold", "score_threshold", "score_fpr"),
    *("score_authentic", "authentic_scores", "reliability"),
)
"""What a header holds of a calibration: of other weights it is not true."""


class CheckpointHeader(Settings):
    """What a checkpoint says of itself.

    Attributes:
        pixel_threshold: map values above it are tampered, see `Calibration`.
        score_threshold: image scores above it are an indication.
        score_fpr: share of the authentic calibration pictures above `score_threshold`, None when it was not measured.
        score_authentic: how many they were; 0 when it was not measured.
        authentic_scores: image scores of those pictures by the name of their set, ascending, from which other operating
            points are computed (`student.operating_points`).
        trace_version: the version of the traces the weights were trained with.
        reliability: the reliability curve of the image score on the calibration split, from low to high scores.
        ancestry: the students the weights came from, the nearest first; empty for a start of another kind.
        training_sets: what the weights were fitted to, in the runs of `ancestry` too.
        validation_sets: what chose the checkpoint and fitted its thresholds; seen as well.
        figures: validation metrics at the saved step.
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
    figures: dict[str, Any] = Field(default_factory=dict)
    configuration: dict[str, Any] = Field(default_factory=dict)
    tool_version: str = __version__

    @property
    def input_size(self) -> int:
        """Side of the square network input in pixels; of small pictures where `max_input_size` is set."""
        return self.architecture.input_size


def read_header(path: Path) -> CheckpointHeader:
    """The header of a checkpoint, without its tensors. Raises `WeightsError` when it is not one of imltool's."""
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
    """Raises `WeightsError` when a checkpoint was trained with other traces than this imltool makes."""
    if header.architecture.traces and header.trace_version != VERSION:
        raise WeightsError(
            f"{path} was trained with version {header.trace_version} of the traces, this imltool makes {VERSION}",
            "use the imltool it was made with, or train again",
        )
