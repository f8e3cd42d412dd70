"""Forgeries of known kinds, made from authentic pictures: they keep the old skills and measure what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from imltool.adapt.comparison import Case
from imltool.errors import DataError
from imltool.files import make_folder
from imltool.synth.forge import Forge
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool, working_side
from imltool.synth.writer import Failure, write_forgeries

KNOWN = SynthSettings(
    kinds={"splice": 0.35, "copymove": 0.4, "removal": 0.15, "retouch": 0.1},
    long_side=(320, 1280),
    area=(0.005, 0.25),
)
"""Settings of the forgeries of known kinds (our choice)."""
SEED = 4711
"""Fixed, so that the same authentic pictures give the same forgeries to measure with."""


def make_known(photos: Sequence[Path], count: int, folder: Path) -> Iterator[int]:
    """Write `count` forgeries made from `photos` into `folder`; yields how many are done. Those that exist are kept.

    One that finds no place for its edit is left out. Raises `DataError` when none could be made.
    """
    forge = Forge(KNOWN, SourcePool(list(photos), max_side=working_side(KNOWN)))
    reason = ""
    for row in write_forgeries(forge, count, SEED, make_folder(folder)):
        if isinstance(row, Failure):
            reason = row.reason
        yield row.index + 1
    if not (folder / "tampered").is_dir():
        raise DataError(f"no forgery of a known kind could be made: {reason}", "give larger authentic pictures")


def known_cases(folder: Path) -> list[Case]:
    """The forgeries in a folder that `make_known` has filled, with their masks."""
    return [Case(path, folder / "masks" / f"{path.stem}.png") for path in sorted((folder / "tampered").iterdir())]
