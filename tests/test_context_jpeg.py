"""The coding of JPEG files and signs of double compression."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import io
from pathlib import Path

from helpers.context_files import context_of, exif, ids, jpeg, picture
from helpers.pictures import photo
from PIL import Image


def test_jpeg_coding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    tables = {}
    for quality, subsampling, word in ((35, 2, "4:2:0"), (75, 1, "4:2:2"), (98, 0, "4:4:4")):
        path.write_bytes(jpeg(picture(), quality=quality, subsampling=subsampling, progressive=quality > 90))
        found = context_of(path).jpeg
        assert (found.quality, found.quality_exact, found.subsampling) == (quality, True, word)
        assert found.progressive == (quality > 90) and found.segments[0] == "APP0 JFIF"
        tables[quality] = found.tables_sha256
    assert len(set(tables.values())) == 3
    path.write_bytes(jpeg(picture(60, 50), quality=75))
    assert context_of(path).jpeg.tables_sha256 == tables[75], "only the quantization tables are hashed"
    assert "low-quality" not in ids(context_of(path))
    path.write_bytes(jpeg(picture(), qtables=[[17] * 64, [20] * 64]))
    found = context_of(path).jpeg
    assert found.quality_exact is False
    assert "low-quality" not in ids(context_of(path)), "an estimated quality causes no remark"
    path.write_bytes(jpeg(picture(), qtables=[[60] * 64, [60] * 64]))
    assert context_of(path).jpeg.quality < found.quality <= 100, "larger quantization steps give a lower estimate"
    for mode in ("L", "CMYK"):
        path.write_bytes(jpeg(picture().convert(mode), quality=80))
        found = context_of(path).jpeg
        assert found.quality == 80 and found.quality_exact, mode
    path.write_bytes(jpeg(picture(), quality=35))
    assert "low-quality" in ids(context_of(path))


def test_double_compression_is_detected(tmp_path: Path) -> None:
    made = Image.fromarray(photo(5, 640, 480))
    once, twice, lossless = tmp_path / "once.jpg", tmp_path / "twice.jpg", tmp_path / "was.png"
    made.save(once, quality=92)
    Image.open(io.BytesIO(jpeg(made, quality=60))).save(twice, quality=92)
    Image.open(io.BytesIO(jpeg(made, quality=60))).save(lossless)
    made.save(tmp_path / "never.png")
    assert "double-jpeg" in ids(context_of(twice)) and "double-jpeg" in ids(context_of(lossless))
    assert "double-jpeg" not in ids(context_of(once)) | ids(context_of(tmp_path / "never.png"))
    turned = exif({274: 6})
    Image.open(io.BytesIO(jpeg(made.crop((0, 0, 636, 476)), quality=60))).save(twice, quality=92, exif=turned)
    assert "double-jpeg" in ids(context_of(twice)), "the block grid starts at the corner of the stored picture"
