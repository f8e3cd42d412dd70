"""All metadata of a file, from every carrier in it. Each carrier is read, or listed as not read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from xml.etree.ElementTree import Element

from PIL import ImageCms

from imltool.evidence import exif as exif_reader
from imltool.evidence import iptc as iptc_reader
from imltool.evidence import xmp as xmp_reader
from imltool.evidence.exif import ExifBlock
from imltool.evidence.iptc import Iptc
from imltool.evidence.model import Camera, Carrier, Clocks, Position, State, Times, Trace
from imltool.evidence.programs import Field, Text, trace_of
from imltool.evidence.values import Notes, Stamp, read_time
from imltool.evidence.xmp import Xmp
from imltool.pictures.block import Block
from imltool.pictures.header import Header
from imltool.pictures.source import Source
from imltool.pictures.xmp_packet import parse_xmp
from imltool.texts import clean, decoded

EAST, WEST = 14 * 3600, 12 * 3600
"""Seconds that local time may be ahead of and behind UTC."""
TRACES_KEPT = 60
"""Fields that may name a program that are kept at most (our choice)."""
SELF_EXPLAINING = ("date:create", "date:modify", "date:timestamp")
"""PNG texts that ImageMagick fills with times."""


@dataclass
class Metadata:
    """The metadata of a file.

    Attributes:
        exif: the first block that could be read, None without one; the file's own comes before one in Photoshop's.
        xmp: all packets together.
        iptc: the records.
        resources: Photoshop's resources, by number.
        profile: name of the ICC profile.
        png_created, png_changed: PNG's text "Creation Time", and its chunk tIME, which its format defines as UTC.
        fields: fields that may name a program.
        carriers: the blocks and whether each was read.
        notes: values that were not understood, and problems.
    """

    exif: ExifBlock | None = None
    xmp: Xmp | None = None
    iptc: Iptc = field(default_factory=Iptc)
    resources: Mapping[int, bytes] = field(default_factory=dict)
    profile: str | None = None
    png_created: Stamp | None = None
    png_changed: Stamp | None = None
    fields: list[Field] = field(default_factory=list)
    carriers: list[Carrier] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)


def read_metadata(source: Source, header: Header) -> Metadata:
    """Read the metadata of a file. Damaged blocks are noted, and the others are read."""
    found = Metadata()
    blocks = [*header.blocks.blocks]
    for block in header.blocks.blocks:
        if block.kind == "Photoshop" and not block.fault:
            found.resources, whole = iptc_reader.read_resources(block.data)
            _carry(found, block, whole, "Photoshop resources are damaged")
            if iptc_reader.QUALITY in found.resources or iptc_reader.VERSION in found.resources:
                found.fields.append(Field(block.where, "Adobe Photoshop", Text.PROGRAM))
            blocks += [
                Block(kind, f"{block.where} resource {number}", found.resources[number], "", 0)
                for number, kind in (
                    (iptc_reader.IPTC_RECORD, "IPTC"),
                    (iptc_reader.EXIF, "EXIF"),
                    (iptc_reader.XMP, "XMP"),
                )
                if number in found.resources
            ]
    roots: list[Element] = []
    for block in blocks:
        if block.fault:
            found.carriers.append(
                Carrier(kind=block.kind, where=block.where, state="not read", size_bytes=block.size_bytes)
            )
            found.notes.problem(f"{block.where}: {block.fault}")
        elif block.kind == "EXIF":
            _read_exif(source, header, block, found)
        elif block.kind == "XMP":
            try:
                roots.append(parse_xmp(block.data))
                _carry(found, block)
            except ValueError as error:
                _carry(found, block, None, f"XMP {error}")
        elif block.kind == "IPTC":
            iptc = iptc_reader.read_iptc(block.data)
            found.iptc = iptc if iptc.fields or iptc.created else found.iptc
            _carry(found, block, iptc.whole, "IPTC records are damaged")
        elif block.kind == "ICC":
            _read_profile(block, found)
        elif block.kind in ("comment", "text"):
            _add_text(block, found)
        elif block.kind == "editor":
            found.fields.append(Field(block.where, block.data.decode(), Text.PROGRAM))
        elif block.kind == "time":
            found.png_changed = read_time(block.where, block.data, found.notes)
        elif block.kind != "Photoshop":
            found.carriers.append(
                Carrier(kind=block.kind, where=block.where, state="not read", size_bytes=block.size_bytes)
            )
    found.xmp = xmp_reader.read_xmp(roots, found.notes)
    own = exif_reader.fields(found.exif) if found.exif else []
    packets = found.xmp.fields if found.xmp else []
    found.fields = [*own, *packets, *found.iptc.fields, *found.fields]
    return found


def _carrier(block: Block, state: State) -> Carrier:
    size = block.size_bytes or len(block.data)
    return Carrier(kind=block.kind, where=clean(block.where, 60) or "?", state=state, size_bytes=size or None)


def _carry(found: Metadata, block: Block, whole: bool | None = True, problem: str = "") -> None:
    """Note a carrier; `whole` is False if it was read in part, None if not at all."""
    state: State = "not read" if whole is None else "read" if whole else "partly read"
    found.carriers.append(_carrier(block, state))
    if not whole:
        found.notes.problem(f"{block.where}: {problem}")


def _read_exif(source: Source, header: Header, block: Block, found: Metadata) -> None:
    table = header.blocks.table if not block.data else None
    data = block.data

    def read(start: int, count: int) -> bytes:
        return source.read(start, count) if table else data[start : start + count] if start >= 0 else b""

    exif = exif_reader.read_exif(read, found.notes, table)
    state: State = "not read" if exif is None else "partly read" if exif.partly else "read"
    found.carriers.append(_carrier(block, state))
    if exif and exif.maker_note:
        found.carriers.append(
            Carrier(kind="maker note", where="EXIF MakerNote", state="not read", size_bytes=exif.maker_note)
        )
    found.exif = found.exif or exif


def _read_profile(block: Block, found: Metadata) -> None:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(block.data))
        found.profile = clean(ImageCms.getProfileDescription(profile))
        _carry(found, block)
    except Exception:  # whatever the library raises for a damaged profile
        _carry(found, block, None, "the ICC profile is damaged")


def _add_text(block: Block, found: Metadata) -> None:
    marked = block.data[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16's byte-order mark
    text = (block.data.decode("utf-16", "replace") if marked else decoded(block.data)).strip("\0 ")
    name = block.where.removeprefix("PNG text ")
    # PNG's "Source" names the device or what was scanned
    kind = Text.COMMENT if block.kind == "comment" or name.lower() in ("comment", "source") else Text.FREE
    if name.lower() in ("software", "creator tool", "creatortool"):
        kind = Text.PROGRAM
    if name.lower() == "creation time":
        found.png_created = read_time(block.where, text, found.notes)
    if name.lower() not in SELF_EXPLAINING:
        where = f"PNG text {clean(name, 40)}" if block.where.startswith("PNG text ") else block.where
        found.fields.append(Field(where, text, kind))
    found.carriers.append(
        Carrier(kind=block.kind, where=clean(block.where, 60) or "?", state="read", size_bytes=block.size_bytes)
    )


def traces(metadata: Metadata) -> tuple[Trace, ...]:
    """The fields that may name a program; if there are too many, those that name one are kept first."""
    found = [trace for each in metadata.fields if (trace := trace_of(each))]
    if len(found) > TRACES_KEPT:
        found = [*sorted(found, key=lambda trace: not trace.kinds)][:TRACES_KEPT]
    return tuple(found)


def camera(metadata: Metadata) -> Camera:
    """The camera named by EXIF, or by XMP if EXIF names none."""
    own = exif_reader.camera(metadata.exif) if metadata.exif else Camera()
    other = metadata.xmp.camera if metadata.xmp else Camera()
    return own if own.make or own.model or not (other.make or other.model) else other


def position(metadata: Metadata) -> Position:
    """The position from EXIF, or from XMP if EXIF has none."""
    own = exif_reader.position(metadata.exif, metadata.notes) if metadata.exif else Position()
    return own if own.present or not metadata.xmp else metadata.xmp.position


def clocks(metadata: Metadata) -> dict[str, Any]:
    """`times` and `clocks` of the context."""
    found: dict[str, Stamp | None] = dict.fromkeys(("taken", "digitised", "changed", "gps"))
    if metadata.exif:
        found |= exif_reader.times(metadata.exif, metadata.notes)
    xmp, created = metadata.xmp, metadata.iptc.created
    found["gps"] = found["gps"] or (xmp.gps if xmp else None)
    found["xmp_taken"] = xmp.taken if xmp else None
    found["xmp_created"] = xmp.created if xmp else None
    found["xmp_changed"] = xmp.changed if xmp else None
    found |= {"png_created": metadata.png_created, "png_changed": metadata.png_changed}
    found["iptc_created"] = read_time("IPTC Date Created", created, metadata.notes) if created else None
    source = next(
        (name for key, name in (("taken", "EXIF"), ("xmp_taken", "XMP"), ("iptc_created", "IPTC")) if found[key]), None
    )
    moments = {name: stamp.moment if stamp else None for name, stamp in found.items()}
    taken = moments["taken"]  # the differences are those of EXIF's own clock
    gaps = {name: _after(moments[name], taken) for name in ("changed", "digitised", "xmp_created")}
    shown = found["taken"] or found["xmp_taken"] or found["iptc_created"]
    stamps = {name: stamp.text if stamp else None for name, stamp in {**found, "taken": shown}.items()}
    return {
        "times": Times(**stamps, taken_source=source),
        "clocks": Clocks(**gaps, gps=_beyond_zones(moments["gps"], taken)),
    }


def _after(moment: datetime | None, taken: datetime | None) -> int | None:
    """Seconds from `taken` to `moment`; if one has no time zone, both are assumed to be in the same one."""
    if moment is None or taken is None:
        return None
    if moment.tzinfo is None or taken.tzinfo is None:
        moment, taken = moment.replace(tzinfo=None), taken.replace(tzinfo=None)
    return round((moment - taken).total_seconds())


def _beyond_zones(gps: datetime | None, taken: datetime | None) -> int | None:
    """Seconds by which the satellite clock is ahead of the camera's, beyond what a time zone can explain."""
    if gps is None or taken is None:
        return None
    gps = gps if gps.tzinfo else gps.replace(tzinfo=timezone.utc)  # an invalid zone was left out
    if taken.tzinfo is not None:
        return _after(gps, taken)
    gap = round((gps - taken.replace(tzinfo=timezone.utc)).total_seconds())
    return gap - min(max(gap, -EAST), WEST)
