"""Sources of synthetic forgeries: folders of clean photos, and photos with a masked object."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imltool.data.accounts import Account, require_used
from imltool.data.folder import Sample, pair_by_stem
from imltool.data.raster import settle_rasters
from imltool.data.samples import read_sample_mask
from imltool.data.survey import has_header, survey, usable_pictures
from imltool.errors import DataError
from imltool.files import walk_images
from imltool.pictures.draw import fit
from imltool.pictures.images import RGB, Mask, read_rgb
from imltool.synth.settings import SynthSettings

log = logging.getLogger("imltool")

CACHE_BYTES = 1_500_000_000
"""Memory for decoded pictures; the least recently used ones are dropped first (our choice)."""


def working_side(settings: SynthSettings) -> int:
    """Long side at which sources are kept for these settings, large enough that crops need not be enlarged."""
    return max(640, round(1.25 * settings.long_side[1]))


def object_samples(
    images: Path, masks: Path, account: Account, readable: Callable[[Path], bool] = has_header
) -> list[Sample]:
    """The usable pairs of two folders; `account` counts them and the unusable ones. Raises as `pair_by_stem` does."""
    pairing = pair_by_stem(images, masks)
    for image, reason in pairing.left_out.items():
        account.leave_out(reason, image.name)
    for note in pairing.notes():
        log.warning("%s: %s", account.source, note)
    settled = settle_rasters([Sample(image.name, image, mask) for image, mask in pairing.pairs.items()])
    for note in settled.notes():
        log.warning("%s: %s", account.source, note)
    return survey(settled.samples, account, readable)


class SourcePool:
    """Photos and masked objects, decoded when first needed and cached in memory up to a limit.

    Args:
        photos: pictures to use as hosts, and as donors of blob-shaped regions.
        objects: pictures with masks; a mask marks one object.
        max_side: greatest long side at which pictures are kept, pixels.

    Attributes:
        objects: (picture, mask) pairs.
        accounts: from `from_folders`, one per source, of pictures used and left out.

    Raises `DataError` when there is no picture at all.
    """

    def __init__(self, photos: list[Path], objects: Sequence[Sample] = (), max_side: int = 640) -> None:
        self.objects = [(one.image, one.mask) for one in objects if one.mask is not None]
        self.photos = photos
        if not self.photos and not self.objects:
            raise DataError("no source picture for synthetic forgeries", "give at least one folder of clean photos")
        self.hosts = [*self.photos, *(image for image, _ in self.objects)]
        self.max_side = max_side
        self._used = 0
        self._cache: OrderedDict[Path, tuple[RGB, Mask | None]] = OrderedDict()
        self._samples = {one.image: one for one in objects}
        self.accounts: list[Account] = []

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": OrderedDict(), "_used": 0}  # a worker process decodes for itself

    @classmethod
    def from_folders(
        cls, photos: list[Path], objects: list[tuple[Path, Path]] | None = None, max_side: int = 640
    ) -> SourcePool:
        """A pool of every picture under the folders `photos` and every pair of (images, masks) folders `objects`.

        Unusable files (no picture by the header, or an object's mask that is missing, empty or of another size) are
        left out and counted in `accounts`.

        Raises `DataError` for a missing folder or an empty pool.
        """
        for folder in [*photos, *(folder for pair in objects or [] for folder in pair)]:
            if not folder.is_dir():
                raise DataError(f"source folder {folder} does not exist", "give folders of clean photos")
        accounts = []
        found: list[Path] = []
        for folder in photos:
            accounts.append(Account(f"{folder} (photos)"))
            found += usable_pictures(walk_images(folder), accounts[-1])
        cut: list[Sample] = []
        for images, masks in objects or []:
            accounts.append(Account(f"{images} (objects)"))
            cut += object_samples(images, masks, accounts[-1])
        if not found and not cut and any(account.lost for account in accounts):
            require_used(accounts, 0.0, "")
        pool = cls(found, cut, max_side)
        pool.accounts = accounts
        return pool

    def picture(self, path: Path) -> tuple[RGB, Mask | None]:
        """A source picture, uint8 RGB of at most `max_side`, and its object's bool mask if it has one.

        Raises `ImageError` when it cannot be decoded and `DataError` when the mask has another size.
        """
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        rgb = read_rgb(path)
        mask = read_sample_mask(self._samples[path]) if path in self._samples else None
        small = fit(rgb, self.max_side)
        if mask is not None and small is not rgb:
            size = (small.shape[1], small.shape[0])
            mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        rgb = small
        self._cache[path] = (rgb, mask)
        self._used += rgb.nbytes + (mask.nbytes if mask is not None else 0)
        while self._used > CACHE_BYTES and len(self._cache) > 1:
            _, (old, old_mask) = self._cache.popitem(last=False)
            self._used -= old.nbytes + (old_mask.nbytes if old_mask is not None else 0)
        return rgb, mask

    def pick_host(self, rng: np.random.Generator) -> Path:
        """Draw any picture, all with equal probability."""
        return self.hosts[int(rng.integers(len(self.hosts)))]

    def pick_object(self, rng: np.random.Generator) -> Path | None:
        """Draw a picture with a masked object, or None if the pool has none."""
        return self.objects[int(rng.integers(len(self.objects)))][0] if self.objects else None
