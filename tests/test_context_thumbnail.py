"""Comparison of thumbnails with their pictures: same, different, rotated, cropped, damaged; in EXIF and HEIF."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pillow_heif
from helpers.context_files import (
    context_of,
    exif,
    exif_with_plain_thumbnail,
    exif_with_thumbnail,
    ids,
    jpeg,
    picture,
)
from PIL import Image

from imltool.evidence.model import Thumbnail


def thumbnail_of(
    folder: Path, made: Image.Image, thumbnail: Image.Image | bytes, turn: int = 1
) -> tuple[Thumbnail, set[str], tuple[str, ...]]:
    """Return the thumbnail entry for a picture with this thumbnail, its remarks, and the problems."""
    small = thumbnail if isinstance(thumbnail, bytes) else jpeg(thumbnail, quality=80)
    (folder / "a.jpg").write_bytes(jpeg(made, exif=exif_with_thumbnail(small, turn)))
    found = context_of(folder / "a.jpg")
    assert found.thumbnail is not None
    return found.thumbnail, {name for name in ids(found) if name.startswith("thumb")}, found.problems


def test_thumbnail_of_the_same_picture_is_not_remarked(tmp_path: Path) -> None:
    made = picture(640, 480)
    small = made.resize((160, 120), Image.Resampling.BOX)
    found, remarks, _ = thumbnail_of(tmp_path, made, small)
    assert (found.where, found.width, found.height) == ("EXIF", 160, 120)
    assert found.shows == "the whole picture" and not remarks and found.correlation > 0.98
    brighter = Image.fromarray(np.clip(np.asarray(small) * 1.2 + 10, 0, 255).astype(np.uint8))
    assert not thumbnail_of(tmp_path, made, brighter)[1], "a different tone curve is the same content"
    assert not thumbnail_of(tmp_path, made, small, turn=6)[1], "both are stored in the same orientation"
    shifted = made.crop((12, 8, 640, 480)).resize((160, 120), Image.Resampling.BOX)
    assert not thumbnail_of(tmp_path, made, shifted)[1], "a camera's frames differ slightly"
    wide = picture(640, 360)
    bars = Image.new("RGB", (160, 120))
    bars.paste(wide.resize((160, 90), Image.Resampling.BOX), (0, 15))
    found, remarks, _ = thumbnail_of(tmp_path, wide, bars)
    assert found.shows == "the picture between bars" and not remarks


def test_thumbnail_of_another_picture_is_remarked(tmp_path: Path) -> None:
    made = picture(640, 480)
    small = made.resize((160, 120), Image.Resampling.BOX)
    edited = made.copy()
    edited.paste(Image.fromarray(255 - np.asarray(made.crop((60, 200, 320, 440)))), (60, 200))
    found, remarks, _ = thumbnail_of(tmp_path, edited, small)
    assert remarks == {"thumbnail-content"} and found.differs
    assert thumbnail_of(tmp_path, picture(640, 480, seed=9), small)[1] >= {"thumbnail-content"}
    for turn, method in ((6, Image.Transpose.ROTATE_90), (2, Image.Transpose.FLIP_LEFT_RIGHT)):
        found, remarks, _ = thumbnail_of(tmp_path, made.transpose(method), small)
        assert remarks == {"thumbnail-turned"} and found.differs is False, turn
    cut = made.crop((0, 0, 400, 480))
    assert "thumbnail-aspect" in thumbnail_of(tmp_path, cut, small)[1]


def test_large_thumbnail_is_compared_quickly(tmp_path: Path) -> None:
    made = picture(640, 480)
    began = time.process_time()
    found, remarks, _ = thumbnail_of(tmp_path, made, jpeg(picture(1990, 1490, seed=9), quality=20))
    assert "thumbnail-content" in remarks and found.width == 1990
    assert time.process_time() - began < 8, "eight orientations are compared at one small size"


def test_unusable_thumbnails_are_not_compared(tmp_path: Path) -> None:
    made = picture(640, 480)
    small = made.resize((160, 120), Image.Resampling.BOX)
    found, _, problems = thumbnail_of(tmp_path, made, jpeg(small)[:200])
    assert found.differs is None and problems == ("thumbnail: the file ends inside its data",)
    found, _, problems = thumbnail_of(tmp_path, made, b"II*\0 no JPEG at all")
    assert found.differs is None and problems == ("thumbnail: is no JPEG",)
    assert thumbnail_of(tmp_path, made, made.resize((2100, 20)))[2] == (
        "thumbnail: 2100x20 is no size for a thumbnail",
    )
    found, _, problems = thumbnail_of(tmp_path, made, small.resize((16, 12)))
    assert found.differs is None and problems == ()
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    cut = context_of(tmp_path / "cut.jpg")
    assert cut.thumbnail.width == 16 and cut.thumbnail.differs is None, "the picture is incomplete"


def heic(made: Image.Image, *more: Image.Image, block: bytes | None = None) -> bytes:
    """A HEIC file whose first picture has a thumbnail."""
    heif, buffer = pillow_heif.from_pillow(made), io.BytesIO()
    heif.info["exif"] = block
    for other in more:
        heif.add_from_pillow(other)
    heif.save(buffer, thumbnails=[64], quality=90)
    return buffer.getvalue()


def test_heif_thumbnail_is_compared(tmp_path: Path) -> None:
    made, path = picture(192, 144), tmp_path / "a.heic"
    path.write_bytes(heic(made, block=exif({274: 6}).tobytes()))
    found = context_of(path).thumbnail
    assert (found.where, found.width, found.height) == ("HEIF", 48, 64), "it is rotated with the picture"
    assert found.differs is found.turned is found.aspect_differs is False
    path.write_bytes(heic(made, block=exif_with_thumbnail(jpeg(picture(192, 144, seed=9).resize((64, 48))))))
    assert context_of(path).thumbnail.where == "EXIF" and "thumbnail-content" in ids(context_of(path))


def test_heif_thumbnail_of_another_picture_is_remarked(tmp_path: Path) -> None:
    """A file of two pictures in which the second becomes the primary picture with the thumbnail of the first."""
    data = bytearray(heic(picture(192, 144), picture(192, 144, seed=9)))

    def after(mark: bytes, skip: int, start: int = 0) -> int:
        return data.index(mark, start) + len(mark) + skip

    primary, thumbnail, owner = after(b"pitm", 4), after(b"thmb", 0), after(b"thmb", 4)
    taken = {bytes(data[place : place + 2]) for place in (primary, thumbnail)}
    items, place = [], 0
    while (place := data.find(b"infe", place)) >= 0:
        place += 4
        if data[place + 8 : place + 12] == b"hvc1":
            items.append(bytes(data[place + 4 : place + 6]))
    (second,) = [item for item in items if item not in taken]
    data[primary : primary + 2] = data[owner : owner + 2] = second
    (tmp_path / "a.heic").write_bytes(data)
    found = context_of(tmp_path / "a.heic")
    assert found.thumbnail.where == "HEIF" and found.thumbnail.differs is True
    assert "thumbnail-content" in ids(found)


def test_flat_pictures_are_not_compared(tmp_path: Path) -> None:
    dark = Image.eval(picture(), lambda level: 10 + level // 60)
    found, remarks, problems = thumbnail_of(tmp_path, dark, Image.new("RGB", (160, 120), (11, 11, 11)))
    assert found.correlation is None and found.differs is None and not remarks and not problems
    found, remarks, _ = thumbnail_of(tmp_path, picture(), Image.new("RGB", (160, 120), (110, 110, 110)))
    assert "thumbnail-content" in remarks, "only one of them is flat"


def test_uncompressed_thumbnail_is_compared(tmp_path: Path) -> None:
    """As EXIF allows; one in another form than RGB is reported."""
    path = tmp_path / "a.jpg"
    for shown, differs in (
        (picture(640, 480), False),
        (picture(640, 480, seed=5).transpose(Image.Transpose.ROTATE_180), True),
    ):
        path.write_bytes(jpeg(picture(640, 480), exif=exif_with_plain_thumbnail(shown.resize((160, 120)))))
        found = context_of(path)
        assert (found.thumbnail.where, found.thumbnail.width, found.thumbnail.height) == ("EXIF", 160, 120)
        assert found.thumbnail.differs is differs and found.problems == ()
    path.write_bytes(jpeg(picture(640, 480), exif=exif_with_plain_thumbnail(picture(160, 120), photometric=6)))
    assert context_of(path).problems == ("thumbnail: is no JPEG",)
