"""All metadata carriers, each read or reported as not read; orientation; data after the end of the picture."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from helpers.context_files import TAKEN, TAKEN_AT, context_of, exif, exif_with_thumbnail, ids, jpeg, picture
from PIL import PngImagePlugin

from imltool.evidence.model import Camera, Position
from imltool.evidence.reading import read_evidence
from imltool.pictures.images import read_rgb, read_size

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
 xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" exif:GPSLatitude="33,51.5S"
 exif:GPSLongitude="151,12,36E" exif:GPSAltitude="585/10" exif:DateTimeOriginal="2024-05-01T12:00:00+10:00"
 aux:SerialNumber="77"><tiff:Make>ACME</tiff:Make>
<tiff:Model>Cam 1</tiff:Model><xmpMM:History><rdf:Seq><rdf:li stEvt:action="saved" stEvt:softwareAgent="GIMP 2.10"/>
</rdf:Seq></xmpMM:History></rdf:Description></rdf:RDF></x:xmpmeta>"""
CAMERA = Camera(make="ACME", model="Cam 1", serial="77", source="XMP")
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"


def app(number: int, *content: bytes) -> bytes:
    data = b"".join(content)
    return bytes([0xFF, 0xE0 + number]) + struct.pack(">H", len(data) + 2) + data


def with_blocks(*blocks: bytes) -> bytes:
    whole = jpeg(picture())
    return whole[:2] + b"".join(blocks) + whole[2:]


def extended(*parts: tuple[int, bytes], total: int) -> bytes:
    identity = b"A" * 32
    return with_blocks(*(app(1, EXTENSION, identity, struct.pack(">LL", total, start), part) for start, part in parts))


def in_gif() -> bytes:
    buffer = io.BytesIO()
    picture().convert("P").save(buffer, "GIF")
    data = buffer.getvalue()
    magic = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    return data[:-1] + b"\x21\xff\x0bXMP DataXMP" + XMP + magic + b"\x3b"


def in_png_profile() -> bytes:
    texts = PngImagePlugin.PngInfo()
    data = b"http://ns.adobe.com/xap/1.0/\0" + XMP
    texts.add_text("Raw profile type APP1", f"\ngeneric profile\n{len(data):8}\n{data.hex()}\n", zip=True)
    buffer = io.BytesIO()
    picture().save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


def in_jp2() -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG2000")
    identity = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    return buffer.getvalue() + struct.pack(">L4s", 24 + len(XMP), b"uuid") + identity + XMP


def resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHL", number, 0, len(data)) + data + b"\0" * (len(data) % 2)


def in_resources() -> bytes:
    return with_blocks(app(13, b"Photoshop 3.0\0", resource(1060, XMP)))


def in_tiff() -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "TIFF", tiffinfo={700: XMP})
    return buffer.getvalue()


def in_webp() -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "WEBP", xmp=XMP)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "made",
    [
        in_gif,
        in_png_profile,
        in_jp2,
        in_resources,
        in_tiff,
        in_webp,
        lambda: with_blocks(app(1, b"http://ns.adobe.com/xap/1.0/\0", XMP)),
        lambda: extended((400, XMP[400:]), (0, XMP[:400]), total=len(XMP)),
    ],
)
def test_xmp_is_read_from_every_carrier(tmp_path: Path, made: Callable[[], bytes]) -> None:
    """With camera, time, position and history given in XMP only."""
    path = tmp_path / "a"
    path.write_bytes(made())
    found = context_of(path)
    assert found.camera == CAMERA and found.problems == ()
    assert found.gps == Position(present=True, latitude=-33.858333, longitude=151.21, altitude=58.5, source="XMP")
    assert (found.times.taken, found.times.taken_source) == ("2024-05-01T12:00:00+10:00", "XMP")
    assert found.history == ("saved",) and ids(found) >= {"editor", "history"}
    assert not ids(found) & {"no-camera", "camera-not-named", "problems"}


def test_unreadable_metadata_is_reported(tmp_path: Path) -> None:
    """And nothing is reported as absent."""
    path = tmp_path / "a.jpg"
    for data, problem in (
        (extended((0, XMP[:400]), total=len(XMP)), "extended XMP: is incomplete"),
        (extended((0, XMP[:400]), (500, XMP[500:]), total=len(XMP)), "extended XMP: is incomplete"),
        (with_blocks(app(1, b"http://ns.adobe.com/xap/1.0/\0", XMP[:300])), "JPEG APP1: XMP is no complete XML"),
        (with_blocks(app(1, b"Exif\0\0", b"no table")), "EXIF: has no TIFF header"),
        (with_blocks(app(13, b"Photoshop 3.0\0", b"8BIM\4\4\0\0\0\0\xff\xff")), "Photoshop resources are damaged"),
    ):
        path.write_bytes(data)
        found = context_of(path)
        assert len(found.problems) == 1 and problem in found.problems[0]
        assert {carrier.state for carrier in found.carriers} <= {"not read", "partly read"}
        assert ids(found) == {"problems"}
    path.write_bytes(with_blocks(app(4, b"QVCI\0 proprietary data of the maker")))
    found = context_of(path)
    assert [(carrier.where, carrier.state) for carrier in found.carriers] == [("JPEG APP4 QVCI", "not read")]
    assert ids(found) == set() and found.problems == ()
    path.write_bytes(jpeg(picture()))
    assert ids(context_of(path)) == {"no-camera"}, "missing metadata is remarked"
    path.write_bytes(jpeg(picture(), exif=exif({305: "Firmware"})))
    assert ids(context_of(path)) == {"camera-not-named"}


def test_exif_inside_other_blocks_is_read(tmp_path: Path) -> None:
    block = exif({271: "ACME", 272: "Cam 1"}, {TAKEN: TAKEN_AT}).tobytes().removeprefix(b"Exif\0\0")
    iptc = b"\x1c\x02\x37\0\x0820240502" + b"\x1c\x02\x3c\0\x0b100000+0200" + b"\x1c\x02\x41\0\x04GIMP"
    path = tmp_path / "a.jpg"
    path.write_bytes(with_blocks(app(13, b"Photoshop 3.0\0", resource(1058, block), resource(1028, iptc))))
    found = context_of(path)
    assert (found.camera.model, found.times.taken) == ("Cam 1", "2024-05-01T12:00:00")
    assert found.times.iptc_created == "2024-05-02T10:00:00+02:00" and "editor" in ids(found)
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG2000")
    path.write_bytes(buffer.getvalue() + struct.pack(">L4s", 24 + len(block), b"uuid") + b"JpgTiffExif->JP2" + block)
    assert context_of(path).camera.model == "Cam 1"


def test_all_comments_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    comments = [b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62)", b"for the album", b"Lavc58.54.100"]
    path.write_bytes(with_blocks(*(b"\xff\xfe" + struct.pack(">H", len(each) + 2) + each for each in comments)))
    found = context_of(path)
    assert [trace.text.encode() for trace in found.software] == comments
    assert [trace.kinds for trace in found.software] == [("library",), (), ("library",)]
    buffer = io.BytesIO()
    picture().convert("P").save(buffer, "GIF", comment=b"Created with GIMP")
    path.write_bytes(buffer.getvalue())
    assert context_of(path).software[0].where == "GIF comment" and "editor" in ids(context_of(path))


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_orientation_is_the_same_for_context_and_pixels(tmp_path: Path, ending: str) -> None:
    """Orientation of XMP if EXIF has none; orientation of EXIF if both have one."""
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<r:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></r:RDF></x:xmpmeta>'
    )
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", packet)
    carriers: dict[str, dict[str, Any]] = {"png": {"pnginfo": texts}, "tif": {"tiffinfo": {700: packet.encode()}}}
    more = carriers.get(ending, {"xmp": packet.encode()})
    path = tmp_path / f"a.{ending}"
    made = picture()
    made.save(path, **more)
    found = context_of(path)
    assert (found.orientation, found.orientation_source) == (6, "XMP")
    assert read_size(path) == (240, 320) and read_evidence(path).rgb.shape == (320, 240, 3)
    stored = np.rot90(read_rgb(path)).astype(int)
    assert np.abs(stored - np.asarray(made)).mean() < 8
    if ending == "tif":
        return
    made.save(path, exif=exif({274: 3}), **more)
    found = context_of(path)
    assert (found.orientation, found.orientation_source, read_size(path)) == (3, "EXIF", (320, 240))


def test_thumbnail_is_rotated_with_its_picture(tmp_path: Path) -> None:
    """Also if only XMP has the orientation."""
    packet = b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:tiff="http://ns.adobe.com/tiff/1.0/">'
    packet += b'<r:Description tiff:Orientation="6"/></r:RDF>'
    block = exif_with_thumbnail(jpeg(picture(640, 480).resize((160, 120))), 1)
    without_orientation = block.replace(struct.pack("<HHL", 274, 3, 1), struct.pack("<HHL", 283, 3, 1))
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(picture(640, 480), exif=without_orientation, xmp=packet))
    found = context_of(path)
    assert found.orientation == 6 and found.thumbnail.turned is False and found.thumbnail.correlation > 0.95


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a.txt", "hidden")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("trailer", "kind"),
    [
        (archive(), "a ZIP archive"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 300, "a video (motion photo)"),
        (b"\0" * 40, "padding"),
        (b"a note\n", "text"),
        (bytes(range(128, 256)) * 4, "unknown data"),
        (jpeg(picture(64, 48)), "a JPEG picture"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 300, "a HEIF or AVIF picture"),
        (b"An ftyp box begins a video.\n", "text"),
        (bytes(2_000_000), "padding"),
        (bytes(2_000_000) + archive(), "a ZIP archive"),
    ],
)
def test_data_after_the_picture_is_a_trailer(tmp_path: Path, trailer: bytes, kind: str) -> None:
    block = exif({271: "M"})
    endings = ["jpg", "png", "gif", "webp", "bmp", "ppm", "jp2", "j2k", "heic", "avif"]
    if kind not in ("padding", "text", "unknown data"):
        endings += ["tif"]
    for ending in endings:
        path = tmp_path / f"a.{ending}"
        picture().save(path, exif=block) if ending in ("jpg", "png", "webp", "tif") else picture().save(path)
        size = path.stat().st_size
        assert context_of(path).trailer is None, ending
        path.write_bytes(path.read_bytes() + trailer)
        found = context_of(path).trailer
        assert (found.offset, found.size_bytes, found.kind) == (size, len(trailer), kind), ending
        assert ("trailer" in ids(context_of(path))) == (kind != "padding")


def test_pictures_of_a_multi_picture_file_are_not_a_trailer(tmp_path: Path) -> None:
    path = tmp_path / "a.mpo"
    picture().save(path, "MPO", save_all=True, append_images=[picture(seed=2), picture(seed=3)])
    path.write_bytes(path.read_bytes() + archive())
    found = context_of(path)
    assert (found.frames, found.problems, found.ending) == (3, (), "complete"), (
        "Pillow records a wrong length of the third picture"
    )
    assert found.trailer.kind == "a ZIP archive" and found.trailer.size_bytes == len(archive())
    picture().save(path, "MPO", save_all=True, append_images=[picture(seed=2)])
    found = context_of(path)
    assert (found.format, found.frames, found.trailer) == ("MPO", 2, None)
    assert (found.ending, found.problems) == ("complete", ())
    whole = path.read_bytes()
    second = whole.rindex(b"\xff\xd8\xff")
    for length, problem in (
        (len(whole) - 500, "picture 2 of 2 in the file is cut off"),
        (second, "picture 2 of 2 that the file lists is missing"),
    ):
        path.write_bytes(whole[:length])
        found = context_of(path)
        assert (found.ending, found.problems, found.trailer) == ("cut off", (problem,), None)
        assert "problems" in ids(found) and read_evidence(path).rgb is not None, "the first picture is complete"


@pytest.mark.parametrize("ending", ["gif", "png", "tif"])
def test_missing_frames_and_pages_are_reported(tmp_path: Path, ending: str) -> None:
    """The first is whole, and a later one is not; other formats cannot be decoded then."""
    path = tmp_path / f"a.{ending}"
    frames = [picture(160, 120, seed=seed) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    whole = path.read_bytes()
    found = context_of(path)
    assert (found.frames, found.problems, ids(found)) == (3, (), {"frames"})
    assert found.ending == (None if ending == "tif" else "complete")
    for length in (len(whole) - 300, len(whole) * 3 // 4):
        path.write_bytes(whole[:length])
        found = context_of(path)
        assert found.ending == "cut off" and len(found.problems) == 1 and "cut off" in found.problems[0]
        assert ids(found) == {"frames", "problems"} and read_evidence(path).rgb is not None
    path.write_bytes(whole[:-1])
    assert context_of(path).problems == (), "the last byte is no pixel"


def test_end_of_picture_is_found_in_other_formats(tmp_path: Path) -> None:
    """TIFF in several layouts, with unused space at its end; samples of 1 and 16 bits; BMP."""
    pages = [np.full((64, 48, 3), 40 * page, np.uint8) for page in range(2)]
    tail = bytes(range(128, 256)) * 20
    path = tmp_path / "a.tif"
    layouts: list[dict[str, Any]] = [
        {},
        {"bigtiff": True},
        {"byteorder": ">", "tile": (16, 16)},
        {"compression": "zlib", "bigtiff": True, "byteorder": ">"},
    ]
    for options in layouts:
        with tifffile.TiffWriter(
            path, **{name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}
        ) as writer:
            for page in pages:
                writer.write(page, photometric="rgb", metadata=None, **options)
        whole = path.read_bytes()
        assert (context_of(path).frames, context_of(path).trailer) == (2, None)
        path.write_bytes(whole + tail)
        found = context_of(path).trailer
        assert (found.offset, found.size_bytes, found.kind) == (len(whole), len(tail), "unknown data")
        path.write_bytes(whole + tail[:1000])
        assert context_of(path).trailer is None, "space that a writer left unused"
    tifffile.imwrite(path, np.stack(pages * 3)[..., 0], imagej=True)
    assert context_of(path).trailer is None, "a stack whose pictures are in no table"
    for name, made in (
        ("a.pbm", picture(50).convert("1")),
        ("a.pgm", picture().convert("I;16")),
        ("a.bmp", picture(33).convert("L")),
    ):
        made.save(tmp_path / name, **({"format": "PPM"} if name[2:] != "bmp" else {}))
        size = (tmp_path / name).stat().st_size
        assert context_of(tmp_path / name).trailer is None
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + tail)
        found = context_of(tmp_path / name).trailer
        assert (found.offset, found.size_bytes) == (size, len(tail)), name
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    for recorded_length in (0, len(data)):  # the file length in the header is 0, or includes the appended data
        struct.pack_into("<L", data, 2, recorded_length)
        (tmp_path / "a.bmp").write_bytes(data)
        assert context_of(tmp_path / "a.bmp").trailer.size_bytes == len(tail)


def test_clean_aperture_of_an_avif_picture_is_applied(tmp_path: Path) -> None:
    """The container may show only a part of the coded picture, as editors with lossless cropping write it."""
    buffer = io.BytesIO()
    picture(64, 48).save(buffer, "AVIF", quality=95)
    data = buffer.getvalue()
    path = tmp_path / "a.avif"
    path.write_bytes(data)
    whole = read_rgb(path)
    clap = struct.pack(">L4s8l", 40, b"clap", 40, 1, 20, 1, 4, 1, -3, 1)  # 40x20, its centre 4 to the right and 3 up
    path.write_bytes(_with_property(data, clap))
    assert read_size(path) == (40, 20)
    left, top = round(4 + 63 / 2 - 39 / 2), round(-3 + 47 / 2 - 19 / 2)
    assert np.array_equal(read_rgb(path), whole[top : top + 20, left : left + 40])
    assert context_of(path).problems == ()


def test_size_in_exif_may_be_that_of_the_clean_aperture(tmp_path: Path) -> None:
    clap = struct.pack(">L4s8l", 40, b"clap", 40, 1, 20, 1, 4, 1, -3, 1)
    for size, differs in (((40, 20), False), ((20, 40), False), ((64, 48), False), ((64, 20), True)):
        buffer = io.BytesIO()
        block = exif({271: "M"}, {40962: size[0], 40963: size[1]})
        picture(64, 48).save(buffer, "AVIF", quality=95, exif=block)
        (tmp_path / "a.avif").write_bytes(_with_property(buffer.getvalue(), clap))
        found = context_of(tmp_path / "a.avif")
        assert (found.exif_size, found.size_differs) == (size, differs)


def _with_property(data: bytes, prop: bytes) -> bytes:
    """Add a property to the first item of an AVIF file and update all sizes and offsets."""
    out = bytearray(data)
    ipco = out.index(b"ipco") - 4
    end = ipco + struct.unpack_from(">L", out, ipco)[0]
    count = 0
    place = ipco + 8
    while place < end:
        place += struct.unpack_from(">L", out, place)[0]
        count += 1
    out[end:end] = prop
    ipma = out.index(b"ipma") - 4
    associations = ipma + 8 + 4 + 4 + 2  # the number of properties follows the id of the first item
    number = out[associations]
    out[associations] = number + 1
    out[associations + 1 + number : associations + 1 + number] = bytes([0x80 | (count + 1)])
    for name, increase in ((b"ipma", 1), (b"ipco", len(prop)), (b"iprp", len(prop) + 1), (b"meta", len(prop) + 1)):
        start = out.index(name) - 4
        struct.pack_into(">L", out, start, struct.unpack_from(">L", out, start)[0] + increase)
    iloc = out.index(b"iloc") + 4
    moved = len(prop) + 1
    old = data.index(b"mdat") + 4
    for start in range(iloc, out.index(b"iinf")):
        if struct.unpack_from(">L", out, start)[0] == old:
            struct.pack_into(">L", out, start, old + moved)
    return bytes(out)
