"""The forensic context of generated files: camera, clocks, containers, and the remarks on them."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import json
import re
import struct
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers.context_files import (
    CHANGED,
    DIGITISED,
    OFFSET,
    SOFTWARE,
    TAKEN,
    TAKEN_AT,
    context_of,
    exif,
    ids,
    jpeg,
    picture,
)
from PIL import TiffImagePlugin

from imltool.evidence.facts import describe
from imltool.evidence.model import (
    Camera,
    Carrier,
    Clocks,
    Context,
    Credentials,
    DoubleJpeg,
    Finding,
    JpegCoding,
    Position,
    Thumbnail,
    Trace,
    Trailer,
    Unparsed,
)  # fmt: skip
from imltool.evidence.reading import read_evidence
from imltool.evidence.remarks import RULES, make_remarks
from imltool.pictures.images import read_picture
from imltool.texts import clean


def test_camera_metadata_is_read_without_remarks(tmp_path: Path) -> None:
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
    assert found.camera == Camera(
        make="Canon", model="Canon EOS 5D", lens="Stra\u00dfe 50mm", serial="0123", source="EXIF"
    )
    assert found.gps == Position(present=True, latitude=-33.51, longitude=151.25, altitude=58.0, source="EXIF")
    assert found.times.taken == "2024-05-01T12:00:00+10:00"
    assert found.times.gps == "2024-05-01T02:00:05+00:00"
    assert found.clocks == Clocks(changed=0, digitised=0, gps=5)
    assert found.software == (Trace(where="EXIF Software", text="Firmware 1.1.1"),)
    assert (found.format, found.frames, found.size_differs, found.problems) == ("JPEG", 1, False, ())
    assert found.credentials.state == "absent"
    assert ids(found) == set(), "an unedited camera picture gets no remark"
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


def test_disagreeing_clocks_are_remarked(tmp_path: Path) -> None:
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
    assert remark.text == "EXIF reports a change 2 days 1 h after it was taken"
    assert remark.evidence == "clocks.changed: 176400 s"
    # eleven hours may be a time zone; if the zone is given, they are a disagreement
    gps = {7: (23.0, 0.0, 0.0), 29: "2024:05:01"}
    picture().save(tmp_path / "zone.jpg", exif=exif({271: "Maker"}, {TAKEN: TAKEN_AT}, gps))
    assert context_of(tmp_path / "zone.jpg").clocks.gps == 0
    picture().save(tmp_path / "told.jpg", exif=exif({271: "Maker"}, {TAKEN: TAKEN_AT, OFFSET: "+00:00"}, gps))
    assert context_of(tmp_path / "told.jpg").clocks.gps == 11 * 3600


def test_invalid_values_are_reported_as_unparsed(tmp_path: Path) -> None:
    gps = {1: "N", 2: (TiffImagePlugin.IFDRational(0, 0), 0.0, 0.0), 3: "E", 4: (400.0, 0.0, 0.0)}
    block = exif({271: "  \0", SOFTWARE: "a\u202eb\n=1"}, {TAKEN: "0000:00:00 00:00:00", DIGITISED: "yesterday"}, gps)
    picture().save(tmp_path / "a.jpg", exif=block)
    found = context_of(tmp_path / "a.jpg")
    assert found.camera.make is None and found.gps.present is False
    assert found.times.taken is found.times.digitised is None
    assert all(letter.isprintable() for letter in found.software[0].text)
    assert found.unparsed == (
        Unparsed(where="EXIF GPSLatitude", text="0/0, 0, 0 N"),
        Unparsed(where="EXIF GPSLongitude", text="400, 0, 0 E"),
        Unparsed(where="EXIF DateTimeDigitized", text="yesterday"),
    ), "a clock that was never set is not a time, and is not reported"
    assert found.problems == (
        "EXIF GPSLatitude: not a position",
        "EXIF GPSLongitude: not a position",
        "EXIF DateTimeDigitized: not a time",
    )


def test_invalid_numbers_are_kept_as_text(tmp_path: Path) -> None:
    """Rationals with denominator 0 and XMP values that are not numbers: a row is strict JSON for any file."""
    none = TiffImagePlugin.IFDRational
    north_east = {1: "N", 2: (10.0, 0.0, 0.0), 3: "E", 4: (20.0, 0.0, 0.0)}
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<r:Description xmlns:e="http://ns.adobe.com/exif/1.0/" e:GPSLatitude="33,51.5S" e:GPSLongitude="151,12E" '
        'e:GPSAltitude="{}"/></r:RDF></x:xmpmeta>'
    )
    path = tmp_path / "a.jpg"

    def kept(**options: object) -> list[tuple[str, str]]:
        picture().save(path, **options)  # type: ignore[arg-type]
        found = context_of(path)
        row = found.model_dump_json()
        json.loads(row, parse_constant=lambda name: pytest.fail(f"{name} in a row"))
        assert not re.search(r"\b(nan|inf)", row, re.IGNORECASE)
        assert len(found.problems) == len(found.unparsed) and found.gps.altitude is None
        return [(each.where, each.text) for each in found.unparsed]

    assert kept(exif=exif({271: "M"}, {}, {**north_east, 6: none(5, 0)})) == [("EXIF GPSAltitude", "5/0")]
    assert kept(exif=exif({271: "M"}, {}, {**north_east, 4: (none(0, 0),) * 3})) == [
        ("EXIF GPSLongitude", "0/0, 0/0, 0/0 E"),
        ("EXIF GPSLatitude", "10"),
    ]
    clock = {7: (12.0, none(1, 0), 0.0), 29: "2024:05:01"}
    assert kept(exif=exif({271: "M"}, {}, clock)) == [("EXIF GPSTimeStamp", "2024:05:01 12, 1/0, 0")]
    for height in ("5/0", "0/0"):
        assert kept(xmp=xmp.format(height).encode()) == [("XMP GPSAltitude", height)]
    for height in ("NaN", "-Infinity/1", "1e999", "1/nan"):
        picture().save(path, xmp=xmp.format(height).encode())
        found = context_of(path)
        assert found.gps.altitude is None and found.problems == ("XMP GPSAltitude: not a height",)
        assert [each.text for each in found.unparsed] == [height], "the original text is kept"


def test_nonstandard_values_are_parsed_or_kept_as_text(tmp_path: Path) -> None:
    """Written-out directions and padded numbers are parsed; ambiguous values are kept as text."""
    gps = {1: "South", 2: (33.0, 51.0, 0.0), 3: "East", 4: (151.0, 12.0, 0.0)}
    path = tmp_path / "a.jpg"
    picture().save(path, exif=exif({271: "M"}, {TAKEN: "2024: 5: 1  9:05:07", OFFSET: "AEST"}, gps))
    found = context_of(path)
    assert (found.gps.latitude, found.gps.longitude) == (-33.85, 151.2)
    assert found.times.taken == "2024-05-01T09:05:07"
    assert found.unparsed == (Unparsed(where="EXIF OffsetTimeOriginal", text="AEST"),)
    assert found.problems == ("EXIF OffsetTimeOriginal: not a time zone",) and ids(found) == {"problems"}
    for text in ("2024:05:01 09:05:70", "01.05.2024 09:05:07", "2024:05:01 09:05:07 PM"):
        picture().save(path, exif=exif({271: "M"}, {TAKEN: text}))
        found = context_of(path)
        assert found.times.taken is None and found.unparsed == (Unparsed(where="EXIF DateTimeOriginal", text=text),)
    picture().save(path, exif=exif({271: "M"}, {}, {**gps, 1: ""}))
    found = context_of(path)
    assert not found.gps.present and found.unparsed[0].text == "33, 51, 0", "the hemisphere is unknown"
    picture().save(path, exif=exif({271: "M"}, {}, {**gps, 2: (33.0, 59.0, 60.0)}))
    assert context_of(path).gps.latitude == -34.0, "rounded seconds"
    picture().save(path, exif=exif({271: "M"}, {}, {**gps, 2: (33.0, 75.0, 0.0)}))
    found = context_of(path)
    assert not found.gps.present and found.unparsed[0].text == "33, 75, 0 South", "there are no 75 minutes"


def test_extension_of_another_format_is_remarked(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", "PNG")
    assert "its file name has another format's extension; the content is PNG" in [
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
        assert near < far / 2, f"{ending}: the first frame is read"
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    ifd[254] = 1
    picture().save(tmp_path / "small.tif", tiffinfo=ifd)
    assert ids(context_of(tmp_path / "small.tif")) == {"preview-page"}


def test_metadata_block_built_to_exhaust_memory_is_not_read(tmp_path: Path) -> None:
    entries = b"".join(struct.pack("<HHLL", tag, 1, 60_000, 8) for tag in range(4000))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 4000) + entries + b"\0" * 4
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), exif=block))
    found = context_of(tmp_path / "a.jpg")
    assert found.problems == ("EXIF: its first table has more than 1000 tags",) and found.orientation is None
    assert read_picture(tmp_path / "a.jpg").rgb.shape == (240, 320, 3), "the picture is still analysed"
    # as the table of the thumbnail, which holds arbitrary data if there is no thumbnail
    block = b"II*\0\x08\0\0\0" + struct.pack("<HHHLLL", 1, 274, 3, 1, 6, 26) + struct.pack("<H", 4000) + entries
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), exif=b"Exif\0\0" + block))
    found = context_of(tmp_path / "a.jpg")
    assert (found.orientation, found.thumbnail, found.problems) == (6, None, ()), "the other tags are read"
    # tags that each claim all of the data: some are read, the others are reported
    entries = b"".join(struct.pack("<HHLL", tag, 7, 3_000_000, 8) for tag in range(900, 920))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 20) + entries + b"\0" * 3_500_000
    picture().save(tmp_path / "a.png", exif=block)
    assert "EXIF: tag 910 points outside the block or has no known type" in context_of(tmp_path / "a.png").problems
    picture().save(tmp_path / "a.png", exif=b"II*\0\x08\0\0\0" + b"\0" * 4_000_001)
    assert context_of(tmp_path / "a.png").problems == ("PNG eXIf: is longer than 4000000 bytes",)


def test_invalid_pointer_loses_only_its_target(tmp_path: Path) -> None:
    """An invalid interoperability table, a text outside the block, a table that points to itself."""

    def block(detail: bytes, count: int) -> bytes:
        first = struct.pack("<HHLL", 271, 2, 2, 0x41) + struct.pack("<HHLL", 0x8769, 4, 1, 38)
        return b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + first + b"\0" * 4 + struct.pack("<H", count) + detail

    taken = struct.pack("<HHLL", 36867, 2, 20, 38 + 2 + 24 + 4)
    stamp = b"\0" * 4 + b"2024:05:01 12:00:00\0"
    cases = {
        "EXIF Interoperability: the table points outside the block": struct.pack("<HHLL", 0xA005, 4, 1, 10**6),
        "EXIF ExifIFD: tag LensModel points outside the block or has no known type": struct.pack(
            "<HHLL", 42036, 2, 40, 10**6
        ),
        "EXIF ExifIFD: tag 40000 points outside the block or has no known type": struct.pack("<HHLL", 40000, 99, 4, 0),
    }
    for problem, entry in cases.items():
        (tmp_path / "a.jpg").write_bytes(jpeg(picture(), exif=b"Exif\0\0" + block(taken + entry, 2) + stamp))
        found = context_of(tmp_path / "a.jpg")
        assert (found.camera.make, found.times.taken) == ("A", "2024-05-01T12:00:00"), problem
        assert found.problems == (problem,) and found.carriers[0].state == "partly read"
        assert ids(found) == {"problems"}, "nothing is reported as absent"
    circle = struct.pack("<HHLL", 0xA005, 4, 1, 38)
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), exif=b"Exif\0\0" + block(taken + circle, 2) + stamp))
    assert context_of(tmp_path / "a.jpg").problems == ()


def test_non_picture_files_give_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "drawing.png").write_bytes(b"8BPS\0\1")
    for name, reason in (
        ("empty", "the file is empty"),
        ("text", "not a picture format known here"),
        ("drawing.png", "intact but not supported: a Photoshop document"),
    ):
        assert context_of(tmp_path / name).problems == (reason,) and read_evidence(tmp_path / name).reason == reason
    gone = read_evidence(tmp_path / "gone")
    assert (gone.context, gone.sha256, gone.reason) == (None, None, "no such file")


def test_every_remark_rule_can_apply_and_states_no_verdict() -> None:
    kinds = ("editor", "stitcher", "library", "metadata-tool", "generator", "screenshot", "network")
    full = Context(
        format="JPEG",
        frames=2,
        preview_page=True,
        name_differs=True,
        software=tuple(Trace(where="EXIF Software", text="A name", kinds=(kind,)) for kind in kinds),
        clocks=Clocks(changed=900, digitised=900, gps=-90000, xmp_created=900000),
        gps=Position(present=True, latitude=31.5, longitude=35.5, void=True, source="EXIF"),
        exif_size=(4, 3),
        size_differs=True,
        history=("saved",),
        derived=True,
        source_types=("trainedAlgorithmicMedia", "composite"),
        jpeg=JpegCoding(quality=40, quality_exact=True),
        double_jpeg=DoubleJpeg(frequencies=14, detected=True),
        thumbnail=Thumbnail(
            where="EXIF", correlation=0.2, differs=True, turned=True, shows="its middle", aspect_differs=True
        ),
        ending="no end marker",
        rows_decoded=8,
        trailer=Trailer(offset=9, size_bytes=9, kind="a ZIP archive"),
        problems=("EXIF: broken",),
    )
    changed = Finding(code="assertion.dataHash.mismatch", concerns="binding", explanation="differs")
    expired = Finding(code="signingCredential.expired", concerns="time")
    states = [
        Credentials(state="valid", signer="A"),
        Credentials(state="valid", signer="A", identity="holds"),
        Credentials(state="valid with faults", findings=(expired,)),
        Credentials(state="invalid", binding="fails", findings=(changed,)),
        Credentials(state="invalid", signature="fails", binding="holds"),
        Credentials(state="not checked", reason="no library"),
        Credentials(state="removed", address="self#a"),
        Credentials(state="elsewhere", address="https://example.org"),
    ]
    remarks = [each for state in states for each in make_remarks(full.model_copy(update={"credentials": state}))]
    remarks += make_remarks(full.model_copy(update={"clocks": Clocks(changed=-900)}))
    remarks += make_remarks(Context(format="JPEG"))
    remarks += make_remarks(Context(format="JPEG", carriers=(Carrier(kind="EXIF", where="EXIF", state="read"),)))
    names = [rule.id for rule in RULES]
    assert len(set(names)) == len(names) and {remark.id for remark in remarks} == set(names)
    for remark in remarks:
        assert remark.evidence and "{" not in remark.text
        assert not {"fake", "real", "authentic", "forged", "manipulated", "genuine"} & set(remark.text.split())
    assert make_remarks(Context()) == []


def test_times_in_other_formats_are_parsed() -> None:
    from imltool.evidence.values import Stamp, parse_time

    noon = datetime.fromisoformat("2024-05-01T12:00:00+00:00")
    assert parse_time("2024-05-01T12:00:00.25+02:00") == Stamp("2024-05-01T12:00:00+02:00", noon - timedelta(hours=2))
    assert parse_time("2024-05-01T12:00Z") == Stamp("2024-05-01T12:00+00:00", noon)
    assert parse_time("2024:13:01 12:00:00") is parse_time("") is parse_time(b"    :  :     :  :  ") is None
    assert parse_time("2024:05:01 12:00:00", "+99:00") == Stamp("2024-05-01T12:00:00", noon.replace(tzinfo=None))
    assert parse_time("2024:05:01") == Stamp("2024-05-01") and parse_time("2024:05:01 12:00:00 or so") is None
    assert (parse_time("2024"), parse_time("2024-05"), parse_time("2024-13")) == (Stamp("2024"), Stamp("2024-05"), None)


def test_times_are_as_precise_as_in_the_file(tmp_path: Path) -> None:
    """A date without a time of day is no midnight, and is not compared with clocks; a year alone is a valid date."""
    path = tmp_path / "a.jpg"
    packet = (
        '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
        'xmlns:p="http://ns.adobe.com/photoshop/1.0/" xmlns:x="http://ns.adobe.com/xap/1.0/" p:DateCreated="1987" '
        'x:CreateDate="2024-04-29" x:ModifyDate="2024-05"/></r:RDF>'
    )
    picture().save(path, exif=exif({271: "M"}, {TAKEN: TAKEN_AT}), xmp=packet.encode())
    found = context_of(path)
    times = found.times
    assert (times.xmp_taken, times.xmp_created, times.xmp_changed) == ("1987", "2024-04-29", "2024-05")
    assert found.clocks == Clocks() and found.problems == () and ids(found) == set()
    for created, expected in (("19870000", "1987"), ("19870500", "1987-05"), ("19870512", "1987-05-12")):
        record = b"\x1c\x02\x37\0\x08" + created.encode()
        resource = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHL", 1028, 0, len(record)) + record + b"\0"
        whole = jpeg(picture())
        path.write_bytes(whole[:2] + b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource + whole[2:])
        found = context_of(path)
        assert (found.times.iptc_created, found.times.taken, found.problems) == (expected, expected, ())


@pytest.mark.parametrize("zone", ["", "Z", "+99:00"])
def test_time_of_satellites_in_xmp_is_utc(tmp_path: Path, zone: str) -> None:
    packet = (
        '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
        f'xmlns:e="http://ns.adobe.com/exif/1.0/" e:GPSTimeStamp="2024-05-01T09:00:00{zone}"/></r:RDF>'
    )
    path = tmp_path / "a.jpg"
    picture().save(path, exif=exif({271: "M"}, {TAKEN: TAKEN_AT, OFFSET: "+02:00"}), xmp=packet.encode())
    found = context_of(path)
    assert found.clocks.gps == -3600 and found.problems == ()
    if zone != "+99:00":
        assert found.times.gps == "2024-05-01T09:00:00+00:00"


def test_time_with_an_endless_zone_is_kept_as_text(tmp_path: Path) -> None:
    path, text = tmp_path / "a.jpg", f"Thu, 02 May 2024 08:30:00 +{'9' * 40}"
    picture().save(path, exif=exif({271: "M"}, {TAKEN: text}))
    assert context_of(path).unparsed == (Unparsed(where="EXIF DateTimeOriginal", text=text),)


@pytest.mark.parametrize(("reference", "expected"), [(0, 430.5), (1, -430.5), (2, 430.5), (3, -430.5)])
def test_heights_below_sea_level_are_negative(tmp_path: Path, reference: int, expected: float) -> None:
    """1, and 3 since EXIF 3.0."""
    gps = {1: "S", 2: (0.0, 0.0, 0.0), 3: "W", 4: (35.0, 30.0, 0.0), 5: bytes([reference]), 6: 430.5}
    picture().save(tmp_path / "a.jpg", exif=exif({271: "M"}, {}, gps))
    found = context_of(tmp_path / "a.jpg").gps
    assert found.altitude == expected and str(found.latitude) == "0.0"
    packet = (
        '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
        'xmlns:e="http://ns.adobe.com/exif/1.0/" e:GPSLatitude="31,30N" e:GPSLongitude="35,30E" '
        f'e:GPSAltitude="861/2" e:GPSAltitudeRef="{reference}"/></r:RDF>'
    )
    picture().save(tmp_path / "b.jpg", xmp=packet.encode())
    assert context_of(tmp_path / "b.jpg").gps.altitude == expected


def test_positions_marked_as_void_are_kept_and_remarked(tmp_path: Path) -> None:
    """GPSStatus V: the receiver had no fix, and the position is an old or a guessed one."""
    place = {1: "N", 2: (31.0, 30.0, 0.0), 3: "E", 4: (35.0, 30.0, 0.0)}
    packet = (
        '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
        'xmlns:e="http://ns.adobe.com/exif/1.0/" e:GPSLatitude="31,30N" e:GPSLongitude="35,30E" '
        'e:GPSStatus="{}"/></r:RDF>'
    )
    for status, remarked in (("V", True), ("A", False)):
        picture().save(tmp_path / "a.jpg", exif=exif({271: "M"}, {}, {**place, 9: status}))
        picture().save(tmp_path / "b.jpg", xmp=packet.format(status).encode())
        for name in ("a.jpg", "b.jpg"):
            found = context_of(tmp_path / name)
            assert found.gps.latitude == 31.5 and found.gps.void is remarked
            assert ("gps-void" in ids(found)) is remarked and found.problems == ()


def test_long_text_is_cut_between_characters() -> None:
    assert clean("あ".encode() * 700) == "あ" * 199 + "…"


def test_docs_name_every_context_key_and_rule() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "scan.md").read_text(encoding="utf-8")
    assert [name for name in (*Context.model_fields, *(rule.id for rule in RULES)) if f"`{name}`" not in guide] == []
