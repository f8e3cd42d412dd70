"""Every parameter of the synthetic forgeries. All of them are our choice; the paper trains on real forgeries only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

from imltool.config import Settings

Name = TypeVar("Name", bound=str)
Range = TypeVar("Range", tuple[int, int], tuple[float, float])


def inside(low: float, high: float) -> Callable[[Range], Range]:
    """A validator of a range, given as its two ends: both within `low` to `high`, the smaller first."""

    def check(pair: Range) -> Range:
        if not low <= pair[0] <= pair[1] <= high:
            raise ValueError(f"must be a range within {low:g} to {high:g}, the smaller number first")
        return pair

    return check


def _weights(weights: dict[Name, float]) -> dict[Name, float]:
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) <= 0:
        raise ValueError("weights must not be negative, and not all zero")
    return weights


Quality = Annotated[tuple[float, float], AfterValidator(inside(1, 100))]
Factor = Annotated[tuple[float, float], AfterValidator(inside(0.05, 20))]
Shares = Annotated[tuple[float, float], AfterValidator(inside(0, 1))]
Sides = Annotated[tuple[float, float], AfterValidator(inside(64, 8192))]
Degrees = Annotated[tuple[float, float], AfterValidator(inside(-180, 180))]
Sigmas = Annotated[tuple[float, float], AfterValidator(inside(0, 100))]
Pixels = Annotated[tuple[float, float], AfterValidator(inside(0, 64))]
Levels = Annotated[tuple[float, float], AfterValidator(inside(0, 255))]
Margins = Annotated[tuple[float, float], AfterValidator(inside(-0.25, 1))]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Method = Literal["blur", "sharpen", "colour", "noise", "resample", "warp"]
Methods = Annotated[dict[Method, float], AfterValidator(_weights)]


class HistorySettings(Settings):
    """Changes of whole pictures: before an edit (for donor and host separately) and after it."""

    host_jpeg: Share = Field(0.7, description="probability that the host was a JPEG before the edit")
    donor_jpeg: Share = Field(0.7, description="probability that the donor was a JPEG, with its own quality")
    jpeg_quality: Quality = Field((50, 98), description="Pillow quality of those earlier JPEGs")
    grid_shift: Share = Field(0.5, description="probability that such a JPEG was cropped by 0-7 pixels after its save")
    host_resample: Share = Field(0.3, description="probability that the host was resized before the edit")
    donor_resample: Share = Field(0.4, description="probability that the donor was resized before the cut")
    resample_range: Factor = Field((0.6, 1.6), description="factor of these resizes, log-uniform")
    host_noise: Share = Field(0.25, description="probability that the host's sensor was noisy")
    donor_noise: Share = Field(0.25, description="probability of a noisy sensor of the donor, independent of the host")
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
    social_side: Factor = Field((0.5, 0.9), description="the network's limit on the long side / long side of the file")
    social_sharpen: Shares = Field((0.0, 0.5), description="amount of the network's sharpening, 0 none")
    social_quality: Quality = Field((70, 85), description="Pillow quality of the network's 4:2:0 JPEG")


class MattingSettings(Settings):
    """Borders of a paste that are uneven along the contour, as matting tools and brushes leave them."""

    guided: Share = Field(0.5, description="probability of a border along the donor's grey values, else a ragged one")
    guided_radius: Pixels = Field((2, 6), description="reach of the donor's grey values, pixels")
    ragged_erosion: Pixels = Field((0.0, 3.0), description="depth by which a ragged border is cut back, pixels")
    ragged_width: Pixels = Field((0.5, 5.0), description="width of its soft part, pixels")
    contaminated: Share = Field(0.3, description="probability that the donor's background tints the border")
    defringed: Share = Field(0.3, description="probability that colours from the inside replace the border's instead")
    contamination: Shares = Field((0.2, 0.6), description="strength of that tint at the outermost pixels")


class RetouchSettings(Settings):
    """Local changes of a region without a paste."""

    methods: Methods = Field(
        default={"blur": 0.25, "sharpen": 0.1, "colour": 0.25, "noise": 0.1, "resample": 0.15, "warp": 0.15},
        description="relative frequency of blur, sharpen, colour, noise, resample and warp",
    )
    least_change: float = Field(2.0, gt=0, description="mean change below which a retouch is discarded, grey levels")
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

    factor: Factor = Field((1.1, 1.8), description="scale of an enlarged region")
    shrink: Share = Field(0.25, description="probability of shrinking it instead and filling the ring around it")
    shrink_factor: Factor = Field((0.6, 0.9), description="scale of a shrunk region")
    stand: Share = Field(0.5, description="probability that the lower edge stays in place instead of the centre")


class SynthSettings(Settings):
    """One synthetic sample: its kind, the tampered region, how it is pasted, and the files' histories."""

    kinds: dict[str, float] = Field(
        default={"splice": 0.3, "copymove": 0.3, "removal": 0.15, "retouch": 0.15, "enlarge": 0.1},
        description="relative frequency of splice, copymove, removal, retouch, enlarge, collage, stamps, erased, "
        "regenerated, document, and the untampered kinds authentic, scan and developed",
    )
    long_side: Sides = Field((320, 512), description="long side of the crop that is edited, pixels")
    area: Shares = Field((0.005, 0.35), description="tampered share of the picture; other tries are discarded")
    own_object: Share = Field(0.6, description="probability that an edit takes the host's object, if it has one")
    plain: Share = Field(0.4, description="probability of a paste that is not scaled, rotated or flipped")
    scale: Factor = Field((0.5, 2.0), description="scale of a pasted region relative to its source, log-uniform")
    object_side: Factor = Field((0.12, 0.7), description="long side of a spliced object / long side of the picture")
    blob_splice: Share = Field(0.15, description="probability that a splice takes a blob of any photo")
    rotate: Share = Field(0.4, description="probability of a rotation of the pasted region")
    rotate_degrees: Degrees = Field((-25, 25), description="angle of that rotation")
    rotate_any: Share = Field(0.2, description="probability that a rotation takes any angle up to 180 either way")
    flip: Share = Field(0.3, description="probability of a flipped paste")
    pastes: Share = Field(0.2, description="probability of a second paste of the same region (copy-move)")
    feather: Sigmas = Field((0.0, 2.0), description="standard deviation of the soft edge, pixels")
    matting: Share = Field(0.35, description="probability of an uneven border instead of an even one")
    poisson: Share = Field(0.1, description="probability of Poisson instead of alpha blending")
    colour_match: Shares = Field((0.0, 0.8), description="how strongly a splice is matched to the host's colours")
    colour_jitter: Share = Field(0.3, description="probability of a brightness and contrast change of the paste")
    jitter_gain: Factor = Field((0.85, 1.2), description="contrast factor of that change")
    jitter_offset: Levels = Field((0, 20), description="brightness change up or down, grey levels")
    light: Share = Field(0.3, description="probability that a paste takes the host's brightness gradient")
    light_strength: Shares = Field((0.3, 1.0), description="strength of that gradient")
    inpaint: Share = Field(0.5, description="probability that a small removal is inpainted instead of patched")
    inpaint_area: Share = Field(0.04, description="largest share of the picture that is inpainted")
    regions: Annotated[tuple[int, int], AfterValidator(inside(2, 20))] = Field(
        (2, 6), description="number of pastes in a collage"
    )
    rendered: Share = Field(0.85, description="probability that a document is a rendered page instead of the host")
    native: Share = Field(
        0.0, description="probability of a host cropped along its file's JPEG grid, not resized or saved again before"
    )
    box_jitter: Margins = Field((-0.05, 0.15), description="share by which each coarse box side moves outwards")
    borders: MattingSettings = Field(default=MattingSettings(), description="uneven borders, see `matting`")
    retouch: RetouchSettings = Field(default=RetouchSettings(), description="kind retouch")
    enlarge: EnlargeSettings = Field(default=EnlargeSettings(), description="kind enlarge")
    history: HistorySettings = Field(default=HistorySettings(), description="histories of the files")
