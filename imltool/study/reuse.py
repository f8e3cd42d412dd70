"""Runs that another study has already trained: the same settings on the same data give the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imltool.errors import DataError
from imltool.files import make_folder, writing
from imltool.journal import read_rows
from imltool.study.settings import JOURNAL
from imltool.training.run_folder import STATE
from imltool.training.settings import TrainSettings

DATA_NAME = "data.json"
"""In a row's folder: the SHA-256 over the pictures and labels that its runs may use."""


def is_trained(folder: Path, steps: int) -> bool:
    """Whether the run in `folder` has validated its last step, which is what it does after writing its checkpoints."""
    log = folder / "log.jsonl"
    return log.exists() and any(row["event"] == "validation" and row["step"] == steps for row in read_rows(log))


def refuse_no_study(studies: Sequence[Path]) -> None:
    """Raises `DataError` for a folder that holds no study."""
    for folder in studies:
        if not (folder / JOURNAL).is_file():
            raise DataError(f"{folder} holds no study with a finished run", "give --reuse the folder of a study")


def find_run(studies: Sequence[Path], training: TrainSettings, data: dict[str, Any]) -> Path | None:
    """The finished run of another study with these settings (its name aside) and this data; None where there is none.

    Args:
        studies: folders of other studies.
        data: what the row's `data.json` must say.
    """
    wanted = _comparable(json.loads(training.model_dump_json()))
    for study in studies:
        for marker in sorted(study.glob(f"*/seed-{training.seed}/parameters.json")):
            row = marker.parents[1]
            try:
                same = json.loads((row / DATA_NAME).read_text(encoding="utf-8")) == data
                same = same and _comparable(json.loads(marker.read_text(encoding="utf-8"))) == wanted
            except (OSError, ValueError):
                continue
            if same and is_trained(marker.parent, training.optim.steps):
                return marker.parent
    return None


def _comparable(parameters: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key not in ("command", "name")}


def take_over(run: Path, folder: Path) -> None:
    """Copy a finished run; `folder` gets its name only when the copy is complete. Raises `OutputError`."""
    hidden = folder.with_name(f".{folder.name}")
    with writing(folder):
        make_folder(folder.parent)
        shutil.rmtree(hidden, ignore_errors=True)
        shutil.copytree(run, hidden, ignore=shutil.ignore_patterns(f"*{STATE}*"))
        hidden.rename(folder)


def known_figures(run: Path) -> list[dict[str, Any]]:
    """What its own study has measured of a run: lines of the journal, all sets and checkpoints."""
    row, seed = run.parent.name, run.name.removeprefix("seed-")
    lines = read_rows(run.parents[1] / JOURNAL)
    return [line for line in lines if line["row"] == row and str(line["seed"]) == seed]
