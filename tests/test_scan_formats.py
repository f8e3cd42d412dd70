"""Picture formats read by a scan, written by standard libraries: correct pixels and orientation."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import pytest
from helpers.commands import Imltool
from helpers.outputs import rows_of
from helpers.pictures import photo
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from imltool.errors import ImageError
from imltool.evidence.reading import read_evidence
from imltool.pictures.images import looks_like_picture, read_mask, read_picture, read_rgb, read_size
from imltool.pictures.orientation import upright
from imltool.scan.walk import walk_pictures

pillow_heif.register_heif_opener()

RGB = NDArray[np.uint8]


def smooth(width: int = 96, height: int = 64) -> RGB:
    """Gradients from black to white in three directions: every level occurs, and they compress well."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.rint(np.dstack([x, y, (x + y) / 2])).astype(np.uint8)


def difference(path: Path, expected: RGB) -> float:
    """Mean difference in levels of the picture read; also check its shape and the size in the header."""
    rgb = read_rgb(path)
    assert rgb.dtype == np.uint8 and rgb.shape == expected.shape
    assert read_size(path) == rgb.shape[1::-1]
    return float(np.abs(rgb.astype(int) - expected).mean())


KINDS = {
    "jpg": 3.0, "png": 0.0, "tif": 0.0, "bmp": 0.0, "webp": 3.0, "heic": 3.0, "heif": 3.0, "avif": 3.0, "jp2": 0.0,
}  # fmt: skip
"""Extension → largest mean difference explained by lossy compression."""


@pytest.mark.parametrize("ending", KINDS)
def test_every_format_is_read_upright(tmp_path: Path, ending: str) -> None:
    expected = smooth()
    path = tmp_path / f"a.{ending}"
    Image.fromarray(expected).save(path, **({"quality": 95} if KINDS[ending] else {}))  # type: ignore[arg-type]
    assert difference(path, expected) <= KINDS[ending]
    assert looks_like_picture(path)
    if ending in ("bmp", "jp2"):
        return  # no place for an orientation
    for orientation in (6, 3):
        exif = Image.Exif()
        exif[274] = orientation
        if ending in ("heic", "heif"):  # written as container rotation, with an EXIF tag that is then ignored
            made = pillow_heif.from_pillow(Image.fromarray(expected))
            made.info["exif"] = exif.tobytes()
            made.save(path, quality=95)
        else:
            Image.fromarray(expected).save(path, exif=exif, **({"quality": 95} if KINDS[ending] else {}))  # type: ignore[arg-type]
        assert difference(path, upright(expected, orientation)) <= KINDS[ending], orientation


def test_avif_with_the_mif1_brand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    Image.fromarray(smooth()).save(path, quality=95)
    data = bytearray(path.read_bytes())
    assert data[8:12] == b"avif"
    data[8:12] = b"mif1"
    path.write_bytes(data)
    assert difference(path, smooth()) < 3


def test_first_frame_of_a_gif_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(photo(seed)).convert("P") for seed in (1, 2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert difference(tmp_path / "a.gif", np.asarray(frames[0].convert("RGB"))) < 2


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
def test_sixteen_bits_are_scaled(tmp_path: Path, ending: str) -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    expected = np.dstack([levels, levels[:, ::-1], levels])
    path = tmp_path / f"a.{ending}"
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if ending == "jp2" else []
    assert cv2.imwrite(str(path), expected[..., ::-1].astype(np.uint16) * 257, lossless)
    assert difference(path, expected) <= 0.01, "colour; white stays white"
    assert cv2.imwrite(str(path), levels.astype(np.uint16) * 257, lossless)
    assert difference(path, np.dstack([levels] * 3)) == 0.0, "grey"
    if ending == "png":
        deep = expected.astype(np.uint16) * 257
        for samples, mode in (
            (deep[..., 0], "L;16"),
            (deep[..., :2], "LA;16"),
            (deep, "RGB;16"),
            (np.dstack([deep, deep[..., :1]]), "RGBA;16"),
        ):
            path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(samples)))
            found = read_evidence(path)
            assert found.reason is None and found.context is not None and found.context.mode == mode


def test_first_frame_of_an_animated_png_is_read(tmp_path: Path) -> None:
    first, other = Image.fromarray(smooth()), Image.fromarray(255 - smooth())
    first.save(tmp_path / "a.png", save_all=True, append_images=[other])
    assert difference(tmp_path / "a.png", smooth()) == 0
    first.save(tmp_path / "a.png", save_all=True, default_image=True, append_images=[other, other])
    assert difference(tmp_path / "a.png", smooth()) == 0, "the default image shown by readers without animation support"


def test_heif_rotation_and_mirroring_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    for orientation in range(1, 9):
        block = Image.Exif()
        block[274] = orientation
        made = pillow_heif.from_pillow(Image.fromarray(smooth()))
        made.info["exif"] = block.tobytes()
        made.save(path, quality=100, chroma=444)
        data = path.read_bytes()
        assert (b"irot" in data, b"imir" in data) == (orientation in (3, 5, 6, 7, 8), orientation in (2, 4, 5, 7))
        assert difference(path, upright(smooth(), orientation)) < 1, orientation


def test_ten_bit_heic_is_read(tmp_path: Path) -> None:
    values = np.tile(np.linspace(0, 65535, 96), (64, 1)).astype(np.uint16)
    made = pillow_heif.from_bytes(mode="RGB;16", size=(96, 64), data=np.dstack([values] * 3).tobytes())
    made.save(tmp_path / "a.heic", quality=-1, chroma=444)
    assert pillow_heif.open_heif(tmp_path / "a.heic").info["bit_depth"] == 10
    assert difference(tmp_path / "a.heic", np.dstack([np.rint(values / 257)] * 3).astype(np.uint8)) < 1.5


def test_grey_tiff_of_other_scales_is_read(tmp_path: Path) -> None:
    levels = np.tile(np.linspace(0, 65535, 96), (4, 1)).astype(np.uint16)
    expected = np.dstack([np.rint(levels / 257)] * 3).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "inverse.tif", tiffinfo={262: 0})
    assert difference(tmp_path / "inverse.tif", 255 - expected) <= 0.6, "white is zero"
    Image.fromarray(levels.astype(np.int32)).save(tmp_path / "32.tif")
    assert difference(tmp_path / "32.tif", expected) <= 0.6
    Image.fromarray((levels / 65535).astype(np.float32)).save(tmp_path / "float.tif")
    assert difference(tmp_path / "float.tif", expected) <= 0.6

    twelve = (levels >> 4).astype(np.uint32)
    pairs = twelve[:, 0::2] << 12 | twelve[:, 1::2]  # three bytes hold two samples
    packed = np.dstack([pairs >> 16, pairs >> 8 & 255, pairs & 255]).astype(np.uint8).tobytes()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.update({256: 96, 257: 4, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 4, 279: len(packed)})
    buffer = io.BytesIO(b"II*\0\x08\0\0\0")
    buffer.seek(8)
    tags.save(buffer)
    (tmp_path / "12.tif").write_bytes(buffer.getvalue() + packed)  # the offset given in the tags
    assert difference(tmp_path / "12.tif", expected) <= 0.6


def test_other_colour_models_are_converted(tmp_path: Path) -> None:
    expected = smooth()
    made = Image.fromarray(expected)
    made.convert("CMYK").save(tmp_path / "cmyk.tif")
    made.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=97)
    made.convert("YCbCr").save(tmp_path / "ycc.jpg", quality=97)
    made.convert("LAB").save(tmp_path / "lab.tif")
    for name in ("cmyk.tif", "cmyk.jpg", "ycc.jpg", "lab.tif"):
        assert difference(tmp_path / name, expected) < 3, name
    grey = np.dstack([np.asarray(made.convert("L"))] * 3)
    made.convert("LA").save(tmp_path / "grey alpha.png")
    made.convert("L").save(tmp_path / "grey.jpg", quality=97)
    for name in ("grey alpha.png", "grey.jpg"):
        assert difference(tmp_path / name, grey) < 1, name
    bits = np.dstack([np.asarray(made.convert("1"))] * 3) * np.uint8(255)
    made.convert("1").save(tmp_path / "bits.tif", compression="group4")
    assert difference(tmp_path / "bits.tif", bits) == 0


def test_colours_under_transparency_are_kept(tmp_path: Path) -> None:
    expected = smooth()
    alpha = np.where(np.arange(96) < 48, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([expected, np.tile(alpha, (64, 1))])).save(tmp_path / "alpha.png")
    assert difference(tmp_path / "alpha.png", expected) == 0
    palette = Image.fromarray(expected).quantize(64)
    palette.save(tmp_path / "palette.png", transparency=3)
    assert difference(tmp_path / "palette.png", np.asarray(palette.convert("RGB"))) == 0


def test_files_are_recognized_by_content(tmp_path: Path) -> None:
    for name, kind in (
        ("photo.dat", "PNG"),
        ("no ending", "JPEG"),
        ("x.txt", "HEIF"),
        ("b.bin", "BMP"),
        ("j", "JPEG2000"),
    ):
        Image.fromarray(smooth()).save(tmp_path / name, kind)
    Image.fromarray(smooth()).save(tmp_path / "a.heic")
    for name, text in (("notes.txt", "BMW and P3 are makes"), ("P5", "P5 but no picture"), ("empty", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "damaged.jpg").write_text("reported, not passed over")
    found = [path.name for path in walk_pictures(tmp_path, lambda error: None, [])]
    assert found == ["a.heic", "b.bin", "damaged.jpg", "j", "no ending", "photo.dat", "x.txt"]
    assert not looks_like_picture(tmp_path / "gone")


def test_postscript_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(ImageError, match="not supported: a PostScript document"):
        read_picture(tmp_path / "a.jpg")


def test_raw_file_is_refused(tmp_path: Path) -> None:
    """Its first page is a small preview, whose result could be mistaken for one on the picture."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254], tags[50706] = 1, b"\1\4\0\0"
    Image.fromarray(smooth()).save(tmp_path / "a.dng", "TIFF", tiffinfo=tags)
    with pytest.raises(ImageError, match="raw file"):
        read_rgb(tmp_path / "a.dng")
    with pytest.raises(ImageError, match="raw file"):
        read_size(tmp_path / "a.dng")


def test_damaged_exif_does_not_hide_the_picture(tmp_path: Path) -> None:
    for block in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0no header", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"):
        Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=block, quality=95)
        assert difference(tmp_path / "a.jpg", smooth()) < 3


def test_avif_and_heic_masks_are_read(tmp_path: Path) -> None:
    truth = np.zeros((64, 96), bool)
    truth[20:40, 30:60] = True
    for name in ("m.avif", "m.heic"):
        Image.fromarray(truth.astype(np.uint8) * 255).save(tmp_path / name, quality=95)
        assert (read_mask(tmp_path / name, (96, 64)) == truth).mean() > 0.99
    # a circular chain of tables ends
    loop = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHLL", 1, 0x8769, 4, 1, 8) + b"\0" * 4
    Image.fromarray(truth).save(tmp_path / "loop.png", exif=loop)
    assert (read_mask(tmp_path / "loop.png") == truth).all()


def test_extreme_shapes_and_dot_screens_do_not_affect_other_pictures(tmp_path: Path, imltool: Imltool) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    rows, columns = np.mgrid[:300, :400]
    dots = ((rows % 8 < 4) ^ (columns % 8 < 4)).astype(np.uint8) * 255
    Image.fromarray(photo(1)).save(folder / "photo.png")
    Image.fromarray(np.zeros((1, 3000, 3), np.uint8)).save(folder / "strip.png")
    Image.fromarray(np.full((66000, 2, 3), 128, np.uint8)).save(folder / "tall.png")
    Image.fromarray(dots).save(folder / "dots.png")
    code, _, _ = imltool("scan", folder, "--out", tmp_path / "out", "--device", "cpu", "-q")
    results = rows_of(tmp_path / "out")
    assert code == 0 and [row["status"] for row in results] == ["ok"] * 4
