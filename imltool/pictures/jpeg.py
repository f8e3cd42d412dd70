"""The pixels of JPEG files: whole ones, those without an end marker, and the whole rows of those that break off."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.errors import ImageError
from imltool.pictures.jpeg_structure import ARITHMETIC, EOI, HIERARCHICAL, PROGRESSIVE, Frame, JpegStructure, bare

RGB = NDArray[np.uint8]

NOISE = bytes(np.random.default_rng(0).integers(1, 255, 4096, dtype=np.uint8))
"""Bytes that decode to something else than the grey a decoder puts where data is missing."""


@dataclass(frozen=True)
class JpegPixels:
    """The stored pixels of a JPEG file.

    Attributes:
        rgb: uint8 [H,W,3]; of a file that breaks off only the rows that are whole.
        rows: how many rows these are, None when they are all.
        ended: whether the end marker is there.
    """

    rgb: RGB
    rows: int | None = None
    ended: bool = True


def read_jpeg(data: bytes, structure: JpegStructure) -> JpegPixels:
    """Decode a JPEG file's first picture, its metadata left aside, so that none of that can stop the decoder.

    Where a picture may break off it is decoded twice, with different bytes after the break: rows that differ are made
    up. Raises `ImageError` for what is not supported or holds no whole row.
    """
    frame = structure.frame
    if frame is None or structure.scans == 0:
        raise ImageError("damaged picture (a JPEG without " + ("a frame header)" if frame is None else "a scan)"))
    if not frame.width or not frame.height:
        raise ImageError("damaged picture (its frame header gives it no size)")
    if frame.marker in HIERARCHICAL or frame.marker == 0xF7 or len(frame.components) not in (1, 3, 4):
        raise ImageError(f"intact but not supported: {frame.process} of {len(frame.components)} components")
    stream = bare(data, structure)
    if structure.end is not None:
        rgb = _decode(stream, frame)
        last = rgb[-frame.unit_rows :]
        if (last != last[0, 0]).any() or frame.marker in PROGRESSIVE:
            return JpegPixels(rgb)
        rows = _whole_rows(rgb, stream.removesuffix(EOI), frame)
        return JpegPixels(rgb) if rows == len(rgb) else _part(rgb, rows, ended=True)
    if frame.marker in PROGRESSIVE and not structure.refined:
        raise ImageError(
            f"damaged picture (a progressive JPEG that breaks off in its scan {structure.scans}: no row is whole)"
        )
    stream = stream.rstrip(b"\0")
    stream += b"\0" if stream.endswith(b"\xff") else b""
    rgb = _decode(stream + EOI, frame)
    return _part(rgb, _whole_rows(rgb, stream, frame), ended=False)


def _part(rgb: RGB, rows: int, ended: bool) -> JpegPixels:
    if not rows:
        raise ImageError("damaged picture (it breaks off before its first rows are whole)")
    return JpegPixels(rgb[:rows], None if rows == len(rgb) else rows, ended)


def _whole_rows(rgb: RGB, stream: bytes, frame: Frame) -> int:
    """How many rows, in whole coded units, do not depend on what follows the coded data."""
    other = _decode(stream + NOISE + EOI, frame)
    differ = np.flatnonzero((rgb != other).any(axis=(1, 2)))
    return len(rgb) if not len(differ) else int(differ[0]) // frame.unit_rows * frame.unit_rows


def _decode(stream: bytes, frame: Frame) -> RGB:
    if frame.marker in ARITHMETIC or frame.precision != 8:
        return _decode_rare(stream, frame)
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as picture:
        picture.load()
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _decode_rare(stream: bytes, frame: Frame) -> RGB:
    """Arithmetic coding and samples of more than 8 bits, which Pillow's build of the library does not decode."""
    import imagecodecs

    if len(frame.components) == 4:
        raise ImageError(f"intact but not supported: {frame.process} of 4 components")
    try:
        samples = np.asarray(imagecodecs.jpeg_decode(stream))
    except Exception as error:
        raise ImageError(f"not supported or damaged: {frame.process}") from error
    if frame.precision > 8:
        samples = np.right_shift(samples, frame.precision - 8)
    levels = samples.astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels
