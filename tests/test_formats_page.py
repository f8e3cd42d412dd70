"""docs/formats.md names every file that commands write."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
NAMES = {
    "imltool.adapt.adaptation": ("RESULTS",),
    "imltool.data.layouts.convert": ("PARAMETERS",),
    "imltool.evaluation.compare_output": ("JSON_NAME", "CSV_NAME", "TABLE_NAME", "PAIRS_NAME", "SHEET_NAME"),
    "imltool.evaluation.evaluation": ("PARAMETERS_NAME",),
    "imltool.evaluation.report": ("RESULTS_NAME", "JOURNAL_NAME", "CSV_NAME", "TABLE_NAME", "CURVES_NAME"),
    "imltool.evaluation.robust": ("JOURNAL_NAME",),
    "imltool.files": ("LOCK",),
    "imltool.journal": ("PARAMETERS",),
    "imltool.scan.decisions": ("DECISIONS",),
    "imltool.scan.results": ("RESULTS",),
    "imltool.scan.run_record": ("RECORD", "REPORT", "PDF", "COCO"),
    "imltool.scan.tables": ("TABLE", "ERRORS"),
    "imltool.study.report": ("RESULTS_NAME", "TABLE_NAME", "CSV_NAME", "IMAGES_NAME", "PLOT_NAME", "PAGE_NAME"),
    "imltool.study.settings": ("JOURNAL",),
    "imltool.synth.objects": ("JOURNAL",),
    "imltool.synth.writer": ("JOURNAL",),
    "imltool.teacher.pseudo": ("JOURNAL", "COCO"),
    "imltool.validation.report": ("JSON_NAME", "PICTURES_NAME", "PAGE_NAME", "PDF_NAME"),
    "imltool.weights": ("ADAPTED",),
}


@pytest.mark.parametrize("module", NAMES)
def test_formats_page_names_every_output_file(module: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    loaded = importlib.import_module(module)
    for constant in NAMES[module]:
        assert getattr(loaded, constant) in page, constant


def test_formats_page_states_the_versions_of_the_code() -> None:
    from imltool.engines.graph_info import GraphInfo
    from imltool.scan.run_record import ROW_FORMAT
    from imltool.student.header import FORMAT as CHECKPOINT
    from imltool.teacher.embeddings import FORMAT as EMBEDDING
    from imltool.traces.stack import VERSION

    rows = re.findall(r"^\| [^|]+ \| (\d+) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [int(row) for row in rows] == [
        CHECKPOINT,
        GraphInfo.model_fields["format"].default,
        VERSION,
        ROW_FORMAT,
        EMBEDDING,
    ]
