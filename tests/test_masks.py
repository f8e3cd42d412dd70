"""Masks in the wild: coloured, with class numbers, of the stored raster; every command reads the same pixels."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.outputs import results_in
from helpers.pictures import forged, make_set, photo, write_rgb
from numpy.typing import NDArray
from PIL import Image

from imltool.data.folder import Sample
from imltool.data.masks import MaskRule, parse_rule, read_truth
from imltool.data.raster import settle_rasters
from imltool.data.samples import read_sample_mask
from imltool.data.sets import read_target
from imltool.engines.torch_network import TorchNetwork
from imltool.errors import DataError, UsageError
from imltool.inference.localizer import Localizer
from imltool.pictures.images import PictureShape, read_mask
from imltool.student.settings import StudentSettings
from imltool.study.labels import make_labels
from imltool.study.settings import LabelSettings
from imltool.synth.sources import SourcePool
from imltool.teacher.pseudo_rows import read_pseudo
from imltool.training.settings import DataSettings, SourceSettings, TrainSettings
from imltool.training.sources import read_source

TRUTH = np.zeros((24, 32), dtype=bool)
TRUTH[6:12, 8:20] = True
TRUTH[14:18, 4:12] = True
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def painted(background: tuple[int, int, int], *colours: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The truth in colours: the first region in the first colour, the second in the last."""
    rgb = np.full((*TRUTH.shape, 3), background, dtype=np.uint8)
    rgb[6:12, 8:20] = colours[0]
    rgb[14:18, 4:12] = colours[-1]
    return rgb


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    """A palette picture of classes 0, 1 and 2."""
    indices = np.zeros(TRUTH.shape, dtype=np.uint8)
    indices[6:12, 8:20], indices[14:18, 4:12] = 1, 2
    picture = Image.fromarray(indices, "P")
    picture.putpalette([value for colour in colours for value in colour])
    return picture


COLOURED = {
    "red": Image.fromarray(painted(BLACK, (255, 0, 0))),
    "blue": Image.fromarray(painted(BLACK, (0, 0, 255))),
    "red beside green": Image.fromarray(painted(BLACK, (255, 0, 0), (0, 255, 0))),
    "dark classes": Image.fromarray(painted(BLACK, (128, 0, 0), (0, 64, 0))),
    "white beside red": Image.fromarray(painted(BLACK, WHITE, (255, 0, 0))),
    "red on white": Image.fromarray(painted(WHITE, (255, 0, 0))),
    "black beside red on white": Image.fromarray(painted(WHITE, BLACK, (255, 0, 0))),
    "palette": palette(BLACK, (128, 0, 0), (0, 128, 0)),
    "palette of Pascal VOC": palette(BLACK, (0, 0, 128), (224, 224, 192)),
    "palette on white": palette(WHITE, (0, 0, 128), (128, 0, 0)),
    "with transparency": Image.fromarray(painted(BLACK, (0, 0, 255))).convert("RGBA"),
    "grey": Image.fromarray(painted(BLACK, WHITE)),
    "one level": Image.fromarray(TRUTH.astype(np.uint8)),
}


@pytest.mark.parametrize("case", list(COLOURED))
def test_non_background_colours_are_tampered_for_every_command(tmp_path: Path, case: str) -> None:
    for folder in ("tampered", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(photo(1, 32, 24)).save(tmp_path / "tampered/a.png")
    COLOURED[case].save(tmp_path / "masks/a.png")
    (sample,) = read_target("x", str(tmp_path)).samples  # as eval reads it
    assert np.array_equal(read_sample_mask(sample), TRUTH)
    source = SourceSettings(name="x", kind="masks", images=Path("tampered"), masks=Path("masks"))
    (trained,) = read_source(DataSettings(root=tmp_path), source).samples
    assert np.array_equal(read_sample_mask(trained), TRUTH)
    pool = SourcePool.from_folders([], [(tmp_path / "tampered", tmp_path / "masks")])
    assert np.array_equal(pool.picture(pool.objects[0][0])[1], TRUTH)


def test_small_coloured_region_is_not_noise(tmp_path: Path) -> None:
    rgb = np.zeros((100, 100, 3), dtype=np.uint8)
    rgb[50:52, 50:52] = (255, 0, 0)
    Image.fromarray(rgb).save(tmp_path / "m.png")
    assert read_truth(tmp_path / "m.png", MaskRule()).sum() == 4


def test_jpeg_noise_is_not_a_colour(tmp_path: Path) -> None:
    Image.fromarray(painted(BLACK, WHITE)).save(tmp_path / "m.jpg", quality=60)
    assert (read_truth(tmp_path / "m.jpg", MaskRule()) != TRUTH).mean() < 0.02


UNCLEAR = {
    "no background": painted((255, 0, 0), (0, 255, 0)),
    "black and white at the border": np.concatenate(
        [painted(BLACK, (255, 0, 0))[:, :16], painted(WHITE, (255, 0, 0))[:, 16:]], axis=1
    ),
}


@pytest.mark.parametrize("case", list(UNCLEAR))
def test_ambiguous_background_is_refused_with_a_hint_to_mask_rule(tmp_path: Path, imltool: Imltool, case: str) -> None:
    make_set(tmp_path / "set", tampered=1, authentic=0)
    write_rgb(tmp_path / "set/tampered/t0.png", photo(1, 32, 24))
    write_rgb(tmp_path / "set/masks/t0.png", UNCLEAR[case])
    with pytest.raises(DataError, match="coloured") as refused:
        read_truth(tmp_path / "set/masks/t0.png", MaskRule())
    assert "--mask-rule background=#rrggbb or tampered=#rrggbb" in refused.value.remedy
    code, stdout, _ = imltool("data", "check", f"folder:{tmp_path / 'set'}")
    assert code == 3 and "fault colour: masks/t0.png" in stdout and "--mask-rule" in stdout
    chosen = ("--mask-rule", "tampered=#ff0000")
    code, stdout, _ = imltool("data", "check", f"folder:{tmp_path / 'set'}", *chosen, "--json")
    assert {one["kind"] for one in json.loads(stdout)["findings"] if one["severity"] == "fault"} <= {"inverted"}
    assert imltool("data", "convert", f"folder:{tmp_path / 'set'}", "--out", tmp_path / "new", *chosen)[0] == 0
    made = np.asarray(Image.open(tmp_path / "new/masks/t0.png"))
    assert np.array_equal(made > 0, (UNCLEAR[case] == (255, 0, 0)).all(axis=2))


def test_mask_rules_select_colours(tmp_path: Path) -> None:
    Image.fromarray(painted((255, 0, 0), (0, 255, 0), (0, 0, 255))).save(tmp_path / "m.png")

    def marked(*texts: str) -> NDArray[np.bool_]:
        return read_truth(tmp_path / "m.png", MaskRule.model_validate(parse_rule(texts)))

    assert np.array_equal(marked("background=#FF0000"), TRUTH)
    assert np.array_equal(marked("tampered=#00ff00, #0000ff"), TRUTH)
    assert marked("tampered=#00ff00").sum() == 6 * 12
    with pytest.raises(DataError, match="its rule says grey"):
        marked("colour=grey")
    for text, message in (("tampered=red", "no colour of the form"), ("colour=listed", "needs one of them")):
        with pytest.raises(ValueError, match=message):
            MaskRule.model_validate(parse_rule([text]))
    for text in ("polarity", "hue=3"):
        with pytest.raises(UsageError, match="is not KEY=VALUE"):
            parse_rule([text])


def test_mask_rule_option_is_stored_in_the_manifest(tmp_path: Path, imltool: Imltool) -> None:
    make_set(tmp_path / "set", tampered=1, authentic=1)
    out = tmp_path / "m.jsonl"
    assert imltool("data", "index", f"folder:{tmp_path / 'set'}", "--out", out, "--mask-rule", "raster=stored")[0] == 0
    first = json.loads(out.read_text().splitlines()[0])
    assert first["mask_rule"] == {"raster": "stored"}
    code, _, stderr = imltool("data", "index", f"folder:{tmp_path / 'set'}", "--out", out, "--mask-rule", "raster=x")
    assert code == 2 and "--mask-rule raster" in stderr


def turned_set(root: Path, orientations: dict[str, int]) -> dict[str, NDArray[np.bool_]]:
    """Write pictures with EXIF orientations and masks of the stored raster; return the displayed truth of each."""
    truths = {}
    for number, (name, orientation) in enumerate(orientations.items()):
        rgb, mask = forged(number, 64, 48)
        (root / "tampered").mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(rgb).save(root / f"tampered/{name}.jpg", exif=exif, quality=95)
        write_rgb(root / f"masks/{name}.png", mask)  # type: ignore[arg-type]
        size = (48, 64) if orientation > 4 else (64, 48)
        rule = MaskRule(raster="stored")
        truths[name] = read_truth(root / f"masks/{name}.png", rule, PictureShape(size, orientation))
    return truths


def test_mask_sizes_decide_the_raster_of_the_whole_set(tmp_path: Path, imltool: Imltool) -> None:
    truths = turned_set(tmp_path / "set", {"upright": 1, "mirrored": 2, "down": 3, "sideways": 6})
    one = read_target("x", str(tmp_path / "set"))
    assert len(one.samples) == 4
    for sample in one.samples:
        assert np.array_equal(read_sample_mask(sample), truths[Path(sample.name).stem])
    assert any("masks of the stored raster, converted by the EXIF orientation: 3" in note for note in one.warnings)
    code, stdout, _ = imltool("data", "check", f"folder:{tmp_path / 'set'}")
    assert code == 0 and stdout.count("note orientation") == 3
    new = tmp_path / "new"
    assert imltool("data", "convert", f"folder:{tmp_path / 'set'}", "--out", new)[0] == 0
    for target in (str(new), str(new / "manifest.jsonl"), f"folder:{new}"):
        for sample in read_target("x", target).samples:
            assert np.array_equal(read_sample_mask(sample), truths[Path(sample.name).stem]), target


def test_other_commands_decide_the_raster_by_the_set_too(tmp_path: Path, imltool: Imltool) -> None:
    truths = turned_set(tmp_path / "set", {"upright": 1, "mirrored": 2, "down": 3, "sideways": 6})
    images, masks = tmp_path / "set/tampered", tmp_path / "set/masks"
    pool = SourcePool.from_folders([], [(images, masks)])  # imltool synth --objects
    for image, _ in pool.objects:
        assert np.array_equal(pool.picture(image)[1], truths[image.stem])

    source = SourceSettings(name="x", kind="masks", images=images, masks=masks)
    settings = TrainSettings(data=DataSettings(train=(source,)))
    labels = LabelSettings(teacher="box", jitter=0.0)
    list(make_labels(settings, [labels], tmp_path, "cpu"))  # imltool study boxes
    for row in read_pseudo(tmp_path / "labels" / labels.folder / "0"):
        inside = read_mask(tmp_path / "labels" / labels.folder / "0" / row.mask)
        assert inside[truths[Path(row.image).stem]].all(), row.image

    lines = []
    for name, truth in truths.items():
        rows, columns = np.nonzero(truth)
        lines.append(f"{name}.jpg,{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}")
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x1,y1,x2,y2", *lines]) + "\n")
    made = ("pseudo", images, "--boxes", tmp_path / "boxes.csv", "--boxes-of", "displayed", "--teacher", "box")
    assert imltool(*made, "--out", tmp_path / "pseudo", "--gt", masks, "-q")[0] == 0
    with (tmp_path / "pseudo/audit.csv").open(encoding="utf-8", newline="") as handle:
        found = {row["image"]: float(row["iou"]) for row in csv.DictReader(handle)}
    assert found == {
        f"{name}.jpg": pytest.approx(truth.sum() / np.prod(_extent(truth))) for name, truth in truths.items()
    }


def _extent(truth: NDArray[np.bool_]) -> tuple[int, int]:
    """Height and width of what is marked."""
    rows, columns = np.nonzero(truth)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def test_validation_decides_the_raster_by_the_set_too(tmp_path: Path, imltool: Imltool) -> None:
    turned_set(tmp_path / "set", {"upright": 1, "mirrored": 2, "down": 3, "sideways": 6})
    write_rgb(tmp_path / "clean/a.png", photo(1))
    student = Localizer.untrained(StudentSettings(input_size=64, backbone="nano"), torch.device("cpu"), seed=3)
    assert isinstance(student.network, TorchNetwork)
    for name, values in student.network.student.named_parameters():
        if name == "fusion.refinement.body.2.bias":
            values.data += 0.006  # so that half of its maps is above 0.5
    student.save(tmp_path / "tiny.safetensors")
    folders = ("--tampered", tmp_path / "set/tampered", "--masks", tmp_path / "set/masks", "--no-pdf")
    engine = ("--weights", tmp_path / "tiny.safetensors", "--engine", "torch", "--device", "cpu", "-q")
    assert imltool("validate", "--authentic", tmp_path / "clean", *folders, *engine, "--out", tmp_path / "out")[0] == 0
    found = json.loads((tmp_path / "out/validation.json").read_text())["localization"]
    data = ("--data", f"x={tmp_path / 'set'}", "--out", tmp_path / "eval", "-q")
    assert imltool("eval", "--maps", tmp_path / "out/tampered/maps", *data)[0] == 0
    expected = results_in(tmp_path / "eval")["methods"][0]["sets"]["x"]["pixel_iou"]
    assert found["pixel_iou"] < 0.2
    assert found["pixel_iou"] == pytest.approx(expected if isinstance(expected, float) else expected["value"])


def test_undecidable_raster_is_reported_and_settled_by_a_rule(tmp_path: Path, imltool: Imltool) -> None:
    truths = turned_set(tmp_path / "set", {"mirrored": 2, "down": 3})
    unclear = read_target("x", str(tmp_path / "set"))
    assert any("leaves it open" in note and "raster=stored" in note for note in unclear.warnings)
    code, stdout, _ = imltool("data", "check", f"folder:{tmp_path / 'set'}")
    assert code == 3 and stdout.count("fault orientation") == 2 and "--mask-rule raster=stored" in stdout
    manifest = tmp_path / "m.jsonl"
    rule = ("--mask-rule", "raster=stored")
    assert imltool("data", "index", f"folder:{tmp_path / 'set'}", "--out", manifest, *rule)[0] == 0
    for sample in read_target("x", str(manifest)).samples:
        assert np.array_equal(read_sample_mask(sample), truths[Path(sample.name).stem])
    source = SourceSettings(name="x", kind="masks", manifest=Path("m.jsonl"))
    for sample in read_source(DataSettings(root=tmp_path), source).samples:
        assert np.array_equal(read_sample_mask(sample), truths[Path(sample.name).stem])


def test_contradictory_masks_do_not_decide_for_others(tmp_path: Path) -> None:
    turned_set(tmp_path, {"down": 3, "a": 6, "b": 8})
    write_rgb(tmp_path / "masks/b.png", np.rot90(TRUTH.repeat(2, 0).repeat(2, 1)))
    samples = [Sample(name, tmp_path / f"tampered/{name}.jpg", tmp_path / f"masks/{name}.png") for name in "ab"]
    samples.append(Sample("down", tmp_path / "tampered/down.jpg", tmp_path / "masks/down.png"))
    settled = settle_rasters(samples)
    assert (settled.turned, settled.unclear) == (["a"], ["down"])


def test_mask_with_wrong_size_is_refused(tmp_path: Path) -> None:
    write_rgb(tmp_path / "m.png", TRUTH)
    with pytest.raises(DataError, match="is 32x24, its picture is 48x64"):
        read_truth(tmp_path / "m.png", MaskRule(), PictureShape((48, 64), 6))
