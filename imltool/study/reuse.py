"""Reuse results of other studies: runs with the same settings and data, pseudo-masks from the same boxes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from imltool.config import Frozen, first_fault
from imltool.errors import DataError
from imltool.files import make_folder, writing
from imltool.journal import PARAMETERS, read_rows
from imltool.study.results import Measurement
from imltool.study.settings import JOURNAL, LABELS
from imltool.teacher.pseudo import PseudoSettings
from imltool.teacher.pseudo_rows import read_pseudo
from imltool.training.run_folder import STATE, stopped_early
from imltool.training.settings import TrainSettings

DATA_NAME = "data.json"
"""File in a row's folder with the SHA-256 over the pictures and labels that its runs may use."""


class LabelParameters(Frozen):
    """The `parameters.json` of a study's pseudo-masks: teacher, its weights, settings, and hash of the boxes."""

    command: Literal["pseudo"] = "pseudo"
    teacher: str
    weights_sha256: str | None
    settings: PseudoSettings
    boxes_sha256: str


def is_trained(folder: Path, training: TrainSettings) -> bool:
    """Whether the run in `folder` has validated its last step, or the one that ended it early.

    It does so after writing its checkpoints.
    """
    log = folder / "log.jsonl"
    rows = read_rows(log) if log.exists() else []
    last = any(row["event"] == "validation" and row["step"] == training.optim.steps for row in rows)
    return last or stopped_early(rows, training.patience)


def refuse_no_study(studies: Sequence[Path]) -> None:
    """Raises `DataError` for a folder that is not a study's."""
    for folder in studies:
        if not (folder / JOURNAL).is_file():
            raise DataError(f"{folder} holds no study with a finished run", "give --reuse the folder of a study")


def find_run(studies: Sequence[Path], training: TrainSettings, here: Path) -> Path | None:
    """A finished run of another study with these settings (except its name) and the same data, or None.

    Args:
        studies: folders of other studies.
        here: the row's folder, with its `data.json`.
    """
    wanted = _comparable(training.model_dump_json())
    data = json.loads((here / DATA_NAME).read_text(encoding="utf-8"))
    for study in studies:
        for marker in sorted(study.glob(f"*/seed-{training.seed}/parameters.json")):
            row = marker.parents[1]
            try:
                same = json.loads((row / DATA_NAME).read_text(encoding="utf-8")) == data
                same = same and _comparable(marker.read_text(encoding="utf-8")) == wanted
            except (OSError, ValueError):
                continue
            if same and is_trained(marker.parent, training):
                return marker.parent
    return None


def find_labels(studies: Sequence[Path], wanted: LabelParameters, pictures: int) -> Path | None:
    """The pseudo-masks of all `pictures` that another study has made with the wanted parameters, or None."""
    for study in studies:
        for marker in sorted(study.glob(f"{LABELS}/*/*/{PARAMETERS}")):
            try:
                same = LabelParameters.model_validate_json(marker.read_bytes()) == wanted
                if same and len(read_pseudo(marker.parent)) == pictures:
                    return marker.parent
            except (OSError, ValueError, DataError):
                continue
    return None


def _comparable(parameters: str) -> object:
    """The settings in the text of a run's parameters, without those that may differ."""
    return {
        key: value for key, value in json.loads(parameters).items() if key not in ("command", "name", "data_sha256")
    }


def take_over(run: Path, folder: Path) -> None:
    """Copy a finished run, or finished pseudo-masks; `folder` gets its name only when the copy is complete.

    Raises `OutputError`.
    """
    hidden = folder.with_name(f".{folder.name}")
    with writing(folder):
        make_folder(folder.parent)
        shutil.rmtree(hidden, ignore_errors=True)
        shutil.copytree(run, hidden, ignore=shutil.ignore_patterns(f"*{STATE}*"))
        hidden.rename(folder)


def known_measurements(run: Path) -> list[Measurement]:
    """The measurements of a run by its own study: all sets and checkpoints. Raises `DataError`."""
    row, seed = run.parent.name, run.name.removeprefix("seed-")
    return [line for line in read_measurements(run.parents[1] / JOURNAL) if (line.row, str(line.seed)) == (row, seed)]


def read_measurements(path: Path) -> list[Measurement]:
    """The lines of a study's journal. Raises `DataError` when it is damaged or from another version of imltool."""
    try:
        return [Measurement.model_validate(line) for line in read_rows(path)]
    except ValidationError as error:
        raise DataError(
            f"{path} is not a study's journal as this imltool writes it: {first_fault(error)[0]}"
        ) from error
