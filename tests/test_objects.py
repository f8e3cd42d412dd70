"""`imltool data objects`: selection of objects, outputs, resuming, and use as a source of splices."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import parsed
from helpers.pictures import photo, write_rgb
from PIL import Image

from imltool.cli.app import run
from imltool.data.folder import pair_by_stem, read_folder
from imltool.errors import UsageError
from imltool.pictures.images import read_mask, read_rgb
from imltool.scan.inputs import Input, plan_inputs
from imltool.synth.objects import (
    CutObject,
    ObjectSettings,
    choose,
    grid_points,
    measure,
    object_stems,
    objects_folder,
    read_objects,
    require_sam,
    sample,
)
from imltool.teacher.audit import iou
from imltool.teacher.registry import load_teacher
from imltool.teacher.sam import POINTS_AT_ONCE
from imltool.teacher.teacher import BoxMask

SHAPES = ((0.25, 0.25), (0.75, 0.75))
OPTIONS = ("--set", "grid=2", "--device", "cpu")


def two_discs(seed: int, width: int, height: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture with two discs on the points of a 2x2 grid, and their masks."""
    rgb, masks = photo(seed, width, height) // 4 + 150, []
    for number, (x, y) in enumerate(SHAPES):
        disc = np.zeros((height, width), np.uint8)
        cv2.circle(disc, (round(x * width), round(y * height)), round(0.2 * height), 1, -1)
        masks.append(disc > 0)
        colours = photo(seed + 1 + number, width, height) // 2
        rgb = np.where(masks[-1][..., None], colours, rgb)
    return rgb.astype(np.uint8), masks


def answer(mask: np.ndarray, predicted_iou: float = 0.95, stability: float = 0.95) -> BoxMask:
    return BoxMask(mask, predicted_iou, stability, 2)


def blank(height: int = 200, width: int = 300) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


def boxed(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = blank()
    mask[y1:y2, x1:x2] = 1
    return mask > 0


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def files(out: Path) -> list[str]:
    return sorted(name for name in tree(out) if name.startswith(("images/", "masks/")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo rotated by EXIF, one larger than 1024 pixels, and a truncated one."""
    root = tmp_path_factory.mktemp("photos")
    rgb, _ = two_discs(5, 300, 200)
    turned = Image.fromarray(np.rot90(rgb).copy())
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "side.jpg", quality=95, exif=exif)
    write_rgb(root / "sub" / "large.PNG", two_discs(15, 1200, 900)[0])
    whole = (root / "side.jpg").read_bytes()
    (root / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.fixture(scope="module")
def cut_once(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cut") / "objects"
    assert run(["data", "objects", str(photos), "--out", str(out), *OPTIONS, "--sheet", "-q"]) == 3
    return out


def copied(photos: Path, cut_once: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Modifiable copies of the photos and the finished folder, whose parameters name the copied photos."""
    mine, out = tmp_path / "photos", tmp_path / "objects"
    shutil.copytree(photos, mine)
    shutil.copytree(cut_once, out)
    parameters = json.loads((out / "parameters.json").read_text())
    (out / "parameters.json").write_text(json.dumps(parameters | {"photos": [str(mine.resolve())]}))
    return mine, out


def test_objects_are_found_and_described(photos: Path, cut_once: Path) -> None:
    assert files(cut_once) == [
        *("images/side-1.jpg", "images/side-2.jpg", "images/sub/large-1.jpg", "images/sub/large-2.jpg"),
        *("masks/side-1.png", "masks/side-2.png", "masks/sub/large-1.png", "masks/sub/large-2.png"),
    ]
    rows = {row.photo: row for row in read_objects(cut_once)}
    assert list(rows) == ["side.jpg", "sub/large.PNG"]
    for (name, row), truths, size in zip(
        rows.items(), (two_discs(5, 300, 200)[1], two_discs(15, 1024, 768)[1]), ((300, 200), (1024, 768)), strict=True
    ):
        assert (row.width, row.height) == size and row.teacher == "mobile-sam"
        assert row.sha256 == hashlib.sha256((photos / name).read_bytes()).hexdigest()
        for found in row.objects:
            mask = read_mask(cut_once / found.mask, size)
            assert max(iou(mask, truth) for truth in truths) > 0.9
            assert found.mask_sha256 == hashlib.sha256((cut_once / found.mask).read_bytes()).hexdigest()
            assert found.area == pytest.approx(mask.mean(), abs=1e-4)
            rows_, columns = np.nonzero(mask)
            assert found.box == (columns.min(), rows_.min(), columns.max() + 1, rows_.max() + 1)
        first, second = (read_mask(cut_once / found.mask) for found in row.objects)
        assert not (first & second).any() and row.objects[0].score >= row.objects[1].score
    assert Image.open(cut_once / "sheet.png").width > 400


def test_small_photos_are_copied_and_large_ones_are_downscaled(photos: Path, cut_once: Path) -> None:
    for number in (1, 2):
        copy = cut_once / f"images/side-{number}.jpg"
        assert copy.read_bytes() == (photos / "side.jpg").read_bytes() and copy.stat().st_nlink == 1
    shrunk = read_rgb(cut_once / "images/sub/large-1.jpg")
    assert shrunk.shape == (768, 1024, 3)
    wanted = cv2.resize(read_rgb(photos / "sub/large.PNG"), (1024, 768), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - wanted).mean() < 3


def test_objects_folder_is_a_source_of_splices(cut_once: Path, tmp_path: Path, imltool: Imltool) -> None:
    assert len(pair_by_stem(cut_once / "images", cut_once / "masks").pairs) == 4
    pair = f"{cut_once / 'images'}:{cut_once / 'masks'}"
    only = ("--set", "kinds={splice: 1}", "--set", "long_side=[160, 200]")
    code, _, _ = imltool("synth", "--objects", pair, "--out", tmp_path / "set", "--count", 2, *only)
    assert code == 0 and [sample.tampered for sample in read_folder(tmp_path / "set").samples] == [True, True]


@pytest.mark.slow
def test_rerun_makes_only_missing_or_changed_objects(
    photos: Path, cut_once: Path, tmp_path: Path, imltool: Imltool
) -> None:
    mine, out = copied(photos, cut_once, tmp_path)
    before = tree(out)
    (out / "masks/sub/large-2.png").unlink()
    lines = (out / "objects.jsonl").read_bytes()
    (out / "objects.jsonl").write_bytes(lines + b'{"photo": "torn')
    write_rgb(mine / "side.jpg", np.full((80, 120, 3), 90, np.uint8))
    code, stdout, stderr = imltool("data", "objects", mine, "--out", out, *OPTIONS, "--json")
    assert code == 3 and "broken.jpg" in stderr and "2 objects cut from 2 photos" in stderr
    rows = parsed(stdout)
    assert [(row["photo"], row["status"]) for row in rows] == [
        ("broken.jpg", "failed"),
        ("side.jpg", "ok"),
        ("sub/large.PNG", "ok"),
    ]
    assert "damaged" in rows[0]["reason"] and rows[1]["objects"] == []
    assert files(out) == sorted(name for name in before if name.startswith(("images/sub/", "masks/sub/")))
    assert all(tree(out)[name] == before[name] for name in files(out))
    (mine / "broken.jpg").unlink()
    code, stdout, stderr = imltool("data", "objects", mine, "--out", out, *OPTIONS, "--json")
    assert code == 0 and stdout == "" and "2 photos kept from before" in stderr


def test_other_parameters_and_foreign_folders_are_refused_without_restart(
    photos: Path, cut_once: Path, tmp_path: Path, imltool: Imltool
) -> None:
    mine, out = copied(photos, cut_once, tmp_path)
    before = tree(out)
    for change, named in ((("--max-per-photo", 1), "max_per_photo"), (("--set", "min_area=0.02"), "min_area")):
        code, _, stderr = imltool("data", "objects", mine, "--out", out, *OPTIONS, *change)
        assert code == 2 and named in stderr and "--restart discards" in stderr and tree(out) == before
    for restart in ((), ("--restart",)):
        code, _, stderr = imltool("data", "objects", out, "--out", mine, *OPTIONS, *restart)
        assert code == 2 and "holds no objects" in stderr and tree(mine) == tree(photos)
    shutil.rmtree(mine / "sub")
    (mine / "side.jpg").unlink()
    (out / "mine.txt").write_text("kept")
    code, _, _ = imltool("data", "objects", mine, "--out", out, *OPTIONS, "--max-per-photo", 1, "--restart")
    assert code == 3 and files(out) == [] and (out / "images").is_dir() and (out / "mine.txt").is_file()
    assert json.loads((out / "parameters.json").read_text())["max_per_photo"] == 1 and read_objects(out) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--teacher", "box"), 2, "finds no objects by itself"),
        (("--teacher", "mobile"), 2, "unknown teacher"),
        (("--set", "min_aera=1"), 2, "did you mean min_area"),
        (("--device", "cuda:7"), 2, "not available"),
    ],
)
def test_invalid_arguments_are_a_one_line_error(
    photos: Path, tmp_path: Path, imltool: Imltool, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, _, stderr = imltool("data", "objects", photos, "--out", tmp_path / "o", *arguments)
    assert found == code and message in stderr and stderr.count("\n") == 1 and not (tmp_path / "o").exists()


def test_paths_without_photos_are_errors(photos: Path, tmp_path: Path, imltool: Imltool) -> None:
    (tmp_path / "empty").mkdir()
    code, _, stderr = imltool("data", "objects", tmp_path / "empty", "--out", tmp_path / "o")
    assert code == 1 and "no photo found" in stderr
    code, _, stderr = imltool("data", "objects", tmp_path / "nowhere", "--out", tmp_path / "o")
    assert code == 2 and "nowhere" in stderr
    code, _, stderr = imltool("data", "objects", photos, "--out", photos / "side.jpg")
    assert code == 2 and "is a file" in stderr


@pytest.mark.slow
def test_points_give_the_masks_of_segment_anythings_predictor() -> None:
    from segment_anything import SamPredictor

    teacher = require_sam(load_teacher("mobile-sam", device="cpu"))
    rgb, _ = two_discs(5, 300, 200)
    points = np.array([[75, 50], [225, 150], [150, 100], [20, 180], [290, 10]], np.float32)
    assert len(points) > POINTS_AT_ONCE  # more than one batch
    embedding = teacher.embed(rgb)
    found = teacher.decode_points(embedding, points)
    predictor = SamPredictor(teacher.network.sam)  # type: ignore[attr-defined]
    predictor.is_image_set, predictor.features = True, embedding.features  # set_image would embed again
    predictor.input_size, predictor.original_size = embedding.inner, embedding.size
    expected = []
    for point in points:
        masks, qualities, _ = predictor.predict(point[None], np.array([1]), multimask_output=True)
        expected += [(masks[index], float(qualities[index]), index + 1) for index in range(3)]
    assert len(found) == len(expected) == 15
    for ours, (mask, quality, choice) in zip(found, expected, strict=True):
        assert iou(ours.mask, mask) > 0.99 and abs(ours.predicted_iou - quality) < 1e-3 and ours.choice == choice
    worst, *better = sorted(quality for _, quality, _ in expected[:3])
    sure = teacher.decode_points(embedding, points[:1], (worst + better[0]) / 2)
    assert sorted(one.predicted_iou for one in sure) == pytest.approx(better, abs=1e-3)
    assert teacher.decode_points(embedding, np.zeros((0, 2), np.float32)) == []


def test_grid_points_cover_the_picture_evenly() -> None:
    assert grid_points(2, (100, 200)).tolist() == [[50, 25], [150, 25], [50, 75], [150, 75]]


def test_shape_measures_of_known_shapes() -> None:
    rgb = photo(2, 300, 200)
    square = measure(rgb, answer(boxed(100, 50, 200, 150)), ObjectSettings())
    assert square is not None and square.area == pytest.approx(10_000 / 60_000)
    assert square.solidity == 1.0 and square.border == 0.0
    assert square.compactness == pytest.approx(np.pi / 4, abs=0.02)  # 4π·s² / (4s)²
    half = boxed(100, 50, 200, 150)
    half[:, :] &= np.add.outer(np.arange(200) - 50, np.arange(300) - 100) < 100  # a triangle is convex as well
    triangle = measure(rgb, answer(half), ObjectSettings())
    assert triangle is not None and triangle.solidity > 0.97 and triangle.compactness < square.compactness
    cross = boxed(120, 20, 180, 180) | boxed(70, 70, 230, 130)
    crossed = measure(rgb, answer(cross), ObjectSettings())
    hull = 160 * 160 - 4 * 50 * 50 / 2  # the corners cut off by the hull are triangles
    assert crossed is not None and crossed.solidity == pytest.approx(cross.sum() / hull, abs=0.02)


@pytest.mark.parametrize(
    ("mask", "setting"),
    [
        (boxed(0, 40, 120, 150), "max_border"),
        (boxed(2, 40, 120, 150), "max_border"),  # ends just before the border
        (boxed(100, 80, 121, 101), "min_area"),
        (boxed(20, 5, 290, 195), "max_area"),
        (boxed(100, 80, 140, 120), "min_side"),
        (boxed(40, 60, 120, 140) | boxed(160, 60, 240, 140), "min_main_piece"),
        (boxed(20, 90, 280, 101), "min_compactness"),
        (boxed(40, 20, 50, 180) | boxed(40, 170, 260, 180), "min_solidity"),
    ],
)
def test_each_setting_excludes_its_kind_of_mask(mask: np.ndarray, setting: str) -> None:
    rgb = photo(2, 300, 200)
    loose = dict.fromkeys(("min_area", "min_main_piece", "min_solidity", "min_compactness", "min_score"), 0.0) | {
        "max_area": 1.0,
        "max_border": 1.0,
        "min_side": 1,
    }
    assert measure(rgb, answer(mask), ObjectSettings.model_validate(loose)) is not None
    default = ObjectSettings.model_fields[setting].default
    assert measure(rgb, answer(mask), ObjectSettings.model_validate(loose | {setting: default})) is None


def test_unsure_and_flat_masks_are_left_out() -> None:
    rgb, mask = photo(2, 300, 200), boxed(100, 50, 200, 150)
    assert measure(rgb, answer(mask), ObjectSettings()) is not None
    assert measure(rgb, answer(mask, predicted_iou=0.8), ObjectSettings()) is None
    assert measure(rgb, answer(mask, stability=0.8), ObjectSettings()) is None
    assert measure(rgb, answer(mask, predicted_iou=0.86, stability=0.86), ObjectSettings(min_score=0.8)) is None
    burnt = np.where(mask[..., None], 255, rgb).astype(np.uint8)
    assert measure(burnt, answer(mask), ObjectSettings()) is None
    assert measure(rgb, answer(np.zeros_like(mask)), ObjectSettings()) is None


def test_small_components_are_removed_and_holes_filled() -> None:
    clean = boxed(100, 50, 200, 150)
    noisy = clean | boxed(20, 20, 25, 25)
    noisy[90:95, 140:145] = False
    found = measure(photo(2, 300, 200), answer(noisy), ObjectSettings())
    assert found is not None and np.array_equal(found.mask, clean)
    noisy[80:110, 130:160] = False  # the hole of a ring is kept
    ring = measure(photo(2, 300, 200), answer(noisy), ObjectSettings())
    assert ring is not None and not ring.mask[95, 145]


def test_duplicates_and_parts_of_a_better_object_are_dropped() -> None:
    def one(mask: np.ndarray, quality: float) -> CutObject:
        found = measure(photo(2, 300, 200), answer(mask, quality), ObjectSettings(min_score=0))
        assert found is not None
        return found

    whole, double = one(boxed(30, 30, 130, 130), 0.97), one(boxed(32, 30, 132, 130), 0.9)
    part, other = one(boxed(60, 60, 120, 120), 0.92), one(boxed(160, 60, 230, 130), 0.88)
    assert choose([double, other, part, whole], 4, 0.7) == [whole, other]
    assert choose([double, other, part, whole], 1, 0.7) == [whole]
    assert len(choose([double, other, part, whole], 4, 1.0)) == 4


def test_photo_limit_samples_photos_and_a_larger_limit_extends_them() -> None:
    inputs = tuple(Input(Path(f"{index}.jpg"), f"{index}.jpg", f"{index}.jpg") for index in range(40))
    few, more = sample(inputs, 5, 1), sample(inputs, 12, 1)
    assert len(few) == 5 and len(more) == 12 and set(few) < set(more) and few == sorted(few, key=inputs.index)
    assert sample(inputs, 5, 1) == few != sample(inputs, 5, 2)
    assert sample(inputs, None, 1) == sample(inputs, 99, 1) == list(inputs)


def test_object_stems_never_collide(tmp_path: Path) -> None:
    names = ("a.jpg", "a.png", "a-1.jpg", "sub/a.jpg", "b.c.jpg", "b.jpg")
    for name in names:
        write_rgb(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    stems = object_stems(plan_inputs([tmp_path], tmp_path / "out").inputs)
    assert stems == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "a-1.jpg": "a-1",
        "sub/a.jpg": "sub/a",
        "b.c.jpg": "b.c",
        "b.jpg": "b",
    }
    made = [f"{stem}-{number}" for stem in stems.values() for number in range(1, 12)]
    assert len(set(made)) == len(made)


def test_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parameters.json").write_text('{"command": "pseudo"}')
    with pytest.raises(UsageError, match="holds no objects"), objects_folder(tmp_path, {}, restart=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["parameters.json"]
    with pytest.raises(UsageError, match="is a file"), objects_folder(tmp_path / "parameters.json", {}):
        pass
