"""Determine the raster to which the masks of a set belong, for pictures with an EXIF orientation.

For a picture that is rotated by 90° the size of the mask decides. For flipped or upside-down pictures it does not, so
the raster of the set's other masks is used; if none decides, the displayed picture is used and reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from imltool.data.folder import Sample
from imltool.errors import ImageError
from imltool.pictures.images import read_shape, read_size
from imltool.texts import listed


@dataclass
class Settled:
    """The samples of a set with the rasters of their masks.

    Attributes:
        samples: in input order, with `rule.raster` filled in if the set decides it.
        turned: names of pictures whose masks are converted from the stored raster.
        unclear: names of pictures whose raster is undecided.
    """

    samples: list[Sample]
    turned: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """One line about converted masks and one about unclear ones."""
        notes = []
        if self.turned:
            notes.append(f"masks of the stored raster, converted by the EXIF orientation: {listed(self.turned)}")
        if self.unclear:
            notes.append(
                "masks taken as those of the displayed picture, but an EXIF orientation leaves it open (if they are "
                f"of the stored raster, imltool data index --mask-rule raster=stored): {listed(self.unclear)}"
            )
        return notes


def settle_rasters(samples: Sequence[Sample]) -> Settled:
    """Read the headers of all pictures with a mask, and of the masks of rotated ones. Unreadable files are skipped."""
    settled = Settled([*samples])
    sideways: dict[str, list[str]] = {"stored": [], "displayed": []}
    others: list[int] = []
    for index, sample in enumerate(samples):
        if sample.mask is None:
            continue
        try:
            shape = read_shape(sample.image)
            if shape.orientation == 1:
                continue
            if shape.size == shape.stored_size:
                others.append(index)
            elif (size := read_size(sample.mask)) in (shape.size, shape.stored_size):
                sideways["displayed" if size == shape.size else "stored"].append(sample.name)
        except ImageError:
            continue
    settled.turned += sideways["stored"]
    agreed = next((raster for raster in sideways if sideways[raster] and not all(sideways.values())), None)
    for index in others:
        sample = samples[index]
        raster = sample.rule.raster or agreed
        if raster is None:
            settled.unclear.append(sample.name)
            continue
        settled.samples[index] = replace(sample, rule=sample.rule.model_copy(update={"raster": raster}))
        if raster == "stored":
            settled.turned.append(sample.name)
    return settled
