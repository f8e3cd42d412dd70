"""The output folder of an evaluation: whose it is, and whether results in it may be kept or replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imltool.errors import ResumeError, UsageError
from imltool.evaluation.previews import remove_previews
from imltool.evaluation.report import CSV_NAME, CURVES_NAME, RESULTS_NAME, TABLE_NAME
from imltool.evaluation.robust import JOURNAL_NAME
from imltool.files import writing
from imltool.journal import claim_folder

PARAMETERS_NAME = "eval_parameters.json"
PAGE_NAME = "report.html"
WRITTEN = (RESULTS_NAME, CSV_NAME, CURVES_NAME, TABLE_NAME, JOURNAL_NAME, PAGE_NAME, PARAMETERS_NAME)
"""What an evaluation writes beside its previews; the mark of one comes last, so that it is removed last."""


def refuse_foreign(out: Path) -> None:
    """Raises `UsageError` when `out` is a file, or holds files but no evaluation: they might be replaced."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "give --out a folder")
    with writing(out):
        occupied = out.is_dir() and any(out.iterdir())
    if occupied and not (out / PARAMETERS_NAME).is_file():
        raise UsageError(f"{out} is not empty and holds no evaluation", "give --out a new or an empty folder")


def open_folder(out: Path, parameters: dict[str, Any], restart: bool = False) -> bool:
    """Make `out` the folder of an evaluation with `parameters`; True when it holds results of these.

    With `restart` what an earlier evaluation wrote there is removed, and nothing else.

    Raises `UsageError` (see `refuse_foreign`) and `ResumeError` when it holds results of other parameters.
    """
    refuse_foreign(out)
    with writing(out):
        if restart or not (out / RESULTS_NAME).exists():  # stopped before its first set: nothing to keep
            remove_previews(out)
            for name in WRITTEN:
                (out / name).unlink(missing_ok=True)
    try:
        return claim_folder(out, parameters, PARAMETERS_NAME, refuse_foreign=False)
    except ResumeError as error:
        raise ResumeError(error.message, f"{error.remedy}; --restart discards the earlier results") from error
