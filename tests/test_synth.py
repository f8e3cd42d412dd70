"""Synthetic forgeries: exact masks, jittered boxes, determinism, and the `imltool synth` command."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from helpers.pictures import photo, write_rgb
from helpers.synth_sources import LOSSLESS, make_forge, make_sources
from PIL import Image

from imltool.cli.app import run
from imltool.config import load_settings
from imltool.data.box_formats import read_boxes
from imltool.data.boxes import match_boxes
from imltool.data.folder import read_folder
from imltool.data.layouts.coarse import coarse_boxes
from imltool.errors import ConfigError, DataError
from imltool.files import sha256_file
from imltool.pictures.images import encode_jpeg, read_mask, read_rgb
from imltool.synth import documents
from imltool.synth.forge import Forge, Forgery, sample_rng
from imltool.synth.kinds import KINDS, UNTOUCHED
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool
from imltool.synth.writer import read_forgeries

COMMON = ("splice", "copymove", "removal", "retouch", "enlarge", "authentic")
KIND_WEIGHTS = f"kinds={{{', '.join(f'{kind}: 1' for kind in COMMON)}}}"
EDITS = [kind for kind in KINDS if kind not in UNTOUCHED and kind != "document"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("sources"))


def options(sources: Path, out: Path, *more: str) -> list[str]:
    pair = f"{sources / 'objects'}:{sources / 'object_masks'}"
    small = ["--set", "long_side=[160, 200]", "--set", KIND_WEIGHTS]
    return ["synth", "--photos", str(sources / "photos"), "--objects", pair, "--out", str(out), *small, *more]


def equal(one: Forgery, other: Forgery) -> bool:
    same = np.array_equal(one.image, other.image) and np.array_equal(one.mask, other.mask)
    return same and (one.kind, one.boxes, one.record, one.file) == (other.kind, other.boxes, other.record, other.file)


def quantisation(quality: int) -> dict[int, list[int]]:
    """The quantisation tables written by Pillow for a JPEG quality."""
    with Image.open(io.BytesIO(encode_jpeg(np.zeros((16, 16, 3), np.uint8), quality))) as picture:
        return picture.quantization  # type: ignore[attr-defined, no-any-return]


def tree(folder: Path) -> dict[str, bytes]:
    """All data files of an output folder: pictures, masks, boxes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "synth.jsonl"
    }


def test_sample_depends_on_seed_and_index_only(sources: Path) -> None:
    forge = make_forge(sources)
    first = [forge.make(sample_rng(3, index)) for index in range(6)]
    again = make_forge(sources)
    assert all(equal(first[index], again.make(sample_rng(3, index))) for index in reversed(range(6)))
    assert not equal(first[0], forge.make(sample_rng(4, 0)))
    assert len({sample.image.tobytes() for sample in first}) == 6


@pytest.mark.parametrize("poisson", [0, 1])
@pytest.mark.parametrize("matting", [0, 1])
@pytest.mark.parametrize("kind", EDITS)
def test_mask_marks_the_changed_pixels(sources: Path, kind: str, poisson: int, matting: int) -> None:
    forge = make_forge(sources, poisson=poisson, matting=matting, history=LOSSLESS)
    compared = 0
    for index in range(12):
        edited = forge.make(sample_rng(0, index), kind)
        host = forge.make(sample_rng(0, index), "authentic")  # draws the same host, unless the edit needed a retry
        if (edited.record.host, edited.record.crop) != (host.record.host, host.record.crop):
            continue
        compared += 1
        assert edited.image.shape == host.image.shape and edited.file is None
        changed = (edited.image != host.image).any(axis=2)
        assert not (changed & ~edited.mask).any()
        assert changed[edited.mask].mean() > 0.7
    assert compared >= 4


@pytest.mark.parametrize("kind", EDITS)
def test_tampered_area_is_within_its_limits(sources: Path, kind: str) -> None:
    forge = make_forge(sources, area=[0.05, 0.15], history=LOSSLESS)
    shares = [forge.make(sample_rng(1, index), kind).mask.mean() for index in range(15)]
    assert 0.05 <= min(shares) <= max(shares) <= 0.15


@pytest.mark.parametrize("rendered", [0, 1])
def test_document_changes_are_in_the_recorded_boxes(sources: Path, tmp_path: Path, rendered: int) -> None:
    page = documents.page(np.random.default_rng(4), 640, 900)
    write_rgb(tmp_path / "photos" / "page.png", page)
    small = {"long_side": [700, 900], "area": [0.0003, 0.1], "rendered": rendered, "history": LOSSLESS, "native": 1}
    settings = SynthSettings.model_validate(small)
    photos = sources / "photos" if rendered else tmp_path / "photos"  # a separate page if none is rendered
    forge = Forge(settings, SourcePool.from_folders([photos], max_side=1200))
    actions = set()
    for index in range(12):
        changed, before = (forge.make(sample_rng(2, index), kind) for kind in ("document", "scan"))
        if changed.image.shape != before.image.shape or changed.record.crop != before.record.crop:
            continue  # the change needed another page
        boxes = np.zeros(changed.mask.shape, dtype=bool)
        for one in changed.record.changes:
            x1, y1, x2, y2 = one.box or (0, 0, 0, 0)
            boxes[y1:y2, x1:x2] = True
            actions.add(one.action)
        assert np.array_equal(boxes, changed.mask) and not before.mask.any()
        # a rendered page differs if the first one had no room for the change
        assert rendered or not (changed.image != before.image).any(axis=2)[~boxes].any()
    assert len(actions) >= 3


def test_stamps_and_collages_have_several_parts(sources: Path) -> None:
    forge = make_forge(sources, area=[0.001, 0.5], history=LOSSLESS, poisson=0)
    stamps = [forge.make(sample_rng(6, index), "stamps") for index in range(6)]
    collages = [forge.make(sample_rng(6, index), "collage") for index in range(6)]
    assert all(1 <= len(one.record.pasted) <= 8 for one in stamps)
    assert max(len(one.boxes) for one in stamps) >= 3
    assert all(2 <= len(one.record.parts) <= 6 for one in collages)
    donors = [{part.donor for part in one.record.parts} for one in collages]
    assert max(map(len, donors)) >= 2


def test_development_keeps_edit_geometry_and_is_not_marked(sources: Path) -> None:
    plain = make_forge(sources, history=LOSSLESS)
    forge = make_forge(sources, history=LOSSLESS | {"develop": 1})
    developed, before = (one.make(sample_rng(7, 0), "splice") for one in (forge, plain))
    assert np.array_equal(developed.mask, before.mask) and developed.record.final.developed
    assert (developed.image != before.image).any(axis=2)[~before.mask].mean() > 0.5
    assert all(not plain.make(sample_rng(7, index), "developed").mask.any() for index in range(6))


def test_native_host_is_cropped_along_its_jpeg_grid(sources: Path) -> None:
    forge = make_forge(sources, native=1, history=LOSSLESS)
    for index in range(6):
        sample = forge.make(sample_rng(8, index), "authentic")
        left, top, right, bottom = sample.record.crop or (0, 0, 0, 0)
        whole = read_rgb(next(path for path in forge.pool.hosts if path.name == sample.record.host))
        assert left % 8 == top % 8 == 0
        assert np.array_equal(sample.image, whole[top:bottom, left:right])


def test_impossible_area_is_a_data_error(sources: Path) -> None:
    with pytest.raises(DataError, match="no splice"):
        make_forge(sources, area=[0.99, 1.0]).make(sample_rng(0, 0), "splice")


def test_boxes_cover_the_mask_within_the_stated_jitter() -> None:
    mask = np.zeros((200, 300), bool)
    mask[40:80, 50:110] = mask[120:180, 200:240] = True
    for seed in range(20):
        boxes = coarse_boxes(np.random.default_rng(seed), mask, (-0.05, 0.15))
        assert len(boxes) == 2
        for (x1, y1, x2, y2), (left, top, right, bottom) in zip(
            sorted(boxes), [(50, 40, 110, 80), (200, 120, 240, 180)], strict=True
        ):
            wide, tall = right - left, bottom - top
            assert left - 0.16 * wide <= x1 <= left + 0.06 * wide and right - 0.06 * wide <= x2 <= right + 0.16 * wide
            assert top - 0.16 * tall <= y1 <= top + 0.06 * tall and bottom - 0.06 * tall <= y2 <= bottom + 0.16 * tall
    assert coarse_boxes(np.random.default_rng(0), np.zeros((9, 9), bool), (0, 0.1)) == []


def test_boxes_stay_inside_the_picture(sources: Path) -> None:
    forge = make_forge(sources, box_jitter=[0.5, 1.0])
    for index in range(10):
        sample = forge.make(sample_rng(2, index), "splice")
        height, width = sample.mask.shape
        assert sample.boxes
        for x1, y1, x2, y2 in sample.boxes:
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height


def test_authentic_pictures_have_no_mask_and_similar_histories(sources: Path) -> None:
    forge = make_forge(sources)
    finals: dict[str, set[Any]] = {"authentic": set(), "splice": set()}
    for kind, formats in finals.items():
        for index in range(40):
            sample = forge.make(sample_rng(5, index), kind)
            assert sample.mask.any() == (kind != "authentic")
            assert bool(sample.boxes) == (kind != "authentic")
            formats.add(sample.record.final.format)
            if sample.file is not None:
                decoded = cv2.imdecode(np.frombuffer(sample.file, np.uint8), cv2.IMREAD_COLOR)
                assert decoded.shape == sample.image.shape
    assert finals["authentic"] == finals["splice"] == {"JPEG", "PNG"}


def test_every_kind_works_without_masked_objects(sources: Path) -> None:
    settings = SynthSettings.model_validate({"long_side": [160, 200]})
    forge = Forge(settings, SourcePool.from_folders([sources / "photos"]))
    for kind in KINDS:
        if kind != "document":  # no page is that small
            assert forge.make(sample_rng(0, 0), kind).kind == kind


def test_shipped_configuration_names_every_setting() -> None:
    path = Path(__file__).parents[1] / "configs" / "synth.yaml"
    shipped = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings = load_settings(SynthSettings, path)
    assert set(shipped) == set(SynthSettings.model_fields)
    for group in ("history", "borders", "retouch", "enlarge"):
        assert set(shipped[group]) == set(type(getattr(settings, group)).model_fields)
    assert set(settings.kinds) == set(KINDS)
    assert settings.model_copy(update={"kinds": SynthSettings().kinds}) == SynthSettings()


def test_unknown_kinds_and_zero_weights_are_refused(sources: Path) -> None:
    with pytest.raises(ConfigError, match="morph"):
        make_forge(sources, kinds={"morph": 1})
    with pytest.raises(ConfigError, match="zero"):
        make_forge(sources, kinds={"splice": 0})


def test_synth_command_writes_a_readable_set(sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    assert run(options(sources, out, "--count", "24", "--seed", "9", "--sheet", "--json")) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    samples = read_folder(out).samples
    assert [row["index"] for row in rows] == list(range(24)) and len(samples) == 24
    assert {row["image"]: row["mask"] for row in rows} == {
        sample.name: sample.mask.relative_to(out).as_posix() if sample.mask else None for sample in samples
    }
    assert {row["kind"] for row in rows} == set(COMMON)
    for row in rows:
        assert read_rgb(out / row["image"]).shape == (row["height"], row["width"], 3)
        assert sha256_file(out / row["image"]) == row["sha256"]
        with Image.open(out / row["image"]) as picture:  # compressed once, as the record says
            assert picture.format == row["record"]["final"]["format"]
            if picture.format == "JPEG":
                assert picture.quantization == quantisation(row["record"]["final"]["quality"])  # type: ignore[attr-defined]
        if row["mask"]:
            mask = read_mask(out / row["mask"], (row["width"], row["height"]))
            assert mask.mean() == pytest.approx(row["record"]["area"], abs=1e-6)
    report = match_boxes(out / "tampered", read_boxes(out / "boxes.json"))
    assert not report.faults and not report.without_boxes
    assert len(report.matched) == sum(row["mask"] is not None for row in rows)
    assert read_rgb(out / "sheet.png").shape[1] > 1000


def test_row_suffices_to_reproduce_its_sample(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert run(options(sources, out, "--count", "8", "--seed", "4")) == 0
    settings = load_settings(SynthSettings, out / "config.yaml")
    pool = SourcePool.from_folders([sources / "photos"], [(sources / "objects", sources / "object_masks")])
    for row in reversed(read_forgeries(out)):
        sample = Forge(settings, pool).make(sample_rng(row.seed, row.index))
        assert np.array_equal(sample.image, read_rgb(out / row.image))
        again = row.model_copy(update={"record": sample.record})
        assert again.model_dump() == row.model_dump()


def test_interrupted_or_extended_run_gives_the_same_samples(sources: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ["--quiet", "--set", "kinds={splice: 1, copymove: 1}"]
    assert run(options(sources, whole, "--count", "10", *more)) == 0
    assert run(options(sources, parts, "--count", "6", *more)) == 0
    kept, lost, maskless, *_ = read_forgeries(parts)
    os.utime(parts / kept.image, (1, 1))
    (parts / lost.image).unlink()
    (parts / str(maskless.mask)).unlink()
    journal = parts / "synth.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])  # a truncated last row, as after a kill
    assert run(options(sources, parts, "--count", "10", *more)) == 0
    assert tree(parts) == tree(whole)
    assert (parts / kept.image).stat().st_mtime == 1


def test_journal_in_another_form_is_refused_in_one_line(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    assert run(options(sources, out, "--count", "1")) == 0
    (out / "synth.jsonl").write_text('{"index": 0, "image": "tampered/000000_splice.jpg"}\n')
    assert run(options(sources, out, "--count", "1")) == 1
    assert "synth.jsonlisnotintheform" in "".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("change", [["--seed", "1"], ["--set", "flip=0.9"], ["--photos", "EXTRA"]])
def test_folder_of_another_run_is_refused(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str]
) -> None:
    out = tmp_path / "set"
    write_rgb(tmp_path / "extra" / "more.png", np.full((80, 80, 3), 90, np.uint8))
    assert run(options(sources, out, "--count", "2")) == 0
    before = tree(out)
    change = [str(tmp_path / "extra") if word == "EXTRA" else word for word in change]
    assert run(options(sources, out, "--count", "4", *change)) == 2
    assert "other parameters" in capsys.readouterr().err
    assert tree(out) == before


def test_damaged_source_fails_only_its_samples(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    Image.fromarray(photo(9)).save(bad / "broken.jpg", quality=95)
    whole = (bad / "broken.jpg").read_bytes()
    (bad / "broken.jpg").write_bytes(whole[: len(whole) // 2])  # its header is intact, so it is accepted at first
    out = tmp_path / "set"
    assert run(options(sources, out, "--count", "24", "--photos", str(bad))) == 3
    error = capsys.readouterr().err
    assert "broken.jpg" in "".join(error.split()) and "Traceback" not in error
    made = {row.index for row in read_forgeries(out)}
    assert 0 < len(made) < 24
    assert len(read_folder(out).samples) == len(made)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no source"),
        (["--photos", "MISSING"], 1, "does not exist"),
        (["--objects", "one-folder"], 2, "IMAGES:MASKS"),
        (["--photos", "PHOTOS", "--set", "feathr=1"], 2, "feather"),
        (["--photos", "PHOTOS", "--set", "area=[0.5, 0.1]"], 2, "area"),
        (["--photos", "PHOTOS", "--set", "history.final_quality=[0, 300]"], 2, "final_quality"),
        (["--photos", "PHOTOS", "--set", "kinds={morph: 1}"], 2, "morph"),
        (["--photos", "PHOTOS", "--set", "retouch.methods={blur: 0}"], 2, "retouch.methods"),
        (["--photos", "PHOTOS", "--set", "retouch.methods={dodge: 1}"], 2, "retouch.methods"),
    ],
)
def test_invalid_arguments_are_a_one_line_error_without_output(
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    places = {"PHOTOS": str(sources / "photos"), "MISSING": str(tmp_path / "missing")}
    out = tmp_path / "set"
    words = [places.get(word, word) for word in arguments]
    assert run(["synth", "--out", str(out), "--count", "2", *words]) == code
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1] and error.count("error:") == 1
    assert not out.exists()
