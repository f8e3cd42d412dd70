"""Where files name the programs that made them: XMP with its history, IPTC, comments, blocks of editors."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from context_files import TAKEN, TAKEN_AT, context_of, exif, ids, jpeg, picture
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


def test_what_xmp_says(tmp_path: Path) -> None:
    block = exif({271: "Maker"}, {TAKEN: TAKEN_AT})
    for ending in ("jpg", "png", "webp", "heic"):
        path = tmp_path / f"a.{ending}"
        packet = XMP.strip("\0")
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet)
        picture().save(path, exif=block, **({"pnginfo": texts} if ending == "png" else {"xmp": packet.encode()}))
        found = context_of(path)
        assert found.history == ["created", "saved"] and found.derived and not found.problems, ending
        assert found.times.xmp_changed == "2024-05-05T12:00:00+00:00"
        assert found.source_types == ["compositeSynthetic"]
        assert found.credentials.state == "elsewhere"
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
    assert any(problem.startswith("XMP: ") and reason in problem for problem in found.problems)
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
