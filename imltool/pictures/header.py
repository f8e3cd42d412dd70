"""The header of a picture file, from its content: format, size, frames, metadata, orientation. No pixel is decoded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from imltool.errors import ImageError
from imltool.pictures import tags
from imltool.pictures.block import Blocks
from imltool.pictures.blocks import read_blocks
from imltool.pictures.boxes import Aperture, clean_aperture
from imltool.pictures.faults import MAX_PIXELS, faults
from imltool.pictures.jpeg2000 import START, Jp2Header, read_jp2_header
from imltool.pictures.jpeg_structure import multi_pictures
from imltool.pictures.orientation import Orientation, find_orientation
from imltool.pictures.png import SIGNATURE, bare_png
from imltool.pictures.source import Source
from imltool.pictures.tiff import TiffLayout, read_layout

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "AVIF", "HEIF", "JPEG2000", "PPM")
"""Pillow's names of the formats that are read; none whose reader starts another program. AVIF is tried before HEIF,
because both may call themselves `mif1`."""
BY_PILLOW = tuple(name for name in FORMATS if name not in ("JPEG", "TIFF", "JPEG2000"))

Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises at twice this

SIGNATURES = (
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (0, b"IIRO", "a camera's raw file"),
    (0, b"IIRS", "a camera's raw file"),
    (0, b"IIU\0", "a camera's raw file"),
    (8, b"crx ", "a camera's raw file"),
    (0, b"FOVb", "a camera's raw file"),
    (0, b"II\xbc\x01", "a JPEG XR picture"),
    (128, b"DICM", "a DICOM file"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"qoif", "a QOI picture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance picture"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"DDS ", "a DDS texture"),
    (4, b"ftypmp4", "a video"),
    (4, b"ftypisom", "a video"),
    (4, b"ftypqt", "a video"),
)
"""Offset, bytes and name of formats that are recognised but not supported: such files are not damaged."""
DAMAGED = (
    (0, SIGNATURE, "a PNG file"),
    (0, b"GIF8", "a GIF file"),
    (8, b"WEBP", "a WebP file"),
    (4, b"ftypavi", "an AVIF file"),
    (4, b"ftyphei", "a HEIF file"),
    (4, b"ftypmif1", "a HEIF file"),
    (0, b"BM", "a BMP file"),
)
"""Offset, bytes and name of supported formats: a file that begins so and cannot be read is damaged."""


@dataclass(frozen=True)
class Header:
    """The result of `read_header`.

    Attributes:
        format, mode: Pillow's names of the format and the colour model; depths over 8 bits are appended to the mode.
        width, height: of the picture as stored.
        frames: number of frames or pages; None if they could not be counted.
        info: the `info` of Pillow or pillow-heif; empty for JPEG, TIFF and JPEG 2000.
        blocks: the metadata blocks and the structure of the container.
        orientation: how the stored pixels have to be turned.
        layout, jp2: how the samples of a TIFF or JPEG 2000 file are stored.
        aperture: the part of an AVIF picture that its container selects for display.
    """

    format: str
    mode: str
    width: int
    height: int
    frames: int | None
    blocks: Blocks
    orientation: Orientation
    info: Mapping[str, Any] = field(default_factory=dict)
    layout: TiffLayout | None = None
    jp2: Jp2Header | None = None
    aperture: Aperture | None = None

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        width, height = (self.aperture.width, self.aperture.height) if self.aperture else (self.width, self.height)
        return (height, width) if self.orientation.applied >= 5 else (width, height)


@lru_cache(maxsize=1)
def learn_formats() -> None:
    """Load Pillow's readers of `FORMATS`, and no others."""
    import pillow_heif

    for name in ("Avif", "Bmp", "Gif", "Jpeg", "Jpeg2K", "Png", "Ppm", "Tiff", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    pillow_heif.register_heif_opener()


def open_pillow(source: Source) -> ImageFile.ImageFile:
    """Pillow's picture of a file, without decoding pixels; a PNG is opened without its metadata.

    Raises what Pillow raises.
    """
    learn_formats()
    # WeasyPrint, once imported, turns this on for the whole process: a truncated file would pass for a complete one
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    stream = bare_png(source) if source.read(0, 8) == SIGNATURE else source.fresh()
    return Image.open(stream, formats=BY_PILLOW)


def read_header(source: Source) -> Header:
    """The header of a picture file. Raises `ImageError` with a fixed reason."""
    with faults(source.path):
        header = _read_header(source)
        if header.width * header.height > MAX_PIXELS:
            raise ImageError(f"more than {MAX_PIXELS // 1_000_000} megapixels")
        return header


def _read_header(source: Source) -> Header:
    head = source.read(0, 16)
    if not head:
        raise ImageError("the file is empty")
    if head[:3] == b"\xff\xd8\xff":
        return _jpeg(source)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(source)
    if head[:4] == START or head[4:12] == b"jP  \r\n\x87\n":
        jp2 = read_jp2_header(source)
        blocks = read_blocks(source, "JPEG2000", {})
        turn = find_orientation("JPEG2000", blocks)
        return Header("JPEG2000", jp2.mode, jp2.width, jp2.height, 1, blocks, turn, jp2=jp2)
    return _other(source)


def _jpeg(source: Source) -> Header:
    blocks = read_blocks(source, "JPEG", {})
    structure = blocks.jpeg
    if structure is None or structure.frame is None:
        raise ImageError("damaged picture (a JPEG without a frame header)")
    frame = structure.frame
    listed = [each for segment in structure.segments for each in multi_pictures(segment)]
    gain_map = any(block.kind == "XMP" and b"hdrgm:Version" in block.data for block in blocks.blocks)
    many = len(listed) > 1 and not gain_map
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(len(frame.components), "?")
    deep = f";{frame.precision}" if frame.precision > 8 else ""
    return Header(
        "MPO" if many else "JPEG",
        mode + deep,
        frame.width,
        frame.height,
        len(listed) if many else 1,
        blocks,
        find_orientation("JPEG", blocks),
    )


def _tiff(source: Source) -> Header:
    blocks = read_blocks(source, "TIFF", {})
    if blocks.table is None:
        raise ImageError("damaged picture (its table of tags cannot be read)")
    values = blocks.table.values
    if (blocks.table.number(tags.SUBFILE) or 0) & 1 and (tags.SUB_FILES in values or tags.DNG in values):
        raise ImageError("a camera's raw file, of which only the small preview could be read")
    layout = read_layout(blocks.table)
    turn = find_orientation("TIFF", blocks)
    return Header("TIFF", layout.mode, layout.width, layout.height, blocks.frames, blocks, turn, layout=layout)


def _other(source: Source) -> Header:
    try:
        picture = open_pillow(source)
    except UnidentifiedImageError:
        raise ImageError(_unknown(source)) from None
    with picture:
        name, info = picture.format or "", {str(key): value for key, value in picture.info.items()}
        mode, (width, height) = _mode(source, picture.mode, info), picture.size
        frames = None if name == "GIF" else int(getattr(picture, "n_frames", 1))
    blocks = read_blocks(source, name, info)
    frames = blocks.frames if name == "GIF" else frames
    aperture = clean_aperture(source, (width, height)) if name == "AVIF" else None
    turn = find_orientation(name, blocks)
    if name == "HEIF" and isinstance(original := info.get("original_orientation"), int) and 1 <= original <= 8:
        turn = Orientation(original, "EXIF", 1)
    return Header(name, mode, width, height, frames, blocks, turn, info, aperture=aperture)


def _mode(source: Source, mode: str, info: Mapping[str, Any]) -> str:
    """Pillow's mode of a picture with its depth appended if over 8 bits, which Pillow keeps only for grey."""
    head = source.read(0, 26)
    bits = head[24] if head[:8] == SIGNATURE and len(head) == 26 else info.get("bit_depth", 8)
    grey = mode == "I" or mode.startswith("I;16")
    if head[:8] == SIGNATURE and bits > 8 and head[25] == 4:
        mode = "LA"  # Pillow decodes it as RGBA
    return f"{'L' if grey else mode};{16 if grey else bits}" if grey or bits > 8 else mode


def _unknown(source: Source) -> str:
    head = source.read(0, 256)
    for place, mark, what in SIGNATURES:
        if head[place : place + len(mark)] == mark:
            return f"intact but not supported: {what}"
    for place, mark, what in DAMAGED:
        if head[place : place + len(mark)] == mark:
            return f"damaged picture (the header of {what})"
    return "not a picture format known here"
