"""Data set layouts: the file names of every published set and its known faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.layout_trees import BRIGHT, TREES, TRUTH, Tree, make_tree, messages_by_file, nist_row
from helpers.pictures import photo, write_rgb

from imltool.data.folder import read_folder
from imltool.data.layouts import LAYOUTS, read_layout, read_set
from imltool.data.layouts.check import check_files
from imltool.data.layouts.convert import convert
from imltool.errors import DataError, UsageError


def test_every_layout_has_a_test_tree() -> None:
    assert list(TREES) == list(LAYOUTS)


@pytest.mark.parametrize("layout", list(TREES))
def test_layout_is_read_as_published(tmp_path: Path, layout: str) -> None:
    tree = Tree(tmp_path)
    expected = TREES[layout](tree)
    manifest, problems = read_layout(layout, tree.root)
    assert [problem for problem in problems if problem.fault] == []
    tampered = [record for record in manifest.records if record.tampered]
    assert {one.image: (one.mask, one.kind, one.split) for one in tampered} == expected.tampered
    authentic = [record for record in manifest.records if not record.tampered]
    assert {one.image: one.split for one in authentic} == expected.authentic
    assert all(one.kind == "authentic" for one in authentic)
    for record in tampered:  # inverted, coloured and three-level masks all give the same truth
        assert np.array_equal(manifest.truth(record), TRUTH), record.mask
    assert check_files(manifest) == []


# known faults of the published sets


def test_casia1_has_a_picture_without_a_mask_and_a_transposed_mask(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "casia1")
    tree.picture("Tp/Sp/Sp_D_NRN_A_cha0011_sec0011_0542.jpg", "Tp/CM/Sp_S_NNN_A_ani0031_ani0031_0197.jpg")
    tree.mask("gt/Sp_S_NNN_A_ani0031_ani0031_0197_gt.png", values=BRIGHT.T)
    manifest, problems = read_layout("casia1", tmp_path)
    assert messages_by_file(problems) == {"Tp/Sp/Sp_D_NRN_A_cha0011_sec0011_0542.jpg": "has no mask: left out"}
    (fault,) = check_files(manifest)
    assert fault.kind == "size" and fault.fault and fault.file == "gt/Sp_S_NNN_A_ani0031_ani0031_0197_gt.png"
    assert fault.message == "is 48x64, its picture is 64x48, turned by 90°"
    outcomes = [outcome for outcome in convert(manifest, tmp_path / "out") if outcome]
    assert [outcome.file for outcome in outcomes] == ["Tp/CM/Sp_S_NNN_A_ani0031_ani0031_0197.jpg"]
    assert len(read_folder(tmp_path / "out").samples) == 3  # the other pictures are usable


def test_misspelt_names_are_reported_but_not_paired(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "casia1")
    tree.picture("Tp/Sp_D_NND_A_nat0054_nat0054_0189.jpg", "Tp/Sp_D_NNN_A_sce0001_cha0002_0300.jpg")
    tree.mask("gt/Sp_S_NND_A_nat0054_nat0054_0189_gt.png", "gt/Sp_D_NNN_A_sec0001_cha0002_0300_gt.png")
    tree.picture("Tp/Sp_D_NNN_A_arc0001_art0002_0400.jpg")
    tree.mask("gt/Sp_D_NNN_A_arc0001_art0002_0401_gt.png")  # a different number is a different picture
    manifest, problems = read_layout("casia1", tmp_path)
    misspelt = messages_by_file(problems, "misspelt")
    assert misspelt.keys() == {"Tp/Sp_D_NND_A_nat0054_nat0054_0189.jpg", "Tp/Sp_D_NNN_A_sce0001_cha0002_0300.jpg"}
    assert "gt/Sp_S_NND_A_nat0054_nat0054_0189_gt.png" in misspelt["Tp/Sp_D_NND_A_nat0054_nat0054_0189.jpg"]
    unmatched = {"Tp/Sp_D_NNN_A_arc0001_art0002_0400.jpg", "gt/Sp_D_NNN_A_arc0001_art0002_0401_gt.png"}
    assert messages_by_file(problems, "unmatched").keys() == unmatched
    assert not {record.image for record in manifest.records} & misspelt.keys()


def test_casia2_numbered_mask_and_pictures_of_the_other_set(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "casia2")
    tree.picture("Tp/Tp_D_NRD_S_N_cha10002_cha10001_20094.jpg", "Au/Au_ani_0001.jpg", "Samples/Tp_D_x_combine.png")
    tree.mask("CASIA 2 Groundtruth/Tp_D_NRD_S_N_cha10002_cha10001_20094_gt3.png")
    (tmp_path / "Tp/._Tp_D_CRN_M_N_ani00100_ani10101_10089.tif").write_bytes(b"left by an archive tool")
    manifest, problems = read_layout("casia2", tmp_path)
    assert not any(problem.fault for problem in problems)
    assert messages_by_file(problems, "misspelt").keys() == {
        "CASIA 2 Groundtruth/Tp_D_NRD_S_N_cha10002_cha10001_20094_gt3.png"
    }
    assert messages_by_file(problems, "unknown").keys() == {"Au/Au_ani_0001.jpg", "Samples/Tp_D_x_combine.png"}
    assert sum(record.tampered for record in manifest.records) == 3


def test_coverage_and_imd2020_masks_of_another_size(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "coverage", "coverage")
    tree.mask("mask/10forged.tif", values=BRIGHT[:-1])
    assert messages_by_file(check_files(read_layout("coverage", tree.root)[0]), "size").keys() == {"mask/10forged.tif"}
    tree = make_tree(tmp_path / "imd", "imd2020")
    tree.mask("z28/00065_fake_mask.png", values=np.repeat(BRIGHT, 2, axis=0))
    assert messages_by_file(check_files(read_layout("imd2020", tree.root)[0]), "size").keys() == {
        "z28/00065_fake_mask.png"
    }


def test_ambiguous_names_are_left_out(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "comofod")
    tree.picture("0jpg/001_F.jpg", "002_F.png")
    tree.mask("002_B.png", "copy/002_B.png")
    manifest, problems = read_layout("comofod", tmp_path)
    assert messages_by_file(problems, "doubled").keys() == {"001_F.png", "0jpg/001_F.jpg", "002_F.png"}
    assert {record.image for record in manifest.records if record.tampered} == {"001_F_JC1.jpg", "001_F_NA3.png"}


def test_missing_mask_does_not_shift_other_pairs(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.picture(*(f"Tp/{n}.jpg" for n in range(5)))
    tree.mask(*(f"Gt/{n}_gt.png" for n in (0, 2, 3, 4)), "Gt/9_gt.png")
    manifest, problems = read_layout("folder", tmp_path)
    pairs = {record.image: record.mask for record in manifest.records}
    assert pairs == {f"Tp/{n}.jpg": f"Gt/{n}_gt.png" for n in (0, 2, 3, 4)}
    assert messages_by_file(problems) == {
        "Tp/1.jpg": "has no mask: left out",
        "Gt/9_gt.png": "is a mask without a picture",
    }


def test_nist16_missing_and_unlisted_files(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "nist16")
    tree.picture("probe/NC2016_9999.jpg", "probe/NC2016_7000.jpg")
    with (tmp_path / "reference/manipulation/NC2016-manipulation-ref.csv").open("a") as reference:
        reference.write(nist_row("NC2016_8888", "reference/manipulation/mask/NC2016_3942.png", "YYNN"))
        reference.write(nist_row("NC2016_7000", "reference/manipulation/mask/NC2016_0000.png", "YYNN"))
    manifest, problems = read_layout("nist16", tmp_path)
    assert messages_by_file(problems, "missing").keys() == {"probe/NC2016_8888.jpg"}
    assert messages_by_file(problems, "unmatched").keys() == {"probe/NC2016_7000.jpg"}
    assert messages_by_file(problems, "unlisted").keys() == {"probe/NC2016_9999.jpg"}
    assert len(manifest.records) == 5


def test_nist16_reference_without_its_columns(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "nist16")
    (tree.root / "reference/splice/NC2016-splice-ref.csv").write_text("a|b\n1|2\n")
    with pytest.raises(DataError, match=r"splice-ref.csv: line 1 has no column probefilename"):
        read_layout("nist16", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not a JSON list"),
        ("[]", "not a JSON list"),
        ("[[1, 2]]", "entry 1 is not a pair"),
        ('[["a.jpg"]]', "entry 1 is not a pair"),
        ("[", "is not JSON"),
        ('[["a.jpg", "Negative"]]', "no picture of .* can be used .* a.jpg: does not exist"),
    ],
)
def test_invalid_json_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_layout("imdlbenco", tmp_path / "list.json")


def test_json_list_reports_missing_and_duplicate_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path)
    tree.picture("here/a.jpg", "b.jpg")
    (tmp_path / "lists").mkdir()
    entries = [["here/a.jpg", "Negative"], ["here/a.jpg", "Negative"], ["b.jpg", "no.png"], ["b.jpg", "Negative"]]
    (tmp_path / "lists/l.json").write_text(json.dumps(entries))
    monkeypatch.chdir(tmp_path)  # paths are relative to the working directory, as in the benchmark
    manifest, problems = read_layout("imdlbenco", Path("lists/l.json"))
    assert [Path(record.image).name for record in manifest.records] == ["a.jpg", "b.jpg"]
    assert [(problem.kind, problem.file) for problem in problems] == [
        ("doubled", str(tmp_path / "here/a.jpg")),
        ("missing", "no.png"),
    ]
    assert check_files(manifest) == []


@pytest.mark.parametrize("layout", [name for name in TREES if name != "imdlbenco"])
def test_folder_of_another_layout_is_refused(tmp_path: Path, layout: str) -> None:
    write_rgb(tmp_path / "holiday.jpg", photo(0))
    with pytest.raises(DataError, match=f"nothing of the layout {layout}"):
        read_layout(layout, tmp_path)


def test_set_targets_are_parsed(tmp_path: Path) -> None:
    make_tree(tmp_path, "folder")
    assert len(read_set(f"folder:{tmp_path}")[0].records) == 3
    with pytest.raises(UsageError, match=r"layout of .* is not given"):
        read_set(str(tmp_path))
    with pytest.raises(UsageError, match="unknown layout 'casia3'"):
        read_set(f"casia3:{tmp_path}")
    with pytest.raises(UsageError, match="neither a manifest nor LAYOUT:DIR"):
        read_set("nowhere")
    with pytest.raises(DataError, match="does not exist"):
        read_set("folder:nowhere")
