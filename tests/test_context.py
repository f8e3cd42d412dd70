"""The forensic context of files made here: camera, clocks, containers, and the remarks on it."""

from __future__ import annotations

import copy
import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from context_files import CHANGED, DIGITISED, OFFSET, SOFTWARE, TAKEN, TAKEN_AT, context_of, exif, ids, jpeg, picture
from PIL import TiffImagePlugin

from imltool.evidence.context import EMPTY, picture_context
from imltool.evidence.facts import describe
from imltool.evidence.remarks import RULES, make_remarks
from imltool.pictures.exif_guard import exif_fault
from imltool.pictures.images import read_picture


def test_what_a_camera_writes(tmp_path: Path) -> None:
    gps = {1: "S", 2: (33.0, 30.0, 36.0), 3: "E", 4: (151.0, 15.0, 0.0), 5: b"\x00", 6: 58.0, 7: (2.0, 0.0, 5.0)}
    block = exif(
        {271: "Canon", 272: "Canon EOS 5D\0\0", SOFTWARE: "Firmware 1.1.1", CHANGED: TAKEN_AT},
        {
            TAKEN: TAKEN_AT,
            DIGITISED: TAKEN_AT,
            OFFSET: "+10:00",
            42036: "Stra\u00dfe 50mm".encode(),
            42033: "0123",
            40962: 320,
            40963: 240,
        },
        {**gps, 29: "2024:05:01"},
    )
    picture().save(tmp_path / "a.jpg", exif=block, quality=92)
    found = context_of(tmp_path / "a.jpg")
    assert found.camera == {"make": "Canon", "model": "Canon EOS 5D", "lens": "Stra\u00dfe 50mm", "serial": "0123"}
    assert found.gps == {"present": True, "latitude": -33.51, "longitude": 151.25, "altitude": 58.0}
    assert found.times.taken == "2024-05-01T12:00:00+10:00"
    assert found.times.gps == "2024-05-01T02:00:05+00:00"
    assert found.clocks == {"changed": 0, "digitised": 0, "gps": 5, "xmp_created": None}
    assert found.software == [{"where": "EXIF Software", "text": "Firmware 1.1.1"}]
    assert (found.format, found.frames, found.size_differs, found.problems) == ("JPEG", 1, False, [])
    assert found.credentials.state == "absent"
    assert ids(found) == set(), "a picture as a camera leaves it needs no remark"
    lines = dict(describe(found))
    assert lines["Camera"] == "Canon EOS 5D, Stra\u00dfe 50mm, serial 0123"
    assert lines["Position"] == "-33.51, 151.25, 58.0 m high"


@pytest.mark.parametrize("ending", ["png", "tif", "webp", "heic", "avif"])
def test_metadata_is_read_from_every_container(tmp_path: Path, ending: str) -> None:
    block = exif({271: "Maker", 272: "Model", SOFTWARE: "GIMP 2.10"}, {TAKEN: TAKEN_AT})
    path = tmp_path / f"a.{ending}"
    picture().save(path, exif=block)
    found = context_of(path)
    assert found.camera.model == "Model" and found.times.taken == "2024-05-01T12:00:00"
    assert "editor" in ids(found) and found.jpeg is None
    assert found.format == {"tif": "TIFF", "heic": "HEIF"}.get(ending, ending.upper())


def test_clocks_that_disagree(tmp_path: Path) -> None:
    cases = {
        "clock-changed": ({CHANGED: "2024:05:03 13:00:00"}, {TAKEN: TAKEN_AT}, {}),
        "clock-before": ({CHANGED: "2023:05:03 13:00:00"}, {TAKEN: TAKEN_AT}, {}),
        "clock-digitised": ({}, {TAKEN: TAKEN_AT, DIGITISED: "2024:05:01 12:05:00"}, {}),
        "clock-gps": ({}, {TAKEN: TAKEN_AT}, {7: (12.0, 0.0, 0.0), 29: "2024:04:29"}),
    }
    for name, (main, detail, gps) in cases.items():
        picture().save(tmp_path / f"{name}.jpg", exif=exif({271: "Maker", **main}, detail, gps))
        assert ids(context_of(tmp_path / f"{name}.jpg")) == {name}
    remark = make_remarks(context_of(tmp_path / "clock-changed.jpg"))[0]
    assert remark.text == "EXIF tells of a change 2 days 1 h after it was taken"
    assert remark.seen == "clocks.changed: 176400 s"
    # eleven hours may be a time zone; with the zone told they are a disagreement
    gps = {7: (23.0, 0.0, 0.0), 29: "2024:05:01"}
    picture().save(tmp_path / "zone.jpg", exif=exif({271: "Maker"}, {TAKEN: TAKEN_AT}, gps))
    assert context_of(tmp_path / "zone.jpg").clocks.gps == 0
    picture().save(tmp_path / "told.jpg", exif=exif({271: "Maker"}, {TAKEN: TAKEN_AT, OFFSET: "+00:00"}, gps))
    assert context_of(tmp_path / "told.jpg").clocks.gps == 11 * 3600


def test_values_that_are_none(tmp_path: Path) -> None:
    gps = {1: "N", 2: (TiffImagePlugin.IFDRational(0, 0), 0.0, 0.0), 3: "E", 4: (400.0, 0.0, 0.0)}
    block = exif({271: "  \0", SOFTWARE: "a\u202eb\n=1"}, {TAKEN: "0000:00:00 00:00:00", DIGITISED: "yesterday"}, gps)
    picture().save(tmp_path / "a.jpg", exif=block)
    found = context_of(tmp_path / "a.jpg")
    assert found.camera.make is None and found.gps.present is False
    assert found.times.taken is found.times.digitised is None
    assert all(letter.isprintable() for letter in found.software[0]["text"])


def test_the_name_and_the_content(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", "PNG")
    assert "its name ends like another format's; the content is PNG" in [
        remark.text for remark in make_remarks(context_of(tmp_path / "a.jpg"))
    ]
    picture().save(tmp_path / "plain", "PNG")
    picture().save(tmp_path / "a.jfif", "JPEG", exif=exif({271: "M"}))
    assert ids(context_of(tmp_path / "plain")) == ids(context_of(tmp_path / "a.jfif")) == set()


def test_frames_and_pages_are_counted(tmp_path: Path) -> None:
    frames = [picture(seed=seed) for seed in range(3)]
    for ending in ("gif", "tif", "webp", "png", "heic", "avif"):
        path = tmp_path / f"a.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        found = context_of(path)
        assert found.frames == 3 and "frames" in ids(found), ending
        rgb = read_picture(path).rgb.astype(int)
        near, far = (np.abs(rgb - np.asarray(frames[number])).mean() for number in (0, 1))
        assert near < far / 2, f"{ending}: the first is read"
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    ifd[254] = 1
    picture().save(tmp_path / "small.tif", tiffinfo=ifd)
    assert ids(context_of(tmp_path / "small.tif")) == {"preview-page"}


def test_a_block_made_to_take_memory_is_not_read(tmp_path: Path) -> None:
    entries = b"".join(struct.pack("<HHLL", tag, 1, 60_000, 8) for tag in range(4000))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 4000) + entries + b"\0" * 4
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), exif=block))
    found = context_of(tmp_path / "a.jpg")
    assert found.problems == ["EXIF: more than 1000 tags"] and found.orientation is None
    assert read_picture(tmp_path / "a.jpg").rgb.shape == (240, 320, 3), "the picture is analysed all the same"
    # behind a table that is cut off, and as the thumbnail's own
    pointers = struct.pack("<HHLL", 0x8769, 4, 1, 38) + struct.pack("<HHLL", 0x8825, 4, 1, 10**9)
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + pointers + b"\0" * 4 + struct.pack("<H", 4000) + entries
    assert exif_fault(block) == "more than 1000 tags"
    block = b"II*\0\x08\0\0\0" + struct.pack("<HHHLLL", 1, 274, 3, 1, 6, 26) + struct.pack("<H", 4000) + entries
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), exif=b"Exif\0\0" + block))
    found = context_of(tmp_path / "a.jpg")
    assert (found.orientation, found.thumbnail, found.problems) == (6, None, []), "the rest is read"
    assert exif_fault(block) == "" and exif_fault(block, thumbnail=True) == "more than 1000 tags"
    assert exif_fault(b"Exif\0\0" * 2 + block) == ""
    picture().save(tmp_path / "a.png", exif=b"II*\0\x08\0\0\0" + b"\0" * 1_000_001)
    assert "more than 1000000 bytes" in context_of(tmp_path / "a.png").problems[0]


def test_files_that_are_no_pictures_give_reasons(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello")
    assert context_of(tmp_path / "empty").problems == ["the file is empty"]
    assert context_of(tmp_path / "text").problems == ["not a picture format known here"]
    assert "Content Credentials: " in picture_context(tmp_path / "gone").problems[-1]


def test_every_rule_holds_for_something_and_says_no_verdict() -> None:
    software = [
        "GIMP", "Hugin", "ImageMagick", "ExifTool", "Midjourney", "Screenshot", "Instagram",
    ]  # fmt: skip
    full = copy.deepcopy(EMPTY) | {
        "format": "JPEG",
        "frames": 2,
        "preview_page": True,
        "name_differs": True,
        "software": [{"where": "EXIF Software", "text": text} for text in software],
        "clocks": {"changed": 900, "digitised": 900, "gps": -90000, "xmp_created": 900000},
        "told_size": [4, 3],
        "size_differs": True,
        "history": ["saved"],
        "derived": True,
        "source_types": ["trainedAlgorithmicMedia", "composite"],
        "jpeg": {"quality": 40},
        "earlier_save": {"frequencies": 14, "seen": True},
        "thumbnail": {
            "local_difference": 99.0, "differs": True, "turned": True, "shows": "its middle", "aspect_differs": True,
        },
        "problems": ["EXIF: broken"],
    }  # fmt: skip
    states = [
        {"state": "valid", "signer": "A"},
        {"state": "invalid", "failures": ["assertion.dataHash.mismatch"]},
        {"state": "not checked", "reason": "no library"},
        {"state": "elsewhere", "address": "https://example.org"},
    ]
    remarks = [remark for state in states for remark in make_remarks({**full, "credentials": state})]
    remarks += make_remarks({**full, "clocks": {"changed": -900}})
    names = [rule.id for rule in RULES]
    assert len(set(names)) == len(names) and {remark.id for remark in remarks} == set(names)
    for remark in remarks:
        assert remark.seen and "{" not in remark.text
        assert not {"fake", "real", "authentic", "forged", "manipulated", "genuine"} & set(remark.text.split())
    assert make_remarks(copy.deepcopy(EMPTY)) == []


def test_times_of_other_writers() -> None:
    from imltool.evidence.exif import parse_time

    assert parse_time("2024-05-01T12:00:00.25+02:00") == datetime.fromisoformat("2024-05-01T12:00:00+02:00")
    assert parse_time("2024-05-01T12:00Z") == datetime.fromisoformat("2024-05-01T12:00:00+00:00")
    assert parse_time("2024:13:01 12:00:00") is parse_time("") is parse_time(b"    :  :     :  :  ") is None
    assert parse_time("2024:05:01 12:00:00", "+99:00") == datetime(2024, 5, 1, 12)


def test_the_guide_names_every_key_and_rule() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "scan.md").read_text(encoding="utf-8")
    assert [name for name in (*EMPTY, *(rule.id for rule in RULES)) if f"`{name}`" not in guide] == []
