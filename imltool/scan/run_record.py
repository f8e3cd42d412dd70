"""The output folder of a scan: which scan it belongs to, and `run.json`, the record of that scan."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from imltool.config import Exact, Frozen
from imltool.errors import ResumeError
from imltool.files import sha256_file, sha256_text, write_text, writing
from imltool.journal import PARAMETERS, dump_json, holds_run
from imltool.scan.chain import REMEDY
from imltool.scan.inputs import Plan
from imltool.scan.results import RESULTS, ScanResult
from imltool.scan.selection import Selection
from imltool.scan.tables import ERRORS, TABLE
from imltool.scan.verdicts import INCONCLUSIVE, INDICATION, Sensitivity, VerdictsRecord
from imltool.student.header import ReliabilityBin
from imltool.texts import readable
from imltool.versions import __version__, installed_versions

if TYPE_CHECKING:  # so that reading a record alone loads no network
    from imltool.inference.localizer import Localizer
    from imltool.scan.settings import ScanSettings

COMMAND = "scan"
RECORD = "run.json"
REPORT = "report.html"
PDF = "report.pdf"
COCO = "masks.coco.json"
FOLDERS = ("maps", "masks", "overlays", "previews", "companions")
WRITTEN = (*FOLDERS, RESULTS, TABLE, ERRORS, RECORD, REPORT, PDF, COCO)
"""Files and folders that a scan writes besides its parameters."""
ROW_FORMAT = 1
"""Format of the rows; those of another format are never mixed with these."""
TILED = "Rates were measured without tiles; pictures over 800 pixels were also scanned in tiles."


class ModelRecord(Frozen):
    """The student of a scan: its file, engine and calibration, see `CheckpointHeader`."""

    name: str
    sha256: str | None
    file: str | None
    input_size: int
    input: str = ""
    engine: str
    precision: str
    pixel_threshold: float
    score_threshold: float
    score_fpr: float | None
    score_authentic: int
    authentic_scores: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    reliability: tuple[ReliabilityBin, ...] = ()
    traces: tuple[str, ...] | None = None
    tool_version: str


class ScanParameters(Frozen):
    """The parameters that must match to resume an earlier run."""

    command: str = COMMAND
    engine: str
    precision: str
    companions: tuple[str, ...]
    inputs: tuple[str, ...]
    model_sha256: str | None
    row_format: int = ROW_FORMAT
    sensitivity: Sensitivity
    stability: bool
    threshold: float
    tiles: bool
    tool_version: str = __version__


class InputRecord(Frozen):
    """A file, folder or address that was scanned: as given, absolute, and the first part of its pictures' names."""

    given: str
    path: str
    label: str


class Counts(Frozen):
    """Numbers of files: all, analysed, and of these with an indication or inconclusive; and failed."""

    files: int
    analysed: int
    indication: int
    inconclusive: int
    failed: int


class Case(Frozen):
    """Texts on the case; None for those not given."""

    id: str | None = None
    examiner: str | None = None
    notes: str | None = None


class ChainRecord(Frozen):
    """The number of rows and the hash of the last."""

    rows: int
    head: str


class ClusterRecord(Frozen):
    """The workers of a run; `version` and `workers` are None until they are known."""

    engine: str
    version: str | None
    address: str | None
    workers: int | None


class Session(Exact):
    """A run of the command; `finished` is None until it is, `kept` are rows of earlier runs, `made` are its own.

    `engine`, `libraries` and `platform` are those of this run; sessions of one scan may differ in them.
    """

    started: str
    finished: str | None = None
    command_line: tuple[str, ...]
    device: str
    batch: int
    cluster: ClusterRecord | None
    kept: int
    made: int = 0
    engine: str = ""
    libraries: dict[str, str | None] = Field(default_factory=dict)
    platform: str = ""

    def versions(self) -> dict[str, str]:
        """What its rows can depend on besides the parameters, by name."""
        return {name: version for name, version in (("engine", self.engine), *self.libraries.items()) if version}


def makers(sessions: Sequence[Session], rows: int) -> list[Session]:
    """The sessions that made rows, of which there are `rows`. A killed session has not written how many it made."""
    counts = [*(session.kept for session in sessions), rows]
    return [session for session, before, after in zip(sessions, counts, counts[1:], strict=False) if after > before]


def other_versions(sessions: Sequence[Session]) -> str:
    """The versions in which sessions differ: `pillow 11.3 and 12.0`; "" if in none."""
    known = [one.versions() for one in sessions if one.versions()]
    names = dict.fromkeys(name for versions in known for name in versions)
    named = {name: dict.fromkeys(versions.get(name, "none") for versions in known) for name in names}
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in named.items() if len(found) > 1)


class RunRecord(Frozen):
    """The content of `run.json`.

    Attributes:
        libraries, platform: those of the last session that made rows, as is `model.engine`.
        reports_show: what the reports show, so that a report written again shows the same pictures.
        self_sha256: see `checksum_ok`.
    """

    tool: str = "imltool"
    tool_version: str = __version__
    libraries: dict[str, str | None]
    platform: str
    model: ModelRecord
    verdicts: VerdictsRecord
    parameters: ScanParameters
    inputs: tuple[InputRecord, ...]
    skipped: tuple[str, ...]
    passed_over: dict[str, int] = Field(default_factory=dict)
    counts: Counts
    case: Case
    chain: ChainRecord
    reports_sha256: dict[str, str]
    reports_show: Selection = Selection()
    sessions: tuple[Session, ...]
    self_sha256: str = ""

    @property
    def other_versions(self) -> str:
        """The versions in which the sessions that made the rows differ; "" if in none."""
        return other_versions(makers(self.sessions, self.chain.rows))


def parameters(plan: Plan, localizer: Localizer, settings: ScanSettings) -> ScanParameters:
    """The parameters of a scan."""
    return ScanParameters(
        engine=localizer.network.engine,
        precision=localizer.network.compute,
        companions=tuple(sorted(settings.companions)),
        inputs=tuple(root.address for root in plan.roots),
        model_sha256=localizer.sha256,
        sensitivity=settings.verdicts.sensitivity,
        stability=settings.stability,
        threshold=settings.threshold,
        tiles=settings.tiles,
    )


def holds_scan(out: Path) -> bool:
    """Whether `out` holds an earlier scan; False when it is new or empty. Raises `UsageError` as `holds_run` does."""
    return holds_run(out, PARAMETERS, COMMAND, COMMAND)


def count_kept(out: Path) -> int:
    """The number of rows in `out`, which a resumed scan yields first."""
    path = out / RESULTS
    with writing(path):
        return path.read_bytes().count(b"\n") if path.is_file() else 0


def count_results(results: Sequence[ScanResult]) -> Counts:
    """The counts of results."""
    analysed = sum(result.status == "ok" for result in results)
    return Counts(
        files=len(results),
        analysed=analysed,
        indication=sum(result.verdict == INDICATION for result in results),
        inconclusive=sum(result.verdict == INCONCLUSIVE for result in results),
        failed=len(results) - analysed,
    )


def write_record(
    out: Path,
    plan: Plan,
    localizer: Localizer,
    settings: ScanSettings,
    results: Sequence[ScanResult],
    head: str,
    case: Case,
    sessions: Sequence[Session],
) -> None:
    """Write `run.json`.

    Args:
        results: the results on disk.
        head: hash of the last row.
        sessions: the runs of the command, unfinished ones included.
    """
    header = localizer.header
    maker = [*sessions[-1:], *makers(sessions, len(results))][-1]
    model = ModelRecord(
        name=header.name,
        sha256=localizer.sha256,
        file=readable(localizer.path.name) if localizer.path else None,
        input_size=header.input_size,
        input=header.architecture.describe_input(),
        engine=maker.engine or localizer.engine,
        precision=localizer.network.compute,
        pixel_threshold=header.pixel_threshold,
        score_threshold=header.score_threshold,
        score_fpr=header.score_fpr,
        score_authentic=header.score_authentic,
        authentic_scores=header.authentic_scores,
        reliability=header.reliability,
        traces=header.architecture.traces,
        tool_version=header.tool_version,
    )
    record = RunRecord(
        libraries=maker.libraries or installed_versions(),
        platform=maker.platform or platform.platform(),
        model=model,
        verdicts=settings.verdicts.describe([TILED] if settings.tiles else []),
        parameters=parameters(plan, localizer, settings),
        inputs=tuple(
            InputRecord(given=root.given, path=readable(str(root.path)), label=root.label) for root in plan.roots
        ),
        skipped=tuple(readable(str(folder)) for folder in plan.skipped),
        passed_over=dict(plan.passed_over),
        counts=count_results(results),
        case=case,
        chain=ChainRecord(rows=len(results), head=head),
        reports_sha256={},
        sessions=tuple(sessions),
    )
    _write(out, record)


def note_reports(out: Path, names: Sequence[str], selection: Selection) -> RunRecord:
    """Add the hashes of reports made from `run.json` to it, and what they show; return its content.

    Raises `OutputError`.
    """
    record = read_record(out)
    with writing(out / RECORD):
        hashes = {name: sha256_file(out / name) for name in names}
    record = record.model_copy(update={"reports_sha256": hashes, "reports_show": selection})
    _write(out, record)
    return record


def _write(out: Path, record: RunRecord) -> None:
    values = record.model_dump(mode="json")
    write_text(out / RECORD, record_text(values | {"self_sha256": _self_sha256(values)}))


def record_text(record: Mapping[str, Any]) -> str:
    """The text of `run.json`; equal values give equal texts."""
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _self_sha256(record: Mapping[str, Any]) -> str:
    return sha256_text(dump_json({name: value for name, value in record.items() if name != "self_sha256"}))


def checksum_ok(record: Mapping[str, Any]) -> bool:
    """Whether `self_sha256` is the SHA-256 of all other values of `run.json`, as one line of JSON with sorted keys.

    Anyone can compute it again: it reveals damage and edits by hand, but no forgery.
    """
    try:
        return record.get("self_sha256") == _self_sha256(record)
    except (ValueError, RecursionError):  # values that are never written: NaN, lists nested without end
        return False


def read_record(out: Path) -> RunRecord:
    """The content of `run.json`.

    Raises `ResumeError` when its checksum is wrong, or when another version wrote it in another form.
    """
    path = out / RECORD
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        values = {}
    if not checksum_ok(values):
        raise ResumeError(
            f"{path} was changed since it was written",
            REMEDY,
        )
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        faults = {".".join(map(str, one["loc"])): one["type"] for one in error.errors()}
        missing = [name for name, kind in faults.items() if kind == "missing"]
        what = f"has no {', '.join(missing)}" if missing else f"has another form of {', '.join(faults)}"
        raise ResumeError(
            f"{path} {what}: another version of imltool wrote it",
            "use the version that it names under tool_version, or scan again",
        ) from error
