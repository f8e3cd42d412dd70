"""`imltool pseudo` end to end: masks, journal, resume, refusals, audit."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.annotated import make_annotated
from helpers.commands import Imltool
from helpers.forked import Forked
from helpers.outputs import pseudo_rows
from helpers.pictures import photo
from PIL import Image

from imltool.data.rle import decode_mask
from imltool.pictures.images import read_mask
from imltool.teacher.pseudo_rows import read_pseudo


def test_pseudo_writes_masks_rows_and_audit(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, truths = make_annotated(tmp_path)
    Image.fromarray(photo(1)).save(images / "lonely.png")
    Image.fromarray(photo(1)).save(truths / "lonely.png")
    out = tmp_path / "out"
    code, stdout, stderr = imltool("pseudo", images, "--boxes", boxes, "--out", out, "--gt", truths, "--device", "cpu")
    assert code == 0 and "not annotated 1 (lonely.png)" in stderr
    rows = pseudo_rows(out)
    assert [row["image"] for row in rows] == [f"sub/p{index}.png" for index in range(3)]
    for row in rows:
        assert row["mask"] == f"masks/{row['image']}" and len(row["sha256"]) == len(row["mask_sha256"]) == 64
        (record,) = row["boxes"]
        assert record["used"] == "mobile-sam" and 0 < record["predicted_iou"] <= 1.05 and record["coverage"] > 0.4
        mask, truth = read_mask(out / row["mask"], (128, 96)), read_mask(truths / row["image"])
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85
    audit = json.loads((out / "audit.json").read_text())
    assert audit["images"] == 3 and audit["iou_mean"] > 0.85 and audit["under_half"] == 0
    assert sum(stratum["images"] for stratum in audit["strata"].values()) == 3
    assert "IoU mean" in stdout and Image.open(out / "audit.png").width > 400
    assert (out / "audit.csv").read_text().count("\n") == 4


def test_rerun_makes_only_missing_masks(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    out = tmp_path / "out"
    command = ("pseudo", images, "--boxes", boxes, "--out", out, "--teacher", "grabcut", "--json")
    code, first, _ = imltool(*command)
    assert code == 0 and len(first.splitlines()) == 3
    kept = (out / "masks/sub/p0.png").stat().st_mtime_ns
    (out / "masks/sub/p1.png").unlink()
    lines = (out / "pseudo.jsonl").read_bytes().splitlines(keepends=True)
    (out / "pseudo.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    code, second, _ = imltool(*command)
    assert code == 0 and sorted(json.loads(line)["image"] for line in second.splitlines()) == [
        "sub/p1.png",
        "sub/p2.png",
    ]
    assert (out / "masks/sub/p0.png").stat().st_mtime_ns == kept
    for line in second.splitlines():
        made = json.loads(line)
        before = json.loads(next(old for old in first.splitlines() if json.loads(old)["image"] == made["image"]))
        assert made | {"seconds": 0} == before | {"seconds": 0}
    code, third, _ = imltool(*command)
    assert code == 0 and third == ""


def test_other_parameters_are_refused(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    out = tmp_path / "out"
    assert imltool("pseudo", images, "--boxes", boxes, "--out", out, "--teacher", "box")[0] == 0
    for change in (("--teacher", "grabcut"), ("--teacher", "box", "--set", "grow=0.1")):
        code, _, stderr = imltool("pseudo", images, "--boxes", boxes, "--out", out, *change)
        assert code == 2 and "other parameters" in stderr
    assert len(pseudo_rows(out)) == 3


def test_damaged_picture_is_reported_and_the_rest_is_labelled(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    broken = images / "sub/p1.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    command = ("pseudo", images, "--boxes", boxes, "--out", out, "--teacher", "box", "--max-left-out", "0.4")
    code, _, stderr = imltool(*command)
    assert code == 3 and "p1.png" in stderr and "damaged" in stderr
    assert [row["image"] for row in pseudo_rows(out)] == ["sub/p0.png", "sub/p2.png"]
    broken.write_bytes(whole)
    assert imltool(*command)[0] == 0
    assert sorted(row["image"] for row in pseudo_rows(out)) == [f"sub/p{index}.png" for index in range(3)]


def test_faulty_boxes_are_reported_individually(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    document = json.loads(boxes.read_text())
    document["annotations"][0]["bbox"] = [100, 50, 400, 10]
    boxes.write_text(json.dumps(document))
    command = ("pseudo", images, "--boxes", boxes, "--out", tmp_path / "o", "--teacher", "box")
    code, _, stderr = imltool(*command)
    assert code == 1 and "1 of 3 pictures are left out: no usable box 1 (sub/p0.png)" in stderr
    assert "--max-left-out 0.34" in stderr and not (tmp_path / "o").exists()
    code, _, stderr = imltool(*command, "--max-left-out", "0.34")
    assert code == 3 and "p0.png" in stderr
    (account,) = json.loads((tmp_path / "o/sources.json").read_text())
    assert (account["pictures"], account["used"], account["left_out"]) == (3, 2, {"no usable box": ["sub/p0.png"]})
    assert [row["image"] for row in pseudo_rows(tmp_path / "o")] == ["sub/p1.png", "sub/p2.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--teacher", "mobile"), 2, "unknown teacher"),
        (("--set", "min_covrage=1"), 2, "did you mean min_coverage"),
        (("--format", "pascal"), 2, "unknown box format"),
        (("--teacher", "vit-h"), 1, "sam_vit_h_4b8939.pth"),
        (
            (
                "--device",
                "cuda:7",
            ),
            2,
            "not available",
        ),
    ],
)
def test_invalid_arguments_are_a_one_line_error(
    tmp_path: Path,
    imltool: Imltool,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("IMLTOOL_WEIGHTS", str(tmp_path / "cache"))
    images, boxes, _ = make_annotated(tmp_path, 1)
    found, _, stderr = imltool("pseudo", images, "--boxes", boxes, "--out", tmp_path / "o", *arguments)
    assert found == code and message in stderr.splitlines()[-1] and stderr.count("error:") == 1


def test_killed_run_resumes_to_the_same_result(tmp_path: Path, imltool: Imltool, forked: Forked) -> None:
    images, boxes, _ = make_annotated(tmp_path, 12)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    arguments = ["pseudo", str(images), "--boxes", str(boxes), "--teacher", "grabcut", "--out"]
    assert imltool(*arguments, straight)[0] == 0
    process = forked.start(*arguments, killed)
    journal = killed / "pseudo.jsonl"
    process.wait_for(lambda: journal.exists() and journal.stat().st_size > 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert imltool(*arguments, killed)[0] == 0
    strip = [{key: value for key, value in row.items() if key != "seconds"} for row in pseudo_rows(killed)]
    assert strip == [{key: value for key, value in row.items() if key != "seconds"} for row in pseudo_rows(straight)]
    for mask in (straight / "masks").rglob("*.png"):
        assert mask.read_bytes() == (killed / mask.relative_to(straight)).read_bytes()


def test_masks_of_replaced_pictures_are_made_again(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    out = tmp_path / "out"
    command = ("pseudo", images, "--boxes", boxes, "--out", out, "--teacher", "grabcut")
    assert imltool(*command)[0] == 0
    Image.fromarray(photo(77, 128, 96)).save(images / "sub/p1.png")
    _, stdout, _ = imltool(*command, "--json")
    assert [json.loads(line)["image"] for line in stdout.splitlines()] == ["sub/p1.png"]


def test_foreign_folder_and_missing_truth_are_refused(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, truths = make_annotated(tmp_path)
    base = ("pseudo", images, "--boxes", boxes, "--teacher", "box")
    code, _, stderr = imltool(*base, "--out", truths)
    assert code == 2 and "not empty and holds no run" in stderr and not (truths / "pseudo.jsonl").exists()
    code, _, stderr = imltool(*base, "--out", tmp_path / "o", "--gt", tmp_path / "nowhere")
    assert code == 1 and "nowhere" in stderr and not (tmp_path / "o").exists()
    (truths / "sub/p1.png").unlink()
    code, _, stderr = imltool(*base, "--out", tmp_path / "o", "--gt", truths)
    assert code == 1 and "no masks for sub/p1.png" in stderr and len(pseudo_rows(tmp_path / "o")) == 3


def test_audit_reports_how_often_the_box_was_used(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, truths = make_annotated(tmp_path)
    base = ("pseudo", images, "--boxes", boxes, "--gt", truths, "-q", "--device", "cpu")
    for teacher, minimum, expected in (("grabcut", "1.0", 1.0), ("grabcut", "0.0", 0.0), ("box", "0.0", 0.0)):
        out = tmp_path / f"{teacher}{minimum}"
        assert imltool(*base, "--out", out, "--teacher", teacher, "--set", f"min_coverage={minimum}")[0] == 0
        assert json.loads((out / "audit.json").read_text())["fallback"] == expected


def test_new_annotations_make_only_their_masks(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    document = json.loads(boxes.read_text())
    monday = document | {"images": document["images"][:2], "annotations": document["annotations"][:2]}
    out = tmp_path / "out"
    command = ("pseudo", images, "--boxes", boxes, "--out", out, "--teacher", "grabcut", "--json")

    def made() -> dict[str, str]:
        code, stdout, _ = imltool(*command)
        assert code == 0
        return {row["image"]: row["status"] for row in map(json.loads, stdout.splitlines())}

    boxes.write_text(json.dumps(monday))
    assert made() == {"sub/p0.png": "ok", "sub/p1.png": "ok"}
    boxes.write_text(json.dumps(document))
    assert made() == {"sub/p2.png": "ok"}
    tuesday = {"images": document["images"][2:], "annotations": document["annotations"][2:]}
    boxes.write_text(json.dumps(tuesday))  # boxes of the new picture only: the other masks are kept
    assert made() == {} and len(read_pseudo(out)) == 3
    document["annotations"][1]["bbox"][2] += 5
    boxes.write_text(json.dumps(document))
    assert made() == {"sub/p1.png": "ok"}
    del document["annotations"][1]
    boxes.write_text(json.dumps(document))  # the picture has no box any more
    assert made() == {"sub/p1.png": "withdrawn"}
    assert [row.image for row in read_pseudo(out)] == ["sub/p0.png", "sub/p2.png"]
    assert not (out / "masks/sub/p1.png").exists() and made() == {}


def test_namesake_annotated_later_gets_its_own_mask(tmp_path: Path, imltool: Imltool) -> None:
    for name in ("a.png", "a.bmp"):
        Image.fromarray(photo(1)).save(tmp_path / name)
    out = tmp_path / "out"
    for name in ("a.png", "a.bmp"):
        (tmp_path / "b.csv").write_text(f"image,x1,y1,x2,y2\n{name},1,1,20,20\n")
        assert imltool("pseudo", tmp_path, "--boxes", tmp_path / "b.csv", "--out", out, "--teacher", "box")[0] == 0
    assert {row.image: row.mask for row in read_pseudo(out)} == {
        "a.png": "masks/a.png",
        "a.bmp": "masks/a.bmp.png",
    }


def test_journal_of_another_version_is_refused_in_one_line(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    command = ("pseudo", images, "--boxes", boxes, "--out", tmp_path / "out", "--teacher", "box")
    assert imltool(*command)[0] == 0
    journal = tmp_path / "out/pseudo.jsonl"
    journal.write_text(journal.read_text().replace('"mask":', '"label":'))
    before = journal.read_bytes()
    code, _, stderr = imltool(*command)
    assert code == 1 and "not in the form" in stderr and "Traceback" not in stderr and journal.read_bytes() == before


def test_coco_run_lengths_are_written_on_request(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path)
    out = tmp_path / "out"
    command = ("pseudo", images, "--boxes", boxes, "--out", out, "--teacher", "box")
    assert imltool(*command)[0] == 0 and not (out / "pseudo.coco.json").exists()
    assert imltool(*command, "--coco")[0] == 0
    document = json.loads((out / "pseudo.coco.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [f"sub/p{index}.png" for index in range(3)]
    for annotation, row in zip(document["annotations"], pseudo_rows(out), strict=True):
        assert np.array_equal(decode_mask(annotation["segmentation"]), read_mask(out / row["mask"]))


def test_boxes_of_the_stored_raster_are_converted_by_option(tmp_path: Path, imltool: Imltool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(photo(3, 64, 48)).save(tmp_path / "images/a.jpg", exif=exif)
    (tmp_path / "b.csv").write_text("image,x1,y1,x2,y2\na.jpg,16,12,32,20\n")
    base = ("pseudo", tmp_path / "images", "--boxes", tmp_path / "b.csv", "--teacher", "box")
    for option, box, message in (
        ((), [16, 12, 32, 20], "--boxes-of stored"),
        (("--boxes-of", "stored"), [28, 16, 36, 32], "converted by the EXIF orientation: 1 (a.jpg)"),
        (("--boxes-of", "displayed"), [16, 12, 32, 20], ""),
    ):
        out = tmp_path / "-".join(["out", *option])
        code, _, stderr = imltool(*base, "--out", out, *option)
        assert code == 0 and message in stderr and ("WARNING" in stderr) == bool(message)
        assert pseudo_rows(out)[0]["boxes"][0]["box"] == box


def test_boxes_without_pictures_show_the_names_of_both(tmp_path: Path, imltool: Imltool) -> None:
    images, _, _ = make_annotated(tmp_path, 1)
    (tmp_path / "b.csv").write_text("image,x1,y1,x2,y2\nq7.png,1,1,20,20\n")
    code, _, stderr = imltool("pseudo", images, "--boxes", tmp_path / "b.csv", "--out", tmp_path / "o")
    assert code == 1 and "the boxes name q7.png, the pictures are called sub/p0.png" in stderr
