"""The context of a file as typed values: the single definition of what `picture_context` returns and a row holds.

Values are frozen. A field that the file does not provide keeps its default, None or empty. `model_dump(mode="json")`
returns the JSON values of a row, and `Context.model_validate` makes the object from them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Check = Literal["holds", "fails", "not checked"]
"""The outcome of one check of Content Credentials."""
Concern = Literal["binding", "signature", "time", "identity", "ingredient", "other"]
"""What a failed check of them concerns."""
State = Literal["read", "partly read", "not read"]
"""Whether a metadata block was read."""


class Part(BaseModel):
    """A frozen value without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Remark(Part):
    """A rule of `imltool.evidence.remarks` that matched: its `id`, its `text`, and what in the context matched it."""

    id: str
    text: str
    evidence: str


class Camera(Part):
    """The camera named by the file, and the carrier that names it: "EXIF" or "XMP"."""

    make: str | None = None
    model: str | None = None
    lens: str | None = None
    serial: str | None = None
    source: str | None = None


class Trace(Part):
    """A field of the file that may name a program, its text (cut for display), and the kinds of program it names.

    `kinds` are ids of remarks ("editor", "generator", …), determined from the whole text.
    """

    where: str
    text: str
    kinds: tuple[str, ...] = ()


class Unparsed(Part):
    """A value that could not be interpreted, as the raw text of the file."""

    where: str
    text: str


class Carrier(Part):
    """A metadata block of the file: its kind ("EXIF", "XMP", …), its place, and whether it was read."""

    kind: str
    where: str
    state: State
    size_bytes: int | None = None


class Times(Part):
    """Times in the file, ISO 8601: as precise as the file gives them, with a time zone if the file has one.

    `taken` is from EXIF, or from XMP or IPTC if EXIF has none; `taken_source` names the carrier.
    """

    taken: str | None = None
    digitised: str | None = None
    changed: str | None = None
    gps: str | None = None
    xmp_taken: str | None = None
    xmp_created: str | None = None
    xmp_changed: str | None = None
    iptc_created: str | None = None
    png_created: str | None = None
    png_changed: str | None = None
    taken_source: str | None = None


class Clocks(Part):
    """Seconds after `taken`; for `gps`, only what a time zone cannot explain."""

    changed: int | None = None
    digitised: int | None = None
    gps: int | None = None
    xmp_created: int | None = None


class Position(Part):
    """Where the picture was taken: degrees north and east, height in metres, and the carrier of the position.

    `void`: the receiver marked the position as not measured.
    """

    present: bool = False
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    void: bool = False
    source: str | None = None


class JpegCoding(Part):
    """The coding of a JPEG file, see `imltool.evidence.jpeg_coding`."""

    tables_sha256: str | None = None
    quality: int | None = None
    quality_exact: bool = False
    subsampling: str | None = None
    progressive: bool = False
    segments: tuple[str, ...] = ()


class DoubleJpeg(Part):
    """The number of the 14 lowest DCT frequencies with signs of double JPEG, and whether it is enough."""

    frequencies: int
    detected: bool


class Thumbnail(Part):
    """The embedded thumbnail compared with the picture, see `imltool.evidence.thumbnail`."""

    where: str
    width: int | None = None
    height: int | None = None
    shows: str | None = None
    aspect_differs: bool | None = None
    turned: bool | None = None
    correlation: float | None = None
    differs: bool | None = None


class Finding(Part):
    """A failed check that the C2PA library reports: its code, what it concerns, and the library's explanation."""

    code: str
    concerns: Concern
    explanation: str | None = None


class Credentials(Part):
    """Content Credentials (C2PA), see `imltool.evidence.credentials`."""

    state: Literal[
        "absent", "removed", "elsewhere", "valid", "valid with faults", "invalid", "unreadable", "not checked"
    ] = "absent"
    reason: str | None = None
    binding: Check = "not checked"
    signature: Check = "not checked"
    time: Check = "not checked"
    identity: Check = "not checked"
    ingredients: Check = "not checked"
    findings: tuple[Finding, ...] = ()
    generator: str | None = None
    signer: str | None = None
    signed: str | None = None
    actions: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    address: str | None = None


class Trailer(Part):
    """Bytes after the end of the picture: their offset in the file, number and kind."""

    offset: int
    size_bytes: int
    kind: str


class Context(Part):
    """The context of a file: all it holds besides its pixels. Of several frames or pages, the first is described.

    Attributes:
        format, mode: Pillow's names of the format and the colour model.
        frames: number of frames or pages; the first is analysed.
        preview_page: whether the first page is marked as a reduced copy.
        name_differs: whether the extension of the file name belongs to another format.
        orientation: EXIF orientation, 1..8; `orientation_source` is its carrier ("EXIF", "XMP").
        software: fields that may name a program.
        exif_size: (width, height) in EXIF; `size_differs`: neither it nor its transpose is the picture's size.
        profile: name of the ICC profile.
        history: steps that XMP lists; `derived`: whether XMP names another document as the origin.
        source_types: IPTC digital source types from XMP, IPTC and Content Credentials.
        jpeg, double_jpeg, thumbnail: None if they do not apply to the file.
        ending: how the file's coded data ends: "complete", "no end marker", "cut off"; None if it was not checked.
        rows_decoded: number of rows of the stored picture that could be decoded; None if all were.
        trailer: bytes after the picture's end.
        carriers: the metadata blocks of the file, and whether each was read.
        unparsed: values that could not be interpreted, as raw text.
        problems: what could not be read, each a fixed phrase.
    """

    format: str | None = None
    mode: str | None = None
    frames: int | None = None
    preview_page: bool = False
    name_differs: bool = False
    orientation: int | None = None
    orientation_source: str | None = None
    camera: Camera = Camera()
    software: tuple[Trace, ...] = ()
    times: Times = Times()
    clocks: Clocks = Clocks()
    gps: Position = Position()
    exif_size: tuple[int, int] | None = None
    size_differs: bool = False
    profile: str | None = None
    history: tuple[str, ...] = ()
    derived: bool = False
    source_types: tuple[str, ...] = ()
    jpeg: JpegCoding | None = None
    double_jpeg: DoubleJpeg | None = None
    thumbnail: Thumbnail | None = None
    credentials: Credentials | None = None
    ending: Literal["complete", "no end marker", "cut off"] | None = None
    rows_decoded: int | None = None
    trailer: Trailer | None = None
    carriers: tuple[Carrier, ...] = ()
    unparsed: tuple[Unparsed, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def which_rows(self) -> str:
        """Words for the rows of `rows_decoded`: those of a turned picture are not rows of the picture shown."""
        return "rows as stored (before it was turned upright)" if (self.orientation or 1) > 1 else "rows"
