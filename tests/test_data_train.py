"""`imltool train` from manifests: pictures and masks of any layout, recognized later as training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.layout_trees import TRUTH, make_tree
from helpers.pictures import make_set
from pydantic import ValidationError

from imltool.config import load_settings
from imltool.data.layouts import read_layout
from imltool.data.manifest import write_manifest
from imltool.errors import DataError
from imltool.files import sha256_file
from imltool.student.header import read_header
from imltool.training.data import LabelledPictures, sample_identity
from imltool.training.settings import DataSettings, SourceSettings
from imltool.training.sources import read_source

CPU = ("--device", "cpu", "-q")


def index(layout: str, root: Path, out: Path) -> Path:
    manifest, _ = read_layout(layout, root)
    write_manifest(out, manifest)
    return out


def source(kind: str, manifest: str = "m.jsonl", **fields: object) -> SourceSettings:
    return SourceSettings.model_validate({"name": "s", "kind": kind, "manifest": manifest, **fields})


@pytest.mark.parametrize("layout", ["columbia", "dso1", "korus"])
def test_masks_are_read_with_the_rule_of_their_layout(tmp_path: Path, layout: str) -> None:
    """Red and green, inverted, three levels: all mean the same pixels."""
    make_tree(tmp_path / "set", layout)
    index(layout, tmp_path / "set", tmp_path / "m.jsonl")
    data = DataSettings(root=tmp_path)
    pictures = LabelledPictures(read_source(data, source("masks")).samples)
    assert len(pictures.items) == 2
    for number in range(2):
        assert np.array_equal(pictures.get(number)[1], TRUTH)
    authentic = read_source(data, source("authentic")).samples
    assert authentic and all(one.mask is None for one in authentic)


def test_changed_mask_rule_changes_sample_identities(tmp_path: Path) -> None:
    make_tree(tmp_path / "set", "dso1")
    file = index("dso1", tmp_path / "set", tmp_path / "m.jsonl")
    data = DataSettings(root=tmp_path)

    def identities() -> list[str]:
        return [sample_identity(sample) for sample in read_source(data, source("masks")).samples]

    before = identities()
    assert before and identities() == before
    file.write_text(file.read_text(encoding="utf-8").replace('"dark"', '"bright"'), encoding="utf-8")
    assert not {*identities()} & {*before}


def test_list_selects_pictures_by_manifest_names(tmp_path: Path) -> None:
    make_set(tmp_path / "set", tampered=3, authentic=2)
    index("folder", tmp_path / "set", tmp_path / "set" / "m.jsonl")
    (tmp_path / "names.txt").write_text("tampered/t2.png\nauthentic/a1.jpg\n", encoding="utf-8")
    data = DataSettings(root=tmp_path / "set", lists=tmp_path)
    found = {kind: read_source(data, source(kind, list="names.txt")).samples for kind in ("masks", "authentic")}
    assert {kind: [one.image.name for one in items] for kind, items in found.items()} == {
        "masks": ["t2.png"],
        "authentic": ["a1.jpg"],
    }
    (tmp_path / "names.txt").write_text("tampered/t9.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"names tampered/t9.png, not in .*m.jsonl"):
        read_source(data, source("masks", list="names.txt"))


def test_several_lists_are_used_one_after_the_other_each_picture_once(tmp_path: Path) -> None:
    root = make_set(tmp_path / "data/set", tampered=4, authentic=0)
    names = sorted(f"tampered/{path.name}" for path in (root / "tampered").iterdir())
    for name, chosen in (("one", names[2:]), ("two", names[1:3]), ("wrong", ["tampered/absent.png"])):
        (tmp_path / f"{name}.txt").write_text("\n".join(chosen))
    data = DataSettings(root=tmp_path / "data", lists=tmp_path)
    folders = {"name": "s", "kind": "masks", "images": "set/tampered", "masks": "set/masks"}

    def used(*lists: str) -> list[str]:
        settings = SourceSettings.model_validate({**folders, "list": [f"{name}.txt" for name in lists]})
        assert SourceSettings.model_validate(settings.model_dump(mode="json")) == settings
        return [f"tampered/{sample.name}" for sample in read_source(data, settings).samples]

    assert used("one", "two") == [names[2], names[3], names[1]] and used("two") == names[1:3]
    with pytest.raises(DataError, match=r"list .*wrong\.txt names tampered/absent\.png in .*tampered"):
        used("one", "wrong")
    (tmp_path / "other.txt").write_text("authentic/a.png")
    assert used("two", "other") == names[1:3], "lists may name pictures of other folders, too"
    with pytest.raises(DataError, match=r"list .*other\.txt names nothing in .*tampered"):
        used("other")
    (tmp_path / "empty.txt").write_text("# nothing yet\n")
    with pytest.raises(DataError, match=r"list .*empty\.txt names no picture"):
        used("two", "empty")
    with pytest.raises(ValidationError, match="leave it out to use all pictures"):
        used()
    index("folder", root, root / "m.jsonl")
    manifest = source("masks", "set/m.jsonl", list=["one.txt", "two.txt"])
    listed = [sample.name for sample in read_source(data, manifest).samples]
    assert listed == [names[2], names[3], names[1]]


def test_pseudo_masks_are_matched_to_pictures_of_a_manifest(
    tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(tmp_path / "set", "coverage")
    index("coverage", tmp_path / "set", tmp_path / "m.jsonl")
    boxes, pseudo = tmp_path / "boxes.json", tmp_path / "pseudo"
    assert imltool("data", "boxes", tmp_path / "m.jsonl", "--out", boxes)[0] == 0
    assert imltool("pseudo", tmp_path / "set/image", "--boxes", boxes, "--out", pseudo, "--teacher", "box")[0] == 0
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path, Path()):
        found = read_source(DataSettings(root=root), source("pseudo", pseudo="pseudo")).samples
        assert {one.image.name: one.mask.name for one in found if one.mask} == {
            "1t.tif": "1t.png",
            "10t.tif": "10t.png",
        }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for seed, name in enumerate(("seen", "held", "fitted")):
        make_set(tmp_path / name, tampered=2, authentic=2, seed=50 * seed)
        index("folder", tmp_path / name, tmp_path / name / "m.jsonl")
    parts = {"train": "seen", "validation": "held", "calibration": "fitted"}
    lines = [f"  {part}: [{entry(name, 'masks')}, {entry(name, 'authentic')}]" for part, name in parts.items()]
    path = tmp_path / "config.yaml"
    path.write_text(
        f"init: random\nworkers: 0\nstudent: {{backbone: nano, input_size: 64}}\ndata:\n  root: {tmp_path}\n"
        + "\n".join(lines)
        + "\noptim: {steps: 1, batch_size: 2, warmup: 0, precision: fp32}\nvalidate_every: 1\n",
        encoding="utf-8",
    )
    return path


def entry(name: str, kind: str) -> str:
    return f"{{name: {name}, kind: {kind}, manifest: {name}/m.jsonl}}"


def test_training_pictures_from_a_manifest_are_recorded_as_seen(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    assert imltool("train", "--config", config, "--out", tmp_path / "run", *CPU)[0] == 0
    weights = tmp_path / "run/last.safetensors"
    header = read_header(weights)
    (trained,) = header.training_sets
    files = {sha256_file(path) for part in ("tampered", "authentic") for path in (tmp_path / "seen" / part).iterdir()}
    assert (trained.name, set(trained.files)) == ("seen", files)
    assert {one.name for one in header.validation_sets} == {"held", "fitted"}
    data = ("--data", f"fresh={tmp_path / 'seen/m.jsonl'}", "--out", tmp_path / "out")
    code, _, err = imltool("eval", "--weights", weights, *data, "--ood", *CPU)
    assert code == 1 and "fresh is not out of distribution: 4 pictures of it were trained on (seen)" in err


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("data.train.0.manifest=none.jsonl", 1, "none.jsonl cannot be read"),
        ("data.train.0.images=seen/tampered", 2, "a manifest does not go with images"),
        ("data.train.0.kind=synth", 2, "a manifest does not go with kind synth"),
        ("data.train.0.kind=pseudo", 2, "a source of kind pseudo needs pseudo"),
        ("data.train.0.manifest=null", 2, "a source of kind masks needs images and masks or a manifest"),
        (
            "data.train.0.manifest=broken.jsonl",
            1,
            "none of its 2 pictures in broken.jsonl can be used: file missing 2 (tampered/t0.png, tampered/t1.png)",
        ),
        ("data.train.0.manifest=forged.jsonl", 1, "source seen (authentic): no picture in forged.jsonl"),
        ("data.train.0.manifest=config.yaml", 1, "config.yaml: line 1 is not JSON"),
        ("data.validation.0.manifest=seen/m.jsonl", 1, "and 1 more picture are in training set seen"),
    ],
)
def test_invalid_sources_are_a_one_line_error_before_training(
    config: Path, tmp_path: Path, imltool: Imltool, override: str, code: int, message: str
) -> None:
    lines = (tmp_path / "seen/m.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "broken.jsonl").write_text("".join(lines), encoding="utf-8")  # its paths start from another folder
    forged = "".join(lines[:2]).replace("tampered/", "seen/tampered/").replace("masks/", "seen/masks/")
    (tmp_path / "forged.jsonl").write_text(forged, encoding="utf-8")
    extra = ("--set", "data.train.0.kind=authentic") if "forged" in override else ()
    found, _, err = imltool("train", "--config", config, "--out", tmp_path / "r", "--set", override, *extra, *CPU)
    assert found == code and message in err and err.count("\n") == 1


def test_settings_without_a_manifest_do_not_have_the_key(tmp_path: Path) -> None:
    plain = SourceSettings(name="s", kind="authentic", images=Path("x"))
    assert "manifest" not in plain.model_dump(mode="json")
    given = source("authentic")
    assert given.model_dump(mode="json")["manifest"] == "m.jsonl"
    (tmp_path / "s.yaml").write_text("{name: s, kind: authentic, manifest: m.jsonl}", encoding="utf-8")
    assert load_settings(SourceSettings, tmp_path / "s.yaml") == given
