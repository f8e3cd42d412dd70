"""Valid files of every format read by a scan, with metadata if the format allows it, and ways to damage them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pillow_heif
from PIL import Image, ImageCms, PngImagePlugin

from helpers.pictures import photo

pillow_heif.register_heif_opener()

Rng = np.random.Generator

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:mm="http://ns.adobe.com/xap/1.0/mm/"><rdf:Description
 xmp:CreatorTool="GIMP" xmp:CreateDate="2024-05-04T12:00:00+02:00"><mm:History><rdf:Seq><rdf:li/></rdf:Seq></mm:History>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
MARK, HEAD = 12, 700
"""Half of all damage is within the first `HEAD` bytes, which have sizes, counts and offsets; the first `MARK` bytes
identify the format and are mostly spared."""


def exif(thumbnail: bytes = b"") -> bytes:
    """An EXIF block with values of every type, and the given thumbnail in its second table."""
    block = Image.Exif()
    block.update({271: "Canon", 272: "EOS", 274: 6, 305: "GIMP 2.10", 306: "2024:05:02 12:00:00"})
    detail = {36867: "2024:05:01 12:00:00", 36881: "+02:00", 37510: b"UNICODE\0a\0b\0", 40962: 64, 40963: 48}
    block.get_ifd(0x8769).update(detail)
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.5), 3: "E", 4: (11.0, 35.0, 0.0), 7: (10.0, 0.0, 0.0)})
    data = block.tobytes()
    if not thumbnail:
        return data
    body = bytearray(data.removeprefix(b"Exif\0\0"))
    order = "<" if body[:2] == b"II" else ">"
    first = struct.unpack_from(order + "L", body, 4)[0]
    count = struct.unpack_from(order + "H", body, first)[0]
    struct.pack_into(order + "L", body, first + 2 + 12 * count, len(body))
    start = len(body) + 2 + 24 + 4
    table = struct.pack(order + "HHHLLHHLLL", 2, 513, 4, 1, start, 514, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0" + bytes(body) + table + thumbnail


def seeds() -> dict[str, bytes]:
    """File name → content of a small valid file."""
    pictures = [Image.fromarray(photo(seed, 64, 48)) for seed in range(3)]
    first, *others = pictures
    small = first.resize((32, 24))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG")
    block, icc = exif(buffer.getvalue()), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Software", "GIMP", zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    deep = Image.fromarray(np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16))

    def save(picture: Image.Image, kind: str, several: bool = False, **options: object) -> bytes:
        written = io.BytesIO()
        if several:
            options |= {"save_all": True, "append_images": [other.copy() for other in others]}
        picture.copy().save(written, kind, **options)  # Pillow keeps encoder options of a picture for the next save
        return written.getvalue()

    heif = pillow_heif.from_pillow(first)
    heif.info["exif"], heif.info["xmp"] = block, XMP
    boxes = io.BytesIO()
    heif.save(boxes, thumbnails=[32])
    wide = cv2.imencode(".jp2", np.dstack([np.asarray(deep)] * 3))[1].tobytes()
    return {
        "camera.jpg": save(first, "JPEG", exif=block, xmp=XMP, icc_profile=icc, comment=b"gd-jpeg"),
        "progressive.jpg": save(first, "JPEG", progressive=True, subsampling=0, exif=exif()),
        "cmyk.jpg": save(first.convert("CMYK"), "JPEG"),
        "grey.jpg": save(first.convert("L"), "JPEG", quality=40),
        "several.mpo": save(first, "MPO", several=True),
        "texts.png": save(first, "PNG", pnginfo=texts, exif=exif(), icc_profile=icc),
        "deep.png": save(deep, "PNG"),
        "palette.png": save(first.quantize(16), "PNG", transparency=3),
        "moving.png": save(first, "PNG", several=True),
        "pages.tif": save(first, "TIFF", compression="tiff_lzw", several=True),
        "coded.tif": save(first, "TIFF", compression="jpeg"),
        "deflated.tif": save(deep, "TIFF", compression="tiff_adobe_deflate"),
        "camera.tif": save(first, "TIFF", exif=exif()),
        "fax.tif": save(first.convert("1"), "TIFF", compression="group4"),
        "plain.bmp": save(first, "BMP"),
        "palette.bmp": save(first.quantize(16), "BMP"),
        "plain.ppm": save(first, "PPM"),
        "lossy.webp": save(first, "WEBP", exif=exif(), xmp=XMP, icc_profile=icc),
        "lossless.webp": save(first, "WEBP", lossless=True),
        "moving.webp": save(first, "WEBP", several=True),
        "moving.gif": save(first, "GIF", comment=b"GIMP", several=True),
        "camera.heic": boxes.getvalue(),
        "plain.avif": save(first, "AVIF", exif=exif(), xmp=XMP),
        "moving.avif": save(first, "AVIF", several=True),
        "plain.jp2": save(first, "JPEG2000"),
        "deep.jp2": wide,
    }


def _place(data: bytes, rng: Rng) -> int:
    start = 0 if len(data) <= MARK or rng.random() < 0.05 else MARK
    return int(rng.integers(start, min(len(data), HEAD) if rng.random() < 0.5 else len(data)))


def _flip(data: bytes, other: bytes, rng: Rng) -> bytes:
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 17))):
        found[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _overwrite(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Replace a size, count or offset by an extreme value."""
    place = _place(data, rng)
    value = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\x80\0")[int(rng.integers(5))]
    value = value[: int(rng.integers(1, 5))]
    return data[:place] + value + data[place + len(value) :]


def _cut(data: bytes, other: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(0, len(data)))]


def _remove(data: bytes, other: bytes, rng: Rng) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.integers(1, 200)) :]


def _repeat(data: bytes, other: bytes, rng: Rng) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place : place + int(rng.integers(1, 200))] * int(rng.integers(2, 9)) + data[place:]


def _splice(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Replace a part of the file by a part of another file of any format."""
    place, start = _place(data, rng), _place(other, rng)
    return data[:place] + other[start : start + int(rng.integers(1, 400))] + data[place + int(rng.integers(0, 400)) :]


def _join(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Join the beginning of one file and the end of another."""
    return data[: _place(data, rng)] + other[_place(other, rng) :]


DAMAGES: tuple[Callable[[bytes, bytes, Rng], bytes], ...] = (
    _flip, _flip, _overwrite, _overwrite, _cut, _remove, _repeat, _splice, _join,
)  # fmt: skip


def _resum(data: bytes) -> bytes:
    """Correct the checksums of a PNG file: otherwise most damage would be detected by them alone."""
    found, place = bytearray(data), 8
    while place + 12 <= len(found):
        end = place + 8 + int.from_bytes(found[place : place + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = zlib.crc32(found[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(found)


def mutant(files: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The name and content of a broken file, determined by `number`, after one or two kinds of damage."""
    rng = np.random.default_rng(number)
    names = [*files]
    name = names[number % len(names)]
    data = files[name]
    for _ in range(int(rng.integers(1, 3))):
        data = DAMAGES[int(rng.integers(len(DAMAGES)))](data or b"\0", files[names[int(rng.integers(len(names)))]], rng)
    return name, _resum(data) if data.startswith(b"\x89PNG\r\n") and rng.random() < 0.8 else data
