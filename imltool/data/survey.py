"""Check which pictures of a source can be used before a run begins.

A picture found to be unusable in the middle of a run can only be replaced or lost; before the run it can be counted and
repaired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from imltool.data.accounts import Account
from imltool.data.folder import Sample
from imltool.data.masks import MaskRule, orientation_of, read_content
from imltool.data.near_duplicates import fingerprint
from imltool.errors import DataError, ImageError
from imltool.pictures.images import PictureShape, read_rgb, read_shape

THREADS = 4


def has_header(path: Path) -> bool:
    """Whether a file is a picture according to its header."""
    try:
        read_shape(path)
    except ImageError:
        return False
    return True


def is_decodable(path: Path) -> bool:
    """Whether a picture can be decoded."""
    if fingerprint(path):  # cheaper for a large JPEG
        return True
    try:
        read_rgb(path)
    except ImageError:
        return False
    return True


def survey(samples: Sequence[Sample], account: Account, readable: Callable[[Path], bool] = has_header) -> list[Sample]:
    """The usable samples, in input order; `account` counts them and the others.

    Every mask is decoded.

    Args:
        readable: whether a picture can be read.
    """
    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="survey") as pool:
        faults = [*pool.map(lambda sample: fault_of(sample, readable), samples)]
    usable = [sample for sample, fault in zip(samples, faults, strict=True) if not fault]
    for sample, fault in zip(samples, faults, strict=True):
        if fault:
            account.leave_out(fault, sample.name)
    account.used += len(usable)
    return usable


def usable_pictures(
    paths: Iterable[Path], account: Account, readable: Callable[[Path], bool] = has_header
) -> list[Path]:
    """Like `survey`, for pictures without a mask."""
    samples = [Sample(path.name, path, None) for path in paths]
    return [sample.image for sample in survey(samples, account, readable)]


def fault_of(sample: Sample, readable: Callable[[Path], bool] = has_header) -> str:
    """The reason why a sample cannot be used, in a few words; "" if it can."""
    for path in (sample.image, sample.mask):
        if path is not None and not path.is_file():
            return "file missing"
    if not readable(sample.image):
        return "unreadable picture"
    if sample.mask is None:
        return ""
    try:
        shape, status = read_shape(sample.image), sample.mask.stat()
    except (ImageError, OSError):
        return "unreadable picture"
    return _mask_fault(sample.mask, status.st_mtime_ns, status.st_size, sample.rule, shape)


@lru_cache(maxsize=100_000)
def _mask_fault(mask: Path, modified: int, size: int, rule: MaskRule, shape: PictureShape) -> str:
    """The reason why a mask cannot be used; cached, because a study needs the same masks in every row."""
    try:
        marked = read_content(mask, rule).marked
    except ImageError:
        return "unreadable mask"
    except DataError:
        return "coloured mask, background unclear"
    try:
        orientation_of(mask, (marked.shape[1], marked.shape[0]), rule, shape)
    except DataError:
        return "mask of another size"
    return "" if marked.any() else "mask marks nothing"
