"""The forensic context of one file: what its format, its metadata and its coding say beside the pixels."""

from __future__ import annotations

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
from imltool.evidence.double_jpeg import double_jpeg
from imltool.evidence.jpeg_file import jpeg_facts
from imltool.evidence.model import Camera, Clocks, Context, Position, Thumbnail, Times, Trace
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


def picture_context(path: Path, picture: Picture | None = None) -> Context:
    """What a file says beside its pixels. Nothing is written, no error is raised, the same file gives the same answer.

    Args:
        path: a regular file.
        picture: the file decoded by `read_picture`; None when it could not be decoded.
    """
    problems: list[str] = []
    context: dict[str, Any] = {}

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
            context["software"] = [Trace(where=where, text=text) for where, text in traces if text]
            if packet:
                context |= {"history": [*packet.steps], "derived": packet.derived}
                context["source_types"] = [*packet.source_types]
            if header.format in ("JPEG", "MPO"):
                context["jpeg"] = attempt("JPEG tables", lambda: jpeg_facts(header), None)
            if picture and (context.get("jpeg") or (header.format in LOSSLESS and header.mode in ("L", "RGB", "RGBA"))):
                stored = thumbnail.unturn(picture.rgb, context.get("orientation") or 1)
                context["double_jpeg"] = attempt("double JPEG", lambda: double_jpeg(stored, _luma(header)), None)
            found = thumbnail.find_thumbnail(path, header.format, block.thumbnail, info)
            if found:
                where, read = found
                rgb, turn = (
                    (picture.rgb if picture else None),
                    1 if where == "HEIF" else context.get("orientation") or 1,
                )
                context["thumbnail"] = attempt(
                    "thumbnail",
                    lambda: thumbnail.compare_thumbnail(where, read(), rgb, turn),
                    Thumbnail(where=where),
                )
    except ImageError as error:
        problems.append(error.message.removeprefix(f"{path}: "))
    except Exception as error:
        problems.append(f"file: {clean(error, 160) or type(error).__name__}")
    address = packet.provenance if packet else None
    context["credentials"] = attempt(
        "Content Credentials", lambda: credentials.read_credentials(path, context.get("format"), address), None
    )
    if context["credentials"]:
        named = [*context.get("source_types", ()), *context["credentials"].source_types]
        context["source_types"] = dict.fromkeys(named)
    lists = {name: tuple(value) for name, value in context.items() if isinstance(value, list | dict)}
    return Context(**{**context, **lists}, problems=tuple(problems))


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
    exif_size, size = exif.exif_size(block), header.size
    return {
        "orientation": int(turn) if isinstance(turn, int) and 1 <= turn <= 8 else None,
        "camera": Camera(**exif.camera(block)),
        "gps": Position(**exif.position(block)),
        "exif_size": exif_size,
        "size_differs": exif_size is not None and exif_size not in (size, size[::-1]),
    }


def _time_facts(block: exif.ExifBlock, packet: xmp.Xmp | None) -> dict[str, Any]:
    times = exif.times(block)
    times |= {"xmp_created": packet.created if packet else None, "xmp_changed": packet.changed if packet else None}
    taken, gps = times["taken"], times["gps"]
    clocks = {name: _after(times[name], taken) for name in ("changed", "digitised", "xmp_created")}
    return {
        "times": Times(**{name: moment.isoformat() if moment else None for name, moment in times.items()}),
        "clocks": Clocks(**clocks, gps=_beyond_zones(gps, taken)),
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
