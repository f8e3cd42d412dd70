"""Reading and writing pictures, masks and probability maps, by the same rules for all commands.

Arrays are RGB (never BGR), uint8 [H,W,3], rows from the top, with the orientation applied exactly once: EXIF's tag, or
XMP's if EXIF has none; in HEIF and AVIF the container's own rotation, and the tags are ignored.
The format of a file is determined by its content, never by its name. The first frame or page is read, of a HEIF file
the primary picture.
Masks are bool [H,W], True = tampered. Maps are float32 [H,W] in [0,1], stored as 16-bit PNG (value / 65535).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from imltool.errors import DataError, ImageError
from imltool.files import write_bytes
from imltool.pictures.arrays import RGB as RGB
from imltool.pictures.arrays import Map as Map
from imltool.pictures.arrays import Mask as Mask
from imltool.pictures.arrays import Pixels
from imltool.pictures.decode import brightest, decode, to_eight_bits, to_rgb
from imltool.pictures.faults import faults
from imltool.pictures.grey_png import encode_grey
from imltool.pictures.header import FORMATS, Header, learn_formats, open_pillow, read_header
from imltool.pictures.orientation import TURNS, unturn, upright
from imltool.pictures.source import NotAFileError, Source, open_source
from imltool.pictures.strips import strips
from imltool.pictures.tags import ORIENTATION
from imltool.pictures.tiff import grey_samples

VAGUE = ("BMP", "DIB", "PPM")
"""Formats whose first bytes can occur by chance in a text file."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap width and height."""
JPEG_SIDE = 65500
"""Longest side of a JPEG that the library can write."""


@dataclass(frozen=True)
class Picture:
    """A picture that was read: its `header`, and its `pixels`, whose `rgb` is upright, uint8 [H,W,3]."""

    header: Header
    pixels: Pixels

    @property
    def rgb(self) -> RGB:
        """uint8 [H,W,3], upright."""
        return self.pixels.rgb


@dataclass(frozen=True)
class PictureShape:
    """A picture's size and orientation.

    Attributes:
        size: (width, height) in pixels as displayed, the orientation applied.
        orientation: EXIF orientation of the stored raster, 1 to 8; 1 for a picture that is stored as displayed. Always
            1 in HEIF: the decoder applies the container's own rotation, and no program sees the raster without it.
    """

    size: tuple[int, int]
    orientation: int = 1

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) of the raster as stored: the size for programs that ignore the orientation."""
        return self.size[::-1] if self.orientation in SIDEWAYS else self.size


@dataclass(frozen=True)
class MaskPicture:
    """A mask's pixels, upright.

    Attributes:
        rgb: uint8 [H,W,3].
        grey: grey levels [H,W]: 0..255, or the samples themselves if none is above 255.
        classes: [H,W], indices into the file's palette if it has one whose first colour is black, else None.
    """

    rgb: RGB
    grey: NDArray[Any]
    classes: NDArray[np.uint8] | None = None

    @property
    def bright(self) -> Mask:
        """The mask, bool [H,W]: True where the grey level is above half.

        Masks saved as 0 and 1, or as 0 and 255 in 16 bits, are recognised too; otherwise all of them would be empty.
        """
        scale = 255 if self.grey.max(initial=0) == 1 else 1
        return np.asarray(self.grey.astype(np.int64) * scale > 127)


@contextmanager
def _source(path: Path) -> Iterator[Source]:
    """Open a file to read its pixels only."""
    with faults(path):
        try:
            with open_source(path, hashed=False) as source:
                yield source
        except NotAFileError:
            folder = path.is_dir()
            raise ImageError("is a folder, not a picture" if folder else "not a regular file") from None


def open_header(path: Path) -> ImageFile.ImageFile:
    """Pillow's picture with only its header read; the caller closes it. Raises `ImageError`."""
    with faults(path):
        learn_formats()
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        return Image.open(path, formats=FORMATS)


def looks_like_picture(path: Path) -> bool:
    """Whether a file begins like one of `FORMATS`. False when it cannot be opened."""
    learn_formats()
    try:
        with path.open("rb") as handle:
            head = handle.read(64)
        fitting = [name for name in FORMATS if (accept := Image.OPEN[name][1]) and accept(head)]
        if not set(fitting) <= set(VAGUE):
            return True
        if fitting:
            open_header(path).close()
        return bool(fitting)
    except Exception:  # Pillow's tests of the first bytes may raise
        return False


def read_picture(path: Path) -> Picture:
    """Read a picture, its header and the metadata blocks of its file, see `imltool.pictures.decode.decode`.

    Raises `ImageError` with a fixed reason when the file cannot be decoded completely.
    """
    with _source(path) as source:
        header = read_header(source)
        return Picture(header, decode(source, header))


def rgb_of(picture: Image.Image) -> RGB:
    """The upright pixels of a Pillow picture: uint8 RGB [H,W,3], deep grey scaled. Raises `ImageError`.

    The pixels are decoded by Pillow, which misreads some layouts that `read_rgb` reads correctly or refuses.
    """
    with faults(Path(getattr(picture, "filename", "") or "the picture")):
        picture.load()
        turn = picture.getexif().get(ORIENTATION, 1)
        turn = turn if turn in TURNS else 1
        return upright(to_rgb(picture, "transparency" in picture.info), turn)


def read_rgb(path: Path) -> RGB:
    """The pixels of `read_picture`: uint8 RGB [H,W,3]. Raises `ImageError`."""
    return read_picture(path).rgb


def read_shape(path: Path) -> PictureShape:
    """Size and orientation of a picture from its header only. Raises `ImageError`."""
    with _source(path) as source:
        header = read_header(source)
        return PictureShape(header.shown_size, header.orientation.applied)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels after orientation, from the header only. Raises `ImageError`."""
    return read_shape(path).size


def read_mask_picture(path: Path) -> MaskPicture:
    """The pixels of a mask file in all forms that may encode a mask. Raises `ImageError`."""
    with _source(path) as source:
        header = read_header(source)
        turn = TURNS[header.orientation.applied]
        grey, rgb = turn(_grey(source, header)), decode(source, header).rgb
        classes = None
        if not (header.blocks.jpeg or header.layout or header.jp2):
            with open_pillow(source) as picture:
                palette = picture.getpalette("RGB") if picture.mode == "P" else None
                if palette and palette[:3] == [0, 0, 0]:
                    classes = turn(np.asarray(picture))
        return MaskPicture(rgb, grey, classes)


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Mask:
    """Read a mask that imltool wrote as bool [H,W]: grey value above half is tampered.

    Masks from other sources are for `imltool.data.masks.read_truth`, which knows colours and orientations.

    Args:
        size: expected (width, height); another size raises `DataError`.

    Raises `ImageError` when undecodable.
    """
    mask = read_mask_picture(path).bright
    if size is not None and (mask.shape[1], mask.shape[0]) != size:
        found = f"{mask.shape[1]}x{mask.shape[0]}"
        raise DataError(
            f"mask {path} is {found}, its picture is {size[0]}x{size[1]}", "masks must have their picture's size"
        )
    return mask


def _grey(source: Source, header: Header) -> NDArray[Any]:
    """The grey levels of a stored picture, [H,W]: 0..255, or the samples themselves if none is above 255."""
    if header.layout and header.blocks.table:
        samples = grey_samples(source, header.blocks.table)
        if samples is not None and samples.max(initial=0) <= 255:
            return samples
    if header.blocks.jpeg or header.layout or header.jp2:
        stored = unturn(decode(source, header).rgb, header.orientation.applied)
        return np.asarray(Image.fromarray(np.ascontiguousarray(stored)).convert("L"))
    with open_pillow(source) as picture:
        picture.load()
        if picture.mode.startswith("I") and np.asarray(picture).max(initial=0) <= 255:
            return np.asarray(picture, dtype=np.int64)
        return np.asarray(to_eight_bits(picture, brightest(picture)).convert("L"))


def encode_png(array: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a uint8 [H,W] or [H,W,3] RGB array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_jpeg(rgb: RGB, quality: int = 85, subsampling: int = 2) -> bytes:
    """JPEG bytes of a uint8 RGB array. `subsampling` is Pillow's number: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.

    Raises OSError for an array with a side that JPEG cannot hold.
    """
    if max(rgb.shape[:2]) > JPEG_SIDE:  # the library itself would write to stderr
        raise OSError(f"a JPEG has at most {JPEG_SIDE} pixels a side")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def mask_png(mask: Mask) -> bytes:
    """PNG bytes of a bool [H,W] mask: 8 bits, 0 and 255."""
    levels = (np.where(mask[rows], np.uint8(255), np.uint8(0)) for rows in strips(mask.shape))
    return encode_grey(levels, mask.shape, 8)


def write_mask(path: Path, mask: Mask) -> None:
    """Write a bool [H,W] mask as `mask_png` encodes it, atomically."""
    write_bytes(path, mask_png(mask))


def map_png(values: Map) -> bytes:
    """PNG bytes of a float [H,W] map in [0,1]: 16 bits, value / 65535 = probability."""
    levels = (_map_levels(values[rows]) for rows in strips(values.shape))
    return encode_grey(levels, values.shape, 16)


def write_map(path: Path, values: Map) -> None:
    """Write a float [H,W] map in [0,1] as `map_png` encodes it, atomically."""
    write_bytes(path, map_png(values))


def _map_levels(values: Map) -> NDArray[np.uint16]:
    levels = np.clip(values, 0.0, 1.0)
    levels *= np.float32(65535.0)
    return np.rint(levels, out=levels).astype(np.uint16)


def read_map(path: Path) -> Map:
    """Read a file that `write_map` wrote, as float32 [H,W] in [0,1]. Raises `ImageError`."""
    with _source(path) as source, open_pillow(source) as picture:
        picture.load()
        return np.asarray(np.asarray(picture, dtype=np.float32) / np.float32(65535.0))
