"""The forensic context of one file: format, metadata and coding, all that the file holds besides the pixels."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from imltool.evidence import credentials, metadata, thumbnail
from imltool.evidence.double_jpeg import double_jpeg
from imltool.evidence.exif import exif_size
from imltool.evidence.iptc import THUMBNAIL
from imltool.evidence.jpeg_coding import jpeg_coding
from imltool.evidence.model import Camera, Context, DoubleJpeg, Position, Thumbnail, Trace
from imltool.evidence.trailer import find_trailer
from imltool.pictures import tags
from imltool.pictures.arrays import Pixels
from imltool.pictures.faults import phrase
from imltool.pictures.header import Header
from imltool.pictures.orientation import unturn
from imltool.pictures.source import Source
from imltool.pictures.tiff import LOSSLESS as LOSSLESS_TIFF

log = logging.getLogger("imltool")
T = TypeVar("T")

LOSSLESS = ("PNG", "TIFF", "BMP")
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}
ENDINGS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff", ".dng", ".nef", ".cr2", ".arw", ".pef", ".srw"), "TIFF"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics"), "HEIF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"), "JPEG2000"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), "PPM"),
    ".webp": "WEBP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".avifs": "AVIF",
    **dict.fromkeys(
        (".pdf", ".txt", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".zip", ".rar", ".7z", ".exe", ".dll", ".html"),
        "no picture",
    ),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".mp3", ".wav", ".psd", ".jxl", ".svg", ".ico"), "no picture"),
}
"""Extension → format. Other extensions imply no format: browsers and services invent their own (`.jpg_large`)."""


def picture_context(source: Source, header: Header | None, pixels: Pixels | None = None) -> Context:
    """The context of a file. Writes nothing and raises no error; the same bytes always give the same context.

    Args:
        source: the file, opened with the mark of `imltool.evidence.credentials`.
        header: the result of `read_header`; None when it could not be read.
        pixels: the result of `decode`; None when the picture could not be decoded.
    """
    attempt = _Attempts()
    if header is None:
        signed = attempt("Content Credentials", lambda: credentials.read_credentials(source, None, None), None)
        return Context(credentials=signed, problems=tuple(attempt.problems))
    found = attempt("metadata", lambda: metadata.read_metadata(source, header), metadata.Metadata())
    exif, turn = found.exif, header.orientation
    size = exif_size(exif) if exif else None
    sizes = {(header.width, header.height), header.shown_size}
    table, structure = header.blocks.table, header.blocks.jpeg
    address = found.xmp.provenance if found.xmp else None
    signed = attempt("Content Credentials", lambda: credentials.read_credentials(source, header.format, address), None)
    types = [*(found.xmp.source_types if found.xmp else ()), *(signed.source_types if signed else ())]
    values: dict[str, Any] = {
        "format": header.format,
        "mode": header.mode,
        "frames": header.frames,
        "preview_page": bool(table and (table.number(tags.SUBFILE) or 0) & 1),
        "name_differs": _name_differs(source.path, header.format),
        "orientation": turn.value,
        "orientation_source": turn.source,
        "camera": attempt("camera", lambda: metadata.camera(found), Camera()),
        "gps": attempt("position", lambda: metadata.position(found), Position()),
        "software": attempt("programs", lambda: metadata.traces(found), tuple[Trace, ...]()),
        **attempt("times", lambda: metadata.clocks(found), {}),
        "exif_size": size,
        "size_differs": size is not None and not sizes & {size, size[::-1]},
        "profile": found.profile,
        "history": found.xmp.steps if found.xmp else (),
        "derived": bool(found.xmp and found.xmp.derived),
        "source_types": tuple(dict.fromkeys(types)),
        "jpeg": attempt("JPEG tables", lambda: jpeg_coding(structure), None) if structure else None,
        "double_jpeg": attempt("double JPEG", lambda: _double_jpeg(header, pixels), None),
        "thumbnail": _thumbnail(source, header, pixels, found, attempt),
        "credentials": signed,
        "ending": _ending(header, pixels),
        "rows_decoded": pixels.rows if pixels else None,
        "trailer": attempt("trailer", lambda: find_trailer(source, header.blocks), None),
        "carriers": tuple(found.carriers),
        "unparsed": tuple(found.notes.unparsed),
    }
    problems = [*(pixels.problems if pixels else ()), *header.blocks.problems, *found.notes.problems, *attempt.problems]
    return Context(**values, problems=tuple(dict.fromkeys(problems)))


class _Attempts:
    """Runs readers. A failure is noted as a problem with a fixed phrase; the library's own text goes to the log."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return read()
        except Exception as error:  # damaged metadata makes libraries raise anything
            log.info("%s: %s: %s", what, type(error).__name__, error)
            self.problems.append(f"{what}: {phrase(error)}")
            return otherwise


def _name_differs(path: Path, image_format: str) -> bool:
    named = ENDINGS.get(path.suffix.lower())
    return named is not None and named != SAME_FORMAT.get(image_format, image_format)


def _ending(header: Header, pixels: Pixels | None) -> str | None:
    if (pixels and pixels.rows is not None) or header.blocks.further_missing:
        return "cut off"
    if header.blocks.ended is None:
        return None
    structure = header.blocks.jpeg
    if header.blocks.ended and (pixels or not structure or structure.refined):
        return "complete"
    return "no end marker" if pixels else "cut off"


def _double_jpeg(header: Header, pixels: Pixels | None) -> DoubleJpeg | None:
    """Signs of double JPEG in 8-bit pixels of lossy JPEG files and of lossless formats; None for other files."""
    if pixels is None or header.mode not in ("L", "RGB", "RGBA", "CMYK"):
        return None
    structure = header.blocks.jpeg
    luma: tuple[int, ...] | None = None
    if structure and structure.frame:
        luma = structure.tables.get(structure.frame.components[0][2])
        if luma is None:  # a lossless JPEG has no quantisation steps
            return None
    elif (
        header.format not in LOSSLESS
        or header.mode == "CMYK"
        or (header.layout and header.layout.compression not in LOSSLESS_TIFF)
    ):
        return None
    return double_jpeg(unturn(pixels.rgb, header.orientation.applied), luma)


def _thumbnail(
    source: Source, header: Header, pixels: Pixels | None, found: metadata.Metadata, attempt: _Attempts
) -> Thumbnail | None:
    own = found.exif.thumbnail if found.exif else None
    in_heif = header.format == "HEIF" and bool(header.info.get("thumbnails"))
    there = thumbnail.find_thumbnail(source, own, found.resources.get(THUMBNAIL), in_heif)
    if there is None:
        return None
    where, read = there
    try:
        stored = read()
    except ValueError as error:  # our own errors are fixed phrases already
        ours = str(error).startswith("is no JPEG") or "is no size" in str(error)
        attempt.problems.append(f"thumbnail: {error if ours else phrase(error)}")
        return Thumbnail(where=where)
    except Exception as error:
        log.info("%s: thumbnail: %s", source.path, error)
        attempt.problems.append(f"thumbnail: {phrase(error)}")
        return Thumbnail(where=where)
    whole = pixels.rgb if pixels and pixels.rows is None else None
    turn = 1 if where == "HEIF" else header.orientation.value or 1
    return attempt("thumbnail", lambda: thumbnail.compare_thumbnail(where, stored, whole, turn), Thumbnail(where=where))
