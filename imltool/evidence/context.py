"""The forensic context of one file: what its format, its metadata and its coding say beside the pixels."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms

from imltool.errors import ImageError
from imltool.evidence import credentials, exif, thumbnail, xmp
from imltool.evidence.double_jpeg import earlier_save
from imltool.evidence.jpeg_file import jpeg_facts
from imltool.pictures.images import ORIENTATION, SUBFILE_TYPE, Picture, open_header
from imltool.texts import clean

FRAMES_COUNTED = 1000
"""Frames and pages are counted up to here."""
TEXTS_KEPT = 20
PROFILE_BYTES = 4_000_000
EAST, WEST = 14 * 3600, 12 * 3600
"""Seconds that local time may be ahead of and behind UTC."""

PHOTOSHOP_QUALITY, PHOTOSHOP_VERSION = 1030, 1057
"""Blocks of APP13 that only Photoshop's own saving writes."""
LOSSLESS = ("PNG", "TIFF", "BMP")
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}

EMPTY: dict[str, Any] = {
    "format": None,
    "mode": None,
    "frames": None,
    "preview_page": False,
    "name_differs": False,
    "orientation": None,
    "camera": {"make": None, "model": None, "lens": None, "serial": None},
    "software": [],
    "times": dict.fromkeys(("taken", "digitised", "changed", "gps", "xmp_created", "xmp_changed")),
    "clocks": dict.fromkeys(("changed", "digitised", "gps", "xmp_created")),
    "gps": {"present": False, "latitude": None, "longitude": None, "altitude": None},
    "told_size": None,
    "size_differs": False,
    "profile": None,
    "history": [],
    "derived": False,
    "source_types": [],
    "jpeg": None,
    "earlier_save": None,
    "thumbnail": None,
    "credentials": None,
    "problems": [],
}


def picture_context(path: Path, picture: Picture | None = None) -> dict[str, Any]:
    """What a file says beside its pixels. Nothing is written, no error is raised, the same file gives the same answer.

    Args:
        path: a regular file.
        picture: the file decoded by `read_picture`; None when it could not be decoded.

    Returns:
        A dictionary of JSON values with the keys of `EMPTY`, None or empty where the file is silent:
        `format`, `mode` (Pillow's names), `frames` (or pages; the first is analysed), `preview_page` (the first page
        calls itself a reduced copy), `name_differs` (the name's ending stands for another format), `orientation`
        (EXIF, 1..8). `camera`, `gps`: see `imltool.evidence.exif`. `software`: a list of `where` and `text`. `times`:
        ISO 8601, with a zone if known. `clocks`: seconds that a time lies after `taken`; `gps` only what no time
        zone can explain. `told_size`: [width, height] by EXIF; `size_differs`: neither it nor its turn is the
        picture's. `profile`: name of the ICC profile. `history`: steps XMP lists; `derived`: XMP names another
        document as origin; `source_types`: IPTC terms, of XMP and credentials. `jpeg`: see `jpeg_facts`, None for other
        formats. `earlier_save`: see `earlier_save`, None for formats that keep no trace of one.
        `thumbnail`: None, or `where` and what `compare_thumbnail` returns. `credentials`: see `read_credentials`.
        `problems`: what could not be read, and why.
    """
    problems: list[str] = []
    context = {**copy.deepcopy(EMPTY), "problems": problems}

    def attempt(what: str, read: Callable[[], Any], otherwise: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return read()
        except Exception as error:  # damaged metadata makes libraries raise anything
            problems.append(f"{what}: {clean(error, 160) or type(error).__name__}")
            return otherwise

    packet: xmp.Xmp | None = None
    try:
        with open_header(path) as header:
            info: dict[str, Any] = {str(key): value for key, value in header.info.items()}
            info |= picture.info if picture else {}
            context |= attempt("header", lambda: _header_facts(header, path), {})
            context["frames"] = attempt("frames", lambda: _frames(header), None)
            block = attempt("EXIF", lambda: exif.read_exif(header, info), exif.ExifBlock())
            packet = attempt("XMP", lambda: xmp.read_xmp(info), None)
            iptc = attempt("IPTC", lambda: xmp.read_iptc(header), [])
            context |= attempt("EXIF values", lambda: _exif_facts(block, header, info), {})
            context |= attempt("times", lambda: _time_facts(block, packet), {})
            context["profile"] = attempt("ICC profile", lambda: _profile_name(info), None)
            blocks = attempt("comments", lambda: _comments(header, info), [])
            traces = [*exif.software(block), *(packet.software if packet else ()), *iptc, *blocks]
            context["software"] = [{"where": where, "text": text} for where, text in traces if text]
            if packet:
                context |= {"history": [*packet.steps], "derived": packet.derived}
                context["source_types"] = [*packet.source_types]
            if header.format in ("JPEG", "MPO"):
                context["jpeg"] = attempt("JPEG tables", lambda: jpeg_facts(header), None)
            if picture and (context["jpeg"] or (header.format in LOSSLESS and header.mode in ("L", "RGB", "RGBA"))):
                stored = thumbnail.unturn(picture.rgb, context["orientation"] or 1)
                context["earlier_save"] = attempt("earlier save", lambda: earlier_save(stored, _luma(header)), None)
            found = thumbnail.find_thumbnail(path, header.format, block.thumbnail, info)
            if found:
                where, read = found
                rgb, turn = (picture.rgb if picture else None), 1 if where == "HEIF" else context["orientation"] or 1
                facts = attempt("thumbnail", lambda: thumbnail.compare_thumbnail(read(), rgb, turn), {})
                context["thumbnail"] = {"where": where, **dict.fromkeys(thumbnail.FACTS), **facts}
    except ImageError as error:
        problems.append(error.message.removeprefix(f"{path}: "))
    except Exception as error:
        problems.append(f"file: {clean(error, 160) or type(error).__name__}")
    address = packet.provenance if packet else None
    context["credentials"] = attempt(
        "Content Credentials", lambda: credentials.read_credentials(path, context["format"], address), None
    )
    if context["credentials"]:
        context["source_types"] = [*dict.fromkeys([*context["source_types"], *context["credentials"]["source_types"]])]
    return context


def _luma(header: Image.Image) -> list[int] | None:
    """The steps of a JPEG file's first component."""
    layers = getattr(header, "layer", None)
    return header.quantization[layers[0][3]] if layers else None  # type: ignore[attr-defined]


def _header_facts(header: Image.Image, path: Path) -> dict[str, Any]:
    named = Image.EXTENSION.get(path.suffix.lower())
    real = SAME_FORMAT.get(header.format or "", header.format)
    tags = getattr(header, "tag_v2", {})
    return {
        "format": header.format,
        "mode": header.mode,
        "preview_page": bool(int(tags.get(SUBFILE_TYPE, 0)) & 1),
        "name_differs": bool(path.suffix) and SAME_FORMAT.get(named or "", named) != real,
    }


def _frames(header: Image.Image) -> int:
    if header.format != "TIFF":
        return int(getattr(header, "n_frames", 1))
    count = 1  # Pillow counts pages without an end, and looks up each among all before
    with suppress(EOFError, OSError, ValueError, SyntaxError, KeyError):
        while count < FRAMES_COUNTED:
            header.seek(count)
            count += 1
    with suppress(Exception):
        header.seek(0)
    return count


def _exif_facts(block: exif.ExifBlock, header: Image.Image, info: Mapping[str, Any]) -> dict[str, Any]:
    turn = block.main.get(ORIENTATION) if info.get("original_orientation") is None else info["original_orientation"]
    told, size = exif.told_size(block), header.size
    return {
        "orientation": int(turn) if isinstance(turn, int) and 1 <= turn <= 8 else None,
        "camera": exif.camera(block),
        "gps": exif.position(block),
        "told_size": [*told] if told else None,
        "size_differs": told is not None and told not in (size, size[::-1]),
    }


def _time_facts(block: exif.ExifBlock, packet: xmp.Xmp | None) -> dict[str, Any]:
    times = exif.times(block)
    times |= {"xmp_created": packet.created if packet else None, "xmp_changed": packet.changed if packet else None}
    taken, gps = times["taken"], times["gps"]
    clocks = {name: _after(times[name], taken) for name in ("changed", "digitised", "xmp_created")}
    return {
        "times": {name: moment.isoformat() if moment else None for name, moment in times.items()},
        "clocks": {**clocks, "gps": _beyond_zones(gps, taken)},
    }


def _after(moment: datetime | None, taken: datetime | None) -> int | None:
    """Seconds between two clocks; where one does not tell its zone, both are taken for the same zone's."""
    if moment is None or taken is None:
        return None
    if moment.tzinfo is None or taken.tzinfo is None:
        moment, taken = moment.replace(tzinfo=None), taken.replace(tzinfo=None)
    return round((moment - taken).total_seconds())


def _beyond_zones(gps: datetime | None, taken: datetime | None) -> int | None:
    """Seconds by which the satellites' clock is after the camera's that no time zone explains."""
    if gps is None or taken is None:
        return None
    if taken.tzinfo is not None:
        return _after(gps, taken)
    gap = round((gps - taken.replace(tzinfo=timezone.utc)).total_seconds())
    return gap - min(max(gap, -EAST), WEST)


def _profile_name(info: Mapping[str, Any]) -> str | None:
    data = info.get("icc_profile")
    if not data:
        return None
    if len(data) > PROFILE_BYTES:
        raise ValueError(f"longer than {PROFILE_BYTES} bytes")
    return clean(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))))


def _comments(header: Image.Image, info: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Comments and text blocks, and blocks of an editor that hold no text."""
    found: list[tuple[str, str | None]] = [(f"{header.format} comment", clean(info.get("comment")))]
    if header.format == "PNG":
        skipped = {"XML:com.adobe.xmp", "xmp", "comment"}
        texts = {key: value for key, value in info.items() if isinstance(value, str) and key not in skipped}
        keys = [key for key in texts if not key.startswith("Raw profile type")][:TEXTS_KEPT]
        found += [(f"PNG text {clean(key, 40)}", clean(texts[key])) for key in keys]
    blocks = info.get("photoshop")
    if isinstance(blocks, dict) and (PHOTOSHOP_QUALITY in blocks or PHOTOSHOP_VERSION in blocks):
        found.append(("JPEG block APP13", "Adobe Photoshop"))
    if any(name == "APP12" and data.startswith(b"Ducky") for name, data in getattr(header, "applist", ())):
        found.append(("JPEG block APP12", "Adobe Save for Web"))
    return found
