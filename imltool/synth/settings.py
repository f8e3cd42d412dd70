"""Every parameter of the synthetic forgeries. All of it is our choice; the paper trains on real forgeries only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

from imltool.config import Settings

Name = TypeVar("Name", bound=str)


def _inside(low: float, high: float) -> Callable[[tuple[float, float]], tuple[float, float]]:
    def check(pair: tuple[float, float]) -> tuple[float, float]:
        if not low <= pair[0] <= pair[1] <= high:
            raise ValueError(f"a range within {low:g} to {high:g}, the smaller number first, is wanted")
        return pair

    return check


def _inside_whole(low: int, high: int) -> Callable[[tuple[int, int]], tuple[int, int]]:
    def check(pair: tuple[int, int]) -> tuple[int, int]:
        if not low <= pair[0] <= pair[1] <= high:
            raise ValueError(f"a range within {low} to {high}, the smaller number first, is wanted")
        return pair

    return check


def _weights(weights: dict[Name, float]) -> dict[Name, float]:
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) <= 0:
        raise ValueError("weights must not be negative, and not all zero")
    return weights


Quality = Annotated[tuple[float, float], AfterValidator(_inside(1, 100))]
Factor = Annotated[tuple[float, float], AfterValidator(_inside(0.05, 20))]
Shares = Annotated[tuple[float, float], AfterValidator(_inside(0, 1))]
Sides = Annotated[tuple[float, float], AfterValidator(_inside(64, 8192))]
Degrees = Annotated[tuple[float, float], AfterValidator(_inside(-180, 180))]
Sigmas = Annotated[tuple[float, float], AfterValidator(_inside(0, 100))]
Pixels = Annotated[tuple[float, float], AfterValidator(_inside(0, 64))]
Levels = Annotated[tuple[float, float], AfterValidator(_inside(0, 255))]
Margins = Annotated[tuple[float, float], AfterValidator(_inside(-0.25, 1))]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Method = Literal["blur", "sharpen", "colour", "noise", "resample", "warp"]
Methods = Annotated[dict[Method, float], AfterValidator(_weights)]


class HistorySettings(Settings):
    """What happens to a whole picture: before an edit (donor and host, apart) and after it."""

    host_jpeg: Share = Field(0.7, description="probability that the host was a JPEG before the edit")
    donor_jpeg: Share = Field(0.7, description="probability that the donor was one, with its own quality")
    jpeg_quality: Quality = Field((50, 98), description="Pillow quality of those earlier JPEGs")
    grid_shift: Share = Field(0.5, description="probability that such a JPEG was cropped by 0-7 pixels after its save")
    host_resample: Share = Field(0.3, description="probability that the host was resized before the edit")
    donor_resample: Share = Field(0.4, description="probability that the donor was, before it was cut")
    resample_range: Factor = Field((0.6, 1.6), description="factor of that resize, even on a log scale")
    host_noise: Share = Field(0.25, description="probability that the host's sensor was noisy")
    donor_noise: Share = Field(0.25, description="probability that the donor's was, apart from the host's")
    sensor_sigma: Sigmas = Field((0.8, 6.0), description="standard deviation of sensor noise at mid-grey, grey levels")
    resize: Share = Field(0.25, description="probability that the finished picture is resized before the final save")
    resize_range: Factor = Field((0.6, 1.25), description="factor of that resize")
    blur: Share = Field(0.05, description="probability of a slight Gaussian blur of the finished picture")
    blur_sigma: Factor = Field((0.4, 1.2), description="standard deviation of that blur, pixels")
    noise: Share = Field(0.1, description="probability of Gaussian noise on the finished picture")
    noise_sigma: Sigmas = Field((1.0, 4.0), description="standard deviation of that noise, grey levels")
    double: Share = Field(0.15, description="probability of a JPEG save, a crop of 0-7 pixels and the final save")
    final_png: Share = Field(0.2, description="probability of a lossless final file, else JPEG")
    final_quality: Quality = Field((55, 98), description="Pillow quality of the final JPEG")
    develop: Share = Field(0.0, description="probability that the finished picture is developed as a whole")
    social: Share = Field(0.15, description="probability that the file then goes through a social network")
    social_twice: Share = Field(0.25, description="probability that it goes through a second one")
    social_side: Factor = Field((0.5, 0.9), description="the network's bound on the long side / that of the file")
    social_sharpen: Shares = Field((0.0, 0.5), description="amount of the network's sharpening, 0 none")
    social_quality: Quality = Field((70, 85), description="Pillow quality of the network's 4:2:0 JPEG")


class MattingSettings(Settings):
    """Borders of a paste that are uneven along the contour, as matting tools and brushes leave them."""

    guided: Share = Field(0.5, description="probability that the border follows the donor's grey values, else ragged")
    guided_radius: Pixels = Field((2, 6), description="reach of the donor's grey values, pixels")
    ragged_erosion: Pixels = Field((0.0, 3.0), description="how deep a ragged border is cut back, pixels")
    ragged_width: Pixels = Field((0.5, 5.0), description="how wide it is soft, pixels")
    contaminated: Share = Field(0.3, description="probability that the donor's background tints the border")
    defringed: Share = Field(0.3, description="probability that colours from the inside replace the border's instead")
    contamination: Shares = Field((0.2, 0.6), description="how strong that tint is at the outermost pixels")


class RetouchSettings(Settings):
    """Local changes of a region without any paste."""

    methods: Methods = Field(
        default={"blur": 0.25, "sharpen": 0.1, "colour": 0.25, "noise": 0.1, "resample": 0.15, "warp": 0.15},
        description="relative frequency of blur, sharpen, colour, noise, resample and warp",
    )
    least_change: float = Field(2.0, gt=0, description="mean change below which a retouch is none, grey levels")
    blur_sigma: Factor = Field((1.2, 4.0), description="blur: standard deviation, pixels")
    sharpen_amount: Factor = Field((0.8, 2.5), description="sharpen: weight of the unsharp mask")
    brightness: Levels = Field((12, 45), description="colour: change up or down, grey levels")
    contrast: Factor = Field((0.75, 1.35), description="colour: factor around mid-grey")
    tint: Levels = Field((5, 30), description="colour: shift in the a,b plane of CIELAB, in OpenCV's 8-bit units")
    noise_sigma: Sigmas = Field((5.0, 16.0), description="noise: standard deviation, grey levels")
    resample_factor: Factor = Field((0.25, 0.6), description="resample: shrunk by this factor and enlarged again")
    warp_pixels: Pixels = Field((3.0, 10.0), description="warp: largest displacement, pixels")


class EnlargeSettings(Settings):
    """An object or region made larger or smaller in its own place."""

    factor: Factor = Field((1.1, 1.8), description="how much larger")
    shrink: Share = Field(0.25, description="probability of making it smaller instead, the freed ring filled")
    shrink_factor: Factor = Field((0.6, 0.9), description="how much smaller")
    stand: Share = Field(0.5, description="probability that the lower edge stays in place, else the centre does")


class SynthSettings(Settings):
    """One synthetic sample: its kind, the tampered region, how it is pasted, and the files' histories."""

    kinds: dict[str, float] = Field(
        default={"splice": 0.3, "copymove": 0.3, "removal": 0.15, "retouch": 0.15, "enlarge": 0.1},
        description="relative frequency of splice, copymove, removal, retouch, enlarge, collage, stamps, erased, "
        "regenerated, document, and, with nothing to find, authentic, scan and developed",
    )
    long_side: Sides = Field((320, 512), description="long side of the crop that is edited, pixels")
    area: Shares = Field((0.005, 0.35), description="tampered share of the picture; other tries are thrown away")
    own_object: Share = Field(0.6, description="probability that an edit takes the host's own object where it has one")
    plain: Share = Field(0.4, description="probability of a paste neither scaled nor rotated nor flipped")
    scale: Factor = Field((0.5, 2.0), description="scale of a pasted region against its source, even on a log scale")
    object_side: Factor = Field((0.12, 0.7), description="long side of a spliced object / that of the picture")
    blob_splice: Share = Field(0.15, description="probability that a splice takes a blob of any photo")
    rotate: Share = Field(0.4, description="probability of a rotation of the pasted region")
    rotate_degrees: Degrees = Field((-25, 25), description="angle of that rotation")
    rotate_any: Share = Field(0.2, description="probability that a rotation takes any angle, up to 180 either way")
    flip: Share = Field(0.3, description="probability of a flipped paste")
    pastes: Share = Field(0.2, description="probability of a second paste of the same region (copy-move)")
    feather: Sigmas = Field((0.0, 2.0), description="standard deviation of the soft edge, pixels")
    matting: Share = Field(0.35, description="probability of an uneven border instead of that even one")
    poisson: Share = Field(0.1, description="probability of Poisson instead of alpha blending")
    colour_match: Shares = Field((0.0, 0.8), description="how far a splice takes over the host's colour statistics")
    colour_jitter: Share = Field(0.3, description="probability of a brightness and contrast change of the paste")
    jitter_gain: Factor = Field((0.85, 1.2), description="contrast factor of that change")
    jitter_offset: Levels = Field((0, 20), description="brightness of that change, up or down, grey levels")
    light: Share = Field(0.3, description="probability that a paste takes over the host's fall of light at its place")
    light_strength: Shares = Field((0.3, 1.0), description="how far it does")
    inpaint: Share = Field(0.5, description="probability that a small removal is inpainted, else patched")
    inpaint_area: Share = Field(0.04, description="largest share of the picture that is inpainted")
    regions: Annotated[tuple[int, int], AfterValidator(_inside_whole(2, 20))] = Field(
        (2, 6), description="pastes of a collage"
    )
    rendered: Share = Field(0.85, description="probability that a document is a rendered page instead of the host")
    native: Share = Field(
        0.0, description="probability of a host cut along the JPEG grid of its file, neither resized nor saved before"
    )
    box_jitter: Margins = Field((-0.05, 0.15), description="each coarse box side moves outwards by this share")
    borders: MattingSettings = Field(default=MattingSettings(), description="uneven borders, see `matting`")
    retouch: RetouchSettings = Field(default=RetouchSettings(), description="kind retouch")
    enlarge: EnlargeSettings = Field(default=EnlargeSettings(), description="kind enlarge")
    history: HistorySettings = Field(default=HistorySettings(), description="histories of the files")
