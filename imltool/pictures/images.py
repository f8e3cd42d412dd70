"""Reading and writing pictures, masks and probability maps, by one rule for all commands.

Arrays are RGB (never BGR), uint8 [H,W,3], rows from the top, with the orientation applied exactly once: the EXIF tag
where the format leaves that to the reader, the container's own rotation in HEIF, whose EXIF tag does not count.
What a file is, its content says, never its name. The first frame or page is read, a HEIF's primary picture.
Masks are bool [H,W], True = tampered. Maps are float32 [H,W] in [0,1], stored as 16-bit PNG (value / 65535).
"""

from __future__ import annotations

import importlib
import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from imltool.errors import DataError, ImageError
from imltool.files import write_bytes
from imltool.pictures.exif_guard import exif_fault
from imltool.pictures.grey_png import encode_grey

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Map = NDArray[np.float32]

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "AVIF", "HEIF", "JPEG2000", "PPM")
"""Pillow's names of what is read; no format whose reader starts another program. AVIF is asked before HEIF, because
both may call themselves `mif1`."""
VAGUE = ("BMP", "DIB", "PPM")
"""Formats whose first bytes a text can have by chance."""

STEPS = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Modes that become RGB by way of another one."""

MAX_PIXELS = 300_000_000
"""Pictures with more pixels are refused as decompression bombs (our choice: three times a 100-megapixel back)."""
ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC, SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 274, 258, 262, 254, 330, 50706
"""Numbers of TIFF tags."""

JPEG_SIDE = 65500
"""Longest side of a JPEG that its library writes."""
STRIP_PIXELS = 1 << 21
"""Pixels of a large picture that are worked on at once, where the result does not depend on it (our choice)."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises at twice this figure


@dataclass(frozen=True)
class Picture:
    """A picture read.

    Attributes:
        rgb: uint8 [H,W,3], as `read_rgb` gives it.
        info: what Pillow found beside the pixels, blocks after them included.
    """

    rgb: RGB
    info: Mapping[str, Any]


def strips(shape: tuple[int, ...], step: int = 1) -> Iterator[slice]:
    """The rows of an array [H,W,…] as slices, from the top, their lengths multiples of `step` but for the last."""
    rows = max(1, STRIP_PIXELS // (max(1, shape[1]) * step)) * step
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


@lru_cache(maxsize=1)
def _learn_formats() -> None:
    """Load the readers of `FORMATS`, and none of Pillow's others."""
    import pillow_heif

    for name in ("Avif", "Bmp", "Gif", "Jpeg", "Jpeg2K", "Png", "Ppm", "Tiff", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    pillow_heif.register_heif_opener()


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError` with a short reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except PermissionError:
        raise ImageError(f"{path}: no permission to read") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, not a picture") from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise ImageError(f"{path}: {'the file is empty' if empty else 'not a picture format known here'}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise ImageError(f"{path}: not enough memory to decode") from None
    except Exception as error:  # decoders raise many types (struct.error, SyntaxError, ValueError, OSError, EOFError)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: damaged picture ({reason})") from error


def open_header(path: Path) -> ImageFile.ImageFile:
    """Pillow's picture with its header read and no pixel decoded; to be closed by the caller. Raises `ImageError`."""
    with _faults(path):
        _learn_formats()
        # WeasyPrint, once imported, turns it on for the whole process: a torn file would pass for a whole one
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        picture = Image.open(path, formats=FORMATS)
        tags = getattr(picture, "tag_v2", {})
        if tags.get(SUBFILE_TYPE, 0) & 1 and (SUB_IFDS in tags or DNG_VERSION in tags):
            picture.close()
            raise ImageError(f"{path}: a camera's raw file, of which only the small preview could be read")
        return picture


def looks_like_picture(path: Path) -> bool:
    """Whether a file's first bytes are those of a format read here. False when it cannot be opened."""
    _learn_formats()
    try:
        with path.open("rb") as handle:
            head = handle.read(64)
        fitting = [name for name in FORMATS if (accept := Image.OPEN[name][1]) and accept(head)]
        if not set(fitting) <= set(VAGUE):
            return True
        if fitting:
            open_header(path).close()
        return bool(fitting)
    except Exception:  # Pillow's tests of a first few bytes may trip over them
        return False


def _upright(picture: Image.Image) -> Image.Image:
    """The decoded picture turned as its EXIF says; one whose EXIF is damaged stays as it is stored."""
    try:
        if "exif" in picture.info and exif_fault(picture.info["exif"]):
            return picture
        turned = picture.getexif().get(ORIENTATION, 1) in range(2, 9)
        return ImageOps.exif_transpose(picture) if turned else picture
    except (MemoryError, OSError):
        raise
    except Exception:
        return picture


def _decode(path: Path) -> Image.Image:
    picture = open_header(path)
    with _faults(path):
        deep = _deep_jpeg2000(path, picture.size) if picture.format == "JPEG2000" and len(picture.mode) > 2 else None
        if deep is not None:
            picture.close()
            return deep
        picture.load()
        return picture


def _deep_jpeg2000(path: Path, size: tuple[int, int]) -> Image.Image | None:
    """A JPEG 2000 colour picture of more than 8 bits, by its highest 8; None for others.

    Pillow rounds such samples upwards, and white becomes black; OpenCV reads them as they are.
    """
    data = path.read_bytes()
    start = data.find(b"\xff\x4f\xff\x51")  # start of the codestream, and its size marker
    if start < 0 or len(data) <= start + 42 or (bits := (data[start + 42] & 0x7F) + 1) <= 8:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
    if (right - left, bottom - top) != size:
        return None
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong is the error's to tell
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
        return None
    high = np.right_shift(samples[..., 2::-1].astype(np.uint16), min(bits, 16) - 8)
    return Image.fromarray(high.astype(np.uint8))


def _scale(picture: Image.Image) -> tuple[float, bool]:
    """The value of the brightest sample of a grey picture of more than 8 bits, and whether that means black."""
    if picture.format != "TIFF":
        return 65535.0, False
    tags = picture.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    return (4095.0 if bits == 12 else 65535.0), picture.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == 0


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode.startswith("I;16") or picture.mode in ("I", "F")


def _strips(picture: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """A decoded picture in strips of rows: what is made of all of it at once may take several times its memory."""
    for rows in strips((picture.height, picture.width)):
        whole = rows.stop - rows.start == picture.height
        yield rows, picture if whole else picture.crop((0, rows.start, picture.width, rows.stop))


def _brightest(picture: Image.Image) -> float:
    """The highest sample of a deep grey picture; 0 for a picture of 8 bits, or without a number in it."""
    if not _is_deep(picture):
        return 0.0
    highest = 0.0
    for _, strip in _strips(picture):
        values = np.nan_to_num(np.asarray(strip, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        highest = max(highest, float(values.max(initial=0.0)))
    return highest


def _to_eight_bits(strip: Image.Image, brightest: float, scale: tuple[float, bool] = (65535.0, False)) -> Image.Image:
    """Scale 12- and 16-bit, 32-bit integer and float grey samples to 8 bits; Pillow alone would clip them.

    Args:
        brightest: of the whole picture, see `_brightest`.
    """
    if not _is_deep(strip):
        return strip
    values = np.asarray(strip, dtype=np.float64)
    if strip.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)
        values = values * 255.0 if brightest <= 1.0 else values
    else:
        white, inverted = scale
        values = values * (255.0 / max(white, brightest))
        values = 255.0 - values if inverted else values
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _to_rgb(picture: Image.Image, scale: tuple[float, bool], transparent: bool) -> RGB:
    """The pixels of a decoded picture of any mode, uint8 [H,W,3]."""
    rgb = np.empty((picture.height, picture.width, 3), np.uint8)
    brightest = _brightest(picture)
    for rows, strip in _strips(picture):
        eight = _to_eight_bits(strip, brightest, scale)
        if eight.mode == "P" and transparent:
            eight = eight.convert("RGBA")
        elif eight.mode in STEPS:
            eight = eight.convert(STEPS[eight.mode])
        rgb[rows] = np.asarray(eight if eight.mode == "RGB" else eight.convert("RGB"))
    return rgb


def read_picture(path: Path) -> Picture:
    """Read a picture and what its file says beside the pixels.

    Samples of more than 8 bits are scaled, not clipped: grey is rounded, colour keeps its highest 8 bits, so the two
    may differ by one level. Alpha is dropped, the colours under it kept. CMYK becomes RGB by the plain formula; ICC
    profiles are not applied.

    Raises `ImageError` with the reason when the file cannot be decoded completely.
    """
    picture = _decode(path)
    with _faults(path):
        info = {str(key): value for key, value in picture.info.items()}
        return Picture(_pixels(picture), info)


def _pixels(picture: Image.Image) -> RGB:
    """The upright pixels of a decoded picture."""
    scale, transparent = _scale(picture), "transparency" in picture.info
    return _to_rgb(_upright(picture), scale, transparent)


def rgb_of(picture: Image.Image) -> RGB:
    """The pixels of a Pillow picture as `read_rgb` gives those of a file: uint8 RGB [H,W,3]. Raises `ImageError`."""
    with _faults(Path(getattr(picture, "filename", "") or "the picture")):
        return _pixels(picture)


def read_rgb(path: Path) -> RGB:
    """The pixels of `read_picture`: uint8 RGB [H,W,3]. Raises `ImageError`."""
    return read_picture(path).rgb


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels after orientation, from the header alone. Raises `ImageError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_header(path) as picture:
                width, height = picture.size
                if picture.format == "TIFF" or ("exif" in picture.info and exif_fault(picture.info["exif"])):
                    return width, height  # a TIFF's size is told upright
                return (height, width) if picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8) else (width, height)
    except ImageError:
        raise
    except Exception:
        return _open(path).size  # raises with the reason, or decodes what the header alone could not tell


def _open(path: Path) -> Image.Image:
    """Open, decode and orient a picture, with its own mode. Raises `ImageError`."""
    picture = _decode(path)
    with _faults(path):
        return _upright(picture)


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Mask:
    """Read a mask picture as bool [H,W]: grey value above half is tampered.

    Masks saved as 0 and 1, or as 0 and 255 in 16 bits, are understood too: without that they would all read as empty.

    Args:
        size: expected (width, height); another size raises `DataError`.

    Raises `ImageError` when undecodable.
    """
    picture = _open(path)
    deep = picture.mode.startswith("I") and np.asarray(picture).max(initial=0) <= 255
    grey = (
        np.asarray(picture, dtype=np.int64)
        if deep
        else np.asarray(_to_eight_bits(picture, _brightest(picture)).convert("L"))
    )
    if grey.max(initial=0) == 1:
        grey = grey * np.uint8(255)
    if size is not None and (grey.shape[1], grey.shape[0]) != size:
        found = f"{grey.shape[1]}x{grey.shape[0]}"
        raise DataError(
            f"mask {path} is {found}, its picture is {size[0]}x{size[1]}", "masks must have their picture's size"
        )
    return grey > 127


def encode_png(array: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a uint8 [H,W] or [H,W,3] RGB array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_jpeg(rgb: RGB, quality: int = 85, subsampling: int = 2) -> bytes:
    """JPEG bytes of a uint8 RGB array. `subsampling` as Pillow counts it: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.

    Raises OSError for an array with a side that JPEG cannot hold.
    """
    if max(rgb.shape[:2]) > JPEG_SIDE:  # the library would write to stderr itself
        raise OSError(f"a JPEG has at most {JPEG_SIDE} pixels a side")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def mask_png(mask: Mask) -> bytes:
    """PNG bytes of a bool [H,W] mask: 8 bits, 0 and 255."""
    levels = (np.where(mask[rows], np.uint8(255), np.uint8(0)) for rows in strips(mask.shape))
    return encode_grey(levels, mask.shape, 8)


def write_mask(path: Path, mask: Mask) -> None:
    """Write a bool [H,W] mask as `mask_png` gives it. Atomic."""
    write_bytes(path, mask_png(mask))


def write_map(path: Path, values: Map) -> None:
    """Write a float [H,W] map in [0,1] as 16-bit PNG, value / 65535 = probability. Atomic."""
    levels = (_map_levels(values[rows]) for rows in strips(values.shape))
    write_bytes(path, encode_grey(levels, values.shape, 16))


def _map_levels(values: Map) -> NDArray[np.uint16]:
    levels = np.clip(values, 0.0, 1.0)
    levels *= np.float32(65535.0)
    return np.rint(levels, out=levels).astype(np.uint16)


def read_map(path: Path) -> Map:
    """Read what `write_map` wrote, as float32 [H,W] in [0,1]. Raises `ImageError`."""
    return np.asarray(_open(path), dtype=np.float32) / np.float32(65535.0)
