"""Names of the programs that made a file: XMP with its history, IPTC, comments, blocks of editors."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from helpers.context_files import TAKEN, TAKEN_AT, context_of, exif, ids, jpeg, picture
from PIL import PngImagePlugin

from imltool.evidence.remarks import make_remarks

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


def test_xmp_history_times_and_programs_are_read(tmp_path: Path) -> None:
    block = exif({271: "Maker"}, {TAKEN: TAKEN_AT})
    for ending in ("jpg", "png", "webp", "heic"):
        path = tmp_path / f"a.{ending}"
        packet = XMP.strip("\0")
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet)
        picture().save(path, exif=block, **({"pnginfo": texts} if ending == "png" else {"xmp": packet.encode()}))
        found = context_of(path)
        assert found.history == ("created", "saved") and found.derived and not found.problems, ending
        assert found.times.xmp_changed == "2024-05-05T12:00:00+00:00"
        assert found.source_types == ("compositeSynthetic",)
        assert found.credentials.state == "elsewhere"
        assert ids(found) == {
            "editor", "metadata-tool", "synthetic", "history", "derived", "clock-xmp", "credentials-elsewhere",
        }  # fmt: skip
        editor = make_remarks(found)[0]
        assert editor.text == "saved by an editor (Adobe Photoshop 21.0 (Windows))"
        assert "XMP CreatorTool: Adobe Photoshop 21.0" in editor.evidence


@pytest.mark.parametrize("comment", [b"", b"a text about jumdc2pa"])
@pytest.mark.parametrize("text", ["Museum of Art, bought 1950", "https://example.org bought 1950", ""])
def test_texts_about_provenance_are_no_credentials(tmp_path: Path, text: str, comment: bytes) -> None:
    packet = XMP.strip("\0").replace("https://example.org/manifest.c2pa", text)
    picture().save(tmp_path / "a.jpg", xmp=packet.encode(), comment=comment)
    found = context_of(tmp_path / "a.jpg")
    assert (found.credentials.state, found.credentials.address) == ("absent", None)
    assert not any(name.startswith("credentials") for name in ids(found))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "holds a document type"),
        (XMP[:700].encode(), "no complete XML"),
        (b" " * 4_000_001, "is longer than"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"), "holds a document type"),
    ],
)
def test_invalid_xmp_is_not_read(tmp_path: Path, packet: bytes, reason: str) -> None:
    picture().save(tmp_path / "a.webp", xmp=packet)
    found = context_of(tmp_path / "a.webp")
    assert any("XMP" in problem and reason in problem for problem in found.problems)
    assert "problems" in ids(found)


def test_programs_are_recognized_in_other_fields(tmp_path: Path) -> None:
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
    assert make_remarks(context_of(path))[0].text == "saved by an editor (Adobe Save for Web)"
    iptc = b"\x1c\x02\x28" + struct.pack(">H", 10) + b"FBMD01000a"
    path.write_bytes(with_block(b"\xed", b"Photoshop 3.0\0" + resource(1028, iptc)))
    assert ids(context_of(path)) == {"network"}


@pytest.mark.parametrize(
    ("key", "text", "remarks"),
    [
        ("Workflow", "scan to archive", set()),
        ("prompt", "Please see desk", set()),
        ("parameters", "f/8, 1/125 s", set()),
        ("Dream", "a drawing of 1950 -some day", set()),
        ("workflow", '{"id": "x", "revision": 0}', {"generator"}),
        ("prompt", '{\n "1": {"inputs": {}}}', {"generator"}),
        ("Dream", '"a cat" -s 50 -S 1234 -W 512 -H 512 -C 7.5 -A k_lms', {"generator"}),
        ("invokeai_graph", "x", {"generator"}),
        ("Source", "Lightroom wall poster, museum", set()),
        ("Source", "Created with GIMP", {"editor"}),
        ("Software", "Lightroom 6", {"editor"}),
    ],
)
def test_ordinary_names_of_png_texts_name_no_program(tmp_path: Path, key: str, text: str, remarks: set[str]) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text(key, text)
    picture().save(tmp_path / "a.png", pnginfo=texts)
    assert ids(context_of(tmp_path / "a.png")) == remarks


LONG = "a wide photograph of a lighthouse on a cliff at dusk, heavy waves, volumetric light, " * 6
PARAMETERS = (
    LONG + "\nNegative prompt: blurry\nSteps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 512x512",
    '{"3": {"inputs": {"seed": 5, "steps": 20}, "class_type": "KSampler"}, "text": "' + LONG + '"}',
    '{"prompt": "' + LONG + '", "steps": 28, "sampler": "k_euler_ancestral", "seed": 1}',
    LONG + "--ar 3:2 --v 6.0 Job ID: 01234567-89ab-cdef-0123-456789abcdef",
)


@pytest.mark.parametrize("text", PARAMETERS)
def test_generator_parameters_are_found_in_long_texts(tmp_path: Path, text: str) -> None:
    """Beyond the 200 characters that are shown, in every carrier used by generators."""
    wide = b"UNICODE\0" + text.encode("utf-16-le")
    block = exif({271: "M"}, {37510: wide})
    packet = f"""<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description
     xmlns:d="http://purl.org/dc/elements/1.1/"><d:description><r:Alt><r:li>{text.replace("&", "")}</r:li></r:Alt>
     </d:description></r:Description></r:RDF>""".encode()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Description", text)
    cases: dict[str, dict[str, Any]] = {
        "a.jpg": {"exif": block}, "b.webp": {"exif": block}, "c.png": {"pnginfo": texts}, "d.jpg": {"comment": text},
        "e.jpg": {"xmp": packet}, "f.png": {"exif": block}, "g.jpg": {"exif": exif({270: text})},
    }  # fmt: skip
    for name, options in cases.items():
        picture().save(tmp_path / name, **options)
        found = context_of(tmp_path / name)
        assert "generator" in ids(found), name
        assert all(len(trace.text) <= 200 for trace in found.software), "texts are shortened for display only"


@pytest.mark.parametrize(
    ("block", "remarks"),
    [
        (exif({271: "M"}, {37510: b"ASCII\0\0\0Fotoreportage Dorffest"}), set()),
        (exif({271: "M", 270: "the Facebook office, seen from the canvas of a corelation"}), set()),
        (exif({271: "M", 305: "Facebook office 2.0"}), set()),
        (exif({271: "M", 305: "Instagram"}), {"network"}),
        (exif({271: "M", 305: "Instagram for Android 9.1"}), {"network"}),
        (exif({271: "M", 305: "Fotoreportage 3"}), set()),
        (exif({271: "M", 305: "Fotor"}), {"editor"}),
        (exif({271: "M", 305: "reminiscence"}), set()),
        (exif({271: "M", 270: "made with Photoshop, says the caption"}), set()),
        (exif({271: "M"}, {37510: b"ASCII\0\0\0Screenshot"}), {"screenshot"}),
        (exif({271: "M", 270: "a screenshot museum"}), set()),
        (exif({271: "M", 270: "prompt delivery, steps: 20"}), set()),
        (exif({271: "M", 305: "Adobe Photoshop Lightroom Classic 12"}), {"editor"}),
    ],
)
def test_programs_match_whole_words_and_not_in_captions(tmp_path: Path, block: object, remarks: set[str]) -> None:
    picture().save(tmp_path / "a.jpg", exif=block)
    assert ids(context_of(tmp_path / "a.jpg")) == remarks


def test_date_is_not_a_program(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("date:create", "2024-05-01T10:00:00+00:00")
    picture().save(tmp_path / "a.png", pnginfo=texts)
    assert ids(context_of(tmp_path / "a.png")) == set()
    texts.add_text("Software", "ImageMagick 7.1")
    picture().save(tmp_path / "a.png", pnginfo=texts)
    assert ids(context_of(tmp_path / "a.png")) == {"library"}


@pytest.mark.parametrize("name", ["a.jpg_large", "a.jpg!d", "a.orig", "a.jpeg~", "a", "a.jfif", "a.JPG"])
def test_unknown_extensions_are_not_remarked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(jpeg(picture(), exif=exif({271: "M"})))
    assert ids(context_of(tmp_path / name)) == set()


@pytest.mark.parametrize("name", ["a.png", "a.heic", "a.pdf", "a.txt"])
def test_extensions_of_another_format_are_remarked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(jpeg(picture(), exif=exif({271: "M"})))
    assert ids(context_of(tmp_path / name)) == {"name"}
