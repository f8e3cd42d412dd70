"""The record of a synthetic sample: every parameter drawn for it, with the names and decimals of `synth.jsonl`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import PlainSerializer

Round2 = Annotated[float, PlainSerializer(lambda value: round(value, 2))] | None
Round3 = Annotated[float, PlainSerializer(lambda value: round(value, 3))] | None
Round4 = Annotated[float, PlainSerializer(lambda value: round(value, 4))] | None
Round6 = Annotated[float, PlainSerializer(lambda value: round(value, 6))] | None
"""A float that is written with so many decimals, None if it does not apply."""
Pair = tuple[int, int]
"""x and y, or width and height, in pixels."""
Box = tuple[int, int, int, int]
"""XYXY, with x2 and y2 exclusive."""


@dataclass(frozen=True)
class Save:
    """A save of a file; all fields are None if there was none."""

    format: str | None = None  # JPEG, or PNG, which keeps the pixels
    quality: int | None = None
    subsampling: int | None = None  # as Pillow counts it: 0 is 4:4:4, 2 is 4:2:0
    shift: Pair | None = None  # of the JPEG grid by a crop


@dataclass(frozen=True)
class Earlier:
    """The history of a file before the edit."""

    jpeg: Save = Save()
    resample: Round4 = None  # factor
    order: str | None = None  # resize-jpeg or jpeg-resize
    noise: Round3 = None  # standard deviation, grey levels


@dataclass(frozen=True)
class Pass:
    """A pass through a social network."""

    quality: int
    sharpen: Round3
    resize: Round4 = None


@dataclass(frozen=True)
class Final(Save):
    """The last save, and the steps before it from the edit on."""

    developed: tuple[str, ...] = ()
    resize: Round4 = None
    blur: Round3 = None
    noise: Round3 = None
    first_save: Save | None = None
    before_social: Save | None = None
    social: tuple[Pass, ...] = ()


@dataclass(frozen=True)
class Paste:
    """One paste: the piece's top-left corner on the host, `alpha` or `poisson`, and the border (alpha only)."""

    at: Pair | None = None
    blending: str | None = None
    border: str | None = None  # feather, guided or ragged
    feather: Round3 = None  # standard deviation, pixels
    radius: int | None = None
    epsilon: Round6 = None
    contamination: Round3 = None
    defringed: bool | None = None


@dataclass(frozen=True)
class Record:
    """The parameters of a sample or of a part of it. Defaults mean "does not apply" and are not written."""

    kind: str = ""
    area: Round6 = None  # tampered share of the picture
    final: Final = Final()
    # the files of host and donor, and their histories
    host: str = ""
    crop: Box | None = None
    host_native: bool | None = None
    host_jpeg: Save | None = None
    host_resample: Round4 = None
    host_order: str | None = None
    host_noise: Round3 = None
    donor: str | None = None
    donor_jpeg: Save | None = None
    donor_resample: Round4 = None
    donor_order: str | None = None
    donor_noise: Round3 = None
    # the region of the host that was used: object or blob
    region: str | None = None
    # pastes
    scale: Round4 = None
    degrees: Round2 = None  # counter-clockwise
    flip: bool | None = None
    stand: bool | None = None  # whether the lower edge stayed in place
    colour_match: Round3 = None
    gain: Round3 = None
    offset: Pair | Round2 = None  # of a brightness, grey levels, or of a patch
    light: Round3 = None
    pastes: int | None = None
    pasted: tuple[Paste, ...] = ()
    parts: tuple[Record, ...] = ()
    # fills and retouches
    method: str | None = None
    radius: Round2 = None
    filled: Record | None = None
    fills: tuple[Record, ...] = ()
    patch: int | None = None
    feather: Round3 = None
    sigma: Round3 = None
    amount: Round3 = None
    tint: tuple[Round2, Round2] | None = None
    factor: int | Round3 = None
    pixels: Round2 = None
    content: str | None = None
    kernel: int | None = None  # OpenCV's number
    period: int | None = None
    # documents and development
    action: str | None = None
    box: Box | None = None
    changes: tuple[Record, ...] = ()
    developed: tuple[str, ...] = ()
    exported: Pair | None = None

    def __or__(self, other: Record) -> Record:
        """This record with the parameters of another."""
        return replace(self, **{name: value for name, value in vars(other).items() if value != vars(NOTHING)[name]})


NOTHING = Record()


def named(history: Earlier, name: str) -> Record:
    """The history of the `host` or the `donor`."""
    return Record(**{f"{name}_{field}": value for field, value in vars(history).items()})
