"""The schema of `results.json`: every key is a field with its meaning. docs/evaluation.md is checked against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imltool.config import Exact, JsonFile
from imltool.evaluation.bootstrap import Interval
from imltool.evaluation.roles import Role

MethodKind = Literal["checkpoint", "baseline", "maps"]
MEANS = ("ind", "ood", "all")
"""Keys of a method's means over sets, in their order in tables."""


@dataclass(frozen=True)
class Metric:
    """A metric of a set.

    Attributes:
        heading: its heading in tables.
        meaning: its definition, for the documentation.
    """

    heading: str
    meaning: str


PIXEL_METRICS: dict[str, Metric] = {
    "pixel_f1": Metric("F1", "2TP / (2TP + FP + FN) of the map strictly above 0.5, mean over tampered pictures"),
    "pixel_f1_calibrated": Metric("F1 calibrated", "the same at the checkpoint's own threshold"),
    "pixel_f1_pooled": Metric("F1 pooled", "F1 of the counts of all tampered pictures together"),
    "pixel_f1_oracle": Metric(
        "F1 oracle", "F1 at the one threshold that is best for this set; needs the truth, so it is an upper bound"
    ),
    "pixel_iou": Metric("IoU", "TP / (TP + FP + FN), mean over tampered pictures"),
    "pixel_mcc": Metric("MCC", "Matthews' correlation coefficient, signed, mean over tampered pictures"),
    "pixel_precision": Metric("precision", "TP / (TP + FP), mean over tampered pictures"),
    "pixel_recall": Metric("recall", "TP / (TP + FN), mean over tampered pictures"),
    "pixel_auc": Metric(
        "AUC", "area under the ROC of a picture's pixels, ties count half, mean over tampered pictures"
    ),
    "pixel_ap": Metric("AP", "average precision of a picture's pixels, mean over tampered pictures"),
}
IMAGE_METRICS: dict[str, Metric] = {
    "image_auc": Metric("image AUC", "area under the ROC of the image score"),
    "image_balanced_accuracy": Metric("balanced accuracy", "mean of image TPR and 1 − image FPR"),
    "image_f1": Metric("image F1", "F1 of whole pictures at the operating point, tampered is positive"),
    "image_tpr": Metric("image TPR", "share of tampered pictures with a score strictly above the operating point"),
    "image_fpr": Metric("image FPR", "share of authentic pictures with a score strictly above the operating point"),
    "image_tpr_at_5fpr": Metric(
        "image TPR at 5 % FPR",
        "highest share of tampered pictures that a threshold flags while it flags at most 5 % of this set's authentic "
        "ones; also an upper bound",
    ),
    "fp_area": Metric("FP area", "mean share of pixels above 0.5 on authentic pictures"),
}
METRICS: dict[str, Metric] = PIXEL_METRICS | IMAGE_METRICS
"""Key of a set's results → metric, in table order."""
STRATUM_METRICS = ("pixel_f1", "pixel_iou", "pixel_precision", "pixel_recall")
ROBUST_METRICS: dict[str, str] = {
    "pixel_f1": METRICS["pixel_f1"].heading,
    "pixel_f1_change": "change of F1",
    **{key: METRICS[key].heading for key in ("pixel_f1_calibrated", "image_auc", "image_tpr", "image_fpr", "fp_area")},
}
"""Key of a robustness line → heading."""


class Measured(BaseModel):
    """Something measured: in addition to its fields it has `KEY` for each metric, None if the metric does not exist,
    and `KEY_ci` for its 95 % interval.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int | float | Interval | None]

    def value(self, key: str) -> int | float | None:
        """The metric `key`; None if it does not exist or was not measured."""
        found = self.__pydantic_extra__.get(key)
        return None if isinstance(found, tuple) else found

    def interval(self, key: str) -> Interval | None:
        """The 95 % interval of the metric `key`, or None."""
        found = self.__pydantic_extra__.get(f"{key}_ci")
        return found if isinstance(found, tuple) else None


class Stratum(Measured):
    """Tampered pictures with one size of edit or of one kind."""

    stratum: str
    area: tuple[float, float]
    n: int


class Strata(Exact):
    """Recall by the size of the edit and by its kind."""

    area: list[Stratum]
    kind: list[Stratum]


class ReliabilityGroup(Exact):
    """Pictures with similar image scores: their number, their mean score, and the share of tampered ones."""

    n: int
    score: float
    tampered: float


class Reliability(Exact):
    """Agreement of image scores with shares of tampered pictures."""

    groups: list[ReliabilityGroup]
    error: float | None


class ListFile(Exact):
    """The list of pictures to which an evaluation was restricted."""

    name: str
    sha256: str


class SetResult(Measured):
    """The result of a method on a set: these fields, and the metrics of `METRICS`."""

    role: Role = Field(description="`ind` or `ood`, see below")
    n_tampered: int = Field(description="tampered pictures that were scored")
    n_authentic: int = Field(description="authentic pictures that were scored")
    n_failed: int = Field(description="pictures that could not be scored")
    n_seen: int = Field(description="pictures that the checkpoint was trained or validated on")
    n_similar: int | None = Field(description="further pictures that are near-duplicates of these; null when unknown")
    pixel_f1_oracle_threshold: float | None = Field(description="the threshold of `pixel_f1_oracle`")
    list: ListFile | None = Field(description="list file that chose the pictures: `name`, `sha256`")
    strata: Strata = Field(description="`area` and `kind`: the same metrics of parts of the tampered pictures")
    reliability: Reliability = Field(description="image score against the share of tampered pictures, `error`: ECE")
    compat: dict[str, Measured] = Field(description="name of --compat → its metrics")


class Mean(Measured):
    """The pixel metrics averaged over sets, each counting once."""

    sets: list[str]


class MapsInfo(Exact):
    """A folder of saved maps."""

    folder: str
    sha256: str
    n_maps: int
    n_unused: int
    inverted: bool
    resized: bool


class MethodResult(Exact):
    """One method on all sets."""

    label: str = Field(description="its name in tables and in per_image.csv")
    kind: MethodKind = Field(description="`checkpoint`, `baseline` or `maps`")
    score_threshold: float = Field(description="image operating point: flagged when the score is strictly above it")
    maps: MapsInfo | None = Field(None, description="where saved maps came from; null for other kinds")
    sets: dict[str, SetResult] = Field({}, description="set → metrics")
    mean: dict[str, Mean] = Field({}, description="`ind`, `ood` and, with a protocol, `all` → mean over these sets")


class CheckpointInfo(Exact):
    """The checkpoint that was measured."""

    name: str
    path: str
    sha256: str | None
    threshold: float
    score_threshold: float
    input_size: int
    engine: str
    precision: str
    architecture: str
    architecture_settings: dict[str, object]
    training_sets: list[str]
    validation_sets: list[str]
    tool_version: str


class Seen(Exact):
    """Pictures of a set that a checkpoint has seen, or near-duplicates of these: number, source set, and the first."""

    n: int | None
    source: str
    first: str


class DataInfo(Exact):
    """A data set: its role, its location, its hash, and which of its pictures were seen before."""

    role: Role
    root: str
    target: str
    sha256: str
    n: int
    list: ListFile | None
    seen: Seen
    similar: Seen
    conflict: str
    used: int
    left_out: dict[str, tuple[str, ...]]


class ProtocolSetInfo(Exact):
    """A set of a protocol: published and found numbers of `tampered` and `authentic` pictures."""

    role: Role
    pictures: str
    place: str | None
    published: dict[str, int | None]
    found: dict[str, int] | None
    differs: bool


class ProtocolInfo(Exact):
    """The protocol whose sets were measured."""

    name: str
    sha256: str
    says: str
    source: str
    metric: str
    compat: tuple[str, ...]
    root: str
    sets: dict[str, ProtocolSetInfo]
    missing: list[str]


class RobustLine(Measured):
    """A level of a degradation: these fields, and the metrics of `ROBUST_METRICS`."""

    level: str
    n_tampered: int
    n_authentic: int
    n_failed: int


class Robust(Exact):
    """Degraded pictures: method → set → degradation → levels, with the unchanged pictures first."""

    seed: int
    encoders: dict[str, str | None]
    methods: dict[str, dict[str, dict[str, list[RobustLine]]]]


class Options(Exact):
    """How maps were compared with masks."""

    min_max: bool
    compat_size: int
    tiles: bool


class Results(JsonFile):
    """The content of `results.json`."""

    complete: bool = Field(False, description="false while the evaluation runs, and when it was stopped")
    definition: str = Field(description="definition of the headline's metrics")
    checkpoint: CheckpointInfo | None = Field(
        description="the checkpoint: name, hash, thresholds, engine, training sets"
    )
    methods: list[MethodResult] = Field(description="every method: `label`, `kind`, `sets`, `mean` and more")
    sets: dict[str, SetResult] = Field({}, description="`sets` of the first method, repeated")
    mean: dict[str, Mean] = Field({}, description="`mean` of the first method, repeated")
    data: dict[str, DataInfo] = Field({}, description="the data sets: place, hash, pictures seen and left out")
    unusable: dict[str, dict[str, str]] = Field({}, description="set → method → why it has no metrics there")
    protocol: ProtocolInfo | None = Field(None, description="the protocol, its sets found and missing")
    compat: list[str] = Field([], description="names of --compat")
    options: Options = Field(description="`min_max`, `compat_size`, `tiles`")
    robust: Robust | None = Field(None, description="metrics of degraded pictures")
    command: str = Field(description="the command that was run")
    versions: dict[str, str | None] = Field(description="versions of imltool, Python and the libraries that compute")

    def text(self) -> str:
        """The file's content. Raises ValueError for NaN."""
        first = self.methods[0]
        return JsonFile.text(self.model_copy(update={"sets": first.sets, "mean": first.mean}))

    def rows(self) -> list[tuple[str, MethodResult, SetResult]]:
        """(set, method, result), set by set, for all that was measured so far."""
        names = dict.fromkeys(name for one in self.methods for name in one.sets)
        return [(name, one, one.sets[name]) for name in names for one in self.methods if name in one.sets]
