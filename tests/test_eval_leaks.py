"""Near-duplicates: the same photograph in another file is reported, and refused as out of distribution."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from helpers.outputs import results_in
from helpers.pictures import make_set, photo, write_rgb
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from imltool.cli.app import run
from imltool.data.near_duplicates import BITS, DISTANCE, find_similar, fingerprint
from imltool.evaluation.roles import find_overlap
from imltool.inference.localizer import Localizer
from imltool.student.header import HEADER_KEY, CheckpointHeader, TrainingSet, read_header
from imltool.student.settings import StudentSettings
from imltool.training.provenance import hash_sets


def bits(text: str) -> int:
    return int(text, 16)


def slow_fingerprint(path: Path) -> str:
    """Fingerprint by loops, for a picture whose 9×9 cells are whole pixels."""
    grey = np.asarray(Image.open(path).convert("L"), dtype=np.float64)
    cell = [len(grey) // 9, grey.shape[1] // 9]
    means = [
        [round(grey[i * cell[0] : (i + 1) * cell[0], j * cell[1] : (j + 1) * cell[1]].mean()) for j in range(9)]
        for i in range(9)
    ]
    right = "".join(str(int(means[i][j + 1] > means[i][j])) for i in range(8) for j in range(8))
    below = "".join(str(int(means[i + 1][j] > means[i][j])) for i in range(8) for j in range(8))
    return f"{int(right + below, 2):032x}"


@pytest.mark.parametrize("seed", range(5))
def test_fingerprint_agrees_with_loops(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.png"
    write_rgb(path, photo(seed, 90, 63))
    assert (bits(fingerprint(path)) ^ bits(slow_fingerprint(path))).bit_count() <= 1, (
        "at most one bit differs by rounding"
    )


def test_fingerprints_survive_saving_and_resizing_and_distinguish_pictures(tmp_path: Path) -> None:
    prints = []
    for seed in range(12):
        picture = Image.fromarray(photo(seed, 320, 240))
        picture.save(tmp_path / "a.png")
        picture.resize((160, 120)).save(tmp_path / "a.jpg", quality=70)
        prints.append(fingerprint(tmp_path / "a.png"))
        again = fingerprint(tmp_path / "a.jpg")
        assert find_similar({"a": again}, [("seen", [prints[-1]])]).names == ("a",)
    assert find_similar({"a": prints[0]}, [("seen", prints[1:])]).names == ()


def test_fingerprint_distance_is_counted_in_bits() -> None:
    rng = np.random.default_rng(0)
    known = [f"{bits(bytes(rng.integers(0, 256, 16, dtype=np.uint8)).hex()):032x}" for _ in range(40)]

    def moved(text: str, count: int) -> str:
        flipped = bits(text)
        for bit in rng.choice(BITS, count, replace=False):
            flipped ^= 1 << int(bit)
        return f"{flipped:032x}"

    tests = {f"{count}": moved(known[count], count) for count in range(DISTANCE + 3)}
    found = find_similar(tests, [("a", known[:3]), ("b", known[3:])])
    assert found.names == tuple(str(count) for count in range(DISTANCE + 1))
    assert found.source == "b"


def test_uniform_pictures_are_not_compared(tmp_path: Path) -> None:
    for index, level in enumerate((90, 200)):
        write_rgb(tmp_path / f"{index}.png", np.full((80, 80, 3), level, np.uint8))
    plain = [fingerprint(tmp_path / f"{index}.png") for index in (0, 1)]
    assert plain[0] == plain[1]
    assert find_similar({"a": plain[0]}, [("seen", plain)]).names == ()


def test_non_picture_file_has_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert fingerprint(tmp_path / "a.jpg") == ""
    assert fingerprint(tmp_path / "b.jpg") == ""


def test_every_readable_format_has_a_fingerprint(tmp_path: Path) -> None:
    """HEIF works in a process that has not read any HEIF before; 16-bit grey is not clipped to white."""
    rgb = photo(1, 320, 240)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    Image.fromarray(rgb).convert("L").save(tmp_path / "grey.png")
    deep = np.asarray(Image.fromarray(rgb).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    script = (
        "import sys, pathlib; from imltool.data.near_duplicates import fingerprint; "
        "print(fingerprint(pathlib.Path(sys.argv[1])))"
    )
    pillow_heif.register_heif_opener()
    Image.fromarray(rgb).save(tmp_path / "a.heic", quality=95)
    found = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.heic")], capture_output=True, text=True)
    assert (bits(found.stdout) ^ bits(fingerprint(tmp_path / "a.png"))).bit_count() <= DISTANCE
    assert fingerprint(tmp_path / "deep.png") == fingerprint(tmp_path / "grey.png")


def test_checkpoint_without_fingerprints_reports_no_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = make_set(tmp_path / "x", 1, 1), tmp_path / "out"
    blind = Localizer.untrained(StudentSettings(backbone="nano", input_size=64), torch.device("cpu"), 1)
    seen = TrainingSet(name="mine", files=("0" * 64,))
    blind.header = blind.header.model_copy(update={"training_sets": (seen,)})
    blind.save(tmp_path / "blind.safetensors")
    arguments = ["--weights", str(tmp_path / "blind.safetensors"), "--device", "cpu", "--ood"]
    assert run(["eval", *arguments, "--data", f"x={root}", "--out", str(out)]) == 0
    assert "near-duplicates were not searched for" in capsys.readouterr().err
    assert results_in(out)["data"]["x"]["similar"]["n"] is None
    assert "Near-duplicates of training pictures were not searched" in (out / "table.md").read_text(encoding="utf-8")


def test_seen_files_are_not_counted_again_as_similar() -> None:
    rng = np.random.default_rng(1)
    text = rng.integers(0, 256, 16, dtype=np.uint8).tobytes().hex()
    seen = TrainingSet(name="train", files=("a" * 64,), similar=(text,))
    files, prints = {"same.png": "a" * 64, "again.png": "b" * 64}, {"same.png": text, "again.png": text}
    overlap = find_overlap("x", files, [seen], (), prints)
    assert (overlap.n_seen, overlap.n_similar, overlap.similar_first) == (1, 1, "again.png")
    alone = find_overlap("x", {"again.png": "b" * 64}, [seen], (), {"again.png": text})
    assert (alone.role, alone.n_similar) == ("ood", 1), "near-duplicates are reported and do not change the role"


def test_training_records_fingerprints_of_its_pictures(tmp_path: Path) -> None:
    root = make_set(tmp_path / "x", 2, 1)
    (root / "broken.png").write_bytes(b"no picture")
    paths = sorted((root / "tampered").iterdir())
    (found,) = hash_sets({"x": [*paths, root / "broken.png"]})
    assert found.similar == tuple(sorted(fingerprint(path) for path in paths))
    assert len(found.files) == 3


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer.untrained(StudentSettings(backbone="nano", input_size=64), torch.device("cpu"), 1)


def checkpoint(localizer: Localizer, path: Path, seen: Path) -> Path:
    """A checkpoint trained on the pictures of a folder."""
    training = hash_sets({"mine": sorted(seen.glob("*/*.*"))})
    localizer.header = CheckpointHeader(
        name="tiny", architecture=StudentSettings(backbone="nano", input_size=64), training_sets=training
    )
    localizer.save(path)
    return path


def test_near_duplicates_are_refused_unless_overlap_is_allowed(
    tmp_path: Path, localizer: Localizer, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_set(tmp_path / "x", 2, 1)
    seen = tmp_path / "seen" / "photos"
    seen.mkdir(parents=True)
    Image.open(root / "tampered" / "t1.png").save(seen / "other.jpg", quality=85)
    weights = checkpoint(localizer, tmp_path / "tiny.safetensors", tmp_path / "seen")
    out = tmp_path / "out"
    arguments = ["eval", "--weights", str(weights), "--data", f"x={root}", "--out", str(out), "--device", "cpu"]
    assert run([*arguments, "--ood"]) == 1
    error = capsys.readouterr().err
    assert "1 picture of it looks like one the checkpoint has seen (mine), the first is tampered/t1.png" in error
    assert "--allow-overlap" in error
    assert not out.exists()
    assert run([*arguments, "--ood", "--allow-overlap"]) == 0
    assert "1 picture looks like one" in capsys.readouterr().err
    results: dict[str, Any] = results_in(out)
    metrics = results["sets"]["x"]
    assert (metrics["role"], metrics["n_seen"], metrics["n_similar"]) == ("ood", 0, 1)
    assert results["data"]["x"]["similar"] == {"n": 1, "source": "mine", "first": "tampered/t1.png"}
    assert "--allow-overlap" in results["command"]
    assert "x: 0 pictures the checkpoint has seen, 1 more look like one" in (out / "table.md").read_text("utf-8")


def test_old_checkpoints_without_fingerprints_are_read(tmp_path: Path, localizer: Localizer) -> None:
    path, old = checkpoint(localizer, tmp_path / "new.safetensors", make_set(tmp_path / "x")), tmp_path / "old.st"
    with safe_open(path, framework="pt") as handle:
        header = json.loads(handle.metadata()[HEADER_KEY])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    for one in header["training_sets"]:
        assert one.pop("similar")
    save_file(tensors, old, metadata={HEADER_KEY: json.dumps(header)})
    (read,) = read_header(old).training_sets
    assert read.similar == ()
    assert len(read.files) == len(read_header(path).training_sets[0].files)
