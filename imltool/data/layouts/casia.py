"""CASIA v1 and v2, distinguished by their file names, which may be anywhere below the root.

v1: `Au_ani_0001.jpg`, `Sp_D_CNN_A_ani0049_ani0084_0266.jpg`; v2: `Au_ani_00001.jpg` (also BMP),
`Tp_D_CRN_S_N_nat00033_cha00086_11502.jpg` (also TIFF). The letter after the prefix is D (different pictures: a
splice) or S (same picture: a copy-move). Masks have the picture's stem and `_gt`; they are distributed separately, in
their own folders.
"""

from __future__ import annotations

import re
from pathlib import Path

from imltool.data.layouts.common import Problem, Reading, Sorting, assemble, listing, nothing_found
from imltool.data.manifest import Kind

KINDS: dict[str, Kind] = {"D": "splice", "S": "copymove"}


def read_casia1(root: Path) -> Reading:
    """CASIA v1: 800 authentic and 921 tampered JPEGs; one tampered picture has no mask, one mask is transposed."""
    return _read(root, "casia1", "Sp", 4)


def read_casia2(root: Path) -> Reading:
    """CASIA v2: 7,491 authentic and 5,123 tampered pictures; names and 17 mask sizes have known faults."""
    return _read(root, "casia2", "Tp", 5)


def _read(root: Path, layout: str, prefix: str, digits: int) -> Reading:
    tampered = re.compile(rf"{prefix}_([DS])_.+")
    authentic = re.compile(rf"Au_[a-z]+_\d{{{digits}}}")
    truth = re.compile(rf"({prefix}_[DS]_.+)_gt(\d*)")
    found = Sorting()
    notes = []
    for file in listing(root):
        if mask := truth.fullmatch(file.stem):
            found.add(file, ("mask", mask[1]))
            if mask[2]:
                notes.append(Problem("misspelt", str(file), f"is read as the mask {mask[1]}_gt", fault=False))
        elif tampered.fullmatch(file.stem) and not file.stem.endswith("_combine"):
            found.add(file, ("tampered", file.stem))
        else:
            found.add(file, ("authentic", "") if authentic.fullmatch(file.stem) else None)
    if not found.tampered and not found.authentic:
        nothing_found(root, layout, f"pictures named {prefix}_D_….jpg, Au_ani_{'1'.zfill(digits)}.jpg, masks …_gt.png")
    reading = assemble(found, layout, lambda file: KINDS[Path(file).name.split("_")[1]])
    reading.problems += notes
    return reading
