"""Ground-truth masks: the reader used by all commands for grey, inverted, coloured and palette masks, and for masks of
the stored raster of pictures with an EXIF orientation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, field_validator

from imltool.config import Frozen
from imltool.errors import DataError, UsageError
from imltool.pictures.images import RGB, Mask, MaskPicture, PictureShape, read_mask_picture, read_shape
from imltool.pictures.orientation import upright

HALF = 127

COLOURED = 48
"""Least difference between the channels of a coloured pixel, in levels of 255; JPEG noise stays below (our choice)."""

FEW = 0.001
"""Share of coloured pixels that may be noise in a grey mask, if they are also few compared with the bright ones."""

BORDER_SHARE = 0.9
"""If black and white both occur, the one that covers this share of the border is the background."""

COLOUR_NAME = re.compile(r"#[0-9a-f]{6}")


class MaskRule(Frozen):
    """The rule by which pixels of a mask file are true (tampered) or false.

    Attributes:
        colour: the property of a pixel that is read. `auto`: the brightness of a grey mask; in a coloured mask every
            colour except the background is tampered, and a mask with an unclear background is refused. `grey`: the
            brightness; coloured masks are refused. `green`: green minus red (at least 0), for masks in which the host
            is red and the pasted region green. `listed`: see `background` and `tampered`.
        threshold: values strictly above it are bright (for `auto` of grey masks, `grey`, `green`).
        polarity: `bright` if bright pixels are tampered, `dark` if the mask is inverted.
        background: the only colour that is not tampered, `#rrggbb`; only with `listed`.
        tampered: the tampered colours, if they are not all except the background; only with `listed`.
        raster: whether the mask belongs to the stored or the displayed picture, if an EXIF orientation makes a
            difference; None lets the sizes decide, or takes the displayed picture if they cannot.
    """

    colour: Literal["auto", "grey", "green", "listed"] = "auto"
    threshold: int = Field(HALF, ge=0, le=254)
    polarity: Literal["bright", "dark"] = "bright"
    background: str | None = None
    tampered: tuple[str, ...] = ()
    raster: Literal["stored", "displayed"] | None = None

    @field_validator("background", "tampered", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        if isinstance(value, str):
            return value.lower()
        return tuple(str(one).lower() for one in value) if isinstance(value, (list, tuple)) else value

    def model_post_init(self, context: object) -> None:
        colours = [*self.tampered, *([self.background] if self.background else [])]
        for name in colours:
            if not COLOUR_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no colour of the form #rrggbb")
        if (self.colour == "listed") != bool(colours):
            raise ValueError("background or tampered colours go with the colour listed, and it needs one of them")


@dataclass(frozen=True)
class MaskContent:
    """A decoded mask file, before its picture is considered.

    Attributes:
        marked: bool [H,W], True = tampered.
        note: how a coloured mask was interpreted; "" for a grey one.
    """

    marked: Mask
    note: str = ""


def parse_rule(texts: Sequence[str]) -> dict[str, object]:
    """Parse changes to a rule from `KEY=VALUE`, with colours split by commas. Given colours set `colour` to `listed`.

    Raises `UsageError` for a text in another form or an unknown key.
    """
    changes: dict[str, object] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or key not in MaskRule.model_fields:
            raise UsageError(
                f"--mask-rule {text!r} is not KEY=VALUE", f"the keys are {', '.join(MaskRule.model_fields)}"
            )
        changes[key] = [one.strip() for one in value.split(",")] if key == "tampered" else value
    if changes.keys() & {"background", "tampered"}:
        changes.setdefault("colour", "listed")
    return changes


REMEDY = "give --mask-rule background=#rrggbb or tampered=#rrggbb to imltool data index or convert"


def read_truth(path: Path, rule: MaskRule, image: Path | PictureShape | None = None) -> Mask:
    """Read a mask file by its rule as bool [H,W] over the displayed picture, True = tampered.

    Args:
        image: the picture or its shape; the mask must have its size, and its EXIF orientation is applied. None reads
            the mask as it is stored.

    Raises `ImageError` when the mask (or the picture's header) cannot be decoded, `DataError` when it has another size
    than the picture, or is coloured with an unclear background.
    """
    marked = read_content(path, rule).marked
    if image is None:
        return marked
    shape = read_shape(image) if isinstance(image, Path) else image
    return upright(marked, orientation_of(path, (marked.shape[1], marked.shape[0]), rule, shape))


def orientation_of(path: Path, size: tuple[int, int], rule: MaskRule, shape: PictureShape) -> int:
    """The EXIF orientation to apply to a mask: its picture's, or 1.

    Args:
        size: the mask's (width, height).

    Raises `DataError` when the mask fits neither the displayed nor the stored picture.
    """
    if size not in (shape.size, shape.stored_size):
        found, expected = (f"{width}x{height}" for width, height in (size, shape.size))
        raise DataError(f"mask {path} is {found}, its picture is {expected}", "masks must have their picture's size")
    if shape.size == shape.stored_size:
        return shape.orientation if rule.raster == "stored" else 1
    return shape.orientation if size == shape.stored_size else 1


def read_content(path: Path, rule: MaskRule) -> MaskContent:
    """Decode a mask file and find the tampered pixels by its rule. Raises as `read_truth` does."""
    picture = read_mask_picture(path)
    if rule.colour in ("auto", "grey"):
        if not _is_coloured(picture.rgb):
            usual = rule.threshold == HALF  # `bright` handles masks of 0 and 1, and 16-bit masks
            bright = picture.bright if usual else mask_values(picture.rgb, rule) > rule.threshold
            return MaskContent(~bright if rule.polarity == "dark" else bright)
        if rule.polarity == "dark" or rule.colour == "grey":
            expected = "grey" if rule.colour == "grey" else "that dark is tampered"
            raise DataError(f"mask {path} is coloured, and its rule says {expected}", REMEDY)
        return _apart_from_background(picture, path)
    rgb = picture.rgb
    if rule.colour == "green":
        bright = mask_values(rgb, rule) > rule.threshold
        return MaskContent(~bright if rule.polarity == "dark" else bright)
    if rule.tampered:
        marked = np.logical_or.reduce([_near(rgb, colour) for colour in rule.tampered])
        return MaskContent(np.asarray(marked), f"tampered is {', '.join(rule.tampered)}")
    assert rule.background is not None
    return MaskContent(~_near(rgb, rule.background), f"tampered is all but {rule.background}")


def mask_values(rgb: RGB, rule: MaskRule) -> NDArray[np.uint8]:
    """Values of a mask picture (uint8 RGB [H,W,3]) that are compared with the rule's threshold, uint8 [H,W]."""
    if rule.colour == "green":
        return np.asarray(np.clip(rgb[..., 1].astype(np.int16) - rgb[..., 0], 0, 255), dtype=np.uint8)
    return np.asarray(Image.fromarray(rgb).convert("L"))


def _near(rgb: RGB, colour: str) -> Mask:
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], dtype=np.int16)
    return np.asarray(np.abs(rgb.astype(np.int16) - wanted).max(axis=2) <= COLOURED)


def _is_coloured(rgb: RGB) -> bool:
    """Whether a mask has colours that are not just noise of a JPEG."""
    coloured = np.ptp(rgb, axis=2) > COLOURED
    count = int(coloured.sum())
    bright = int((rgb.max(axis=2) > HALF).sum())
    return count > FEW * coloured.size or count * 20 > bright


def _apart_from_background(picture: MaskPicture, path: Path) -> MaskContent:
    """All of a coloured mask except its background. Raises `DataError` when the background is not clear.

    The background is black, or white if nothing is black; if both occur, it is the one along the picture's border. A
    palette's first entry counts as background if it is black, as in the masks of Pascal VOC.
    """
    if picture.classes is not None:
        count = len(np.unique(picture.classes))
        return MaskContent(picture.classes != 0, f"palette of {count} classes: all but the first")
    rgb = picture.rgb
    black, white = rgb.max(axis=2) <= COLOURED, rgb.min(axis=2) >= 255 - COLOURED
    if black.any() and white.any():
        border = np.ones(black.shape, dtype=bool)
        border[1:-1, 1:-1] = False
        for level, name in ((black, "black"), (white, "white")):
            if level[border].mean() >= BORDER_SHARE:
                return MaskContent(~level, f"coloured: tampered is all but {name}")
        raise DataError(f"mask {path} is coloured, and black or white may be its background", REMEDY)
    if black.any() or white.any():
        level, name = (black, "black") if black.any() else (white, "white")
        return MaskContent(~level, f"coloured: tampered is all but {name}")
    raise DataError(f"mask {path} is coloured, and neither black nor white is its background", REMEDY)
