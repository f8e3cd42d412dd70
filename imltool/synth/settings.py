"""Every parameter of the synthetic forgeries. All of it is our choice; the paper trains on real forgeries only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from imltool.config import Settings


def _inside(low: float, high: float) -> Callable[[tuple[float, float]], tuple[float, float]]:
    def check(pair: tuple[float, float]) -> tuple[float, float]:
        if not low <= pair[0] <= pair[1] <= high:
            raise ValueError(f"a range within {low:g} to {high:g}, the smaller figure first, is wanted")
        return pair

    return check


Quality = Annotated[tuple[float, float], AfterValidator(_inside(1, 100))]
Factor = Annotated[tuple[float, float], AfterValidator(_inside(0.05, 20))]
Shares = Annotated[tuple[float, float], AfterValidator(_inside(0, 1))]
Sides = Annotated[tuple[float, float], AfterValidator(_inside(64, 8192))]
Degrees = Annotated[tuple[float, float], AfterValidator(_inside(-180, 180))]
Sigmas = Annotated[tuple[float, float], AfterValidator(_inside(0, 100))]
Margins = Annotated[tuple[float, float], AfterValidator(_inside(-0.25, 1))]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class HistorySettings(Settings):
    """What happens to a whole picture: before an edit (donor and host, apart) and after it."""

    host_jpeg: Share = Field(0.7, description="probability that the host was a JPEG before the edit")
    donor_jpeg: Share = Field(0.7, description="probability that the donor was one, with its own quality")
    jpeg_quality: Quality = Field((55, 98), description="Pillow quality of those earlier JPEGs")
    final_png: Share = Field(0.2, description="probability of a lossless final file, else JPEG")
    final_quality: Quality = Field((60, 98), description="Pillow quality of the final JPEG")
    resize: Share = Field(0.25, description="probability that the finished picture is resized before the final save")
    resize_range: Factor = Field((0.6, 1.25), description="factor of that resize")
    blur: Share = Field(0.05, description="probability of a slight Gaussian blur of the finished picture")
    noise: Share = Field(0.1, description="probability of Gaussian noise on the finished picture")
    noise_sigma: Sigmas = Field((1.0, 4.0), description="standard deviation of that noise, grey levels")


class SynthSettings(Settings):
    """One synthetic sample: its kind, the tampered region, how it is pasted, and the files' histories."""

    kinds: dict[str, float] = Field(
        default={"splice": 0.4, "copymove": 0.4, "removal": 0.2},
        description="relative frequency of splice, copymove, removal and authentic",
    )
    long_side: Sides = Field((320, 512), description="long side of the crop that is edited, pixels")
    area: Shares = Field((0.005, 0.35), description="tampered share of the picture; other tries are thrown away")
    scale: Factor = Field((0.7, 1.4), description="scale of a pasted region against its source (copy-move)")
    object_side: Factor = Field((0.15, 0.7), description="long side of a spliced object / that of the picture")
    rotate: Share = Field(0.4, description="probability of a rotation of the pasted region")
    rotate_degrees: Degrees = Field((-25, 25), description="angle of that rotation")
    flip: Share = Field(0.3, description="probability of a mirrored paste")
    pastes: Share = Field(0.2, description="probability of a second paste of the same region (copy-move)")
    feather: Sigmas = Field((0.0, 2.0), description="standard deviation of the soft edge, pixels")
    poisson: Share = Field(0.1, description="probability of Poisson instead of alpha blending")
    colour_match: Shares = Field((0.0, 0.8), description="how far a splice takes over the host's colour statistics")
    colour_jitter: Share = Field(0.3, description="probability of a brightness and contrast change of the paste")
    box_sloppiness: Margins = Field((-0.05, 0.15), description="each coarse box side moves outwards by this share")
    history: HistorySettings = Field(default=HistorySettings(), description="histories of the files")
