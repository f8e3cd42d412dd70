"""The frozen teacher: reference masks, refusal of wrong weights, and non-learned baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.pictures import forged, write_rgb
from safetensors.torch import load_file, save_file

from imltool.errors import UsageError, WeightsError
from imltool.pictures.images import read_rgb
from imltool.teacher.audit import boundary_f, iou
from imltool.teacher.mobile_sam import build_mobile_sam
from imltool.teacher.non_learned import BoxTeacher, fill_box
from imltool.teacher.pseudo import PseudoSettings, clean_mask, grow_boxes, make_pseudo_mask, mask_names
from imltool.teacher.pseudo_rows import read_pseudo
from imltool.teacher.registry import TEACHERS, load_sam, load_teacher
from imltool.weights import WEIGHTS, locate

HERE = Path(__file__).parent
SAMPLES = HERE.parents[0] / "sample_images"


def check_golden(teacher: Any, picture: Path, golden: Path) -> None:
    expected = np.load(golden)
    found = teacher.decode(teacher.embed(read_rgb(picture)), expected["boxes"])
    assert len(found) == len(expected["boxes"])
    for answer, mask, quality in zip(found, expected["masks"], expected["iou_predictions"], strict=True):
        assert iou(answer.mask, mask) >= 0.99
        assert abs(answer.predicted_iou - quality) <= 0.02


@pytest.mark.parametrize("golden", sorted((HERE / "golden").glob("*.npz")), ids=lambda p: p.stem)
def test_teacher_reproduces_reference_masks(mobile_sam: Any, golden: Path) -> None:
    picture = next(path for path in SAMPLES.rglob(f"{golden.stem}.*") if path.parent.name == "authentic")
    check_golden(mobile_sam, picture, golden)


def test_masks_do_not_depend_on_the_other_boxes(mobile_sam: Any) -> None:
    rgb, _ = forged(7, 192, 128)
    boxes = np.array([[20, 20, 90, 100], [60, 10, 150, 110], [0, 0, 159, 119]], dtype=np.float32)
    embedding = mobile_sam.embed(rgb)
    together = mobile_sam.decode(embedding, boxes)
    for box, answer in zip(boxes, together, strict=True):
        (alone,) = mobile_sam.decode(embedding, box[None])
        assert iou(alone.mask, answer.mask) > 0.999 and abs(alone.predicted_iou - answer.predicted_iou) < 1e-4
    assert mobile_sam.decode(embedding, np.zeros((0, 4), np.float32)) == []


def test_clear_object_is_found_inside_its_jittered_box(mobile_sam: Any) -> None:
    rgb, mask = forged(7, 192, 128)
    rows, columns = np.nonzero(mask)
    box = np.array([[columns.min() - 6, rows.min() - 4, columns.max() + 5, rows.max() + 7]], dtype=np.float32)
    result = make_pseudo_mask(rgb, box, mobile_sam, PseudoSettings())
    assert iou(result.mask, mask) > 0.9 > iou(fill_box(mask.shape, box[0]), mask)
    assert result.boxes[0].used == "mobile-sam" and 0 < (result.boxes[0].stability or 0) <= 1


def test_multimask_selects_the_best_rated_mask(mobile_sam: Any) -> None:
    rgb, _ = forged(7, 192, 128)
    (answer,) = mobile_sam.decode(mobile_sam.embed(rgb), np.array([[50, 30, 140, 110]], np.float32), multimask=True)
    assert answer.choice in (1, 2, 3)


def test_damaged_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    original = locate("mobile-sam")
    (tmp_path / "cut.safetensors").write_bytes(original.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="not a readable"):
        build_mobile_sam(tmp_path / "cut.safetensors")
    tensors = load_file(original)
    tensors.pop("mask_decoder.iou_token.weight")
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(WeightsError, match="does not hold MobileSAM"):
        build_mobile_sam(tmp_path / "less.safetensors")
    with pytest.raises(WeightsError, match="does not exist"):
        load_teacher("mobile-sam", tmp_path / "none.safetensors")
    (tmp_path / "sam.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="does not hold SAM vit-b"):
        load_teacher("vit-b", tmp_path / "sam.pth")
    with pytest.raises(UsageError, match="unknown teacher"):
        load_teacher("vit-x")
    with pytest.raises(UsageError, match="takes no weights"):
        load_teacher("box", original)


def test_low_confidence_falls_back_to_the_box(mobile_sam: Any) -> None:
    rgb, _ = forged(7, 192, 128)
    box = np.array([[20, 20, 120, 100]], np.float32)
    result = make_pseudo_mask(rgb, box, mobile_sam, PseudoSettings(min_predicted_iou=1.0, grow=0.1))
    assert result.boxes[0].used == "box"
    assert np.array_equal(result.mask, fill_box((128, 192), grow_boxes(box, 0.1, (128, 192))[0]))


def test_grabcut_segments_a_clear_object() -> None:
    rgb, mask = forged(11, 192, 128)
    rows, columns = np.nonzero(mask)
    box = np.array([[columns.min() - 8, rows.min() - 8, columns.max() + 8, rows.max() + 8]], np.float32)
    result = make_pseudo_mask(rgb, box, load_teacher("grabcut"), PseudoSettings())
    assert iou(result.mask, mask) > 0.8
    again = make_pseudo_mask(rgb, box, load_teacher("grabcut"), PseudoSettings())
    assert np.array_equal(result.mask, again.mask)


def test_boxes_are_united_and_cover_pixels_by_their_centres() -> None:
    rgb = np.zeros((10, 12, 3), np.uint8)
    boxes = np.array([[0, 0, 2, 2], [5.6, 3.4, 8.4, 6.6]], np.float32)
    mask = make_pseudo_mask(rgb, boxes, BoxTeacher(), PseudoSettings()).mask
    expected = np.zeros((10, 12), bool)
    expected[0:2, 0:2] = True
    expected[3:7, 6:8] = True
    assert np.array_equal(mask, expected)
    assert fill_box((10, 12), np.array([4.1, 4.1, 4.2, 4.2], np.float32)).sum() == 1


def test_islands_are_removed_and_holes_filled() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:7, 5:7] = False
    mask[15, 15] = True
    cleaned = clean_mask(mask, 4, 5)
    assert cleaned[5, 5] and not cleaned[15, 15] and cleaned.sum() == 100
    assert np.array_equal(clean_mask(mask, 0, 0), mask)
    assert clean_mask(mask, 1000, 0).any()
    assert not clean_mask(np.zeros((5, 5), bool), 10, 10).any()


def test_boundary_f_agrees_with_a_slow_oracle() -> None:
    rng = np.random.default_rng(0)
    first = np.kron(rng.random((6, 6)) > 0.6, np.ones((5, 5))) > 0
    second = np.roll(first, 3, axis=1)

    def outline(mask: Any) -> Any:
        padded = np.pad(mask, 1)
        return {
            (y, x)
            for y, x in np.argwhere(mask)
            if not all(padded[y + dy + 1, x + dx + 1] for dy in (-1, 0, 1) for dx in (-1, 0, 1))
        }

    def share(ours: Any, theirs: Any) -> Any:
        return np.mean([min((y - v) ** 2 + (x - u) ** 2 for v, u in theirs) <= 4 for y, x in ours])

    precision, recall = share(outline(first), outline(second)), share(outline(second), outline(first))
    assert boundary_f(first, second) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)
    assert boundary_f(first, first) == 1.0
    empty = np.zeros_like(first)
    assert boundary_f(empty, empty) == 1.0 and boundary_f(empty, first) == 0.0


def test_mask_names_never_collide() -> None:
    names = mask_names(["a/x.jpg", "a/x.png", "b/x.jpg", "y.tif"])
    tricky = ["a.jpg", "a.tif", "a.jpg.tif", "b.png"]
    assert len(set(mask_names(tricky).values())) == len(tricky)
    assert names == {"a/x.jpg": "a/x.jpg.png", "a/x.png": "a/x.png.png", "b/x.jpg": "b/x.png", "y.tif": "y.png"}


@pytest.mark.slow
def test_official_sam_file_is_loaded_strictly(tmp_path: Path) -> None:
    import torch
    from segment_anything import sam_model_registry

    original = sam_model_registry["vit_b"]()
    torch.save(original.state_dict(), tmp_path / "sam.pth")
    teacher = load_teacher("vit-b", tmp_path / "sam.pth", "cpu")
    assert teacher.name == "vit-b" and not teacher.network.sam.training  # type: ignore[attr-defined]
    for name, tensor in original.state_dict().items():
        assert torch.equal(tensor, teacher.network.sam.state_dict()[name]), name  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match="does not hold SAM vit-l"):
        load_teacher("vit-l", tmp_path / "sam.pth", "cpu")


@pytest.mark.slow
def test_sam_hq_gives_the_masks_of_its_own_predictor(tmp_path: Path, imltool: Imltool) -> None:
    import timm
    import torch

    with pytest.raises(UsageError, match="hq-vit-tiny needs its file"):
        load_teacher("hq-vit-tiny")
    with pytest.raises(WeightsError, match="does not exist"):
        load_teacher("hq-vit-tiny", tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="does not hold SAM-HQ vit_tiny"):
        load_teacher("hq-vit-tiny", tmp_path / "bad.pth")
    from segment_anything_hq import SamPredictor, sam_model_registry

    torch.manual_seed(0)
    original = sam_model_registry["vit_tiny"]()
    torch.save(original.state_dict(), tmp_path / "sam_hq_vit_tiny.pth")
    teacher = load_teacher("hq-vit-tiny", tmp_path / "sam_hq_vit_tiny.pth", "cpu")
    rgb, _ = forged(7, 192, 128)
    boxes = np.array([[50, 30, 140, 110], [5, 8, 90, 60]], np.float32)
    predictor = SamPredictor(original)
    predictor.set_image(rgb)
    embedding = teacher.embed(rgb)
    for multimask in (False, True):
        for box, answer in zip(boxes, teacher.decode(embedding, boxes, multimask), strict=True):
            # the padding point that is part of every prompt in imltool
            nothing = {"point_coords": np.zeros((1, 2)), "point_labels": np.array([-1])}
            masks, quality, _ = predictor.predict(box=box, multimask_output=multimask, **nothing)
            assert (answer.mask == masks[0]).mean() > 0.9995 and 0 < answer.mask.mean() < 1
            assert answer.predicted_iou == pytest.approx(float(quality[0]), abs=1e-4)
    with pytest.raises(WeightsError, match="does not hold SAM-HQ vit_b"):
        load_teacher("hq-vit-b", tmp_path / "sam_hq_vit_tiny.pth", "cpu")
    write_rgb(tmp_path / "photos/a.png", rgb)
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na.png,50,30,140,110\n")
    named = ("--teacher", "hq-vit-tiny", "--weights", tmp_path / "sam_hq_vit_tiny.pth", "--device", "cpu")
    command = ("pseudo", tmp_path / "photos", "--boxes", tmp_path / "boxes.csv", *named)
    assert imltool(*command, "--out", tmp_path / "pseudo")[0] == 0
    (row,) = read_pseudo(tmp_path / "pseudo")
    assert row.teacher == "hq-vit-tiny" and row.status == "ok"
    code, _, stderr = imltool(*command, "--out", tmp_path / "kept", "--embeddings", tmp_path / "cache")
    assert code == 2 and "embeddings of teacher hq-vit-tiny cannot be cached" in stderr
    made = timm.create_model("tiny_vit_5m_224")
    assert type(made).__module__ == "timm.models.tiny_vit", "the backbone of the student is still that of timm"


@pytest.mark.slow
def test_official_mobile_sam_torch_file_is_loaded(mobile_sam: Any, tmp_path: Path) -> None:
    import torch

    # as in the official file: float32, with the classifier that SAM does not use
    tensors = {name: tensor.float() for name, tensor in load_file(locate("mobile-sam")).items()}
    torch.save(tensors, tmp_path / "mobile_sam.pt")
    rgb, _ = forged(7, 192, 128)
    box = np.array([[50, 30, 140, 110]], np.float32)
    (expected,) = mobile_sam.decode(mobile_sam.embed(rgb), box)
    ours = load_sam("mobile-sam", device="cpu").network.sam.state_dict()  # type: ignore[attr-defined]
    for name in ("mobile-sam", "mobile-sam-official"):
        teacher = load_sam(name, tmp_path / "mobile_sam.pt", "cpu")
        theirs = teacher.network.sam.state_dict()  # type: ignore[attr-defined]
        assert teacher.name == name and theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], tensor) for key, tensor in ours.items())
    (found,) = teacher.decode(teacher.embed(rgb), box)
    assert np.array_equal(found.mask, expected.mask)
    torch.save({"model": tensors}, tmp_path / "nested.pt")
    with pytest.raises(WeightsError, match="not a plain table of tensors"):
        load_teacher("mobile-sam", tmp_path / "nested.pt", "cpu")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "mobile_sam.pt").read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="not a readable safetensors or torch file"):
        load_teacher("mobile-sam", tmp_path / "cut.pt", "cpu")


def test_official_mobile_sam_file_is_in_the_weights_table() -> None:
    info = WEIGHTS["mobile-sam-official"]
    assert (info.file_name, info.size_bytes) == ("mobile_sam.pt", 40728226)
    assert info.name in TEACHERS and info.kind == "teacher"
