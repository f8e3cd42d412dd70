"""TIFF layouts written by tifffile: read correctly, in agreement with Pillow and ImageMagick, or refused by name."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import itertools
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from imltool.errors import ImageError
from imltool.evidence.reading import read_evidence
from imltool.pictures.images import read_mask, read_rgb, read_size

Samples = NDArray[Any]
WIDTH, HEIGHT = 64, 48
Y, X = np.mgrid[:HEIGHT, :WIDTH]
COLOURS = np.dstack([X * 255 // WIDTH, Y * 255 // HEIGHT, (X * 3 + Y * 5) % 256]) / 255.0
KINDS = {
    "grey": (1, "minisblack"), "inverted": (1, "miniswhite"), "grey+alpha": (2, "minisblack"), "rgb": (3, "rgb"),
    "rgb+alpha": (4, "rgb"), "cmyk": (4, "separated"),
}  # fmt: skip
"""Kind → samples of a pixel, and photometric interpretation."""
TYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
PACKED = (None, "lzw", "deflate", "packbits", "zstd", "lzma")


def values_of(kind: str) -> Samples:
    """The samples of a kind in [0,1], [H,W,samples]."""
    extra = {"grey+alpha": COLOURS[..., 1:2], "rgb+alpha": COLOURS[..., 1:2], "cmyk": COLOURS[..., 1:2] * 0.3}
    base = COLOURS[..., :1] if KINDS[kind][1].startswith("minis") else COLOURS
    return np.dstack([base, extra[kind]]) if kind in extra else base


def expected_of(kind: str) -> Samples:
    """The RGB levels of a kind, in floating point."""
    values = values_of(kind)
    if kind == "cmyk":
        return 255.0 * (1 - values[..., :3]) * (1 - values[..., 3:])  # type: ignore[no-any-return]
    if kind.startswith("rgb"):
        return 255.0 * values[..., :3]
    grey = 1 - values if kind == "inverted" else values[..., :1]
    return np.repeat(255.0 * grey, 3, axis=2)


def as_type(values: Samples, dtype: str) -> Samples:
    number = np.dtype(dtype)
    if number.kind == "f":
        return values.astype(number)
    return np.rint(values * float(np.iinfo(number).max)).astype(number)


def write(path: Path, kind: str, dtype: str, planar: bool = False, order: str = "<", **options: Any) -> Samples:
    """Write a layout; return the stored samples."""
    count, photometric = KINDS[kind]
    samples = as_type(values_of(kind), dtype)
    if kind.endswith("alpha"):
        options["extrasamples"] = ["unassalpha"]
    if count > 1:
        options["planarconfig"] = "separate" if planar else "contig"
    array = samples[..., 0] if count == 1 else np.moveaxis(samples, 2, 0) if planar else samples
    tifffile.imwrite(path, array, photometric=photometric, byteorder=order, metadata=None, **options)  # type: ignore[arg-type]
    return samples


def as_lab(rgb: Samples, white: tuple[float, float, float], to_xyz: Samples) -> Samples:
    """Convert sRGB levels to CIE L*a*b* relative to a white point, with a and b as signed bytes."""
    values = rgb / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    ratios = linear @ to_xyz.T / np.array(white)
    roots = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios * (29 / 6) ** 2 / 3 + 4 / 29)
    lab = np.dstack(
        [
            (116 * roots[..., 1] - 16) * 2.55,
            500 * (roots[..., 0] - roots[..., 1]),
            200 * (roots[..., 1] - roots[..., 2]),
        ]
    )
    return np.asarray(np.rint(lab), np.int16).astype(np.uint8)


def test_lab_is_read_relative_to_the_white_point_of_the_file(tmp_path: Path) -> None:
    """Inverse formulas with the published sRGB matrices for both white points; colours inside the gamut."""
    path = tmp_path / "a.tif"
    rgb = np.rint(60 + 120 * COLOURS)
    d65 = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    d50 = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]])
    for white, place, matrix in (
        ((0.9642, 1.0, 0.8249), None, d50),
        ((0.9642, 1.0, 0.8249), (3457, 3585), d50),
        ((0.9505, 1.0, 1.0888), (3127, 3290), d65),
        ((0.9505, 1.0, 1.0888), (4476, 4074), d65),
    ):
        extra_tags = [(318, 5, 2, (place[0], 10000, place[1], 10000), True)] if place else []
        tifffile.imwrite(path, as_lab(rgb, white, matrix), photometric="cielab", metadata=None, extratags=extra_tags)
        if place == (4476, 4074):
            assert "relative to a white that is neither D50 nor D65" in read_evidence(path).reason
            continue
        found = np.abs(read_rgb(path).astype(int) - rgb)
        assert found.mean() < 0.6 and found.max() <= 15, (place, found.mean(), found.max())


def by_magick(path: Path) -> Samples | None:
    """The picture read by ImageMagick, int [H,W,3]; None if it is not installed or refuses."""
    program = shutil.which("convert")
    if program is None:
        return None
    command = [program, f"tiff:{path}[0]", "-alpha", "off", "-colorspace", "sRGB", "-depth", "8", "rgb:-"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    read = np.frombuffer(done.stdout, np.uint8)
    return read.reshape(HEIGHT, WIDTH, 3).astype(int) if read.size == HEIGHT * WIDTH * 3 else None


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_read_or_refused_by_name(tmp_path: Path, kind: str, whole: bool) -> None:
    """Bits, sign, planes, compression, byte order, predictor and tiles, against the values that were written."""
    path = tmp_path / "a.tif"
    outcomes: Counter[str] = Counter()
    planes = (False, True) if KINDS[kind][0] > 1 else (False,)
    stored: list[Any] = [(packed, "<", None, None) for packed in PACKED] + [
        (packed, ">", None, None) for packed in (None, "lzw")
    ]
    stored += itertools.product(("deflate",), "<>", (None, True), (None, (16, 32)))
    if not whole:
        stored = [("lzw", "<", None, None), (None, ">", None, None), ("deflate", ">", True, (16, 32))]
    for dtype, planar, (packed, order, predictor, tile) in itertools.product(TYPES, planes, stored):
        write(path, kind, dtype, planar, order, compression=packed, predictor=predictor, tile=tile)
        assert read_size(path) == (WIDTH, HEIGHT)
        try:
            read = read_rgb(path)
        except ImageError as refused:
            assert "intact but not supported: a TIFF of" in refused.message
            outcomes[f"{dtype} refused"] += 1
            continue
        assert float(np.abs(read - expected_of(kind)).max()) <= 1.01, (dtype, planar, packed, order, predictor)
        outcomes[f"{dtype} read"] += 1
    read_types = {name.split()[0] for name in outcomes if name.endswith("read")}
    assert (
        read_types
        == {
            "grey": {"u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"},
            "inverted": {"u1", "u2"},
            "grey+alpha": {"u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"},
            "rgb": {"u1", "u2", "u4", "f2", "f4", "f8"},
            "rgb+alpha": {"u1", "u2", "u4", "f2", "f4", "f8"},
            "cmyk": {"u1", "u2"},
        }[kind]
    )


def test_other_decoders_agree(tmp_path: Path) -> None:
    """ImageMagick for every combination of kind, type and planes read by both; Pillow for those it reads correctly."""
    compared: Counter[str] = Counter()
    path = tmp_path / "a.tif"
    for kind, dtype, planar in itertools.product(KINDS, ("u1", "u2", "u4", "f4"), (False, True)):
        if planar and KINDS[kind][0] == 1:
            continue
        write(path, kind, dtype, planar, compression="deflate")
        try:
            read = read_rgb(path).astype(int)
        except ImageError:
            continue
        other = by_magick(path)
        if (kind, planar) == ("grey+alpha", True):
            other = None  # ImageMagick mixes the planes up
        if other is not None and dtype != "f4":
            assert np.abs(read - other).max() <= 2, (kind, dtype, planar)
            compared["ImageMagick"] += 1
        if dtype == "u1":
            with Image.open(path) as picture:
                assert np.abs(read - np.asarray(picture.convert("RGB"))).max() <= 1, (kind, planar)
            compared["Pillow"] += 1
    assert compared["Pillow"] == 10 and (compared["ImageMagick"] >= 20 or not shutil.which("convert")), compared


def test_palettes_of_eight_and_sixteen_bits_are_read(tmp_path: Path) -> None:
    indices = np.rint(COLOURS[..., 0] * 255).astype(np.uint8)
    colours = np.stack([np.arange(256), 255 - np.arange(256), (np.arange(256) * 7) % 256]).astype(np.uint16)
    for scale in (257, 1):
        path = tmp_path / f"{scale}.tif"
        tifffile.imwrite(path, indices, photometric="palette", colormap=colours * scale, metadata=None)
        assert np.array_equal(read_rgb(path), colours.T[indices]), "a palette is read as black"
    sixteen = np.repeat(np.arange(16, dtype=np.uint16) * 4369, 3).reshape(16, 3).T
    picture = Image.fromarray(indices // 16).convert("P")
    picture.putpalette([int(value) >> 8 for value in sixteen.T.ravel()])
    picture.save(tmp_path / "4.tif")
    assert np.array_equal(read_rgb(tmp_path / "4.tif")[..., 0], (indices // 16) * 17)


def test_samples_of_1_2_4_and_12_bits_are_read(tmp_path: Path) -> None:
    for bits in (1, 2, 4, 12):
        top = 2**bits - 1
        levels = np.rint(COLOURS[..., 0] * top).astype(np.uint16 if bits > 8 else np.uint8)
        path = tmp_path / f"{bits}.tif"
        if bits == 1:
            tifffile.imwrite(path, levels.astype(bool), photometric="minisblack", metadata=None)
        else:
            packed = np.packbits(
                ((levels[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1)
                .astype(np.uint8)
                .reshape(HEIGHT, -1),
                axis=1,
            )
            data = packed.tobytes()
            tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: HEIGHT, 279: len(data)}
            tags[273] = 8 + 2 + 12 * len(tags) + 4
            table = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(tags.items()))
            path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table + b"\0" * 4 + data)
        assert np.abs(read_rgb(path)[..., 0] - levels.astype(float) * 255 / top).max() <= 0.5, bits


def test_big_tiff_and_lossy_compression_are_read(tmp_path: Path) -> None:
    rgb = np.rint(COLOURS * 255).astype(np.uint8)
    path = tmp_path / "big.tif"
    stored: list[dict[str, Any]] = [{}, {"tile": (16, 32)}, {"tile": (32, 16), "compression": "lzw", "predictor": True}]
    for order, options in itertools.product("<>", stored):
        for samples in (rgb, rgb.astype(np.uint16) * 257, (rgb / 255).astype(np.float32)):
            if samples.dtype == np.float32 and "predictor" in options:
                options = {**options, "predictor": 3}
            tifffile.imwrite(path, samples, photometric="rgb", bigtiff=True, byteorder=order, metadata=None, **options)  # type: ignore[arg-type]
            assert np.array_equal(read_rgb(path), rgb), (order, samples.dtype, options)
    smooth = np.dstack([X * 3, Y * 4, (X + Y) * 2]).astype(np.uint8)
    for packed, options in (("webp", {"lossless": True}), ("jpeg", {"level": 95}), ("jpeg2000", {"reversible": True})):
        path = tmp_path / f"{packed}.tif"
        compression = {"jpeg2000": 34712}.get(packed, packed)
        tifffile.imwrite(
            path, smooth, photometric="rgb", compression=compression, compressionargs=options, metadata=None
        )
        assert np.abs(read_rgb(path).astype(int) - smooth).mean() < (3 if packed == "jpeg" else 0.01), packed
    Image.fromarray(smooth).save(tmp_path / "ycc.tif", compression="jpeg", quality=95)
    assert np.abs(read_rgb(tmp_path / "ycc.tif").astype(int) - smooth).mean() < 3


def test_premultiplied_alpha_is_reversed(tmp_path: Path) -> None:
    rgb = np.rint(COLOURS * 255).astype(np.uint8)
    alpha = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
    mixed = np.rint(rgb * (128 / 255.0)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.dstack([mixed, alpha]), photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    assert np.abs(read_rgb(path).astype(int) - rgb).max() <= 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({262: 32803}, "a colour filter array"),
        ({262: 34892}, "linear raw"),
        ({259: 34887}, "LERC"),
        ({259: 65123}, "compression 65123"),
        ({339: 6}, "complex or undefined"),
        ({258: 24}, "24-bit"),
        ({277: 5}, "5 unsigned"),
    ],
)
def test_unsupported_layouts_are_refused_by_name(tmp_path: Path, changes: dict[int, int], reason: str) -> None:
    tags = {256: WIDTH, 257: HEIGHT, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: HEIGHT, 279: WIDTH * HEIGHT}
    tags |= changes
    table = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table + b"\0" * 4 + b"\0" * WIDTH * HEIGHT)
    read = read_evidence(path)
    assert read.reason and read.reason.startswith("intact but not supported: a TIFF of") and reason in read.reason
    assert read.context and read.context.format == "TIFF", "the metadata is still read"


def test_damaged_strips_are_errors(tmp_path: Path) -> None:
    rgb = np.rint(COLOURS * 255).astype(np.uint8)
    path = tmp_path / "a.tif"
    for packed in PACKED:
        tifffile.imwrite(path, rgb, photometric="rgb", compression=packed, rowsperstrip=16, metadata=None)
        data = path.read_bytes()
        with tifffile.TiffFile(path) as file:
            place = file.pages[0].tags[279].valueoffset  # type: ignore[union-attr]
            last = file.pages[0].dataoffsets[-1]
        for damaged in (data[: last + 9], data[:place] + b"\0" * 4 + data[place + 4 :]):
            path.write_bytes(damaged)
            with pytest.raises(ImageError, match="damaged picture"):
                read_rgb(path)


def test_inks_other_than_cmyk_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    samples = np.rint(values_of("cmyk") * 255).astype(np.uint8)
    for inks, reason in (
        (1, None),
        (2, "of 4 unsigned 8-bit samples per pixel, inks other than CMYK, interleaved, none"),
    ):
        more = [(332, "H", 1, inks, True)]
        tifffile.imwrite(path, samples, photometric="separated", metadata=None, extratags=more)
        assert read_evidence(path).reason == (reason and f"intact but not supported: a TIFF {reason}")


def test_libtiff_errors_are_problems_of_their_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The fax decoder skips bad codes and prints to stderr; this is reported as a problem of the file instead."""
    bits = Image.fromarray(((X // 3 + Y // 2) % 2 * 255).astype(np.uint8)).convert("1")
    path = tmp_path / "a.tif"
    for packed in ("group3", "group4"):
        bits.save(path, compression=packed)
        assert np.array_equal(read_rgb(path)[..., 0] > 0, np.asarray(bits))
        assert read_evidence(path).context.problems == ()
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    data[start + count // 2 : start + count // 2 + 12] = b"\x15\xaa\x01" * 4
    path.write_bytes(data)
    capfd.readouterr()
    read = read_evidence(path)
    assert read.rgb is not None and read.context is not None
    assert any(problem.startswith("pixels: ") for problem in read.context.problems)
    assert capfd.readouterr() == ("", "")


def test_fax_is_read_where_packages_are_not_in_the_interpreters_own_folder(tmp_path: Path) -> None:
    """As installed for one user, or found by PYTHONPATH: the process that reads it has the same packages."""
    bits = Image.fromarray(((X // 3 + Y // 2) % 2 * 255).astype(np.uint8)).convert("1")
    path = tmp_path / "a.tif"
    bits.save(path, compression="group4")
    plain = getattr(sys, "_base_executable", sys.executable)  # of a virtual environment, the one without its packages
    code = "import sys; from pathlib import Path; from imltool.pictures.images import read_rgb; "
    code += "print(read_rgb(Path(sys.argv[1])).sum())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([plain, "-c", code, str(path)], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(3 * 255 * int(np.asarray(bits).sum()))], done.stderr


def test_tiff_masks_keep_their_values(tmp_path: Path) -> None:
    truth = X > Y
    for dtype, top in (("u1", 1), ("u1", 255), ("u2", 1), ("u2", 255), ("u2", 65535), ("u4", 255)):
        path = tmp_path / "mask.tif"
        tifffile.imwrite(path, (truth * top).astype(dtype), photometric="minisblack", metadata=None)
        assert np.array_equal(read_mask(path), truth), (dtype, top)
