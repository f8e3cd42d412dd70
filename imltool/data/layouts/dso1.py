"""DSO-1: `DSO-1/splicing-01.png`, `DSO-1/normal-01.png`, and `DSO-1-Fake-Images-Masks/splicing-01.png`, inverted."""

from __future__ import annotations

from pathlib import Path

from imltool.data.layouts.common import Reading, Sorting, assemble, folders, listing, nothing_found
from imltool.data.masks import MaskRule

PICTURES, MASKS = ("dso-1", "images"), ("dso-1-fake-images-masks", "masks")
"""Folder names as distributed, and as renamed by a common download script."""

INVERTED = MaskRule(polarity="dark")


def read_dso1(root: Path) -> Reading:
    """DSO-1: 100 splices of people and 100 normal PNGs; in its masks black is tampered."""
    found = Sorting()
    for file in listing(root):
        inside = folders(file)[-1] if len(file.parts) > 1 else ""
        spliced = file.stem.startswith("splicing-")
        if spliced and inside in MASKS:
            found.masks.append((file.stem, str(file)))
        elif spliced and inside in PICTURES:
            found.tampered.append((file.stem, str(file)))
        elif file.stem.startswith("normal-") and inside in PICTURES:
            found.authentic.append(str(file))
        else:
            found.unknown.append(str(file))
    if not found.tampered and not found.authentic:
        nothing_found(root, "dso1", "DSO-1/splicing-01.png, DSO-1/normal-01.png, DSO-1-Fake-Images-Masks/")
    return assemble(found, "dso1", lambda file: "splice", rule=INVERTED)
