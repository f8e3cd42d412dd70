"""Traces at native resolution: each detects its kind of edit and has no false detections."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.pictures import make_set, photo, textured
from PIL import Image
from sklearn.metrics import roc_auc_score

from imltool.config import load_settings
from imltool.inference.localizer import Localizer
from imltool.student.header import CheckpointHeader
from imltool.student.model import Student
from imltool.student.settings import StudentSettings
from imltool.traces.copy_match import KEYPOINTS, _matches, find_copies
from imltool.traces.jpeg_grid import cross_difference, grid_offset, history_likelihood, quantisation_steps
from imltool.traces.residual import error_level
from imltool.traces.stack import GRID, GROUPS, TRACES, picture_traces
from imltool.training.data import TrainingData
from imltool.training.prepared import ArrayCache, Prepared, view
from imltool.training.settings import AugmentSettings, TrainSettings

CPU = torch.device("cpu")


def saved(rgb: np.ndarray, quality: int, subsampling: int = 0) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.array(Image.open(buffer))


def luma(rgb: np.ndarray) -> np.ndarray:
    return (rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.float32)


def plane(stack: np.ndarray, name: str) -> np.ndarray:
    return stack[TRACES.index(name)].astype(np.float32)  # type: ignore[no-any-return]


def on_grid(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8) * 255, (GRID, GRID), interpolation=cv2.INTER_AREA) > 127


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0.0), (1.3, 0.0), (0.8, 20.0)])
def test_copy_is_found_at_both_places_with_its_scale(scale: float, degrees: float) -> None:
    rgb = textured(1)
    piece = rgb[30:110, 20:100]
    turn = cv2.getRotationMatrix2D((40, 40), degrees, scale)
    side = round(80 * scale)
    turn[:, 2] += (side - 80) / 2  # type: ignore[arg-type]
    outline = cv2.warpAffine(np.ones((80, 80), np.uint8), turn, (side, side), flags=cv2.INTER_NEAREST) > 0
    pasted = cv2.warpAffine(piece, turn, (side, side), flags=cv2.INTER_CUBIC)
    mask = np.zeros(rgb.shape[:2], bool)
    mask[115 : 115 + side, 200 : 200 + side] = outline
    edited = rgb.copy()
    edited[mask] = pasted[outline]
    original = np.zeros_like(mask)
    original[30:110, 20:100] = True

    copies = find_copies(cv2.cvtColor(edited, cv2.COLOR_RGB2GRAY))  # type: ignore[arg-type]
    assert len(copies) == 1
    assert max(copies[0].scale, copies[0].inverse().scale) == pytest.approx(max(scale, 1 / scale), rel=0.03)
    stack = picture_traces(edited)
    agreement = plane(stack, "copy agreement")
    copy, source = on_grid(mask), on_grid(original)
    assert agreement[copy].mean() > 0.6
    assert agreement[source].mean() > 0.4
    assert agreement[~(copy | source)].mean() < 0.05
    direction = plane(stack, "copy scale")
    if scale != 1.0:
        # at the larger copy the log scale of the other one is negative
        assert (direction[copy].mean() < 0) == (scale > 1) and (direction[source].mean() > 0) == (scale > 1)


def test_a_picture_without_a_copy_has_none() -> None:
    stack = picture_traces(textured(2))
    assert not stack[list(GROUPS["copy"])].any()


def test_patch_without_the_first_save_stands_out_after_the_second() -> None:
    rgb = textured(3, 384, 256)
    mask = np.zeros(rgb.shape[:2], bool)
    mask[67:175, 131:260] = True
    edited = np.where(mask[..., None], rgb, saved(rgb, 60))
    # saved once more with smaller steps, and lossless
    for final, name in ((saved(edited, 92), "earlier"), (saved(edited, 92), "last"), (edited, "last")):
        history = plane(picture_traces(final), f"history likelihood, {name} step")
        assert roc_auc_score(on_grid(mask).ravel(), history.ravel()) > 0.9, name


@pytest.mark.parametrize("crop", [(0, 0), (3, 5), (7, 1)])
def test_jpeg_grid_is_found_after_a_crop(crop: tuple[int, int]) -> None:
    x, y = crop
    values = luma(saved(textured(4), 70)[y:, x:])
    assert grid_offset(cross_difference(values)) == (-x % 8, -y % 8)


def test_no_jpeg_grid_is_found_in_a_lossless_picture() -> None:
    offsets = [grid_offset(cross_difference(luma(textured(seed)))) for seed in range(10, 20)]
    assert offsets.count((0, 0)) >= 8


@pytest.mark.parametrize("step", [3, 8, 20])
def test_quantisation_step_is_estimated_from_coefficients(step: int) -> None:
    rng = np.random.default_rng(0)
    values = np.rint(rng.laplace(0, 3 * step, 3000) / step) * step + rng.normal(0, 0.35, 3000)
    assert quantisation_steps(values.astype(np.float32)) == (step, step)
    assert quantisation_steps(rng.laplace(0, 30, 3000).astype(np.float32)) == (1, 1)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (40, 33), (1, 3000), (5000, 2), (70000, 3), (1500, 1100)])
def test_any_size_gives_a_finite_stack(size: tuple[int, int]) -> None:
    for rgb in (photo(0, *size), np.full((size[1], size[0], 3), 255, np.uint8)):
        stack = picture_traces(rgb)
        assert stack.shape == (len(TRACES), GRID, GRID) and stack.dtype == np.float16
        assert np.isfinite(stack).all()


@pytest.mark.slow
def test_keypoints_of_a_dot_screen_are_bounded() -> None:
    rows, columns = np.mgrid[:600, :800]
    dots = (((rows % 8 - 4) ** 2 + (columns % 8 - 4) ** 2 < 6) * 255).astype(np.uint8)
    here, there = _matches(dots)
    assert len(here) == len(there) <= KEYPOINTS
    assert np.isfinite(picture_traces(np.repeat(dots[..., None], 3, axis=2))).all()


def test_error_levels_of_parts_equal_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = textured(9)
    whole = error_level(rgb, 75)
    monkeypatch.setattr("imltool.traces.residual.TILE", 128)
    parts = error_level(rgb, 75)
    inside = np.ones(whole.shape, bool)
    for edge in (128, 256):  # colour is upsampled across the border of two blocks: only there the parts differ
        inside[edge - 2 : edge + 2] = inside[:, edge - 2 : edge + 2] = False
    assert np.array_equal(whole[inside], parts[inside])


@pytest.mark.parametrize("name", ["error level 90", "error level 75", "grid strength", "fine structure"])
def test_patch_with_another_history_stands_out(name: str) -> None:
    rgb = textured(11, 384, 256)
    mask = np.zeros(rgb.shape[:2], bool)
    mask[67:175, 131:260] = True
    if name == "fine structure":
        edited = np.where(mask[..., None], cv2.GaussianBlur(rgb, (0, 0), 1.5), rgb)
    else:  # the rest is a JPEG, the patch has never been one
        edited = np.where(mask[..., None], rgb, saved(rgb, 90 if "90" in name else 75, subsampling=2))
    auc = roc_auc_score(on_grid(mask).ravel(), plane(picture_traces(edited), name).ravel())
    assert max(auc, 1 - auc) > 0.85


def test_copy_and_original_are_distinguished_by_processing_of_the_copy() -> None:
    rgb = saved(textured(12), 75)
    edited = rgb.copy()
    edited[133:213, 203:283] = cv2.GaussianBlur(rgb[30:110, 20:100], (0, 0), 0.8)
    stack = picture_traces(edited)
    places = [np.zeros(rgb.shape[:2], bool) for _ in range(2)]
    places[0][143:203, 213:273] = places[1][40:100, 30:90] = True
    copy, source = (on_grid(place) for place in places)
    difference = plane(stack, "copy fine structure")
    assert difference[copy].mean() < -0.1 and difference[source].mean() > 0.1
    level = plane(stack, "copy error level")
    assert abs(level[copy].mean() - level[source].mean()) > 0.1


def test_stack_does_not_depend_on_earlier_pictures() -> None:
    rgb = textured(5)
    rgb[20:90, 200:280] = rgb[120:190, 30:110]
    first = picture_traces(rgb)
    picture_traces(textured(6))
    assert np.array_equal(first, picture_traces(rgb))
    assert history_likelihood(luma(rgb)[:20, :20], (0, 0))[0].shape == (1, 1)


def settings_with_traces(**switches: object) -> StudentSettings:
    return StudentSettings.model_validate({"input_size": 64, "traces": ["copy", "jpeg", "noise"], **switches})


@pytest.mark.parametrize("traces", [["copy"], ["jpeg", "noise"], ["copy", "jpeg", "noise"]])
def test_student_with_traces_uses_and_requires_them(traces: list[str]) -> None:
    torch.manual_seed(0)
    student = Student(settings_with_traces(traces=traces)).eval()
    images = torch.rand(2, 3, 64, 64)
    stack = torch.randn(2, len(TRACES), GRID, GRID, requires_grad=True)
    assert student(images, stack).shape == (2, 1, 64, 64)
    student(images, stack).square().sum().backward()
    assert stack.grad is not None
    used = stack.grad.abs().sum(dim=(0, 2, 3)) > 0
    assert used.nonzero().ravel().tolist() == sorted(i for group in traces for i in GROUPS[group])
    with pytest.raises(ValueError, match="traces"):
        student(images)


def test_initial_trace_branch_does_not_change_the_backbone() -> None:
    torch.manual_seed(0)
    student = Student(settings_with_traces()).eval()
    images = torch.rand(1, 3, 64, 64)
    assert student.traces is not None
    _, hint = student.traces(torch.randn(1, len(TRACES), GRID, GRID), (16, 16))
    for plain, hinted in zip(student.backbone(images), student.backbone(images, hint), strict=True):
        assert torch.equal(plain, hinted)


def test_maps_are_the_same_with_precomputed_traces() -> None:
    torch.manual_seed(0)
    localizer = Localizer.of(
        Student(settings_with_traces()), CheckpointHeader(architecture=settings_with_traces()), CPU
    )
    images = [textured(7), textured(8, 200, 333)]
    kept = localizer.maps(images, [picture_traces(image) for image in images])
    for a, b, image in zip(localizer.maps(images), kept, images, strict=True):
        assert a.shape == image.shape[:2] and np.array_equal(a, b)
    swapped = localizer.maps(images, [picture_traces(image) for image in reversed(images)])
    assert not np.array_equal(swapped[0], kept[0])


def test_view_crops_picture_mask_and_traces_equally() -> None:
    height, width = 200, 300
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([columns * 255 // width, rows * 255 // height, rows * 0], axis=2).astype(np.uint8)
    mask = np.zeros((height, width), bool)
    mask[80:120, 140:170] = True
    small = cv2.resize(rgb[..., :2], (GRID, GRID), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    sample = Prepared(rgb, mask, small.astype(np.float16))
    shapes = set()
    for seed in range(20):
        cropped = view(np.random.default_rng(seed), sample, 0.5, 0.9, 0.6)
        shapes.add(cropped.mask.shape)
        assert cropped.traces is not None and cropped.mask.any()
        again = cv2.resize(cropped.rgb[..., :2], (GRID, GRID), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        assert np.abs(again.astype(float) - cropped.traces.astype(float)).mean() < 2.5
    assert len(shapes) > 5


def test_cached_samples_survive_a_damaged_file_and_are_shared_across_seeds(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", tampered=2, authentic=1)
    masks = {"name": "s", "kind": "masks", "images": str(root / "tampered"), "masks": str(root / "masks")}
    synth = {"name": "y", "kind": "synth", "photos": [str(root / "authentic")], "synth": {"long_side": [96, 96]}}
    config = {
        "student": {"traces": ["noise"]},
        "data": {"train": [masks | {"variants": 2}, synth | {"pool": 3}], "cache": str(tmp_path / "cache")},
    }
    settings = TrainSettings.model_validate(config)

    def drawn(seed: int) -> list[list[torch.Tensor]]:
        data = TrainingData(settings.data, settings.augment, settings.student, seed=seed, length=16)
        return [list(data[index]) for index in range(16)]

    fresh = drawn(0)
    files = sorted((tmp_path / "cache").rglob("*.npz"))
    assert 3 <= len(files) <= 3 + 4
    stamps = {path: path.stat().st_mtime_ns for path in files}
    kept = drawn(0)
    assert all(
        torch.equal(a, b) for one, other in zip(fresh, kept, strict=True) for a, b in zip(one, other, strict=True)
    )
    files[0].write_bytes(files[0].read_bytes()[:100])
    again = drawn(0)
    assert all(
        torch.equal(a, b) for one, other in zip(fresh, again, strict=True) for a, b in zip(one, other, strict=True)
    )
    drawn(1)
    assert all(path.stat().st_mtime_ns == stamps[path] for path in files[1:])
    assert len(sorted((tmp_path / "cache").rglob("*.npz"))) <= 3 + 4


def test_extended_list_keeps_its_cached_samples(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", tampered=3, authentic=0)
    names = sorted(path.name for path in (root / "tampered").iterdir())
    source = {"name": "s", "kind": "masks", "images": str(root / "tampered"), "masks": str(root / "masks")}
    made: dict[Path, int] = {}
    for count, first in ((2, 0), (3, 0), (2, 1)):  # the last without the first picture: positions change
        listed = tmp_path / "list.txt"
        listed.write_text("".join(f"tampered/{name}\n" for name in names[first : first + count]))
        train = [source | {"variants": 1, "list": str(listed)}]
        settings = TrainSettings.model_validate({"data": {"train": train, "cache": str(tmp_path / "cache")}})
        data = TrainingData(settings.data, AugmentSettings(flip=0, crop=0), settings.student, seed=0, length=24)
        drawn = [data.sample(index) for index in range(24)]
        found = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npz")}
        assert made.items() <= found.items() and len(found) == max(count, len(made))
        assert len({one.mask.tobytes() for one in drawn}) == count, "each picture has its own sample"
        made = found


def test_corrected_mask_invalidates_the_cache(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", tampered=1, authentic=0)
    source = {"name": "s", "kind": "masks", "images": str(root / "tampered"), "masks": str(root / "masks")}
    config = {"data": {"train": [source | {"variants": 1}], "cache": str(tmp_path / "cache")}}
    settings = TrainSettings.model_validate(config)
    plain = AugmentSettings(flip=0, crop=0)

    def marked() -> np.ndarray:
        return TrainingData(settings.data, plain, settings.student, seed=0, length=1).sample(0).mask

    before = marked()
    path = next((root / "masks").iterdir())
    Image.fromarray(~before).save(path)
    assert np.array_equal(marked(), ~before)


def test_small_edit_of_a_large_picture_is_kept_in_the_target(tmp_path: Path) -> None:
    mask = np.zeros((1500, 2000), bool)
    mask[701:704, 901:904] = True
    for folder, array in (("tampered", np.zeros((1500, 2000, 3), np.uint8)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        Image.fromarray(array).save(tmp_path / folder / "a.png")
    source = {"name": "s", "kind": "masks", "images": str(tmp_path / "tampered"), "masks": str(tmp_path / "masks")}
    settings = TrainSettings.model_validate({"data": {"train": [source]}, "student": {"input_size": 224}})
    _, _, target = TrainingData(settings.data, AugmentSettings(crop=0), settings.student, seed=0, length=1)[0]
    assert target.any()


def test_cache_entries_are_separate_for_each_setting(tmp_path: Path) -> None:
    sample, other = {"rgb": photo(0)}, {"rgb": photo(1)}
    ArrayCache(tmp_path, {"quality": 1}).get("0", lambda: sample)
    assert np.array_equal(ArrayCache(tmp_path, {"quality": 2}).get("0", lambda: other)["rgb"], other["rgb"])
    assert np.array_equal(ArrayCache(tmp_path, {"quality": 1}).get("0", lambda: other)["rgb"], sample["rgb"])


def test_shipped_recipe_with_traces_is_valid() -> None:
    settings = load_settings(TrainSettings, Path(__file__).parents[1] / "configs" / "boxprompt-traces.yaml")
    assert set(settings.student.traces) == set(GROUPS)
