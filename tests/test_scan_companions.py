"""Companion maps: content, output files, and no effect on the verdict."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, rows_of
from helpers.pictures import Picture, photo, write_rgb
from PIL import Image
from scipy.ndimage import convolve

from imltool.pictures.images import read_rgb
from imltool.scan.companions import (
    COMPANIONS,
    ELA_GAIN,
    GHOST_COLUMNS,
    GHOST_QUALITIES,
    NOISE_GAIN,
    error_levels,
    jpeg_ghosts,
    noise_residual,
)

CPU = ("--device", "cpu", "-q")


def saved(rgb: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(buffer))


def test_error_levels_are_the_change_by_another_save() -> None:
    rgb = photo(1, 203, 121)
    change = np.abs(rgb.astype(float) - saved(rgb, 90)).mean(axis=2)
    shown = error_levels(rgb)
    assert shown.dtype == np.uint8 and shown.max() > 60
    assert np.abs(shown - np.clip(np.rint(ELA_GAIN * change), 0, 255)).max() <= 1


def test_noise_residual_is_a_high_pass() -> None:
    rgb = photo(2, 130, 77)
    luma = rgb.astype(float) @ [0.299, 0.587, 0.114]
    residual = convolve(luma, np.outer([1, -2, 1], [1, -2, 1]) / 4.0, mode="reflect")
    assert np.abs(noise_residual(rgb) - np.clip(np.rint(128 + NOISE_GAIN * residual), 0, 255)).max() <= 1


def test_parts_are_joined_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = photo(3, 200, 150)
    noise = noise_residual(rgb)
    monkeypatch.setattr("imltool.scan.companions.STRIP", 16)
    assert np.array_equal(noise_residual(rgb), noise)
    whole, ghosts = error_levels(rgb), jpeg_ghosts(rgb)
    for module in ("imltool.scan.companions", "imltool.traces.residual"):
        monkeypatch.setattr(f"{module}.TILE", 64)
    parts = error_levels(rgb)
    inside = np.ones(whole.shape, bool)
    for edge in (64, 128, 192):  # colour is upsampled across the border of two blocks: only there the parts differ
        inside[edge - 2 : edge + 2] = inside[:, edge - 2 : edge + 2] = False
    assert np.array_equal(parts[inside], whole[inside])
    assert np.abs(jpeg_ghosts(rgb).astype(int) - ghosts).mean() < 3


def panels_of(sheet: Picture) -> dict[int, Picture]:
    """Split the sheet into its panels, by quality."""
    rows = np.split(sheet, len(GHOST_QUALITIES) // GHOST_COLUMNS)
    panels = [panel for row in rows for panel in np.split(row, GHOST_COLUMNS, axis=1)]
    return dict(zip(GHOST_QUALITIES, panels, strict=True))


def test_recompressed_region_is_dark_in_the_panel_of_its_quality() -> None:
    rgb = photo(4, 384, 256)
    pasted = rgb.copy()
    pasted[64:160, 128:256] = saved(rgb, 60)[64:160, 128:256]
    panels = panels_of(jpeg_ghosts(saved(pasted, 93)))
    cells = np.zeros((256, 384), bool)
    cells[64:160, 128:256] = True

    def contrast(panel: Picture) -> float:
        shown = np.asarray(Image.fromarray(panel[24:-8, 8:-8]).resize((384, 256)), dtype=float)
        return float(shown[~cells].mean() - shown[cells].mean())

    found = {quality: contrast(panel) for quality, panel in panels.items()}
    assert max(found, key=lambda quality: found[quality]) == 60 and found[60] > 60
    unedited = panels_of(jpeg_ghosts(saved(rgb, 93)))
    assert all(abs(contrast(panel)) < 30 for panel in unedited.values())


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 5), (700, 3), (3, 700), (4100, 9)])
def test_pictures_of_any_shape_have_companions(width: int, height: int) -> None:
    rgb = photo(5, width, height)
    for name, draw in COMPANIONS.items():
        shown = draw(rgb)
        assert shown.dtype == np.uint8 and (shown.shape == (height, width) or name == "ghost")
    assert max(panel.shape[1] for panel in panels_of(jpeg_ghosts(rgb)).values()) <= 416


def test_picture_unchanged_by_saving_shows_no_ghost() -> None:
    flat = np.full((64, 96, 3), 128, np.uint8)
    assert not error_levels(flat).any() and (noise_residual(flat) == 128).all()
    assert all((panel[24:-8, 8:-8] == 255).all() for panel in panels_of(jpeg_ghosts(flat)).values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    write_rgb(folder / "a.png", photo(1))
    write_rgb(folder / "a.jpg", photo(2))
    write_rgb(folder / "deep/er/b.png", photo(3))
    (folder / "empty.png").touch()
    return folder


def test_companions_mirror_the_input_tree_and_do_not_change_results(
    folder: Path, tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out, plain = tmp_path / "out", tmp_path / "plain"
    options = ("--weights", tiny_weights, *CPU)
    assert imltool("scan", folder, "--out", out, "--companions", "ghost, ela,noise,ela", *options)[0] == 3
    assert imltool("scan", folder, "--out", plain, *options)[0] == 3
    rows, before = (rows_of(each) for each in (out, plain))
    for row, other in zip(rows, before, strict=True):
        if row["status"] == "failed":
            assert row["companions"] == {}
            continue
        assert row["companions"] == {name: f"companions/{name}/{row['path']}.png" for name in COMPANIONS}
        for name, file in row["companions"].items():
            with Image.open(out / file) as picture:
                assert picture.mode == "L"
                assert np.array_equal(np.array(picture), COMPANIONS[name](read_rgb(folder / row["path"])))
            assert row["outputs_sha256"][file] == hashlib.sha256((out / file).read_bytes()).hexdigest()
        changed = {"companions", "outputs_sha256", "previous_sha256"}
        assert {key: row[key] for key in row.keys() - changed} == {key: other[key] for key in other.keys() - changed}
    run = record_of(out)
    assert run["parameters"]["companions"] == ["ela", "ghost", "noise"]
    assert imltool("verify", out)[0] == 0
    (out / rows[0]["companions"]["ela"]).write_bytes(b"changed")
    code, stdout, stderr = imltool("verify", out)
    assert code != 0 and "companions/ela" in stdout + stderr
    assert imltool("scan", folder, "--out", out, "--restart", *options)[0] == 3
    assert not (out / "companions").exists()


@pytest.mark.parametrize("names", ["ela,elan", "ELA", "", "ela,"])
def test_unknown_companions_are_a_usage_error(
    names: str, folder: Path, tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = imltool("scan", folder, "--out", out, "--companions", names, "--weights", tiny_weights, *CPU)
    assert (code, stdout) == (2, "") and not out.exists()
    assert "unknown companion map" in stderr and "ela, noise, ghost" in " ".join(stderr.split())
