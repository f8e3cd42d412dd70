"""`imltool eval --maps`: saved maps of any method are found, checked and scored like those of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.outputs import csv_in, method_in, results_in, sets_in
from helpers.pictures import make_set
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import f1_score

from imltool.cli.app import run
from imltool.data.folder import Sample, read_folder
from imltool.pictures.images import read_mask, read_size, write_map

Values = NDArray[np.float32]


def truth_of(sample: Sample) -> NDArray[np.bool_]:
    size = read_size(sample.image)
    return read_mask(sample.mask) if sample.mask else np.zeros(size[::-1], np.bool_)


def guess(sample: Sample, seed: int = 0) -> Values:
    """A mostly correct map: the truth with noise, in 16-bit steps."""
    rng = np.random.default_rng([seed, len(sample.name), sum(sample.name.encode())])
    mask = truth_of(sample)
    values = np.clip(0.25 + 0.5 * mask + rng.normal(0, 0.2, mask.shape), 0, 1)
    return (np.rint(values * 65535) / 65535).astype(np.float32)


def save_npy(path: Path, values: Values) -> None:
    np.save(path.with_name(f"{path.name}.npy"), values)


def save_npz(path: Path, values: Values) -> None:
    np.savez_compressed(path.with_name(f"{path.name}.npz"), map=values, score=np.float32(0.25), conf=values)


def save_png16(path: Path, values: Values) -> None:
    write_map(path.with_name(f"{path.name}.png"), values)


def save_tiff(path: Path, values: Values) -> None:
    Image.fromarray(values).save(path.with_name(f"{path.name}.tif"))


def save_big_endian(path: Path, values: Values) -> None:
    levels = np.rint(values * 65535).astype(">u2")
    Image.frombytes("I;16B", values.shape[::-1], levels.tobytes()).save(path.with_name(f"{path.name}.tif"))


def save_png8(path: Path, values: Values) -> None:
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(path.with_name(f"{path.name}.png"))


def write_maps(root: Path, folder: Path, save: Callable[[Path, Values], None] = save_png16, **options: Any) -> Path:
    """Save a map for every picture, at its path below the folder without its suffix."""
    for sample in read_folder(root).samples:
        path = folder / options.get("prefix", "") / sample.name
        path = path if options.get("suffix") else path.with_suffix("")
        path = folder / path.name if options.get("flat") else path
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, guess(sample) if "change" not in options else options["change"](guess(sample)))
    return folder


def evaluate(tmp_path: Path, *arguments: str, out: str = "out", data: str | None = None) -> int:
    data = data or f"x={tmp_path / 'x'}"
    return run(["eval", "--data", data, "--out", str(tmp_path / out), *arguments])


def metrics_in(tmp_path: Path, name: str, out: str = "out") -> dict[str, Any]:
    return dict(sets_in(tmp_path / out, name)["x"])


@pytest.mark.parametrize(
    ("save", "exact"),
    [
        (save_npy, True),
        (save_npz, True),
        (save_png16, True),
        (save_tiff, True),
        (save_big_endian, True),
        (save_png8, False),
    ],
)
def test_every_map_format_gives_the_same_metrics(
    tmp_path: Path, save: Callable[[Path, Values], None], exact: bool
) -> None:
    root = make_set(tmp_path / "x")
    maps = write_maps(root, tmp_path / "method", save)
    assert evaluate(tmp_path, "--maps", str(maps)) == 0
    metrics = metrics_in(tmp_path, "method")
    samples = [sample for sample in read_folder(root).samples if sample.mask]
    values = [guess(sample) if exact else np.rint(guess(sample) * 255) / 255 for sample in samples]
    expected = [
        f1_score(truth_of(sample).ravel(), (one > 0.5).ravel()) for sample, one in zip(samples, values, strict=True)
    ]
    assert metrics["pixel_f1"] == pytest.approx(np.mean(expected))
    assert (metrics["n_tampered"], metrics["n_authentic"], metrics["n_failed"]) == (3, 2, 0)
    assert metrics["pixel_f1_calibrated"] is None
    scores = {float(row["score"]) for row in csv_in(tmp_path / "out")}
    assert (scores == {0.25}) is (save is save_npz), "an .npz file may hold the score of the method"


@pytest.mark.parametrize(
    "layout",
    [
        {"prefix": "x"},
        {"suffix": True},
        {"prefix": "x", "suffix": True},
        {"flat": True},
        {"flat": True, "suffix": True},
    ],
)
def test_maps_are_found_by_path_or_stem(tmp_path: Path, layout: dict[str, Any]) -> None:
    root = make_set(tmp_path / "x")
    maps = write_maps(root, tmp_path / "method", **layout)
    assert evaluate(tmp_path, "--maps", str(maps), "--name", "Other work", out="out") == 0
    assert results_in(tmp_path / "out")["checkpoint"] is None
    method = method_in(tmp_path / "out", "Other work")
    assert (method["kind"], method["maps"]["n_maps"]) == ("maps", 5)
    assert "Other work" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


def test_map_stem_matching_two_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_set(tmp_path / "x", 1, 1)
    (root / "authentic" / "a0.jpg").rename(root / "authentic" / "t0.jpg")
    maps = write_maps(root, tmp_path / "method", flat=True)
    assert evaluate(tmp_path, "--maps", str(maps)) == 1
    error = capsys.readouterr().err
    assert "fits x/tampered/t0.png and x/authentic/t0.jpg" in error
    assert len(error.strip().splitlines()) == 1


def test_map_of_another_set_is_not_used_by_its_stem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, other = make_set(tmp_path / "x", 2, 0), make_set(tmp_path / "y", 2, 0, seed=9)
    maps = write_maps(root, tmp_path / "method", prefix="x")
    write_maps(other, maps, prefix="y")
    lost = maps / "x" / "tampered" / "t0.png"
    lost.unlink()
    assert evaluate(tmp_path, "--maps", str(maps), "--max-left-out", "0.5") == 3
    assert "no map for tampered/t0.png" in capsys.readouterr().err
    assert metrics_in(tmp_path, "method")["n_tampered"] == 1


def test_set_without_maps_is_reported_and_other_sets_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_set(tmp_path / "x", 1, 1)
    other = make_set(tmp_path / "y", 2, 1, seed=9)
    for name in ("t0.png", "t1.png"):
        (other / "tampered" / name).rename(other / "tampered" / f"y{name}")
        (other / "masks" / name).rename(other / "masks" / f"y{name}")
    (other / "authentic" / "a0.jpg").rename(other / "authentic" / "ya0.jpg")
    maps = write_maps(other, tmp_path / "method", prefix="y")
    assert evaluate(tmp_path, "--maps", str(maps), "--data", f"y={other}") == 3
    assert "method has no metrics on x: no map for" in capsys.readouterr().err
    assert sets_in(tmp_path / "out", "method")["y"]["n_tampered"] == 2


def test_two_maps_for_one_picture_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_set(tmp_path / "x", 1, 0)
    maps = write_maps(root, tmp_path / "method")
    write_maps(root, tmp_path / "method", save_npy)
    assert evaluate(tmp_path, "--maps", str(maps)) == 1
    assert "two maps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: np.where(values > 0.9, np.nan, values).astype(np.float32), "holds NaN"),
        (lambda values: values * 255, "divide by 255"),
        (lambda values: values * 8 - 4, "sigmoid"),
        (lambda values: values[:-3], "--resize-maps"),
        (lambda values: np.stack([values, values, values]), "shape"),
        (lambda values: np.rint(values * 200).astype(np.int64), "save it as uint8"),
    ],
)
def test_invalid_maps_fail_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Values], Values], reason: str
) -> None:
    root = make_set(tmp_path / "x", 2, 1)
    maps = write_maps(root, tmp_path / "method", save_npy)
    sample = read_folder(root).samples[0]
    np.save((maps / sample.name).with_suffix(".npy"), change(guess(sample)))
    assert evaluate(tmp_path, "--maps", str(maps)) == 3
    assert "1 picture could not be scored" in capsys.readouterr().err
    (failed,) = [row for row in csv_in(tmp_path / "out") if row["status"] == "failed"]
    assert failed["image"] == sample.name
    assert reason in failed["reason"]
    assert metrics_in(tmp_path, "method")["n_tampered"] == 1


def test_damaged_and_missing_maps_affect_only_their_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_set(tmp_path / "x")
    maps = write_maps(root, tmp_path / "method")
    (maps / "tampered" / "t0.png").write_bytes(b"no picture")
    (maps / "authentic" / "a1.png").unlink()
    (maps / "stray.png").write_bytes(b"x")
    assert evaluate(tmp_path, "--maps", str(maps)) == 1
    assert "1 of 5 pictures are left out: no map 1 (authentic/a1.jpg)" in capsys.readouterr().err
    assert evaluate(tmp_path, "--maps", str(maps), "--max-left-out", "0.2") == 3
    assert "1 map in" in capsys.readouterr().err
    reasons = {row["image"]: row["reason"] for row in csv_in(tmp_path / "out") if row["status"] == "failed"}
    assert reasons.keys() == {"tampered/t0.png", "authentic/a1.jpg"}
    assert "cannot be read" in reasons["tampered/t0.png"]
    assert "no map for" in reasons["authentic/a1.jpg"]


def test_inverted_maps_are_reported_and_corrected_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_set(tmp_path / "x")
    upright = write_maps(root, tmp_path / "upright", save_npy)
    inverted = write_maps(root, tmp_path / "inverted", save_npy, change=lambda values: 1 - values)
    assert evaluate(tmp_path, "--maps", str(upright), out="a") == 0
    assert "look inverted" not in capsys.readouterr().err
    assert evaluate(tmp_path, "--maps", str(inverted), out="b") == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "look inverted" in line]
    assert "--invert" in warning
    assert evaluate(tmp_path, "--maps", str(inverted), "--invert", out="c") == 0
    assert metrics_in(tmp_path, "inverted", "c")["pixel_f1"] == pytest.approx(
        metrics_in(tmp_path, "upright", "a")["pixel_f1"], abs=1e-3
    )
    assert "were inverted" in (tmp_path / "c" / "table.md").read_text(encoding="utf-8")


def test_maps_of_zeros_and_ones_are_binary_masks(tmp_path: Path) -> None:
    def binary(path: Path, values: Values) -> None:
        Image.fromarray((values > 0.5).astype(np.uint8)).save(path.with_name(f"{path.name}.png"))

    def wide(path: Path, values: Values) -> None:
        np.save(path.with_name(f"{path.name}.npy"), (values > 0.5).astype(np.int64))

    root = make_set(tmp_path / "x")
    soft = write_maps(root, tmp_path / "soft")
    folders = [soft, write_maps(root, tmp_path / "hard", binary), write_maps(root, tmp_path / "wide", wide)]
    assert evaluate(tmp_path, *(word for folder in folders for word in ("--maps", str(folder)))) == 0
    for name in ("hard", "wide"):
        assert metrics_in(tmp_path, name)["pixel_f1"] == pytest.approx(metrics_in(tmp_path, "soft")["pixel_f1"])


def test_map_layouts_of_other_programs_are_read(tmp_path: Path) -> None:
    def batched(path: Path, values: Values) -> None:
        np.save(path.with_name(f"{path.name}.npy"), values[None, None])

    def channel_last(path: Path, values: Values) -> None:
        np.save(path.with_name(f"{path.name}.npy"), values[None, ..., None])

    def softmax(path: Path, values: Values) -> None:
        picture = np.zeros((*values.shape, 3), np.uint8)
        np.savez(path.with_name(f"{path.name}.npz"), pred=np.stack([1 - values, values]), img=picture)

    def named(path: Path, values: Values) -> None:
        write_map(path.with_name(f"{path.name}_pred.png"), values)

    root = make_set(tmp_path / "x")
    soft = write_maps(root, tmp_path / "soft")
    savers = {"batched": batched, "last": channel_last, "softmax": softmax, "named": named}
    folders = [soft, *(write_maps(root, tmp_path / name, save) for name, save in savers.items())]
    folders.append(write_maps(root, tmp_path / "flat", named, flat=True))
    assert evaluate(tmp_path, *(word for folder in folders for word in ("--maps", str(folder)))) == 0
    expected = metrics_in(tmp_path, "soft")
    for name in (*savers, "flat"):
        assert metrics_in(tmp_path, name)["pixel_f1"] == expected["pixel_f1"], name
        assert metrics_in(tmp_path, name)["pixel_auc"] == pytest.approx(expected["pixel_auc"], abs=1e-6), name


def test_class_palette_is_read_as_a_mask_and_colour_maps_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def classes(path: Path, values: Values) -> None:
        picture = Image.fromarray((values > 0.5).astype(np.uint8), "P")
        picture.putpalette([0, 0, 0, 128, 0, 0])
        picture.save(path.with_name(f"{path.name}.png"))

    def coloured(path: Path, values: Values) -> None:
        colours = np.stack([values, 1 - values, values], axis=2)
        Image.fromarray(np.rint(colours * 255).astype(np.uint8)).save(path.with_name(f"{path.name}.png"))

    root = make_set(tmp_path / "x")
    soft, hard = write_maps(root, tmp_path / "soft"), write_maps(root, tmp_path / "hard", classes)
    assert evaluate(tmp_path, "--maps", str(soft), "--maps", str(hard)) == 0
    assert metrics_in(tmp_path, "hard")["pixel_f1"] == metrics_in(tmp_path, "soft")["pixel_f1"]
    assert evaluate(tmp_path, "--maps", str(write_maps(root, tmp_path / "coloured", coloured)), out="c") == 1
    assert "is a colour picture, not a map of one channel: save the values before" in capsys.readouterr().err


def test_ambiguous_arrays_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def two(path: Path, values: Values) -> None:
        np.savez(path.with_name(f"{path.name}.npz"), first=values, second=values)

    def logits(path: Path, values: Values) -> None:
        np.save(path.with_name(f"{path.name}.npy"), np.stack([values - 0.5, values * 3]))

    root = make_set(tmp_path / "x", 1, 0)
    assert evaluate(tmp_path, "--maps", str(write_maps(root, tmp_path / "two", two)), out="a") == 1
    assert "holds first, second: name the map `map`" in capsys.readouterr().err
    assert evaluate(tmp_path, "--maps", str(write_maps(root, tmp_path / "logits", logits)), out="b") == 1
    assert "has the shape (2, 64, 96), not height×width" in capsys.readouterr().err


def test_weights_of_another_program_are_refused_with_a_hint_to_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_set(tmp_path / "x", 1, 0)
    (tmp_path / "net.pth").write_bytes(b"PK")
    assert evaluate(tmp_path, "--weights", str(tmp_path / "net.pth")) == 2
    error = capsys.readouterr().err
    assert "--maps DIR" in error and error.strip().count("\n") == 0


def test_empty_maps_do_not_prevent_detection_of_zero_one_maps(tmp_path: Path) -> None:
    root = make_set(tmp_path / "x", 40, 0)
    blank = Image.fromarray(np.zeros((64, 96), np.uint8))
    (tmp_path / "method" / "tampered").mkdir(parents=True)
    for sample in read_folder(root).samples:
        blank.save(tmp_path / "method" / sample.name)
    marked = read_folder(root).samples[-1]
    Image.fromarray(truth_of(marked).astype(np.uint8)).save(tmp_path / "method" / marked.name)
    assert evaluate(tmp_path, "--maps", str(tmp_path / "method")) == 0
    scores = {row["image"]: float(row["f1"]) for row in csv_in(tmp_path / "out")}
    assert scores[marked.name] == 1.0
    assert sum(scores.values()) == 1.0


def test_maps_of_another_size_are_resized_on_request(tmp_path: Path) -> None:
    def doubled(values: Values) -> Values:
        return np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)

    root = make_set(tmp_path / "x")
    maps = write_maps(root, tmp_path / "method", save_npy, change=doubled)
    assert evaluate(tmp_path, "--maps", str(maps), "--resize-maps") == 0
    large = metrics_in(tmp_path, "method")["pixel_f1"]
    plain = write_maps(root, tmp_path / "plain", save_npy)
    assert evaluate(tmp_path, "--maps", str(plain), out="b") == 0
    assert large == pytest.approx(metrics_in(tmp_path, "plain", "b")["pixel_f1"], abs=0.02)


def test_changed_maps_are_a_different_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_set(tmp_path / "x", 1, 1)
    maps = write_maps(root, tmp_path / "method")
    assert evaluate(tmp_path, "--maps", str(maps)) == 0
    capsys.readouterr()
    write_map(maps / "tampered" / "t0.png", np.zeros((64, 96), np.float32))
    assert evaluate(tmp_path, "--maps", str(maps)) == 2
    assert "maps of method" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--maps", "{}/nowhere"], 1, "does not exist"),
        (["--maps", "{}/empty"], 1, "no map in"),
        (["--maps", "{}/m", "--name", "a", "--name", "b"], 2, "--name"),
        (["--weights", "none", "--baseline", "constant", "--invert"], 2, "--maps"),
        (["--maps", "{}/m", "--robust", "all"], 2, "--robust"),
        (["--maps", "{}/m", "--maps", "{}/m"], 2, "two methods"),
    ],
)
def test_invalid_arguments_are_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    root = make_set(tmp_path / "x", 1, 1)
    write_maps(root, tmp_path / "m")
    (tmp_path / "empty").mkdir()
    assert evaluate(tmp_path, *(argument.format(tmp_path) for argument in arguments)) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
