"""The pixels of JPEG files: complete files, files without an end marker, and the complete rows of truncated files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.errors import ImageError
from imltool.pictures.arrays import RGB, Pixels
from imltool.pictures.jpeg_structure import (
    ARITHMETIC,
    EOI,
    HIERARCHICAL,
    LOSSLESS,
    PROGRESSIVE,
    Frame,
    JpegStructure,
    bare,
)

NOISE = bytes(np.random.default_rng(0).integers(1, 255, 4096, dtype=np.uint8))
"""Bytes that decode to something other than the grey with which a decoder fills missing data."""
HEIGHT_LATER = b"\xff\xdc\0\4"
COARSE = "pixels: its scans leave out the lowest bits of the coefficients"
MISSING = "pixels: coded data is missing before the end marker"
TOO_MUCH = "pixels: its coded data is longer than its size needs, so that a part of it is damaged"


def read_jpeg(data: bytes, structure: JpegStructure, thorough: bool = False) -> Pixels:
    """The stored pixels of a JPEG file's first picture, decoded without its metadata: damage there cannot stop it.

    A picture that may be truncated is decoded twice, with different bytes after the break: rows that differ were made
    up by the decoder. Raises `ImageError` for a file that is not supported or has no complete row.

    Args:
        thorough: also decode a file with an end marker twice, as data may be missing before it.
    """
    frame = structure.frame
    if frame is None or structure.scans == 0:
        raise ImageError("damaged picture (a JPEG without " + ("a frame header)" if frame is None else "a scan)"))
    if frame.width and not frame.height and HEIGHT_LATER in data:
        raise ImageError("intact but not supported: a JPEG that gives its height after its first scan")
    if not frame.width or not frame.height:
        raise ImageError("damaged picture (its frame header states no size)")
    if frame.marker in HIERARCHICAL or frame.marker == 0xF7 or len(frame.components) not in (1, 3, 4):
        raise ImageError(f"intact but not supported: {frame.process} of {len(frame.components)} components")
    stream = bare(data, structure)
    ended = structure.end is not None
    coarse = frame.marker in PROGRESSIVE and not structure.refined
    if coarse and not ended:
        raise ImageError(_no_row(structure))
    rows = structure.rows_in_order()
    if rows is not None:
        return _part(_decode(stream if ended else stream + EOI, frame), rows, ended)
    if not ended:
        stream = stream.rstrip(b"\0")
        stream += b"\0" if stream.endswith(b"\xff") else b""
        rgb = _decode(stream + EOI, frame)
        return _part(rgb, _whole_rows(rgb, stream, frame), ended=False)
    rgb = _decode(stream, frame)
    try:
        return _ended(rgb, stream.removesuffix(EOI), structure, frame, thorough)
    except OSError:  # the decoder failed on the bytes added after the data, and found no fault before them
        return Pixels(rgb, ended=True)


def _ended(rgb: RGB, coded: bytes, structure: JpegStructure, frame: Frame, thorough: bool) -> Pixels:
    """The pixels of a picture with an end marker, without rows that were made up because data before it is missing."""
    if frame.marker in PROGRESSIVE:
        coarse = not structure.refined
        rows = _whole_rows(rgb, coded, frame) if thorough or coarse else len(rgb)
        if coarse and rows < len(rgb):
            raise ImageError(_no_row(structure))
        return Pixels(rgb, ended=True, problems=(COARSE,)) if coarse else _part(rgb, rows, ended=True)
    last = rgb[-frame.unit_rows :]
    huffman = frame.marker not in ARITHMETIC | LOSSLESS
    if not (thorough and huffman) and (last != last[0, 0]).any():
        return Pixels(rgb, ended=True)
    if thorough and huffman:
        needed = coded.rstrip(b"\0\xff")
        changed = _changed_by(needed[:-2], rgb, frame)
        if changed == 0 and _changed_by(needed[:-16], rgb, frame) == 0:
            return Pixels(rgb, ended=True, problems=(TOO_MUCH,))
        if changed == 1:  # the last two bytes belong to the last unit, so no unit before it was made up
            return Pixels(rgb, ended=True)
    return _part(rgb, _whole_rows(rgb, coded, frame), ended=True)


def _no_row(structure: JpegStructure) -> str:
    scan = structure.scans
    return f"damaged picture (a progressive JPEG that is cut off in scan {scan}: no row is complete)"


def _part(rgb: RGB, rows: int, ended: bool) -> Pixels:
    if not rows:
        raise ImageError("damaged picture (it is cut off before its first rows are complete)")
    # with an end marker, the gap may be anywhere before it, and the pixels after the gap may be displaced
    problems = (MISSING,) if ended and rows < len(rgb) else ()
    return Pixels(rgb[:rows], None if rows == len(rgb) else rows, ended, problems)


def _whole_rows(rgb: RGB, stream: bytes, frame: Frame) -> int:
    """The number of rows, in whole coded units, that do not depend on the bytes after the coded data."""
    other = _decode(stream + NOISE + EOI, frame)
    differ = np.flatnonzero(_rows_differ(rgb, other))
    return len(rgb) if not len(differ) else int(differ[0]) // frame.unit_rows * frame.unit_rows


def _rows_differ(first: RGB, second: RGB) -> NDArray[np.bool_]:
    return np.asarray((first.reshape(len(first), -1) != second.reshape(len(second), -1)).any(axis=1))


def _changed_by(coded: bytes, rgb: RGB, frame: Frame) -> int:
    """The number of coded units, from the first that changes to the last, that depend on the bytes after the data.

    Chroma is smoothed into neighbouring units, so only the middles of units are compared.
    """
    other = _decode(coded + NOISE + EOI, frame)
    rows = np.flatnonzero(_rows_differ(other, rgb))
    if not len(rows):
        return 0
    down, across = frame.unit_rows, frame.unit_columns
    first, across_all = int(rows[0]) // down, -(-rgb.shape[1] // across)
    differ = (other[first * down :] != rgb[first * down :]).any(axis=2)
    padded = np.zeros((-(-len(differ) // down) * down, across_all * across), np.bool_)
    padded[: len(differ), : rgb.shape[1]] = differ
    units = padded.reshape(-1, down, across_all, across)
    middles = [slice(side // 4, side - side // 4) if side > 8 else slice(None) for side in (down, across)]
    places = np.flatnonzero(units[:, middles[0], :, middles[1]].any(axis=(1, 3)))
    return int(units.shape[0] * across_all - places[0]) if len(places) else 1


def _decode(stream: bytes, frame: Frame) -> RGB:
    if frame.marker in ARITHMETIC or frame.precision != 8:
        return _decode_rare(stream, frame)
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as picture:
        picture.load()
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _decode_rare(stream: bytes, frame: Frame) -> RGB:
    """Decode arithmetic coding and samples of more than 8 bits, which Pillow's build of libjpeg does not support."""
    import imagecodecs

    if len(frame.components) == 4:
        raise ImageError(f"intact but not supported: {frame.process} of 4 components")
    try:
        samples = np.asarray(imagecodecs.jpeg_decode(stream))
    except Exception as error:
        raise ImageError(f"not supported or damaged: {frame.process}") from error
    if samples.ndim == 2:
        grey = np.rint(samples * (255 / (2**frame.precision - 1))).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(np.right_shift(samples, max(0, frame.precision - 8)), dtype=np.uint8)
