"""The output folder of an evaluation: whose it is, and whether results in it may be kept or replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imltool.evaluation.previews import remove_previews
from imltool.evaluation.report import CSV_NAME, CURVES_NAME, RESULTS_NAME, TABLE_NAME
from imltool.evaluation.robust import JOURNAL_NAME
from imltool.journal import holds_run, output_folder

PARAMETERS_NAME = "eval_parameters.json"
PAGE_NAME = "report.html"
KIND = "evaluation"
WRITTEN = (RESULTS_NAME, CSV_NAME, CURVES_NAME, TABLE_NAME, JOURNAL_NAME, PAGE_NAME)
"""What an evaluation writes beside its parameters and its previews."""


def refuse_foreign(out: Path) -> None:
    """Raises `UsageError` when `out` is a file, or holds files but no evaluation: they might be replaced."""
    holds_run(out, PARAMETERS_NAME, KIND)


@contextmanager
def evaluation_folder(out: Path, parameters: dict[str, Any], restart: bool = False) -> Iterator[bool]:
    """Hold `out` as the folder of an evaluation with `parameters`; yields True when it holds results of these.

    With `restart` what an earlier evaluation wrote there is removed, and nothing else.

    Raises `UsageError` (see `refuse_foreign`), also while another command writes there, and `ResumeError` when it holds
    results of other parameters.
    """
    restart = restart or not (out / RESULTS_NAME).exists()  # stopped before its first set: nothing to keep
    with output_folder(out, parameters, PARAMETERS_NAME, KIND, written=WRITTEN, restart=restart) as resumed:
        if not resumed:
            remove_previews(out)
        yield resumed
