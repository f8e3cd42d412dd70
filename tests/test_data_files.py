"""Operations on data sets of any layout: checks, conversion, boxes from masks, manifests."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.layout_trees import BRIGHT, HEIGHT, TREES, TRUTH, WIDTH, Tree, make_tree, messages_by_file
from helpers.pictures import photo, write_rgb
from numpy.typing import NDArray
from PIL import Image

from imltool.data.box_formats import BoxedImage, read_boxes
from imltool.data.box_writers import write_coco
from imltool.data.boxes import match_boxes
from imltool.data.folder import read_folder
from imltool.data.layouts import Problem, read_layout
from imltool.data.layouts.check import check_files
from imltool.data.layouts.coarse import boxes_from_masks, boxes_root
from imltool.data.layouts.convert import convert
from imltool.data.manifest import Manifest, Record, read_manifest, write_manifest
from imltool.data.masks import MaskRule
from imltool.errors import DataError, ImlError, ResumeError, UsageError
from imltool.pictures.images import read_mask

# checks


def checked(tree: Tree, *masks: NDArray[np.uint8]) -> list[Problem]:
    """Findings for pictures with these masks in the folder layout."""
    for position, mask in enumerate(masks):
        tree.picture(f"tampered/{position}.png")
        tree.mask(f"masks/{position}.png", values=mask)
    return check_files(read_layout("folder", tree.root)[0])


def test_suspicious_masks_are_found(tmp_path: Path) -> None:
    painted = np.where(TRUTH[..., None], (0, 255, 0), (255, 0, 0)).astype(np.uint8)
    soft, levels = BRIGHT.copy(), BRIGHT.copy()
    soft[16, 16:32] = 128
    levels[20:28, 20:40] = 100
    masks = {"colour": painted, "empty": BRIGHT * 0, "full": BRIGHT * 0 + 255, "inverted": 255 - BRIGHT}
    masks |= {"soft": soft, "levels": levels, "ones": BRIGHT // 255, "good": BRIGHT}
    problems = checked(Tree(tmp_path), *masks.values())
    files = dict(zip((f"masks/{position}.png" for position in range(len(masks))), masks, strict=True))
    found = {(files[problem.file], problem.kind, problem.fault) for problem in problems}
    assert found == {
        ("colour", "colour", True),
        ("empty", "empty", True),
        ("full", "full", True),
        ("inverted", "inverted", True),
        ("soft", "levels", False),
        ("levels", "levels", True),
    }


def test_set_of_inverted_masks_gets_an_additional_finding(tmp_path: Path) -> None:
    messages = [problem.message for problem in checked(Tree(tmp_path), 255 - BRIGHT, 255 - BRIGHT, BRIGHT)]
    assert messages[:2] == ["looks inverted: it marks 83% of the picture and 100% of its border"] * 2
    assert messages[2:] == ["2 of 3 masks look inverted: the polarity of the whole set is probably wrong"]


def test_polarity_of_a_mask_rule_is_checked(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "dso1")
    tree.mask(
        "DSO-1-Fake-Images-Masks/splicing-01.png", "DSO-1-Fake-Images-Masks/splicing-100.png"
    )  # as if corrected by someone
    problems = check_files(read_layout("dso1", tmp_path)[0])
    assert [problem.kind for problem in problems] == ["inverted"] * 3


def test_damaged_missing_and_duplicate_files_are_found(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "folder")
    tree.picture("tampered/cut.jpg", "authentic/same.jpg")
    tree.mask("masks/cut.png")
    whole = (tmp_path / "tampered/cut.jpg").read_bytes()
    (tmp_path / "tampered/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "masks/deep/a.png").write_bytes(b"")
    (tmp_path / "authentic/again.jpg").write_bytes((tmp_path / "authentic/same.jpg").read_bytes())
    (tmp_path / "authentic/contrary.jpg").write_bytes((tmp_path / "tampered/a.jpg").read_bytes())
    manifest, _ = read_layout("folder", tmp_path)
    gone = Record(image="gone.jpg", mask="gone.png", source="x")
    problems = check_files(Manifest(tmp_path, [*manifest.records, gone]))
    found = {(problem.kind, problem.file, problem.fault) for problem in problems}
    assert found == {
        ("unreadable", "tampered/cut.jpg", True),
        ("unreadable", "masks/deep/a.png", True),
        ("missing", "gone.jpg", True),
        ("missing", "gone.png", True),
        ("duplicate", "authentic/same.jpg", False),
        ("duplicate", "authentic/contrary.jpg", True),
    }
    assert messages_by_file(problems, "unreadable")["masks/deep/a.png"] == "the file is empty"


def test_duplicate_in_two_splits_is_a_fault(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.png", photo(1))
    write_rgb(tmp_path / "b.png", photo(1))
    records = [
        Record(image=f"{name}.png", kind="authentic", source="x", split=split)
        for name, split in (("a", "train"), ("b", "test"))
    ]
    (problem,) = check_files(Manifest(tmp_path, records))
    assert problem.fault and problem.message == "is the same file as a.png of the split train"


def test_duplicate_picture_with_another_mask_is_a_fault(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.picture("tampered/a.png")
    (tmp_path / "tampered/b.png").write_bytes((tmp_path / "tampered/a.png").read_bytes())
    tree.mask("masks/a.png", "masks/b.png")
    (problem,) = check_files(read_layout("folder", tmp_path)[0])
    assert problem.fault and problem.message == "is the same file as tampered/a.png, which has the mask masks/a.png"


# conversion


@pytest.mark.parametrize("layout", list(TREES))
def test_every_layout_converts_to_a_clean_folder(tmp_path: Path, layout: str) -> None:
    tree = make_tree(tmp_path / "set", layout)
    manifest, _ = read_layout(layout, tree.root)
    out = tmp_path / "out"
    assert [outcome for outcome in convert(manifest, out) if outcome] == []
    samples = read_folder(out).samples
    assert len(samples) == len(manifest.records)
    for sample in samples:
        if sample.mask:
            assert set(np.unique(np.asarray(Image.open(sample.mask)))) == {0, 255}
            assert np.array_equal(read_mask(sample.mask, (WIDTH, HEIGHT)), TRUTH)
    assert sorted(sample.image.read_bytes() for sample in samples) == sorted(
        manifest.file(record.image).read_bytes() for record in manifest.records
    )
    kept = read_manifest(out / "manifest.jsonl")
    assert check_files(kept) == []
    for before, after in zip(manifest.records, kept.records, strict=True):
        assert (before.kind, before.split, before.source) == (after.kind, after.split, after.source)
        assert manifest.file(before.image).read_bytes() == kept.file(after.image).read_bytes()


def test_conversion_keeps_folders_of_equal_names(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "set", "korus")
    manifest, _ = read_layout("korus", tree.root)
    list(convert(manifest, tmp_path / "out"))
    names = [sample.name for sample in read_folder(tmp_path / "out").samples]
    assert names[:2] == [f"tampered/{camera}/tampered-realistic/DPP0012.TIF" for camera in ("Canon_60D", "Sony_A57")]


def test_conversion_keeps_pictures_with_the_same_stem_apart(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.picture("authentic/a.png", "authentic/a.jpg", "authentic/A_jpg.png")
    manifest, _ = read_layout("folder", tmp_path)
    list(convert(manifest, tmp_path / "out"))
    written = [sample.image for sample in read_folder(tmp_path / "out").samples]
    assert len({path.stem.casefold() for path in written}) == 3


def test_convert_resumes_and_refuses_other_parameters(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "set", "folder")
    manifest, _ = read_layout("folder", tree.root)
    out = tmp_path / "out"
    steps = convert(manifest, out)
    next(steps)
    steps.close()  # type: ignore[attr-defined]  # stopped after the first picture
    assert list(convert(manifest, out)) == [None] * 3 and len(read_folder(out).samples) == 3
    with pytest.raises(ResumeError, match="other parameters"):
        list(convert(Manifest(manifest.root, manifest.records[:1]), out))
    with pytest.raises(UsageError, match="not empty"):
        list(convert(manifest, tree.root))


def test_convert_copies_by_default_and_links_on_request(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "set", "folder")
    manifest, _ = read_layout("folder", tree.root)
    list(convert(manifest, tmp_path / "copied"))
    assert (tree.root / "tampered/a.jpg").stat().st_nlink == 1
    list(convert(manifest, tmp_path / "linked", link=True))
    assert (tmp_path / "linked/authentic/b.jpg").samefile(tree.root / "authentic/b.jpg")


def test_conversion_leaves_out_empty_masks(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "set", "folder")
    tree.mask("masks/a.png", values=BRIGHT * 0)
    manifest, _ = read_layout("folder", tree.root)
    outcomes = [outcome for outcome in convert(manifest, tmp_path / "out") if outcome]
    assert messages_by_file(outcomes) == {"tampered/a.jpg": "its mask masks/a.png marks nothing"}


# boxes from masks


def boxed(manifest: Manifest, **options: object) -> dict[str, BoxedImage]:
    outcomes = list(boxes_from_masks(manifest, **options))  # type: ignore[arg-type]
    return {item.name: item for item in outcomes if isinstance(item, BoxedImage)}


@pytest.mark.parametrize("layout", list(TREES))
def test_boxes_surround_the_true_region(tmp_path: Path, layout: str) -> None:
    tree = make_tree(tmp_path, layout)
    manifest, _ = read_layout(layout, tree.root)
    exact = boxed(manifest, jitter=(0.0, 0.0))
    assert len(exact) == sum(record.tampered for record in manifest.records)
    assert all(item.boxes == ((16.0, 16.0, 48.0, 32.0),) for item in exact.values())
    loose = boxed(manifest, jitter=(0.1, 0.2), seed=3)
    for x1, y1, x2, y2 in (item.boxes[0] for item in loose.values()):
        assert 9.6 <= x1 <= 12.8 and 51.2 <= x2 <= 54.4 and 12.8 <= y1 <= 14.4 and 33.6 <= y2 <= 35.2


def test_boxes_depend_on_seed_and_name_and_match_their_pictures(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.picture("tampered/a.jpg", "tampered/b.jpg", "tampered/c.jpg", "authentic/d.jpg")
    tree.mask("masks/a.png", "masks/b.png")
    tree.mask("masks/c.png", values=BRIGHT * 0)
    manifest, _ = read_layout("folder", tmp_path)
    all_boxes = boxed(manifest, seed=1)
    assert list(all_boxes) == ["a.jpg", "b.jpg"] and all_boxes["a.jpg"].boxes != all_boxes["b.jpg"].boxes
    assert boxed(manifest, seed=1) == all_boxes and boxed(manifest, seed=2) != all_boxes
    (failed,) = (item for item in boxes_from_masks(manifest) if isinstance(item, Problem))
    assert failed.file == "tampered/c.jpg"
    some = Manifest(tmp_path, [record for record in manifest.records if record.image != "tampered/a.jpg"])
    assert boxed(some, seed=1)["b.jpg"] == all_boxes["b.jpg"]
    write_coco(tmp_path / "boxes.json", list(all_boxes.values()))
    report = match_boxes(boxes_root(manifest), read_boxes(tmp_path / "boxes.json"))
    assert len(report.matched) == 2 and not report.faults


@pytest.mark.parametrize("range_", [(0.2, 0.1), (-0.5, 0.1), (0.0, 2.0), (float("nan"), 0.1)])
def test_invalid_jitter_ranges_are_refused(tmp_path: Path, range_: tuple[float, float]) -> None:
    tree = make_tree(tmp_path, "folder")
    with pytest.raises(UsageError, match="jitter"):
        list(boxes_from_masks(read_layout("folder", tree.root)[0], range_))


# manifests


@pytest.mark.parametrize("layout", list(TREES))
def test_manifest_round_trips_from_any_folder(tmp_path: Path, layout: str) -> None:
    tree = make_tree(tmp_path / "set", layout)
    manifest, _ = read_layout(layout, tree.root)
    for place in (tmp_path / "set/here.jsonl", tmp_path / "above.jsonl", tmp_path / "other/far.jsonl"):
        write_manifest(place, manifest)
        again = read_manifest(place)
        for before, after in zip(manifest.records, again.records, strict=True):
            assert again.file(after.image).samefile(manifest.file(before.image))
            assert after.model_dump(exclude={"image", "mask"}) == before.model_dump(exclude={"image", "mask"})
            assert before.mask is None or np.array_equal(again.truth(after), TRUTH)
    near = read_manifest(tmp_path / "above.jsonl").records
    assert all(record.image.startswith("set/") for record in near)
    assert all(Path(record.image).is_absolute() for record in read_manifest(tmp_path / "other/far.jsonl").records)


GOOD = '{"image": "a.jpg", "mask": "a.png", "source": "x"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}\n{{", "line 2 is not JSON"),
        (f"{GOOD}\n\n[1]", "line 3 is a JSON list"),
        ('{"image": "a.jpg", "source": "x"}', "line 1: a picture has no mask exactly when its kind is authentic"),
        ('{"image": "a.jpg", "mask": "m.png", "kind": "authentic", "source": "x"}', "line 1: a picture has no mask"),
        ('{"image": "a.jpg", "mask": "a.png"}', "line 1: source: Field required"),
        ('{"image": "", "mask": "a.png", "source": "x"}', "line 1: image: "),
        (GOOD.replace("a.jpg", "a\\u0000.jpg"), "line 1: a path holds a control character"),
        (GOOD.replace("}", ', "kind": "magic"}'), "line 1: kind: "),
        (GOOD.replace("}", ', "maks": 1}'), "line 1: maks: .*known here: image, kind, mask"),
        (GOOD.replace("}", ', "mask_rule": {"threshold": 300}}'), "line 1: mask_rule.threshold: "),
        (f"{GOOD}\n{GOOD}", "line 2: a.jpg was already in line 1"),
        ("\n\n", "holds no record"),
    ],
)
def test_manifest_errors_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert re.search(message, str(caught.value)) and str(tmp_path / "m.jsonl") in str(caught.value)


def test_unreadable_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "m.jsonl", tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ImlError):
            read_manifest(path)


def test_manifest_splits_are_selected_by_name(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "autosplice")
    manifest, _ = read_layout("autosplice", tree.root)
    chosen = manifest.select(["jpeg75"])
    assert {record.image for record in chosen.records} == {"Forged_JPEG75/56635_0.jpg", "Authentic/56635.jpg"}
    assert manifest.select(None) is manifest
    with pytest.raises(DataError, match=r"no picture has the split .train..*jpeg100, jpeg75"):
        manifest.select(["train"])


def test_mask_rule_sets_threshold_and_polarity(tmp_path: Path) -> None:
    write_rgb(tmp_path / "m.png", np.array([[0, 40, 127, 128, 255]], dtype=np.uint8))
    write_rgb(tmp_path / "p.png", np.zeros((1, 5, 3), dtype=np.uint8))
    record = Record(image="p.png", mask="m.png", source="x")

    def read(**rule: object) -> list[bool]:
        changed = record.model_copy(update={"mask_rule": MaskRule(**rule)})  # type: ignore[arg-type]
        return Manifest(tmp_path, [changed]).truth(changed)[0].tolist()  # type: ignore[no-any-return]

    assert read() == [False, False, False, True, True]
    assert read(threshold=39) == [False, True, True, True, True]
    assert read(polarity="dark") == [True, True, True, False, False]
    assert read(polarity="dark", threshold=0) == [True, False, False, False, False]
    write_rgb(tmp_path / "p.png", np.zeros((1, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="is 5x1, its picture is 4x1"):
        Manifest(tmp_path, [record]).truth(record)
