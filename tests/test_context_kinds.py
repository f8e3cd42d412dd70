"""Further carriers and encodings of metadata: each is read or reported as not read."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from helpers.context_files import context_of, exif, ids, jpeg, picture
from helpers.pictures import photo
from PIL import Image

from imltool.evidence.facts import describe
from imltool.evidence.reading import read_evidence

RECORDS = b"".join(
    struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text
    for number, text in ((65, b"Adobe Photoshop"), (110, b"Made with Google AI"))
)
RESOURCES = b"8BIM" + struct.pack(">H", 1028) + b"\0\0" + struct.pack(">L", len(RECORDS)) + RECORDS
RESOURCES += bytes(len(RECORDS) % 2)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def xmp(properties: str, inside: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:e="http://ns.adobe.com/exif/1.0/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        f'xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" {properties}>{inside}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def with_segments(path: Path, *segments: bytes) -> Path:
    data = jpeg(Image.fromarray(photo(1, 120, 80)))
    path.write_bytes(data[:2] + b"".join(segments) + data[2:])
    return path


def with_xmp(path: Path, packet: bytes) -> Path:
    return with_segments(path, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))


def png(*chunks: tuple[bytes, bytes], broken: bytes = b"") -> bytes:
    """A PNG file with chunks after its header; chunks named `broken` get a wrong checksum."""
    header = struct.pack(">LLBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(range(0, 240, 30)) for _ in range(8)))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data) ^ (name == broken))
        for name, data in parts
    )


def test_damaged_png_metadata_does_not_prevent_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    expected = read_evidence(path).rgb
    for chunks, broken, problem in (
        ([(b"tEXt", b"Software\0GIMP")], b"tEXt", "PNG tEXt: its checksum does not fit"),
        ([(b"eXIf", b"II*\0\x08\0\0\0\0\0\0\0\0\0")], b"eXIf", "PNG eXIf: its checksum does not fit"),
        ([(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))], b"", "PNG text a: is damaged or too long"),
        ([(b"iCCP", b"a\0\0no")], b"", "PNG iCCP: is damaged or too long"),
        ([(b"pHYs", b"ab")], b"", None),
    ):
        path.write_bytes(png(*chunks, broken=broken))
        read = read_evidence(path)
        assert read.reason is None and (read.rgb == expected).all()
        assert read.context is not None and read.context.problems == ((problem,) if problem else ())
    path.write_bytes(png(broken=b"IHDR"))
    assert read_evidence(path).reason == "damaged picture (the header of a PNG file)"


def test_png_times_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    changed = (b"tIME", struct.pack(">H5B", 2024, 5, 2, 23, 59, 7))
    for created, expected in (
        (b"Thu, 02 May 2024 08:30:00 +0200", "2024-05-02T08:30:00+02:00"),
        (b"2024:05:02 08:30:00", "2024-05-02T08:30:00"),
        (b"May 2024", None),
        (b"Thu, 99 May 2024 08:30:00 GMT", None),
    ):
        path.write_bytes(png(changed, (b"tEXt", b"Creation Time\0" + created)))
        found = context_of(path)
        assert (found.times.png_changed, found.times.png_created) == ("2024-05-02T23:59:07+00:00", expected)
        assert found.times.taken is None, "neither is the time of capture"
        assert [each.text for each in found.unparsed] == ([] if expected else [created.decode()])
        assert "PNG changed 2024-05-02 23:59:07+00:00" in dict(describe(found))["Times"]
    path.write_bytes(png((b"tIME", struct.pack(">H5B", 2024, 13, 2, 23, 59, 7))))
    found = context_of(path)
    assert found.times.png_changed is None and found.unparsed[0].text == "2024-13-02T23:59:07Z"


def test_blocks_without_a_reader_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png((b"prVt", b"hello"), (b"gAMA", struct.pack(">L", 45455))))
    assert [(each.where, each.state) for each in context_of(path).carriers] == [("PNG prVt", "not read")]
    path = with_segments(tmp_path / "a.jpg", segment(0xED, b"Adobe_CM\0\0"), segment(0xE1, b"Adobe?"))
    assert [each.where for each in context_of(path).carriers] == ["JPEG APP13", "JPEG APP1"]
    assert "no-camera" not in ids(context_of(path))
    Image.fromarray(photo(1, 120, 80)).save(tmp_path / "a.jp2")
    box = struct.pack(">L4s", 12, b"asoc") + b"text"
    (tmp_path / "a.jp2").write_bytes((tmp_path / "a.jp2").read_bytes() + box)
    assert "JP2 box asoc" in [each.where for each in context_of(tmp_path / "a.jp2").carriers]


def test_iptc_of_older_and_other_programs_is_read(tmp_path: Path) -> None:
    path = with_segments(tmp_path / "a.jpg", segment(0xED, b"Adobe_Photoshop2.5:\0\0" + RESOURCES))
    assert {"editor", "generator"} <= ids(context_of(path))
    path = tmp_path / "a.gif"
    Image.fromarray(photo(1, 120, 80)).quantize().save(path)
    data = path.read_bytes()
    start = 13 + (3 << ((data[10] & 7) + 1))
    for name, block in ((b"MGK8BIM0000", RESOURCES), (b"MGKIPTC0000", RECORDS)):
        application = b"\x21\xff\x0b" + name + bytes([len(block)]) + block + b"\0"
        path.write_bytes(data[:start] + application + b"\x21\xff\x0bSOMETHING10\x02hi\0" + data[start:])
        found = context_of(path)
        assert {"editor", "generator"} <= ids(found)
        assert ("GIF application block SOMETHING10", "not read") in [
            (each.where, each.state) for each in found.carriers
        ]


def test_xmp_orientation_is_read_with_any_prefix(tmp_path: Path) -> None:
    for packet in (
        xmp('t:Orientation="6"'),
        xmp("", "<t:Orientation>6</t:Orientation>"),
        xmp("t:Orientation='6'").decode().encode("utf-16"),
    ):
        found = context_of(with_xmp(tmp_path / "a.jpg", packet))
        assert (found.orientation, found.orientation_source) == (6, "XMP")
        assert read_evidence(tmp_path / "a.jpg").rgb.shape == (120, 80, 3)
    for packet in (xmp('e:Orientation="6"'), xmp("", '<!-- t:Orientation="6" -->')):
        assert context_of(with_xmp(tmp_path / "a.jpg", packet)).orientation is None


@pytest.mark.parametrize("cut", [0, 20])
def test_orientation_of_an_ingredient_does_not_turn_the_picture(tmp_path: Path, cut: int) -> None:
    """Photoshop keeps the metadata of a composite's parts. Also in a packet whose end is missing."""
    part = '<m:Pantry xmlns:m="http://ns.adobe.com/xap/1.0/mm/"><rdf:Bag><rdf:li><rdf:Description {}</rdf:li></rdf:Bag>'
    for inside in ('t:Orientation="6"/>', "><t:Orientation>6</t:Orientation></rdf:Description>"):
        pantry = part.format(inside) + "</m:Pantry>"
        for packet, orientation in (
            (xmp("", pantry), None),
            (xmp('t:Orientation="3"', pantry), 3),
            (xmp("", f"{pantry}<t:Orientation>3</t:Orientation>"), 3),
        ):
            packet = packet[: len(packet) - cut]
            assert context_of(with_xmp(tmp_path / "a.jpg", packet)).orientation == orientation
            assert read_evidence(tmp_path / "a.jpg").rgb.shape == (80, 120, 3)


@pytest.mark.parametrize(
    ("main", "detail"),
    [
        ({271: 'workflow:{"last_node_id":9,"nodes":[{"id":7,"type":"KSampler"}]}'}, {}),
        ({272: 'prompt:{"3":{"class_type":"KSampler","inputs":{"seed":1}}}'}, {}),
        ({270: 'Workflow:{"last_node_id":9,"last_link_id":9,"nodes":[]}'}, {}),
        ({}, {37510: b'ASCII\0\0\0{"c":"a cat","model":"sd","sampler":"Euler a","scale":7,"seed":1,"steps":30}'}),
    ],
)
def test_generator_parameters_are_found_in_any_field(
    main: dict[int, str], detail: dict[int, bytes], tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), exif=exif(main, detail)))
    found = context_of(tmp_path / "a.jpg")
    assert {"generator", "camera-not-named"} <= ids(found)
    assert found.camera.make is None and found.camera.model is None and found.camera.source is None


def test_generators_named_in_xmp_are_found(tmp_path: Path) -> None:
    for packet in (
        xmp('i:AISystemUsed="Midjourney v7"'),
        xmp('photoshop:Credit="Made with Google AI"'),
        xmp('photoshop:Credit="Edited with Google AI"'),
    ):
        assert "generator" in ids(context_of(with_xmp(tmp_path / "a.jpg", packet)))
    packet = xmp('photoshop:Credit="Apple Photos Clean Up"')
    assert "editor" in ids(context_of(with_xmp(tmp_path / "a.jpg", packet)))
    assert "generator" not in ids(context_of(with_xmp(tmp_path / "a.jpg", xmp('photoshop:Credit="Imagen 3 office"'))))


def test_incomplete_and_mistyped_values_are_kept_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for gps, texts, problems in (
        ({1: "S", 2: (33.0, 51.0, 0.0)}, {"EXIF GPSLatitude": "-33.85"}, 1),
        ({29: "2024:05:01"}, {"EXIF GPSDateStamp": "2024:05:01"}, 0),
        ({7: (10.0, 0.0, 5.0)}, {"EXIF GPSTimeStamp": "10, 0, 5"}, 0),
    ):
        path.write_bytes(jpeg(picture(), exif=exif({271: "ACME"}, gps=gps)))
        found = context_of(path)
        assert {each.where: each.text for each in found.unparsed} == texts and not found.gps.present
        assert len(found.problems) == problems
    table = struct.pack("<H" + "HHL4s" * 4, 4, 1, 2, 2, b"S", 2, 2, 4, b"33.8", 3, 2, 2, b"E", 4, 2, 4, b"15.2")
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHLLL", 1, 0x8825, 4, 1, 26, 0) + table + bytes(4)
    found = context_of(with_segments(path, segment(0xE1, block)))
    assert [each.text for each in found.unparsed] == ["33.8 S", "15.2 E"] and len(found.problems) == 2
    found = context_of(with_xmp(path, xmp('e:GPSLatitude="33,51S" e:GPSTimeStamp="2024-05-01T10:00:00Z"')))
    assert found.unparsed[0].text == "-33.85" and found.times.gps == "2024-05-01T10:00:00+00:00"


def test_comments_in_other_encodings_are_decoded(tmp_path: Path) -> None:
    path = with_segments(tmp_path / "a.jpg", segment(0xFE, "Grüße".encode("utf-16")), segment(0xFE, b"Gr\xfc\xdfe"))
    assert [trace.text for trace in context_of(path).software] == ["Grüße", "Grüße"]


def test_source_types_of_every_vocabulary_are_remarked(tmp_path: Path) -> None:
    """IPTC has renamed terms; files keep the old ones."""
    for term, remark in (
        ("humanEdits", {"composite"}),
        ("minorHumanEdits", {"composite"}),
        ("digitalCreation", {"composite"}),
        ("digitalArt", {"composite"}),
        ("algorithmicallyEnhanced", {"composite"}),
        ("softwareImage", {"synthetic"}),
        ("digitalCapture", set()),
        ("computationalCapture", set()),
    ):
        packet = xmp(f'i:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{term}"')
        found = ids(context_of(with_xmp(tmp_path / "a.jpg", packet)))
        assert found & {"synthetic", "composite"} == remark, term


def test_photoshop_is_named_at_its_place(tmp_path: Path) -> None:
    version = b"8BIM" + struct.pack(">HHL", 1057, 0, 2) + b"\0\1"
    Image.fromarray(photo(1, 120, 80)).save(tmp_path / "a.tif", tiffinfo={34377: version})
    with_segments(tmp_path / "a.jpg", segment(0xED, b"Photoshop 3.0\0" + version))
    for name, place in (("a.tif", "TIFF tag 34377"), ("a.jpg", "JPEG APP13")):
        (trace,) = context_of(tmp_path / name).software
        assert (trace.where, trace.text, trace.kinds) == (place, "Adobe Photoshop", ("editor",))


def test_png_in_many_chunks_is_complete(tmp_path: Path) -> None:
    """Writers may split the pixels into any number of chunks; of others only so many are read."""
    path, pieces = tmp_path / "a.png", [b""] * 25_000
    path.write_bytes(png(*((b"IDAT", piece) for piece in pieces)))
    read = read_evidence(path)
    assert read.rgb is not None and read.context is not None
    assert (read.context.ending, read.context.problems, ids(read.context)) == ("complete", (), set())
    path.write_bytes(png(*((b"tEXt", b"a\0b") for _ in pieces)))
    found = context_of(path)
    assert (found.ending, found.problems) == (None, ("PNG: only its first 20000 chunks were read",))


def test_comments_of_netpbm_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ppm"
    line = b"Created by GIMP version 2.10.18 PNM plug-in"
    for data, comments in (
        (b"P6\n# " + line + b"\n4 4\n255\n" + bytes(48), 1),
        (b"P3\n4 #" + line + b"\n# # two\n1\n255\n" + b"0 " * 12, 2),
        (b"P6\n4 5\n255\n# " + line + b"\n" + bytes(48), 0),  # these are pixels
    ):
        path.write_bytes(data)
        found = context_of(path)
        assert [each.where for each in found.carriers] == ["PPM comment"] * comments
        assert ("editor" in ids(found)) is (comments > 0)


@pytest.mark.parametrize("ending", ["heic", "avif"])
def test_file_of_boxes_that_is_cut_off_has_no_trailer(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    picture().save(path)
    whole = path.read_bytes()
    for missing in (1, 100):
        path.write_bytes(whole[:-missing])
        found = context_of(path)
        assert (found.ending, found.trailer, ids(found)) == ("cut off", None, {"problems"})
    start = whole.index(b"mdat") - 4
    path.write_bytes(whole[:start] + bytes(4) + whole[start + 4 :])  # a size of 0: to the end of the file
    found = context_of(path)
    assert (found.ending, found.trailer, found.problems) == (None, None, ())


def test_box_after_the_codestream_that_is_cut_off_is_no_trailer(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    picture().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole + struct.pack(">L4s", 50, b"xml ") + b"<a>")
    found = context_of(path)
    assert (found.ending, found.trailer) == ("cut off", None) and "problems" in ids(found)
    path.write_bytes(whole + struct.pack(">L4s", 0, b"xml ") + b"<a/>")
    found = context_of(path)
    assert (found.ending, found.trailer, found.problems) == ("complete", None, ())
