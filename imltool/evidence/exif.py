"""EXIF of a picture: camera, clocks, position, the size it states, and the embedded thumbnail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import numpy as np

from imltool.evidence.model import Camera, Position, Unparsed
from imltool.evidence.programs import Field, Text, kinds_of
from imltool.evidence.values import BLANK, Notes, Stamp, degrees, is_void, keep_half, metres, read_time
from imltool.pictures import tags
from imltool.pictures.arrays import RGB
from imltool.pictures.tiff import BITS, COMPRESSION, PHOTOMETRIC, PLANAR, RGB_
from imltool.texts import clean, decoded

MAKE, MODEL, SOFTWARE, CHANGED, HOST, PROCESSED_BY, DESCRIPTION = 271, 272, 305, 306, 316, 11, 270
TAKEN, DIGITISED, ZONES = 36867, 36868, {CHANGED: 36880, 36867: 36881, 36868: 36882}
SERIAL, LENS, WIDTH, HEIGHT, COMMENT, MAKER_NOTE = 42033, 42036, 40962, 40963, 37510, 37500
XP_TITLE, XP_COMMENT = 0x9C9B, 0x9C9C
STRIPS = 273, 279
"""Numbers of EXIF tags."""
NAMES = {
    MAKE: "Make",
    MODEL: "Model",
    SOFTWARE: "Software",
    CHANGED: "DateTime",
    HOST: "HostComputer",
    TAKEN: "DateTimeOriginal",
    DIGITISED: "DateTimeDigitized",
    LENS: "LensModel",
    SERIAL: "BodySerialNumber",
    36880: "OffsetTime",
    36881: "OffsetTimeOriginal",
    36882: "OffsetTimeDigitized",
    COMMENT: "UserComment",
    tags.EXIF: "ExifIFD",
    tags.GPS: "GPSInfo",
    tags.ORIENTATION: "Orientation",
    DESCRIPTION: "ImageDescription",
}


@dataclass(frozen=True)
class ExifBlock:
    """The tables of an EXIF block, the thumbnail, and the size of a maker note in bytes.

    The thumbnail is the bytes of a JPEG or, if it is not compressed, uint8 [h,w,3]; None without one. `partly` is True
    when a tag or a table could not be read.
    """

    main: tags.Table = field(default_factory=tags.Table)
    detail: tags.Table = field(default_factory=tags.Table)
    gps: tags.Table = field(default_factory=tags.Table)
    thumbnail: bytes | RGB | None = None
    maker_note: int = 0
    partly: bool = False


def read_exif(read: tags.Read, notes: Notes, main: tags.Table | None = None) -> ExifBlock | None:
    """The EXIF of a block or of a TIFF file, as far as it can be read; None when nothing can be read.

    Args:
        read: returns its bytes.
        notes: tags and tables that could not be read are noted here.
        main: the first table, if it was read before.
    """
    reader = tags.TagReader.open(read)
    if reader is None:
        notes.problem("EXIF: has no TIFF header")
        return None
    embedded = main is None
    if main is None:
        try:
            main = reader.table(reader.first)
        except ValueError as error:
            notes.problem(f"EXIF: its first table {error}")
            return None
    partly = _note_damaged("EXIF", main, notes)
    tables = {}
    for tag in (tags.EXIF, tags.GPS):
        tables[tag] = tags.Table()
        place = main.number(tag)
        if place is None:
            continue
        try:
            tables[tag] = reader.table(place)
            partly |= _note_damaged(f"EXIF {NAMES[tag]}", tables[tag], notes)
        except ValueError as error:
            notes.problem(f"EXIF {NAMES[tag]}: the table {error}")
            partly = True
    detail = tables[tags.EXIF]
    if (place := detail.number(tags.INTEROPERABILITY)) is not None:
        try:
            reader.table(place)
        except ValueError as error:
            notes.problem(f"EXIF Interoperability: the table {error}")
            partly = True
    thumbnail = _thumbnail(reader, main, embedded)
    return ExifBlock(main, detail, tables[tags.GPS], thumbnail, len(detail.raw(MAKER_NOTE)), partly)


def _note_damaged(where: str, table: tags.Table, notes: Notes) -> bool:
    for tag in table.damaged[:20]:
        if tag < 0:
            notes.problem(f"{where}: the table is cut off")
        elif tag != MAKER_NOTE:
            notes.problem(f"{where}: tag {NAMES.get(tag, tag)} points outside the block or has no known type")
    return bool(table.damaged)


def _thumbnail(reader: tags.TagReader, main: tags.Table, embedded: bool) -> bytes | RGB | None:
    """The thumbnail, or None. Without one, anything may be stored in place of its table.

    Args:
        embedded: whether the block is embedded in another format: in a TIFF file, strips are those of the second page.
    """
    if not main.next:
        return None
    try:
        preview = reader.table(main.next)
    except ValueError:
        return None
    start, count = preview.number(tags.THUMBNAIL_START), preview.number(tags.THUMBNAIL_BYTES)
    if start and count and start > 0 and count > 0:
        return reader.read(start, min(count, tags.VALUE_BYTES)) or None
    return _uncompressed(reader, preview) if embedded and preview.number(COMPRESSION) == 1 else None


def _uncompressed(reader: tags.TagReader, preview: tags.Table) -> bytes | RGB | None:
    """The pixels of an uncompressed RGB thumbnail, uint8 [h,w,3]; of one in another form its bytes."""
    starts, counts = (preview.values.get(tag, ()) for tag in STRIPS)
    strips = [(int(start), int(count)) for start, count in zip(starts, counts, strict=False)]
    if any(count < 0 for _, count in strips) or sum(count for _, count in strips) > tags.VALUE_BYTES:
        return None
    data = b"".join(reader.read(start, count) for start, count in strips)
    width, height = preview.number(tags.WIDTH) or 0, preview.number(tags.HEIGHT) or 0
    form = preview.number(PHOTOMETRIC), preview.values.get(BITS), preview.number(PLANAR) or 1
    if form == (RGB_, (8, 8, 8), 1) and data and len(data) == 3 * width * height:
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)
    return data or None


def camera(exif: ExifBlock) -> Camera:
    """The camera named by EXIF. A Make or Model with the parameters of a picture generator is not a camera."""
    make, model = (
        None if kinds_of(Field("", _whole(exif.main.raw(tag)), Text.FREE)) else clean(exif.main.raw(tag))
        for tag in (MAKE, MODEL)
    )
    found = {
        "make": make,
        "model": model,
        "lens": clean(exif.detail.raw(LENS)),
        "serial": clean(exif.detail.raw(SERIAL)),
    }
    return Camera(**found, source="EXIF" if any(found.values()) else None)


def fields(exif: ExifBlock) -> list[Field]:
    """The EXIF fields that may name a program, with their whole texts."""
    main, detail = exif.main, exif.detail
    return [
        Field("EXIF Software", _whole(main.raw(SOFTWARE)), Text.PROGRAM),
        Field("EXIF ProcessingSoftware", _whole(main.raw(PROCESSED_BY)), Text.PROGRAM),
        Field("EXIF HostComputer", _whole(main.raw(HOST)), Text.PROGRAM),
        Field("EXIF ImageDescription", _whole(main.raw(DESCRIPTION)), Text.FREE),
        *(  # one of the common generators writes its parameters here
            field
            for field in (
                Field("EXIF Make", _whole(main.raw(MAKE)), Text.FREE),
                Field("EXIF Model", _whole(main.raw(MODEL)), Text.FREE),
            )
            if kinds_of(field)
        ),
        Field("EXIF XPTitle", _wide(main.raw(XP_TITLE)), Text.FREE),
        Field("EXIF XPComment", _wide(main.raw(XP_COMMENT)), Text.FREE),
        Field("EXIF UserComment", _comment(detail.raw(COMMENT)), Text.FREE),
    ]


def _whole(value: bytes) -> str:
    return decoded(value).rstrip("\0 ")


def _wide(value: bytes) -> str:
    return value.decode("utf-16-le", "replace").rstrip("\0 ")


def _comment(value: bytes) -> str:
    """A user comment, which begins with 8 bytes that name its character set.

    The standard does not define the byte order of "UNICODE": the order that gives fewer high code points is used, as
    most texts are in one script.
    """
    text = value[8:]
    if not value.startswith(b"UNICODE"):
        return _whole(text if value[:8] in (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8) else value)
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text.decode("utf-16", "replace").rstrip("\0 ")
    orders = [text.decode(order, "replace") for order in ("utf-16-le", "utf-16-be")]
    return min(orders, key=lambda each: sum(ord(letter) > 0x2FF for letter in each)).rstrip("\0 ")


def times(exif: ExifBlock, notes: Notes) -> dict[str, Stamp | None]:
    """`taken`, `digitised` and `changed` by the camera's clock, and `gps` by the satellite clock (UTC)."""
    places = {"taken": (exif.detail, TAKEN), "digitised": (exif.detail, DIGITISED), "changed": (exif.main, CHANGED)}
    found = {
        name: read_time(
            f"EXIF {NAMES[tag]}", _as_text(table, tag), notes, exif.detail.raw(ZONES[tag]), f"EXIF {NAMES[ZONES[tag]]}"
        )
        for name, (table, tag) in places.items()
    }
    return {**found, "gps": _gps_time(exif.gps, notes)}


def _as_text(table: tags.Table, tag: int) -> bytes:
    """A text value; numbers in its place are formatted as text."""
    value = table.values.get(tag, b"")
    return value if isinstance(value, bytes) else " ".join(map(tags.number_text, value)).encode()


def _gps_time(gps: tags.Table, notes: Notes) -> Stamp | None:
    day, clock = clean(gps.raw(29)), _floats(gps, 7)
    if not day or not clock:  # one of the two is not a time, but no fault either: older cameras wrote no date
        half = day or ", ".join(map(tags.number_text, clock or ()))
        if half and not BLANK.fullmatch(half):
            notes.unparsed.append(Unparsed(where="EXIF GPSDateStamp" if day else "EXIF GPSTimeStamp", text=half))
        return None
    try:
        start = datetime.strptime(day[:10].replace("-", ":").replace(" ", "0"), "%Y:%m:%d").replace(tzinfo=timezone.utc)
        hours, minutes, seconds = clock
        if not 0 <= hours < 24 or not 0 <= minutes < 60 or not 0 <= seconds < 61:
            raise ValueError
        return Stamp.of(start + timedelta(seconds=round(3600 * hours + 60 * minutes + seconds)))
    except (ValueError, OverflowError):
        notes.keep("EXIF GPSTimeStamp", f"{day} {', '.join(map(tags.number_text, clock))}", "a time")
        return None


def position(exif: ExifBlock, notes: Notes) -> Position:
    """The position in EXIF where the picture was taken."""
    gps = exif.gps
    latitude = _angle("EXIF GPSLatitude", gps, 2, notes)
    longitude = _angle("EXIF GPSLongitude", gps, 4, notes)
    if latitude is None or longitude is None:
        keep_half("EXIF GPS", latitude, longitude, notes)
        return Position()
    height = _floats(gps, 6)
    altitude = None
    if height:
        if len(height) == 1 and math.isfinite(height[0]):
            altitude = metres(height[0], str(gps.number(5)))
        else:
            notes.keep("EXIF GPSAltitude", ", ".join(map(tags.number_text, height)), "a height")
    void = is_void(clean(gps.raw(9)))
    return Position(present=True, latitude=latitude, longitude=longitude, altitude=altitude, void=void, source="EXIF")


def _angle(where: str, gps: tags.Table, tag: int, notes: Notes) -> float | None:
    value, reference = gps.values.get(tag), gps.raw(tag - 1)
    if isinstance(value, bytes) and clean(value):  # a text where numbers should be
        notes.keep(where, f"{clean(value)} {clean(reference) or ''}".strip(), "a position")
        return None
    return degrees(where, _floats(gps, tag), reference, notes)


def _floats(table: tags.Table, tag: int) -> Sequence[float] | None:
    value = table.values.get(tag)
    if not value or isinstance(value, bytes):
        return None
    return [each if isinstance(each, float) else float(each) for each in value]  # a fraction keeps its text


def exif_size(exif: ExifBlock) -> tuple[int, int] | None:
    """(width, height) in pixels of the stored picture according to EXIF, or None."""
    width, height = exif.detail.number(WIDTH), exif.detail.number(HEIGHT)
    return (width, height) if width and height and width > 0 and height > 0 else None
