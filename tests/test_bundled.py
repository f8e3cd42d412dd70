"""The bundled students: header, size, and better results than the baselines on the sample pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.outputs import results_in

from imltool.files import sha256_file
from imltool.student.checkpoint import load_checkpoint
from imltool.traces.stack import GROUPS
from imltool.weights import DEFAULT_STUDENT, WEIGHTS, locate

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_images"


KINDS = ("collages", "copymoves", "documents", "native", "neural", "removals", "stamps")
SETS = {
    "boxprompt": {"casia1", "photos", "web", "synth"},
    "boxprompt-traces": {
        "ai",
        "casia1",
        "casia2",
        "casia2auth",
        "cmh",
        "grip",
        "misd",
        "native",
        "photos",
        "receipts",
        "web",
    }
    | {"synth", *(f"synth-{kind}" for kind in KINDS)},
}
each = pytest.mark.parametrize("name", ["boxprompt", "boxprompt-traces"])


@each
def test_bundled_student_header_is_complete(name: str) -> None:
    _, header = load_checkpoint(locate(name))
    assert header.name == name and header.input_size == 224 and header.architecture.memory == "prototypes"
    assert {item.name for item in header.training_sets} == SETS[name]
    assert all(len(digest) == 64 for item in header.training_sets for digest in item.files)
    assert header.score_fpr is not None and header.score_fpr <= 0.05
    assert abs(header.pixel_threshold - 0.5) < 0.1
    info = WEIGHTS[name]
    assert info.sha256 == sha256_file(locate(name)) and locate(name).stat().st_size < 25_000_000


def test_paper_student_uses_rgb_only_and_default_student_uses_traces() -> None:
    assert load_checkpoint(locate("boxprompt"))[1].architecture.traces == ()
    header = load_checkpoint(locate(DEFAULT_STUDENT))[1]
    assert set(header.architecture.traces) == set(GROUPS)
    assert sum(found.tampered for found in header.reliability) > 20


@each
def test_bundled_student_was_not_trained_on_the_sample_pictures(name: str) -> None:
    _, header = load_checkpoint(locate(name))
    seen = {digest for item in (*header.training_sets, *header.validation_sets) for digest in item.files}
    pictures = [*SAMPLES.glob("*/tampered/*"), *SAMPLES.glob("*/authentic/*")]
    assert len(pictures) >= 15 and not seen & {sha256_file(path) for path in pictures}


@each
def test_bundled_student_header_has_no_machine_path(name: str) -> None:
    _, header = load_checkpoint(locate(name))
    text = header.model_dump_json()
    assert '"/' not in text and "\\\\" not in text


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results on the forged sample pictures and one authentic picture per set: F1 depends on no authentic picture."""
    from imltool.cli.app import run

    out, samples = tmp_path_factory.mktemp("eval"), tmp_path_factory.mktemp("samples")
    for name in ("splices", "copymoves"):
        shutil.copytree(SAMPLES / name, samples / name)
        pictures = sorted((samples / name / "authentic").iterdir(), key=lambda path: path.stat().st_size)
        for path in pictures[1:]:
            path.unlink()
    arguments = ["eval", "--ood", "--samples", str(samples), "--out", str(out), "--device", "cpu", "-q"]
    for baseline in ("untrained", "ela", "constant"):
        arguments += ["--baseline", baseline]
    assert run(arguments) == 0
    return results_in(out)


@pytest.mark.slow
def test_bundled_student_beats_baselines_on_the_sample_pictures(results: dict) -> None:  # type: ignore[type-arg]
    assert {block["role"] for block in results["sets"].values()} == {"ood"}
    ours = results["mean"]["ood"]["pixel_f1"]
    methods = {one["label"]: one for one in results["methods"]}
    for name in ("untrained", "ela", "constant"):
        theirs = [block["pixel_f1"] for block in methods[name]["sets"].values()]
        assert ours > sum(theirs) / len(theirs) + 0.05, name


@pytest.mark.slow
def test_results_have_every_documented_key(results: dict) -> None:  # type: ignore[type-arg]
    keys = [
        "role",
        "n_tampered",
        "n_authentic",
        "pixel_f1",
        "pixel_f1_calibrated",
        "pixel_f1_pooled",
        "pixel_iou",
        "pixel_mcc",
        "pixel_auc",
        "pixel_ap",
        "image_auc",
        "image_fpr",
        "image_tpr",
        "fp_area",
    ]
    assert set(results["sets"]) == {"splices", "copymoves"}
    for block in results["sets"].values():
        assert set(keys) <= set(block) and all(block[key] is not None for key in keys)
    assert results["checkpoint"]["sha256"] == WEIGHTS[DEFAULT_STUDENT].sha256
    assert set(results["mean"]) == {"ind", "ood"}
