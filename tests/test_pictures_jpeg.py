"""Damaged, rare and unusual JPEG files, and JPEG 2000 files with different colour spaces."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from helpers.context_files import context_of, ids
from helpers.pictures import photo
from numpy.typing import NDArray
from PIL import Image

from imltool.errors import ImageError
from imltool.evidence.facts import describe
from imltool.evidence.reading import read_evidence
from imltool.evidence.remarks import make_remarks
from imltool.pictures.images import read_rgb, read_size

RGB = NDArray[np.uint8]


def jpeg(rgb: RGB, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def test_file_without_end_marker_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}):
        whole = jpeg(photo(1, 320, 240), **options)
        path.write_bytes(whole)
        expected = read_rgb(path)
        assert context_of(path).ending == "complete"
        for data in (whole[:-2], whole[:-2] + b"\0\0", whole[:-2] + b"\0" * 5000):
            path.write_bytes(data)
            read = read_evidence(path)
            assert read.reason is None and np.array_equal(read.rgb, expected), options
            assert read.context is not None
            assert (read.context.ending, read.context.rows_decoded) == ("no end marker", None)
            assert "no-end" in ids(read.context) and np.array_equal(read_rgb(path), expected)


def test_complete_rows_of_a_truncated_picture_are_read(tmp_path: Path) -> None:
    rgb = photo(1, 320, 240)
    path = tmp_path / "a.jpg"
    for options in ({}, {"subsampling": 0}, {"restart_marker_blocks": 5}):
        whole = jpeg(rgb, **options)
        path.write_bytes(whole)
        expected = read_rgb(path)
        start = whole.index(b"\xff\xda")
        for share in (0.3, 0.7):
            cut = start + int((len(whole) - start) * share)
            for data in (whole[:cut], whole[:cut] + b"\0" * 999, whole[:cut] + b"\xff\xd9"):
                path.write_bytes(data)
                read = read_evidence(path)
                rows = read.context.rows_decoded
                if rows is None:  # an end marker at the truncation: detected only if the rest is uniform
                    assert data.endswith(b"\xff\xd9")
                    continue
                assert read.rgb.shape == (rows, 320, 3) and share * 240 - 40 < rows <= share * 240 + 24
                assert np.abs(read.rgb[: rows - 1].astype(int) - expected[: rows - 1]).max() == 0, "no row is invented"
                assert read.context.ending == "cut off" and read.reason is None
                (remark,) = [one for one in make_remarks(read.context) if one.id == "cut-off"]
                assert f"only its first {rows} rows" in remark.text
                assert read_size(path) == (320, 240)
                with pytest.raises(ImageError, match="rows are whole"):
                    read_rgb(path)  # only a scan accepts a partial picture
    path.write_bytes(whole[: start + 40])
    assert "is cut off before its first rows" in read_evidence(path).reason
    whole = jpeg(rgb, progressive=True)
    path.write_bytes(whole[: len(whole) // 2])
    assert "progressive JPEG that is cut off" in read_evidence(path).reason


@pytest.mark.parametrize("orientation", [1, 6])
def test_rows_of_a_truncated_turned_picture_are_called_those_stored(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    whole = jpeg(photo(1, 320, 240), exif=exif)
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    read = read_evidence(path)
    rows = read.context.rows_decoded
    assert read.rgb.shape == ((rows, 320, 3) if orientation == 1 else (320, rows, 3))
    texts = [one.text for one in make_remarks(read.context) if one.id == "cut-off"] + [
        dict(describe(read.context))["Format"]
    ]
    assert [f"{rows} rows as stored (before it was turned upright)" in text for text in texts] == [orientation > 1] * 2
    assert all(f"{rows} rows" in text for text in texts)


def test_truncation_before_an_added_end_marker_is_detected(tmp_path: Path) -> None:
    """Repair tools add an end marker; the rest is then grey."""
    whole = jpeg(photo(1, 320, 240))
    start = whole.index(b"\xff\xda")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[: start + (len(whole) - start) // 2] + b"\xff\xd9")
    found = context_of(path)
    assert found.ending == "cut off" and 90 < found.rows_decoded < 140
    flat = np.full((64, 64, 3), 128, np.uint8)
    path.write_bytes(jpeg(flat))
    assert context_of(path).ending == "complete", "a uniformly grey picture is complete"


def test_lossless_12_bit_and_jpeg_ls_files(tmp_path: Path) -> None:
    grey = np.ascontiguousarray(photo(1)[..., 0])
    path = tmp_path / "a.jpg"
    path.write_bytes(imagecodecs.jpeg8_encode(grey, lossless=True))
    found = read_evidence(path)
    assert np.array_equal(found.rgb[..., 0], grey) and found.context.problems == ()
    assert (found.context.double_jpeg, found.context.jpeg.quality) == (None, None), (
        "lossless files have no quantization steps"
    )
    deep = (np.tile(np.arange(96, dtype=np.uint16), (64, 1)) * 43)[..., None].repeat(3, axis=2)
    path.write_bytes(imagecodecs.jpeg8_encode(deep, level=98, bitspersample=12))
    found = read_evidence(path)
    assert np.abs(found.rgb.astype(int) - (deep >> 4)).mean() < 2 and found.context.mode == "RGB;12"
    path.write_bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(deep[..., 0]), lossless=True, bitspersample=12))
    expected = np.rint(deep / 4095 * 255)
    assert np.array_equal(read_evidence(path).rgb, expected), "grey is rounded"
    path.write_bytes(imagecodecs.jpegls_encode(grey))
    assert read_evidence(path).reason == "intact but not supported: JPEG-LS of 1 components"


def test_invalid_metadata_does_not_prevent_decoding(tmp_path: Path) -> None:
    """A short JFIF segment, blocks with a wrong length, thousands of comments."""
    whole = jpeg(photo(1))
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    expected = read_rgb(path)
    body = whole[2 + 2 + 16 :]
    for name, data in (
        ("a short JFIF segment", b"\xff\xe0\0\x07JFIF\0"),
        ("an empty EXIF block", b"\xff\xe1\0\x08Exif\0\0"),
        ("half an ICC profile", b"\xff\xe2\0\x0fICC_PROFILE\0\x01"),
        ("a resource of wrong length", b"\xff\xed\0\x1cPhotoshop 3.0\x008BIM\4\4\xff\0\0\0\xff\xff"),
        ("comments", b"\xff\xfe\0\x05abc" * 1500),
        ("a multi-picture table", b"\xff\xe2\0\x0eMPF\0MM\0*\0\0\0\x08"),
    ):
        path.write_bytes(b"\xff\xd8" + data + body)
        read = read_evidence(path)
        assert read.reason is None and np.array_equal(read.rgb, expected), name


def box(name: bytes, *content: bytes | bytearray) -> bytes:
    data = b"".join(content)
    return struct.pack(">L4s", 8 + len(data), name) + data


def jp2(samples: NDArray[np.generic], space: int, *more: bytes, profile: bytes = b"") -> bytes:
    """A JPEG 2000 file of the given components with a colour space number, or a profile of the space so named."""
    code = imagecodecs.jpeg2k_encode(samples, reversible=True, codecformat="j2k", mct=False)
    height, width = samples.shape[:2]
    parts = samples.shape[2] if samples.ndim == 3 else 1
    header = box(b"ihdr", struct.pack(">LLHBBBB", height, width, parts, 7, 7, 0, 0))
    colour = box(b"colr", struct.pack(">BBBL", 1, 0, 0, space))
    if profile:
        colour = box(b"colr", b"\2\0\0" + bytes(16) + profile + bytes(108))
    signature = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return signature + box(b"jp2h", header, colour, *more) + box(b"jp2c", code)


def test_jpeg_2000_is_read_by_its_colour_space(tmp_path: Path) -> None:
    rgb = photo(1)
    path = tmp_path / "a.jp2"
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    alpha = np.tile(np.arange(96, dtype=np.uint8), (64, 1))
    swapped = box(b"cdef", struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))
    indices = rgb[..., 0] // 16
    palette = np.arange(48, dtype=np.uint8).reshape(16, 3) * 5
    mapped = box(b"pclr", struct.pack(">HB3B", 16, 3, 7, 7, 7), palette.tobytes()) + box(
        b"cmap", *(struct.pack(">HBB", 0, 1, column) for column in range(3))
    )
    cases = {
        "sRGB": (jp2(rgb, 16), rgb, 0),
        "sYCC": (jp2(ycc, 18), rgb, 3),
        "grey": (jp2(rgb[..., 0], 17), rgb[..., :1].repeat(3, axis=2), 0),
        "grey and alpha": (jp2(np.dstack([rgb[..., 0], alpha]), 17), rgb[..., :1].repeat(3, axis=2), 0),
        "colour and alpha": (jp2(np.dstack([rgb, alpha]), 16), rgb, 0),
        "blue first": (jp2(np.ascontiguousarray(rgb[..., ::-1]), 16, swapped), rgb, 0),
        "a palette": (jp2(indices, 16, mapped), palette[indices], 0),
        "a profile of RGB": (jp2(np.dstack([rgb, alpha]), 0, profile=b"RGB "), rgb, 0),
        "a profile of grey": (
            jp2(np.dstack([rgb[..., 0], alpha]), 0, profile=b"GRAY"),
            rgb[..., :1].repeat(3, axis=2),
            0,
        ),
    }
    for name, (data, expected, limit) in cases.items():
        path.write_bytes(data)
        assert np.abs(read_rgb(path).astype(int) - expected).max() <= limit, name
        assert read_size(path) == (96, 64)
    for space, reason in ((12, "CMYK"), (14, "CIE L*a*b*"), (99, "colour space 99")):
        path.write_bytes(jp2(rgb, space))
        assert read_evidence(path).reason == f"intact but not supported: JPEG 2000 with {reason}"
    for profile, reason in ((b"CMYK", "CMYK"), (b"Lab ", "CIE L*a*b*"), (b"HSV ", "a profile of another colour space")):
        path.write_bytes(jp2(np.dstack([rgb, alpha]), 0, profile=profile))
        assert read_evidence(path).reason == f"intact but not supported: JPEG 2000 with {reason}"
    whole = jp2(rgb, 16)
    start = whole.index(b"\xff\x4f\xff\x51") + 42
    signed, halved = bytearray(whole), bytearray(whole)
    signed[start] |= 0x80
    halved[start + 4] = 2
    for changed, what in ((signed, "signed components"), (halved, "subsampled components")):
        path.write_bytes(changed)
        assert read_evidence(path).reason == f"intact but not supported: JPEG 2000 with {what}"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert read_evidence(path).reason.startswith("damaged picture (")


def test_missing_data_inside_a_file_is_detected(tmp_path: Path) -> None:
    """Missing or zeroed bytes in the middle of a file with an end marker."""
    path = tmp_path / "a.jpg"
    rgb = photo(1, 640, 480)
    for options in ({}, {"subsampling": 0}, {"restart_marker_rows": 1}):
        whole = jpeg(rgb, **options)
        path.write_bytes(whole)
        assert context_of(path).problems == () and context_of(path).rows_decoded is None, options
        half = len(whole) // 2
        for data in (whole[:half] + whole[half + 900 :], whole[:half] + bytes(900) + whole[half + 900 :]):
            path.write_bytes(data)
            found = context_of(path)
            assert found.problems[0].startswith("pixels: its coded data is longer") or (
                found.rows_decoded and found.problems == ("pixels: coded data is missing before the end marker",)
            ), options
            if "restart_marker_rows" in options:
                assert found.rows_decoded and 160 <= found.rows_decoded <= 256, "the restart markers give the position"
    whole = jpeg(rgb, restart_marker_rows=1)
    path.write_bytes(whole[:-2] + b"\xff\xd5" + whole[-2:])
    assert context_of(path).problems == (), "cameras write an extra marker after the last unit"


def test_truncated_progressive_picture_with_end_marker_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    whole = jpeg(photo(1, 320, 240), progressive=True)
    last = whole.rindex(b"\xff\xda")
    path.write_bytes(whole[: last // 2] + b"\xff\xd9")
    read = read_evidence(path)
    assert str(read.reason).startswith("damaged picture (a progressive JPEG that is cut off in scan")
    assert read.context is not None and read.context.ending == "cut off"
    path.write_bytes(whole[: (last + len(whole)) // 2] + b"\xff\xd9")
    found = context_of(path)
    assert found.ending == "cut off" and 0 < (found.rows_decoded or 0) < 240
    path.write_bytes(whole[:last] + b"\xff\xd9")
    found = context_of(path)
    assert found.rows_decoded is None and found.problems[0].startswith("pixels: its scans leave out the lowest bits")
