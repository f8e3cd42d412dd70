"""Reading and writing pictures, masks and probability maps, by one rule for all commands.

Arrays are RGB (never BGR), uint8 [H,W,3], rows from the top, with the EXIF orientation applied exactly once.
Masks are bool [H,W], True = tampered. Maps are float32 [H,W] in [0,1], stored as 16-bit PNG (value / 65535).
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from imltool.errors import DataError, ImageError
from imltool.files import write_bytes

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Map = NDArray[np.float32]

MAX_PIXELS = 300_000_000
"""Pictures with more pixels are refused as decompression bombs (our choice: three times a 100-megapixel back)."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises at twice this figure


def _open(path: Path) -> Image.Image:
    """Open, decode and orient a picture; every fault becomes an `ImageError` with a short reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(path)
            picture.load()
            return ImageOps.exif_transpose(picture)
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


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit integer and float grey pictures to 8 bits; Pillow alone would clip them."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        values = np.asarray(picture, dtype=np.float64) / 257.0
    elif picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        values = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)
        values = values * 255.0 if values.max(initial=0.0) <= 1.0 else values
    else:
        return picture
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def read_rgb(path: Path) -> RGB:
    """Read any picture Pillow knows as uint8 RGB [H,W,3], EXIF orientation applied, first frame or page.

    16-bit data is scaled (not clipped) to 8 bits; alpha is dropped, the colours under it kept.
    Raises `ImageError` with the reason when the file cannot be decoded completely.
    """
    picture = _to_eight_bits(_open(path))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels after EXIF orientation, from the header alone. Raises `ImageError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                width, height = picture.size
                return (height, width) if picture.getexif().get(0x0112, 1) in (5, 6, 7, 8) else (width, height)
    except Exception:
        return _open(path).size  # raises with the reason, or decodes what the header alone could not tell


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Mask:
    """Read a mask picture as bool [H,W]: grey value above half is tampered.

    Masks saved as 0 and 1, or as 0 and 255 in 16 bits, are understood too: without that they would all read as empty.

    Args:
        size: expected (width, height); another size raises `DataError`.

    Raises `ImageError` when undecodable.
    """
    picture = _open(path)
    deep = picture.mode.startswith("I") and np.asarray(picture).max(initial=0) <= 255
    grey = np.asarray(picture, dtype=np.int64) if deep else np.asarray(_to_eight_bits(picture).convert("L"))
    if grey.max(initial=0) == 1:
        grey = grey * np.uint8(255)
    if size is not None and (grey.shape[1], grey.shape[0]) != size:
        found = f"{grey.shape[1]}x{grey.shape[0]}"
        raise DataError(
            f"mask {path} is {found}, its picture is {size[0]}x{size[1]}", "masks must have their picture's size"
        )
    return grey > 127


def encode_png(array: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """PNG bytes of a uint8 [H,W] or [H,W,3] RGB array, or a uint16 [H,W] array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_jpeg(rgb: RGB, quality: int = 85, subsampling: int = 2) -> bytes:
    """JPEG bytes of a uint8 RGB array. `subsampling` as Pillow counts it: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def write_mask(path: Path, mask: Mask) -> None:
    """Write a bool [H,W] mask as 8-bit PNG with 0 and 255. Atomic."""
    write_bytes(path, encode_png(np.where(mask, np.uint8(255), np.uint8(0))))


def write_map(path: Path, values: Map) -> None:
    """Write a float [H,W] map in [0,1] as 16-bit PNG, value / 65535 = probability. Atomic."""
    write_bytes(path, encode_png(np.rint(np.clip(values, 0.0, 1.0) * 65535.0).astype(np.uint16)))


def read_map(path: Path) -> Map:
    """Read what `write_map` wrote, as float32 [H,W] in [0,1]. Raises `ImageError`."""
    return np.asarray(_open(path), dtype=np.float32) / np.float32(65535.0)
