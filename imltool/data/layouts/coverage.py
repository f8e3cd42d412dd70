"""COVERAGE: `image/1.tif` authentic, `image/1t.tif` its copy-move, `mask/1forged.tif` the pasted region."""

from __future__ import annotations

import re
from pathlib import Path

from imltool.data.layouts.common import Reading, Sorting, assemble, folders, listing, nothing_found

OTHER_MASK = re.compile(r"\d+(copy|paste)")
"""Masks of the copied object and of a similar but genuine one, which are not tampered."""


def read_coverage(root: Path) -> Reading:
    """COVERAGE: 100 authentic and 100 copy-move TIFFs; nine masks have another size than their picture."""
    found = Sorting()
    for file in listing(root):
        inside = folders(file)[-1:]
        if inside == ("mask",) and (mask := re.fullmatch(r"(\d+)forged", file.stem)):
            found.masks.append((mask[1], str(file)))
        elif inside == ("image",) and (picture := re.fullmatch(r"(\d+)t", file.stem)):
            found.tampered.append((picture[1], str(file)))
        elif inside == ("image",) and file.stem.isdigit():
            found.authentic.append(str(file))
        elif not (inside == ("mask",) and OTHER_MASK.fullmatch(file.stem)):
            found.unknown.append(str(file))
    if not found.tampered and not found.authentic:
        nothing_found(root, "coverage", "image/1.tif, image/1t.tif and mask/1forged.tif")
    return assemble(found, "coverage", lambda file: "copymove")
