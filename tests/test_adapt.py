"""`imltool adapt`: a student is adapted to a new kind with a few boxes and compared with its predecessor."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.pictures import forged, make_set, photo, write_rgb
from PIL import Image

from imltool.adapt.adaptation import Adaptation
from imltool.adapt.comparison import Case, Change, Comparison, f1_of
from imltool.adapt.known import make_known
from imltool.adapt.mixing import SHARES, choose_share, mixed
from imltool.adapt.parts import divide
from imltool.adapt.settings import AdaptSettings
from imltool.data.box_formats import BoxedImage, read_boxes
from imltool.data.box_writers import write_coco
from imltool.data.boxes import match_boxes
from imltool.data.masks import MaskRule
from imltool.errors import DataError, ResumeError, UsageError
from imltool.student.header import read_header

QUICK = [
    word
    for one in ("steps=3", "batch_size=2", "teacher=box", "check_count=6", "workers=0", "variants=1", "ema=0")
    for word in ("--set", one)
]


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Eight edited pictures with boxes and masks, and twenty authentic ones (links), all of different scenes."""
    entries = []
    for seed in range(8):
        rgb, mask = forged(seed)
        write_rgb(tmp_path / "photos" / f"{seed}.png", rgb)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{seed}.png")
        rows, columns = np.nonzero(mask)
        box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        entries.append(BoxedImage(f"{seed}.png", (box,), (96, 64)))
    write_coco(tmp_path / "boxes.json", entries)
    (tmp_path / "clean").mkdir()
    for seed in range(20):
        write_rgb(tmp_path / "elsewhere" / f"{seed}.jpg", photo(300 + seed, 160, 120))
        (tmp_path / "clean" / f"{seed}.jpg").symlink_to(tmp_path / "elsewhere" / f"{seed}.jpg")  # a folder of links
    return tmp_path


def arguments(case: Path, weights: Path, *more: object) -> tuple[object, ...]:
    given = ("adapt", case / "photos", "--boxes", case / "boxes.json", "--out", case / "run", "--from", weights)
    return (*given, "--device", "cpu", *QUICK, *more)


def test_adapted_student_is_evaluated_and_can_scan(case: Path, tiny_weights: Path, imltool: Imltool) -> None:
    options = ("--authentic", case / "clean", "--masks", case / "masks", "--json")
    code, stdout, stderr = imltool(*arguments(case, tiny_weights, *options))
    assert code == 0, stderr
    results = json.loads(stdout)
    assert results == json.loads((case / "run" / "adapt.json").read_text())
    assert results["measured_with"] == "masks" and results["boxes"] == 8
    pictures = results["pictures"]
    assert pictures["taught"] + pictures["held_out"] == 8 and pictures["held_out"] >= 2
    assert pictures["authentic"] + pictures["calibrating"] + pictures["checking"] == 20
    comparison = results["comparison"]
    mixing = results["mixing"]
    assert mixing["share"] in SHARES and str(mixing["share"]) in mixing["known"] and 0 <= mixing["known_before"] <= 1
    assert comparison["new_f1"]["pictures"] == pictures["held_out"]
    assert comparison["false_alarms"]["pictures"] == pictures["checking"]
    assert 0 < comparison["known_f1"]["pictures"] <= 6
    header, before = read_header(case / "run" / "adapted.safetensors"), read_header(tiny_weights)
    assert header.ancestry[0].name == before.name and header.score_authentic == pictures["calibrating"]
    assert {one.name for one in header.training_sets} >= {"new kind", "authentic"}
    taught, held = (
        {line.split("/", 1)[1] for line in (case / f"run/lists/{name}.txt").read_text().split()}
        for name in ("taught", "held-out")
    )
    assert not taught & held and len(taught | held) == 8

    # repeating the command keeps the result; the run's folder can be given as a student
    kept = (case / "run" / "adapted.safetensors").read_bytes()
    assert imltool(*arguments(case, tiny_weights, *options))[0] == 0
    assert (case / "run" / "adapted.safetensors").read_bytes() == kept
    scan = ("scan", case / "photos", "--weights", case / "run", "--out", case / "scan", "--device", "cpu")
    assert imltool(*scan)[0] == 0
    code, _, error = imltool(*arguments(case, tiny_weights, *options, "--set", "steps=4"))
    assert code == 2 and "steps was 3, now 4" in error


def test_known_forgeries_given_are_measured_in_place_of_made_ones(
    case: Path, tiny_weights: Path, imltool: Imltool
) -> None:
    known = make_set(case / "known", tampered=4, authentic=1, seed=700)
    (known / "masks" / "t3.png").unlink()
    options = ("--authentic", case / "clean", "--known", known, "--json")
    code, stdout, stderr = imltool(*arguments(case, tiny_weights, *options))
    assert code == 0, stderr
    results = json.loads(stdout)
    assert results["known_kinds"] == "data set" and results["comparison"]["known_f1"]["pictures"] == 3
    assert "left out, no mask: tampered/t3.png" in " ".join(stderr.split())
    assert not (case / "run" / "check").exists()
    first = sorted((known / "tampered").iterdir())[0]
    first.write_bytes((case / "photos" / "3.png").read_bytes())
    code, _, error = imltool(*arguments(case, tiny_weights, *options))
    assert code == 1 and "cannot show what is lost" in " ".join(error.split())


def test_mixing_share_is_the_largest_that_known_kinds_allow() -> None:
    lost = {0.0: 0.5, 0.7: 0.47, 0.55: 0.49, 0.4: 0.5}
    chosen = choose_share(lost.__getitem__, greatest_loss=0.02)
    assert (chosen.share, chosen.known_before, chosen.known) == (0.55, 0.5, {0.7: 0.47, 0.55: 0.49})
    assert choose_share(lambda share: 0.3, greatest_loss=0.02).share == 0.7
    assert choose_share(lambda share: 0.5 - 0.2 * (share > 0) - 0.1 * abs(share - 0.4), 0.02).share == 0.4


def test_mixing_interpolates_weights_and_takes_new_counters() -> None:
    before = {"weight": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    after = {"weight": torch.tensor([1.0, 0.0]), "steps": torch.tensor(9)}
    made = mixed(before, after, 0.25)
    assert made["weight"].tolist() == [0.25, 3.0] and made["steps"].item() == 9
    assert mixed(before, after, 1.0)["weight"].tolist() == [1.0, 0.0]


def test_thresholds_are_unchanged_without_authentic_pictures(case: Path, tiny_weights: Path, imltool: Imltool) -> None:
    from imltool.student.checkpoint import load_checkpoint

    boxes = json.loads((case / "boxes.json").read_text())
    boxes["annotations"][0]["bbox"][2] = 57
    (case / "boxes.json").write_text(json.dumps(boxes))
    code, stdout, stderr = imltool(*arguments(case, tiny_weights, "--set", "parts=fusion"))
    assert code == 0, stderr
    assert "boxes over the edge of their picture, clipped: 1" in " ".join(stderr.split())
    assert "thresholds are not changed" in " ".join(stderr.split())
    assert "new kind, F1" in stdout and "authentic" not in stdout
    header, before = read_header(case / "run" / "adapted.safetensors"), read_header(tiny_weights)
    assert header.score_threshold == before.score_threshold
    assert json.loads((case / "run" / "mixing.json").read_text())["share"] == SHARES[0] < 1
    frozen, start = load_checkpoint(case / "run" / "adapted.safetensors")[0], load_checkpoint(tiny_weights)[0]
    for name, tensor in start.backbone.state_dict().items():
        assert frozen.backbone.state_dict()[name].equal(tensor), name
    assert any(not a.equal(b) for a, b in zip(frozen.fusion.parameters(), start.fusion.parameters(), strict=True))


def test_unsuitable_adaptation_pictures_are_refused(case: Path, tiny_weights: Path, imltool: Imltool) -> None:
    clean = case / "clean"
    shutil.copy(case / "photos" / "3.png", clean / "twin.png")
    code, _, error = imltool(*arguments(case, tiny_weights, "--authentic", clean))
    assert code == 1 and "given as authentic, and has boxes as 3.png" in error
    (clean / "twin.png").unlink()
    (clean / "0.jpg").unlink()
    code, _, error = imltool(*arguments(case, tiny_weights, "--authentic", clean))
    assert code == 1 and "holds 19 authentic pictures" in error
    for seed in range(5, 8):
        (case / "photos" / f"{seed}.png").unlink()
    code, _, error = imltool(*arguments(case, tiny_weights))
    assert code == 1 and "5 pictures have usable boxes" in error
    code, _, error = imltool("adapt", clean, *arguments(case, tiny_weights)[2:])
    assert code == 1 and "no box of" in error
    assert not (case / "run").exists()


def test_pictures_that_would_end_a_run_are_refused_before_anything_is_learned(
    case: Path, tiny_weights: Path, imltool: Imltool
) -> None:
    clean, known = case / "clean", make_set(case / "known", tampered=2, authentic=0)
    file = clean / "cut.jpg"
    file.write_bytes((clean / "0.jpg").read_bytes()[:-900])
    code, _, error = imltool(*arguments(case, tiny_weights, "--authentic", clean))
    assert code == 1 and f"authentic pictures that cannot be decoded: 1 ({file})" in error and error.count("\n") == 1
    file.unlink()
    cut = next((known / "tampered").iterdir())
    cut.write_bytes(cut.read_bytes()[:-900])
    code, _, error = imltool(*arguments(case, tiny_weights, "--authentic", clean, "--known", known))
    assert code == 1 and f"{cut.name} of {known}: unreadable picture" in error
    if sys.platform == "linux":
        unnamed = os.fsencode(clean) + b"/caf\xe9.jpg"
        Path(os.fsdecode(unnamed)).write_bytes((clean / "0.jpg").read_bytes())
        code, _, error = imltool(*arguments(case, tiny_weights, "--authentic", clean))
        assert code == 1 and "is not plain UTF-8 text" in error and error.count("\n") == 1
    (case / "photos").rename(case / "#12")
    code, _, error = imltool("adapt", case / "#12", *arguments(case, tiny_weights)[2:])
    assert code == 1 and "begins with # or with a space" in error
    assert not (case / "run").exists()


def test_known_kinds_need_a_forgery_that_could_be_made(tmp_path: Path) -> None:
    (tmp_path / "junk.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no forgery of a known kind could be made: "):
        list(make_known([tmp_path / "junk.jpg"], 2, tmp_path / "made"))


def test_single_scene_cannot_be_divided(case: Path) -> None:
    for seed in range(1, 8):
        shutil.copy(case / "photos" / "0.png", case / "photos" / f"{seed}.png")
    matched = match_boxes(case / "photos", read_boxes(case / "boxes.json")).matched
    with pytest.raises(DataError, match="all show one scene"):
        divide(matched, None, AdaptSettings())


def test_scenes_matched_by_pattern_are_not_divided(case: Path) -> None:
    text = (case / "boxes.json").read_text()
    for seed in range(8):
        name = f"s{seed // 4}_{seed}.png"
        (case / "photos" / f"{seed}.png").rename(case / "photos" / name)
        text = text.replace(f'"{seed}.png"', f'"{name}"')
    (case / "boxes.json").write_text(text)
    matched = match_boxes(case / "photos", read_boxes(case / "boxes.json")).matched
    parts = divide(matched, None, AdaptSettings(scenes=r"(s\d)_"))
    assert not {path.name[:2] for path in parts.taught} & {path.name[:2] for path in parts.held_out}


def change(before: float, after: float, interval: tuple[float, float]) -> Change:
    return Change(pictures=9, before=before, after=after, difference=after - before, interval=interval)


BETTER, SAME, FEW = (0.05, 0.5, (0.3, 0.6)), (0.6, 0.59, (-0.03, 0.01)), (0.02, 0.04, (0.0, 0.04))


@pytest.mark.parametrize(
    ("new", "known", "alarms", "recommended", "words"),
    [
        (BETTER, SAME, FEW, True, "better at the new kind"),
        (BETTER, (0.6, 0.5, (-0.2, 0.0)), FEW, False, "known kinds lose 0.100"),
        (BETTER, SAME, (0.02, 0.2, (0.1, 0.3)), False, "20% of authentic"),
        ((0.05, 0.1, (-0.1, 0.2)), SAME, FEW, False, "not shown"),
    ],
)
def test_student_without_improvement_is_not_recommended(
    new: tuple[Any, ...], known: tuple[Any, ...], alarms: tuple[Any, ...], recommended: bool, words: str
) -> None:
    comparison = Comparison(
        new_f1=change(*new), new_flagged=change(0, 1, (0, 1)), known_f1=change(*known), false_alarms=change(*alarms)
    )
    assert comparison.recommended is recommended and words in comparison.conclusion()


def test_masks_are_found_by_stem_before_anything_is_learned(case: Path, tiny_weights: Path, imltool: Imltool) -> None:
    for folder in (case / "photos", case / "masks"):
        for path in [*folder.iterdir()]:
            path.rename(path.with_stem(f"take [{path.stem}]"))  # brackets are a pattern only for a glob
    boxes = (case / "boxes.json").read_text()
    for seed in range(8):
        boxes = boxes.replace(f'"{seed}.png"', f'"take [{seed}].png"')
    (case / "boxes.json").write_text(boxes)
    code, _, stderr = imltool(*arguments(case, tiny_weights, "--masks", case / "masks"))
    assert code == 0, stderr
    assert json.loads((case / "run" / "adapt.json").read_text())["measured_with"] == "masks"
    shutil.rmtree(case / "run")
    for path in (case / "masks").iterdir():
        path.unlink()
    code, _, stderr = imltool(*arguments(case, tiny_weights, "--masks", case / "masks"))
    assert code == 1 and "has 0 masks" in stderr
    assert not (case / "run").exists(), "refused before the pseudo-masks and the training"


def adaptation(case: Path, weights: Path, settings: AdaptSettings | None = None) -> Adaptation:
    chosen = settings or AdaptSettings(teacher="box")
    given = {"masks": case / "masks", "weights": weights, "settings": chosen, "device": "cpu"}
    return Adaptation(case / "photos", case / "boxes.json", case / "run", **given)  # type: ignore[arg-type]


def test_true_masks_are_read_as_by_eval(tmp_path: Path) -> None:
    truth = np.zeros((20, 30), np.uint8)
    truth[4:10, 5:17] = 255
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (20, 30)).save(tmp_path / "turned.jpg", exif=turned)  # shown with 30x20 pixels
    Image.new("RGB", (30, 20)).save(tmp_path / "plain.png")
    red = np.dstack([truth, *[np.zeros_like(truth)] * 2])
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(np.rot90(truth)).save(tmp_path / "stored.png")
    probabilities = (truth > 0).astype(np.float32)
    for image, mask in (("plain.png", "red.png"), ("turned.jpg", "stored.png")):
        assert f1_of(probabilities, Case(tmp_path / image, tmp_path / mask)) == 1.0
    dark = Case(tmp_path / "plain.png", tmp_path / "dark.png", MaskRule(polarity="dark"))
    Image.fromarray(255 - truth).save(tmp_path / "dark.png")
    assert f1_of(probabilities, dark) == 1.0


def test_unusable_true_masks_are_refused_before_anything_is_learned(case: Path, tiny_weights: Path) -> None:
    for array, words in (
        (np.zeros((64, 96), np.uint8), "marks nothing"),
        (np.full((60, 96), 255, np.uint8), "another size"),
    ):
        for seed in range(8):
            Image.fromarray(array).save(case / "masks" / f"{seed}.png")
        with pytest.raises(DataError, match=words):
            adaptation(case, tiny_weights)


def test_true_masks_are_paired_by_path_where_names_repeat(case: Path, tiny_weights: Path) -> None:
    text = (case / "boxes.json").read_text()
    for seed in range(8):
        for folder in (case / "photos", case / "masks"):
            (folder / f"{seed // 2}").mkdir(exist_ok=True)
            (folder / f"{seed}.png").rename(folder / f"{seed // 2}" / f"part{seed % 2}.png")
        text = text.replace(f'"{seed}.png"', f'"{seed // 2}/part{seed % 2}.png"')
    (case / "boxes.json").write_text(text)
    adaptation(case, tiny_weights)
    for path in (case / "masks").glob("[123]/*"):  # now every name is in the folder once, of other pictures
        path.unlink()
    with pytest.raises(DataError, match="has 0 masks"):
        adaptation(case, tiny_weights)


def test_masks_accepted_later_are_another_adaptation(case: Path, tiny_weights: Path) -> None:
    for _ in adaptation(case, tiny_weights).run():
        break  # stopped at the first pseudo-mask
    document = json.loads((case / "boxes.json").read_text())
    for annotation in document["annotations"]:
        annotation["imltool"] = {"accepted": "box"}
    (case / "boxes.json").write_text(json.dumps(document))
    with pytest.raises(ResumeError, match="boxes_sha256"):
        next(adaptation(case, tiny_weights).run())


def test_scene_pattern_that_is_no_expression_is_refused_in_one_line(case: Path, tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="scenes '\\(' is not a regular expression"):
        adaptation(case, tiny_weights, AdaptSettings(scenes="("))


def test_shares_of_samples_that_are_more_than_all_are_refused(case: Path, tiny_weights: Path, imltool: Imltool) -> None:
    shares = ("--set", "new=0.8", "--set", "replay=0.3")
    code, _, error = imltool(*arguments(case, tiny_weights, *shares))
    assert code == 2 and "new 0.8 and replay 0.3 are shares of one whole" in " ".join(error.split())
    assert not (case / "run").exists()


def test_boxes_of_one_category_teach(case: Path, tiny_weights: Path, imltool: Imltool) -> None:
    document = json.loads((case / "boxes.json").read_text())
    document["categories"] = [{"id": 1, "name": "edit"}, {"id": 2, "name": "face"}]
    for annotation in document["annotations"][6:]:
        annotation["category_id"] = 2
    (case / "boxes.json").write_text(json.dumps(document))
    options = ("--format", "coco", "--category", "edit", "--boxes-of", "displayed")
    code, _, stderr = imltool(*arguments(case, tiny_weights, *options, "--set", "steps=1"))
    assert code == 0 and "2 boxes of other categories than edit are not used" in stderr
    assert json.loads((case / "run" / "adapt.json").read_text())["boxes"] == 6
