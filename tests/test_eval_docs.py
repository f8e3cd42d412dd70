"""docs/evaluation.md names every key of results.json with its meaning, and its example of the library runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.outputs import results_in
from helpers.pictures import make_set

from imltool.evaluation.compat import PROTOCOLS
from imltool.evaluation.degradations import DEGRADATIONS
from imltool.evaluation.results import METRICS, MethodResult, Results, SetResult

PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_every_metric_is_defined() -> None:
    for key, metric in METRICS.items():
        assert f"| `{key}` | {metric.heading} | {metric.meaning} |" in PAGE


@pytest.mark.parametrize("model", [Results, MethodResult, SetResult])
def test_every_key_is_described(model: Any) -> None:
    for key, field in model.model_fields.items():
        assert f"| `{key}` | {field.description} |" in PAGE


def test_every_choice_is_described() -> None:
    for name in (*PROTOCOLS, *DEGRADATIONS):
        assert f"| `{name}` |" in PAGE


def test_library_example_gives_the_results_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_set(tmp_path / "FOLDER", 1, 1)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example.replace('baselines=("ela",)', 'weights="none", baselines=("ela",)'), "example", "exec"), {})
    results = results_in(tmp_path / "results")
    assert Results.model_validate(results).complete
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[:2] == ["mine", "ela"] and float(last[2]) == results["sets"]["mine"]["pixel_f1"]
