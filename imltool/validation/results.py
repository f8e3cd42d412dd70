"""The shape of `validation.json`: what was validated, under which conditions, and the results."""

from __future__ import annotations

from imltool.config import Exact, JsonFile
from imltool.evaluation.bootstrap import Interval
from imltool.validation.rates import Rate


class Conditions(Exact):
    """The conditions of the results: another version, checkpoint, engine or setting needs its own validation."""

    date: str
    examiner: str | None
    notes: str | None
    command: str
    versions: dict[str, str | None]
    platform: str
    checkpoint: str
    checkpoint_sha256: str | None
    engine: str
    sensitivity: str
    tiles: bool
    indication_threshold: float | None
    inconclusive_threshold: float | None


class Material(Exact):
    """The authentic or the edited pictures.

    Attributes:
        n: number of files.
        sha256: over the names and hashes of all files, sorted by name.
        failed: pictures that could not be analysed → reason.
        seen: names of pictures on which the checkpoint was trained, validated or calibrated, by hash.
        repeated: names of pictures with the same bytes as an earlier one.
    """

    folder: str
    n: int
    sha256: str
    failed: dict[str, str]
    seen: list[str]
    repeated: list[str]


class Group(Exact):
    """Pictures with the same camera, program, coding or remark, and their rates.

    Attributes:
        name: of the camera, the program, the coding or the remark.
        false_alarms: authentic pictures with an indication.
        detections: tampered pictures with an indication.
    """

    name: str
    false_alarms: Rate
    detections: Rate


class Localization(Exact):
    """Agreement of maps and true masks; means over pictures with 95 % bootstrap intervals."""

    n: int
    pixel_f1: float | None = None
    pixel_f1_ci: Interval | None = None
    pixel_iou: float | None = None
    pixel_iou_ci: Interval | None = None
    reason: str | None


class ValidationResults(JsonFile):
    """The content of `validation.json`.

    Attributes:
        on_both_sides: names of edited pictures whose bytes are also those of an authentic one.
        false_alarms, inconclusive: rates among authentic pictures.
        detections, detections_inconclusive: rates among tampered pictures.
        image_auc: AUC of the score; `image_auc_ci`: its interval. None without pictures of both kinds.
        quantiles: scores that 50, 80, 95 and 99 % of the authentic pictures do not exceed.
        groups: "camera", "program", "coding", "remark" → groups; a picture can have several remarks.
        localization: None without masks.
    """

    conditions: Conditions
    authentic: Material
    tampered: Material | None
    on_both_sides: list[str]
    false_alarms: Rate
    inconclusive: Rate
    detections: Rate
    detections_inconclusive: Rate
    image_auc: float | None
    image_auc_ci: Interval | None
    quantiles: dict[str, float]
    groups: dict[str, list[Group]]
    localization: Localization | None
