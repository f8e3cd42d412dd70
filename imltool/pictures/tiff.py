"""The pixels of TIFF files, in every layout that was checked against a second decoder; others are refused by name.

tifffile and imagecodecs decode strips and tiles one by one, so that memory holds the picture and only one of them.
Layouts that they do not decode, or whose faults they do not report, are decoded by libtiff in a separate process
(`libtiff_reader`).
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.errors import ImageError
from imltool.pictures import tags
from imltool.pictures.arrays import RGB, Pixels
from imltool.pictures.lab import Illuminant, illuminant, lab_to_rgb
from imltool.pictures.library_log import caught_lines
from imltool.pictures.source import Source

log = logging.getLogger("imltool")

WHITE_IS_0, BLACK_IS_0, RGB_, PALETTE, SEPARATED, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
PHOTOMETRICS = {
    WHITE_IS_0: "inverted grey", BLACK_IS_0: "grey", RGB_: "RGB", PALETTE: "palette", SEPARATED: "CMYK",
    YCBCR: "YCbCr", CIELAB: "CIE L*a*b*", ICCLAB: "ICC L*a*b*", 4: "a transparency mask", 10: "ITU L*a*b*",
    32803: "a colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw", 51177: "a depth map",
}  # fmt: skip
COMPRESSIONS = {
    1: "none", 2: "CCITT RLE", 3: "CCITT fax 3", 4: "CCITT fax 4", 5: "LZW", 6: "old JPEG", 7: "JPEG",
    8: "deflate", 32946: "deflate", 32773: "PackBits", 34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard",
    50001: "WebP", 9: "JBIG", 10: "JBIG", 32766: "NeXT", 32809: "ThunderScan", 34661: "JBIG", 34676: "SGI Log",
    34677: "SGI Log 24", 34887: "LERC", 34892: "lossy DNG JPEG", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
COLOURS = {WHITE_IS_0: 1, BLACK_IS_0: 1, PALETTE: 1, RGB_: 3, YCBCR: 3, CIELAB: 3, ICCLAB: 3, SEPARATED: 4}
"""Number of samples of each colour model."""
LOSSLESS = frozenset({1, 5, 8, 32946, 32773, 34925, 50000})
FAX, OLD_JPEG, JPEG, JPEG2000, WEBP = frozenset({2, 3, 4}), 6, 7, 34712, 50001

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 258, 259, 262, 277, 284
COLOUR_MAP, EXTRA, SAMPLE_FORMAT, INKS, SUBSAMPLING = 320, 338, 339, 332, 530

READER = Path(__file__).with_name("libtiff_reader.py")
SECONDS = 120
"""Wall-clock time that the reader may take (our choice)."""


@dataclass(frozen=True)
class TiffLayout:
    """How the samples of a TIFF page are stored.

    Attributes:
        bits: bits per sample.
        number: "u" unsigned, "i" signed, "f" floating point.
        samples: samples per pixel, including extra samples.
        extras: kind of each extra sample (1 premultiplied alpha, 2 alpha, else 0).
        planar: whether each sample has a separate plane.
        illuminant: the white to which CIE L*a*b* is relative.
        cmyk: whether separations are cyan, magenta, yellow and black, and not other inks.
    """

    width: int
    height: int
    bits: int
    number: str
    samples: int
    extras: tuple[int, ...]
    photometric: int
    compression: int
    planar: bool
    subsampled: bool
    illuminant: Illuminant
    cmyk: bool

    @property
    def mode(self) -> str:
        """Pillow's name of the colour model; depths over 8 bits and the kind of number follow: `RGB;16`, `L;32F`."""
        base = {
            WHITE_IS_0: "L", BLACK_IS_0: "L", RGB_: "RGB", PALETTE: "P", SEPARATED: "CMYK", YCBCR: "YCbCr",
            CIELAB: "LAB", ICCLAB: "LAB",
        }.get(self.photometric, "?")  # fmt: skip
        if base == "L" and self.bits == 1:
            base = "1"
        alpha = "A" if any(extra in (1, 2) for extra in self.extras) and base in ("L", "RGB") else ""
        depth = f";{self.bits}" if self.bits > 8 else ""
        return f"{base}{alpha}{depth}{'F' if self.number == 'f' else 'S' if self.number == 'i' else ''}"

    @property
    def white(self) -> float:
        """The highest value of a sample of up to 16 bits."""
        return float(2**self.bits - 1)

    @property
    def deep(self) -> bool:
        """Whether the value of white depends on the brightest sample."""
        return self.number == "f" or self.bits > 16

    def needs_libtiff(self) -> bool:
        """Whether libtiff reads it: fax, whose faults only it reports; old JPEG; subsampled chroma outside JPEG."""
        plain_chroma = self.photometric == YCBCR and self.compression in LOSSLESS
        return self.compression in FAX or self.compression == OLD_JPEG or plain_chroma


def read_layout(table: tags.Table) -> TiffLayout:
    """The layout of a page. Raises `ImageError` with the reason when the tags do not describe a picture."""
    width, height = table.number(tags.WIDTH) or 0, table.number(tags.HEIGHT) or 0
    samples = table.number(SAMPLES) or 1
    bits = _numbers(table, BITS) or (1,)
    formats = _numbers(table, SAMPLE_FORMAT) or (1,)
    photometric = table.number(PHOTOMETRIC)
    if width <= 0 or height <= 0:
        raise ImageError("damaged picture (its tags state no size)")
    if photometric is None:
        raise ImageError("damaged picture (no tag states its colour model)")
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise ImageError("a TIFF whose samples differ in size or kind, which is not supported")
    if len(_numbers(table, BITS)) not in (0, 1, samples):
        raise ImageError("damaged picture (its tags disagree on the number of samples)")
    number = {1: "u", 2: "i", 3: "f", 4: "u"}.get(formats[0], "?")
    subsampling = _numbers(table, SUBSAMPLING) or ((2, 2) if photometric == YCBCR else (1, 1))
    return TiffLayout(
        width=width,
        height=height,
        bits=bits[0],
        number=number,
        samples=samples,
        extras=_numbers(table, EXTRA),
        photometric=photometric,
        compression=table.number(COMPRESSION) or 1,
        planar=table.number(PLANAR) == 2 and samples > 1,
        subsampled=subsampling != (1, 1),
        illuminant=illuminant(table),
        cmyk=(table.number(INKS) or 1) == 1,
    )


def _numbers(table: tags.Table, tag: int) -> tuple[int, ...]:
    value = table.values.get(tag, ())
    return tuple(int(each) for each in value if float(each) == each) if value else ()


def check_layout(layout: TiffLayout) -> None:
    """Raise an `ImageError` that names the layout when it was not checked against a second decoder."""
    wanted = COLOURS.get(layout.photometric)
    known = (1, 2, 4, 8, 12, 16, 32) if layout.number == "u" else (16, 32, 64) if layout.number == "f" else (8, 16, 32)
    lossy = layout.compression in (JPEG, JPEG2000, WEBP)
    fits = (
        wanted is not None
        and layout.number in ("u", "f", "i")
        and layout.bits in known
        and layout.compression in LOSSLESS | FAX | {OLD_JPEG, JPEG, JPEG2000, WEBP}
        and layout.samples == wanted + len(layout.extras)
        and (layout.compression not in FAX or (layout.bits, layout.samples) == (1, 1))
        and (layout.photometric != PALETTE or (layout.number == "u" and layout.bits in (1, 2, 4, 8)))
        and (layout.photometric in (WHITE_IS_0, BLACK_IS_0) or layout.number != "i")
        and (layout.photometric in (WHITE_IS_0, BLACK_IS_0, PALETTE) or layout.bits >= 8)
        and (layout.photometric != SEPARATED or (layout.number == "u" and layout.bits in (8, 16) and layout.cmyk))
        and (layout.photometric not in (YCBCR, CIELAB, ICCLAB) or (layout.number == "u" and layout.bits == 8))
        and (layout.photometric != CIELAB or layout.illuminant != "other")
        and (layout.photometric != WHITE_IS_0 or (layout.number == "u" and layout.bits <= 16))
        and (layout.bits != 12 or layout.photometric in (WHITE_IS_0, BLACK_IS_0, RGB_))
        and (not lossy or (layout.number == "u" and layout.bits == 8 and not layout.planar))
        and (layout.compression != WEBP or layout.photometric == RGB_)
        and (layout.compression != OLD_JPEG or layout.photometric in (YCBCR, RGB_, BLACK_IS_0))
        and (not layout.needs_libtiff() or not layout.planar)
    )
    if not fits:
        raise ImageError(f"intact but not supported: {describe(layout)}")


def describe(layout: TiffLayout) -> str:
    """A layout in words."""
    colour = PHOTOMETRICS.get(layout.photometric, f"photometric interpretation {layout.photometric}")
    if layout.photometric == CIELAB and layout.illuminant == "other":
        colour += " relative to a white that is neither D50 nor D65"
    if layout.photometric == SEPARATED and not layout.cmyk:
        colour = "inks other than CMYK"
    kind = {"u": "unsigned", "i": "signed", "f": "floating-point"}.get(layout.number, "complex or undefined")
    packed = COMPRESSIONS.get(layout.compression, f"compression {layout.compression}")
    planes = "separate planes" if layout.planar else "interleaved"
    return f"a TIFF of {layout.samples} {kind} {layout.bits}-bit samples per pixel, {colour}, {planes}, {packed}"


def read_tiff(source: Source, table: tags.Table) -> Pixels:
    """The stored pixels of a file's first page, uint8 [H,W,3]; orientation is not applied.

    Raises `ImageError` for a file that is damaged or not supported, and what the libraries raise.
    """
    layout = read_layout(table)
    check_layout(layout)
    if layout.needs_libtiff():
        return _by_libtiff(source, layout)
    problems: list[str] = []
    with _first_page(source, problems) as page:
        rgb = _decode(source, page, layout, table)
    return Pixels(rgb, problems=tuple(problems))


@contextmanager
def _first_page(source: Source, problems: list[str]) -> Iterator[Any]:
    """Tifffile's first page. If it warns about the file, its lines are logged and a phrase is added to `problems`."""
    import tifffile

    source.stream.seek(0)
    with caught_lines("tifffile") as lines:
        try:
            with tifffile.TiffFile(source.stream) as file:  # type: ignore[arg-type]
                yield file.pages[0]
        finally:
            for line in lines:
                log.info("%s: tifffile: %s", source.path, line)
            problems += ["pixels: tifffile warns about the file's tags"] if lines else []


def grey_samples(source: Source, table: tags.Table) -> NDArray[Any] | None:
    """The unscaled samples of a page with one unsigned sample per pixel, [H,W]; None for other layouts.

    Returns None also for inverted and fax-coded pages. Raises the same errors as `read_tiff`.
    """
    layout = read_layout(table)
    check_layout(layout)
    if layout.photometric != BLACK_IS_0 or layout.number != "u" or layout.samples > 1 or layout.needs_libtiff():
        return None
    with _first_page(source, []) as page:
        parts = [*_segments(source, page, layout)]
    samples = np.zeros((layout.height, layout.width), parts[0][3].dtype)
    for _, rows, columns, part in parts:
        samples[rows, columns] = part[..., 0]
    return samples


def _decode(source: Source, page: Any, layout: TiffLayout, table: tags.Table) -> RGB:
    white = _white(source, page, layout) if layout.deep else layout.white
    wanted = (
        1 if layout.photometric in (WHITE_IS_0, BLACK_IS_0, PALETTE) else 4 if layout.photometric == SEPARATED else 3
    )
    premultiplied = layout.extras[:1] == (1,) and layout.photometric in (RGB_, BLACK_IS_0)
    kept = wanted + premultiplied
    if layout.planar:  # the planes come one after the other
        planes = np.empty((layout.height, layout.width, kept), np.uint8)
        for plane, rows, columns, part in _segments(source, page, layout):
            if plane < kept:
                planes[rows, columns, plane] = _to_eight(part[..., 0], layout, white)
        return _to_rgb(planes, layout, table, premultiplied)
    rgb = np.empty((layout.height, layout.width, 3), np.uint8)
    for _, rows, columns, part in _segments(source, page, layout):
        rgb[rows, columns] = _to_rgb(_to_eight(part[..., :kept], layout, white), layout, table, premultiplied)
    return rgb


def _segments(source: Source, page: Any, layout: TiffLayout) -> Iterator[tuple[int, slice, slice, NDArray[Any]]]:
    """Decoded strips or tiles: (plane, rows, columns, samples [h,w,samples]). Raises when any is missing."""
    offsets, counts = page.dataoffsets, page.databytecounts
    across, down = (
        (page.tilewidth, page.tilelength) if page.is_tiled else (layout.width, page.rowsperstrip or layout.height)
    )
    if across * down > 4 * max(layout.width * layout.height, 1 << 22):
        raise ImageError("damaged picture (its tiles are far larger than the picture)")
    expected = -(-layout.width // across) * -(-layout.height // min(down, layout.height))
    if page.is_tiled:
        expected = -(-layout.width // across) * -(-layout.height // down)
    expected *= layout.samples if layout.planar else 1
    if len(offsets) < expected or len(counts) < expected:
        raise ImageError("damaged picture (strips or tiles are missing)")
    more = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if layout.compression == JPEG else {}
    for number in range(expected):
        data = source.read(offsets[number], counts[number])
        if not data or len(data) < counts[number]:
            raise ImageError("damaged picture (the file ends inside its data)")
        samples, place, shape = page.decode(data, number, **more)
        if samples is None:
            raise ImageError("damaged picture (strips or tiles are missing)")
        plane, _, top, left, _ = place
        part = samples[0, : layout.height - top, : layout.width - left]
        if part.shape[:2] != (min(shape[1], layout.height - top), min(shape[2], layout.width - left)):
            raise ImageError("damaged picture (a strip or tile is too short)")
        yield plane, slice(top, top + part.shape[0]), slice(left, left + part.shape[1]), part


def _white(source: Source, page: Any, layout: TiffLayout) -> float:
    """The value of white for 32-bit integers and floating-point numbers, from the brightest sample (our choice).

    Integers: 65535 if no sample is brighter, as some programs write 16-bit data this way, else the largest value of the
    type. Floating point: 1.0 if no sample is above 16; otherwise the samples are taken for levels, and white is 255, or
    65535 if a sample is above 255.
    """
    brightest = 0.0
    for _, _, _, part in _segments(source, page, layout):
        values = np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0) if layout.number == "f" else part
        if layout.number == "i" and values.min() < 0:
            raise ImageError(f"intact but not supported: {describe(layout)}, negative values among them")
        brightest = max(brightest, float(values.max()))
    if layout.number == "f":
        return 1.0 if brightest <= 16 else 255.0 if brightest <= 255 else 65535.0
    return 65535.0 if brightest <= 65535 else float(2 ** (layout.bits - (layout.number == "i")) - 1)


def _to_eight(samples: NDArray[Any], layout: TiffLayout, white: float) -> RGB:
    """Samples as 8-bit levels: grey is rounded, colour of 16 bits keeps its highest 8."""
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8)
    if layout.photometric == PALETTE or (layout.number == "u" and layout.bits == 8):
        return np.asarray(samples, dtype=np.uint8)
    if layout.number == "i" and not layout.deep:
        if samples.min() < 0:
            raise ImageError(f"intact but not supported: {describe(layout)}, negative values among them")
        white = float(2 ** (layout.bits - 1) - 1)
    if layout.number == "u" and layout.bits in (12, 16) and layout.photometric == RGB_:
        return np.asarray(np.right_shift(samples, layout.bits - 8), dtype=np.uint8)
    values = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=white, neginf=0.0)
    return np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8)


def _to_rgb(levels: RGB, layout: TiffLayout, table: tags.Table, premultiplied: bool) -> RGB:
    """8-bit levels [h,w,samples] of a layout as RGB."""
    kind = layout.photometric
    if kind == PALETTE:
        return _colour_map(layout, table)[levels[..., 0]]
    if premultiplied:
        alpha = levels[..., -1:].astype(np.uint16)
        clear = np.minimum(levels[..., :-1].astype(np.uint16) * 255 // np.maximum(alpha, 1), 255).astype(np.uint8)
        levels = np.where((alpha == 0) | (alpha == 255), levels[..., :-1], clear)
    if kind in (WHITE_IS_0, BLACK_IS_0):
        grey = 255 - levels[..., :1] if kind == WHITE_IS_0 else levels[..., :1]
        return np.repeat(grey, 3, axis=2)
    if kind == SEPARATED:
        picture = Image.fromarray(np.ascontiguousarray(levels[..., :4]), "CMYK")
        return np.asarray(picture.convert("RGB"))
    if kind in (CIELAB, ICCLAB):
        signs = np.array([0, 128, 128] if kind == ICCLAB else [0, 0, 0], np.uint8)
        return lab_to_rgb(levels[..., :3] ^ signs, layout.illuminant if kind == CIELAB else "D50")
    return levels[..., :3]


def _colour_map(layout: TiffLayout, table: tags.Table) -> RGB:
    """The palette as uint8 [256,3]. Some programs write 8-bit values, which would be black if taken for 16-bit ones."""
    values = _numbers(table, COLOUR_MAP)
    count = 2**layout.bits
    if len(values) < 3 * count:
        raise ImageError("damaged picture (its palette is missing or too short)")
    palette = np.array(values[: 3 * count], dtype=np.uint32).reshape(3, count).T
    eight = palette if palette.max() < 256 else palette >> 8
    whole = np.zeros((256, 3), np.uint8)
    whole[:count] = eight
    return whole


def _by_libtiff(source: Source, layout: TiffLayout) -> Pixels:
    try:
        done = subprocess.run(
            [sys.executable, str(READER)], input=source.whole(), capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ImageError(f"damaged picture (decoding took more than {SECONDS} s)") from None
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    for line in lines:
        log.info("%s: libtiff: %s", source.path, line)
    if done.returncode == 2:
        raise ImageError("not decoded: Pillow cannot be loaded by another process, which reads its layout")
    head, _, data = done.stdout.partition(b"\n")
    made = json.loads(head) if done.returncode == 0 and head else {}
    if made.get("size") != [layout.width, layout.height] or len(data) != layout.width * layout.height * made["samples"]:
        raise ImageError("damaged picture (libtiff cannot decode it)")
    pixels = np.frombuffer(data, np.uint8).reshape(layout.height, layout.width, made["samples"])
    problems = tuple(dict.fromkeys(_fixed(line) for line in lines))
    return Pixels(np.repeat(pixels, 3, axis=2) if made["samples"] == 1 else pixels, problems=problems)


LINES = (
    ("bad code word", "pixels: the fax coding holds bad code words"),
    ("premature eol", "pixels: lines of the fax coding end early"),
    ("premature eof", "pixels: the fax coding ends early"),
    ("line length mismatch", "pixels: lines of the fax coding have another length"),
    ("uncompressed data", "pixels: the fax coding holds parts that are not supported"),
    ("warning", "pixels: libtiff warns about the file's tags"),
)


def _fixed(line: str) -> str:
    """The fixed phrase for a line that libtiff wrote."""
    lower = line.lower()
    return next((phrase for mark, phrase in LINES if mark in lower), "pixels: libtiff reports faults in the file")
