"""The forensic context of files made here: what their format, metadata and coding say, and the remarks on it."""

from __future__ import annotations

import copy
import io
import json
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from conftest import photo
from PIL import Image, ImageDraw, PngImagePlugin, TiffImagePlugin

from imltool.errors import ImageError
from imltool.images import read_picture
from imltool.scan.context import EMPTY, picture_context
from imltool.scan.facts import describe
from imltool.scan.remarks import RULES, make_remarks

pillow_heif.register_heif_opener()

SOFTWARE, CHANGED, TAKEN, DIGITISED, OFFSET = 305, 306, 36867, 36868, 36881
TAKEN_AT = "2024:05:01 12:00:00"


def picture(width: int = 320, height: int = 240, seed: int = 1) -> Image.Image:
    """Large shapes on a smooth ground: what a thumbnail still shows."""
    made = Image.fromarray(photo(seed, width, height))
    draw = ImageDraw.Draw(made)
    for number in range(4):
        x, y = width * number // 4, height * (3 - number) // 5
        draw.rectangle((x, y, x + width // 7, y + height // 4), fill=(250 - 60 * number, 40 * number, 90))
    return made


def exif(main: dict[int, Any], detail: dict[int, Any] | None = None, gps: dict[int, Any] | None = None) -> Image.Exif:
    block = Image.Exif()
    block.update(main)
    for tag, table in ((0x8769, detail), (0x8825, gps)):
        block.get_ifd(tag).update(table or {})
        if table:
            block[tag] = table  # TIFF is written from this one
    return block


def exif_with_thumbnail(thumbnail: bytes, orientation: int = 1) -> bytes:
    """An EXIF block with an orientation and a thumbnail: two tables of tags, and the JPEG after them."""
    start = 8 + (2 + 12 + 4) + (2 + 24 + 4)
    first = struct.pack("<HHHLHHL", 1, 274, 3, 1, orientation, 0, 26)
    second = struct.pack("<HHHLLHHLLL", 2, 513, 4, 1, start, 514, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail


def jpeg(made: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    made.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def context_of(path: Path) -> dict[str, Any]:
    """The context with the picture decoded where it can be; the same each time, and plain JSON."""
    try:
        read = read_picture(path)
    except ImageError:
        read = None
    found = picture_context(path, read)
    assert found.keys() == EMPTY.keys()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert picture_context(path, read) == found
    return found


def ids(context: dict[str, Any]) -> set[str]:
    return {remark["id"] for remark in make_remarks(context)}


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
    assert found["camera"] == {"make": "Canon", "model": "Canon EOS 5D", "lens": "Stra\u00dfe 50mm", "serial": "0123"}
    assert found["gps"] == {"present": True, "latitude": -33.51, "longitude": 151.25, "altitude": 58.0}
    assert found["times"]["taken"] == "2024-05-01T12:00:00+10:00"
    assert found["times"]["gps"] == "2024-05-01T02:00:05+00:00"
    assert found["clocks"] == {"changed": 0, "digitised": 0, "gps": 5, "xmp_created": None}
    assert found["software"] == [{"where": "EXIF Software", "text": "Firmware 1.1.1"}]
    assert (found["format"], found["frames"], found["size_differs"], found["problems"]) == ("JPEG", 1, False, [])
    assert found["credentials"]["state"] == "absent"
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
    assert found["camera"]["model"] == "Model" and found["times"]["taken"] == "2024-05-01T12:00:00"
    assert "editor" in ids(found) and found["jpeg"] is None
    assert found["format"] == {"tif": "TIFF", "heic": "HEIF"}.get(ending, ending.upper())


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
    assert remark["text"] == "EXIF tells of a change 2 days 1 h after it was taken"
    assert remark["seen"] == "clocks.changed: 176400 s"
    # eleven hours may be a time zone; with the zone told they are a disagreement
    gps = {7: (23.0, 0.0, 0.0), 29: "2024:05:01"}
    picture().save(tmp_path / "zone.jpg", exif=exif({271: "Maker"}, {TAKEN: TAKEN_AT}, gps))
    assert context_of(tmp_path / "zone.jpg")["clocks"]["gps"] == 0
    picture().save(tmp_path / "told.jpg", exif=exif({271: "Maker"}, {TAKEN: TAKEN_AT, OFFSET: "+00:00"}, gps))
    assert context_of(tmp_path / "told.jpg")["clocks"]["gps"] == 11 * 3600


def test_values_that_are_none(tmp_path: Path) -> None:
    gps = {1: "N", 2: (TiffImagePlugin.IFDRational(0, 0), 0.0, 0.0), 3: "E", 4: (400.0, 0.0, 0.0)}
    block = exif({271: "  \0", SOFTWARE: "a\u202eb\n=1"}, {TAKEN: "0000:00:00 00:00:00", DIGITISED: "yesterday"}, gps)
    picture().save(tmp_path / "a.jpg", exif=block)
    found = context_of(tmp_path / "a.jpg")
    assert found["camera"]["make"] is None and found["gps"]["present"] is False
    assert found["times"]["taken"] is found["times"]["digitised"] is None
    assert all(letter.isprintable() for letter in found["software"][0]["text"])


def test_jpeg_coding(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    seen = {}
    for quality, subsampling, word in ((35, 2, "4:2:0"), (75, 1, "4:2:2"), (98, 0, "4:4:4")):
        path.write_bytes(jpeg(picture(), quality=quality, subsampling=subsampling, progressive=quality > 90))
        found = context_of(path)["jpeg"]
        assert (found["quality"], found["quality_exact"], found["subsampling"]) == (quality, True, word)
        assert found["progressive"] == (quality > 90) and found["segments"][0] == "APP0 JFIF"
        seen[quality] = found["tables_sha256"]
    assert len(set(seen.values())) == 3
    path.write_bytes(jpeg(picture(60, 50), quality=75))
    assert context_of(path)["jpeg"]["tables_sha256"] == seen[75], "the tables alone count"
    assert "low-quality" not in ids(context_of(path))
    path.write_bytes(jpeg(picture(), qtables=[[17] * 64, [20] * 64]))
    found = context_of(path)["jpeg"]
    assert found["quality_exact"] is False
    path.write_bytes(jpeg(picture(), qtables=[[60] * 64, [60] * 64]))
    assert context_of(path)["jpeg"]["quality"] < found["quality"] <= 100, "the nearest quality follows the steps"
    for mode in ("L", "CMYK"):
        path.write_bytes(jpeg(picture().convert(mode), quality=80))
        found = context_of(path)["jpeg"]
        assert found["quality"] == 80 and found["quality_exact"], mode
    path.write_bytes(jpeg(picture(), quality=35))
    assert "low-quality" in ids(context_of(path))


def test_an_earlier_save_leaves_traces(tmp_path: Path) -> None:
    made = Image.fromarray(photo(5, 640, 480))
    once, twice, lossless = tmp_path / "once.jpg", tmp_path / "twice.jpg", tmp_path / "was.png"
    made.save(once, quality=92)
    Image.open(io.BytesIO(jpeg(made, quality=60))).save(twice, quality=92)
    Image.open(io.BytesIO(jpeg(made, quality=60))).save(lossless)
    made.save(tmp_path / "never.png")
    assert "earlier-save" in ids(context_of(twice)) and "earlier-save" in ids(context_of(lossless))
    assert "earlier-save" not in ids(context_of(once)) | ids(context_of(tmp_path / "never.png"))
    turned = exif({274: 6})
    Image.open(io.BytesIO(jpeg(made.crop((0, 0, 636, 476)), quality=60))).save(twice, quality=92, exif=turned)
    assert "earlier-save" in ids(context_of(twice)), "blocks are counted from the corner of the stored picture"


def thumbnail_facts(folder: Path, made: Image.Image, thumbnail: Image.Image | bytes, turn: int = 1) -> dict[str, Any]:
    small = thumbnail if isinstance(thumbnail, bytes) else jpeg(thumbnail, quality=80)
    (folder / "a.jpg").write_bytes(jpeg(made, exif=exif_with_thumbnail(small, turn)))
    found = context_of(folder / "a.jpg")
    return {**found["thumbnail"], "ids": {name for name in ids(found) if name.startswith("thumb")}} | {
        "problems": found["problems"]
    }


def test_a_thumbnail_of_the_same_picture(tmp_path: Path) -> None:
    made = picture(640, 480)
    small = made.resize((160, 120), Image.Resampling.BOX)
    found = thumbnail_facts(tmp_path, made, small)
    assert (found["where"], found["width"], found["height"]) == ("EXIF", 160, 120)
    assert found["shows"] == "the whole picture" and not found["ids"] and found["correlation"] > 0.95
    brighter = Image.fromarray(np.clip(np.asarray(small) * 1.2 + 10, 0, 255).astype(np.uint8))
    assert not thumbnail_facts(tmp_path, made, brighter)["ids"], "another tone curve is no other content"
    assert not thumbnail_facts(tmp_path, made, small, turn=6)["ids"], "both are stored the same way round"
    wide = picture(640, 360)
    bars = Image.new("RGB", (160, 120))
    bars.paste(wide.resize((160, 90), Image.Resampling.BOX), (0, 15))
    found = thumbnail_facts(tmp_path, wide, bars)
    assert found["shows"] == "the picture between bars" and not found["ids"]


def test_a_thumbnail_of_another_picture(tmp_path: Path) -> None:
    made = picture(640, 480)
    small = made.resize((160, 120), Image.Resampling.BOX)
    edited = made.copy()
    edited.paste(Image.fromarray(255 - np.asarray(made.crop((100, 300, 240, 400)))), (100, 300))
    found = thumbnail_facts(tmp_path, edited, small)
    assert found["ids"] == {"thumbnail-content"} and found["correlation"] > 0.8
    assert thumbnail_facts(tmp_path, picture(640, 480, seed=9), small)["ids"] >= {"thumbnail-content"}
    found = thumbnail_facts(tmp_path, made.rotate(90, expand=True), small)
    assert found["ids"] == {"thumbnail-turned"} and found["differs"] is False
    cut = made.crop((0, 0, 400, 480))
    assert "thumbnail-aspect" in thumbnail_facts(tmp_path, cut, small)["ids"]


def test_thumbnails_that_cannot_be_compared(tmp_path: Path) -> None:
    made = picture(640, 480)
    small = made.resize((160, 120), Image.Resampling.BOX)
    found = thumbnail_facts(tmp_path, made, jpeg(small)[:200])
    assert found["differs"] is None and found["problems"][0].startswith("thumbnail:")
    found = thumbnail_facts(tmp_path, made, made.resize((2100, 20)))
    assert "2100x20" in found["problems"][0]
    found = thumbnail_facts(tmp_path, made, small.resize((16, 12)))
    assert found["differs"] is None and found["problems"] == []
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    found = context_of(tmp_path / "cut.jpg")
    assert found["thumbnail"]["width"] == 16 and found["thumbnail"]["differs"] is None, "its picture is damaged"


XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Image::ExifTool 12.0"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
 xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dcterms="http://purl.org/dc/terms/">
<rdf:Description xmp:CreatorTool="Adobe Photoshop 21.0 (Windows)" xmp:CreateDate="2024-05-04T12:00:00+02:00"
 dcterms:provenance="https://example.org/manifest.c2pa">
<xmp:ModifyDate>2024-05-05T12:00:00Z</xmp:ModifyDate>
<e:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic</e:DigitalSourceType>
<xmpMM:DerivedFrom rdf:parseType="Resource"/>
<xmpMM:History><rdf:Seq><rdf:li stEvt:action="created" stEvt:softwareAgent="Adobe Photoshop 21.0 (Windows)"/>
<rdf:li rdf:parseType="Resource"><stEvt:action>saved</stEvt:action></rdf:li></rdf:Seq></xmpMM:History>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>\0"""


def test_what_xmp_says(tmp_path: Path) -> None:
    block = exif({271: "Maker"}, {TAKEN: TAKEN_AT})
    for ending in ("jpg", "png", "webp", "heic"):
        path = tmp_path / f"a.{ending}"
        packet = XMP.strip("\0")
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet)
        picture().save(path, exif=block, **({"pnginfo": texts} if ending == "png" else {"xmp": packet.encode()}))
        found = context_of(path)
        assert found["history"] == ["created", "saved"] and found["derived"] and not found["problems"], ending
        assert found["times"]["xmp_changed"] == "2024-05-05T12:00:00+00:00"
        assert found["source_types"] == ["compositeSynthetic"]
        assert found["credentials"]["state"] == "elsewhere"
        assert ids(found) == {
            "editor", "metadata-tool", "synthetic", "history", "derived", "clock-xmp", "credentials-elsewhere",
        }  # fmt: skip
        editor = make_remarks(found)[0]
        assert editor["text"] == "saved by an editor (Adobe Photoshop 21.0 (Windows))"
        assert "XMP CreatorTool: Adobe Photoshop 21.0" in editor["seen"]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "holds a document type"),
        (XMP[:700].encode(), "not XML"),
        (b" " * 2_000_001, "longer than"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"), "holds a document type"),
    ],
)
def test_xmp_that_is_not_read(tmp_path: Path, packet: bytes, reason: str) -> None:
    picture().save(tmp_path / "a.webp", xmp=packet)
    found = context_of(tmp_path / "a.webp")
    assert any(problem.startswith("XMP: ") and reason in problem for problem in found["problems"])
    assert "problems" in ids(found)


def test_traces_of_programs_in_other_places(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a cat, Steps: 20, Sampler: Euler")
    picture().save(tmp_path / "a.png", pnginfo=texts)
    assert ids(context_of(tmp_path / "a.png")) == {"generator"}
    path = tmp_path / "a.jpg"
    comment = b"UNICODE\0" + "a cat, Steps: 20, Sampler: Euler".encode("utf-16-be")
    path.write_bytes(jpeg(picture(), exif=exif({271: "M"}, {37510: comment})))
    assert ids(context_of(path)) == {"generator"}
    path.write_bytes(jpeg(picture(), comment=b"CREATOR: gd-jpeg v1.0", exif=exif({271: "M"})))
    assert ids(context_of(path)) == {"library"}

    def resource(number: int, data: bytes) -> bytes:
        return b"8BIM" + struct.pack(">HHL", number, 0, len(data)) + data + b"\0" * (len(data) % 2)

    def with_block(name: bytes, data: bytes) -> bytes:
        whole = jpeg(picture(), exif=exif({271: "M"}))
        return whole[:2] + b"\xff" + name + struct.pack(">H", len(data) + 2) + data + whole[2:]

    path.write_bytes(with_block(b"\xed", b"Photoshop 3.0\0" + resource(1030, b"\0\x0c\0\0")))
    assert ids(context_of(path)) == {"editor"}
    path.write_bytes(with_block(b"\xec", b"Ducky\0\x01\0\x04\0\0\0<\0\0"))
    assert make_remarks(context_of(path))[0]["text"] == "saved by an editor (Adobe Save for Web)"
    iptc = b"\x1c\x02\x28" + struct.pack(">H", 10) + b"FBMD01000a"
    path.write_bytes(with_block(b"\xed", b"Photoshop 3.0\0" + resource(1028, iptc)))
    assert ids(context_of(path)) == {"network"}


def test_the_name_and_the_content(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", "PNG")
    assert "its name ends like another format's; the content is PNG" in [
        remark["text"] for remark in make_remarks(context_of(tmp_path / "a.jpg"))
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
        assert found["frames"] == 3 and "frames" in ids(found), ending
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
    assert found["problems"] == ["EXIF: more than 1000 tags"] and found["orientation"] is None
    assert read_picture(tmp_path / "a.jpg").rgb.shape == (240, 320, 3), "the picture is analysed all the same"
    picture().save(tmp_path / "a.png", exif=b"II*\0\x08\0\0\0" + b"\0" * 1_000_001)
    assert "more than 1000000 bytes" in context_of(tmp_path / "a.png")["problems"][0]


def test_damaged_files_give_reasons_not_errors(tmp_path: Path) -> None:
    gps = {1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (1.0, 2.0, 3.0)}
    block = exif({271: "Maker", SOFTWARE: "GIMP"}, {TAKEN: TAKEN_AT}, gps)
    rng = np.random.default_rng(0)
    small = picture(64, 48)
    for ending, options in (("jpg", {"xmp": XMP[:900].encode()}), ("png", {}), ("tif", {}), ("webp", {}), ("heic", {})):
        path = tmp_path / f"a.{ending}"
        small.save(path, exif=block, **options)
        whole = path.read_bytes()
        for trial in range(12):
            data = bytearray(whole[: rng.integers(4, len(whole))] if trial % 3 == 0 else whole)
            for place in rng.integers(2, min(len(data), 700), 8):
                data[place] = rng.integers(0, 256)
            path.write_bytes(data)
            found = context_of(path)
            make_remarks(found)
            describe(found)
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello")
    assert context_of(tmp_path / "empty")["problems"] == ["the file is empty"]
    assert context_of(tmp_path / "text")["problems"] == ["not a picture format known here"]
    assert "Content Credentials: " in picture_context(tmp_path / "gone")["problems"][-1]


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
    assert len(set(names)) == len(names) and {remark["id"] for remark in remarks} == set(names)
    for remark in remarks:
        assert remark["seen"] and "{" not in remark["text"]
        assert not {"fake", "real", "authentic", "forged", "manipulated", "genuine"} & set(remark["text"].split())
    assert make_remarks(copy.deepcopy(EMPTY)) == []


def test_times_of_other_writers() -> None:
    from imltool.scan.exif import parse_time

    assert parse_time("2024-05-01T12:00:00.25+02:00") == datetime.fromisoformat("2024-05-01T12:00:00+02:00")
    assert parse_time("2024:13:01 12:00:00") is parse_time("") is parse_time(b"    :  :     :  :  ") is None
    assert parse_time("2024:05:01 12:00:00", "+99:00") == datetime(2024, 5, 1, 12)


def test_the_guide_names_every_key_and_rule() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "scan.md").read_text(encoding="utf-8")
    assert [name for name in (*EMPTY, *(rule.id for rule in RULES)) if f"`{name}`" not in guide] == []
