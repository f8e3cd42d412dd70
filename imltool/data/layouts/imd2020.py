"""IMD2020, real-life part: a folder per scene with `ID_orig.jpg`, `NAME_0.jpg` or `.png`, and `NAME_0_mask.png`."""

from __future__ import annotations

from pathlib import Path

from imltool.data.layouts.common import Reading, Sorting, assemble, listing, nothing_found


def read_imd2020(root: Path) -> Reading:
    """IMD2020: 414 originals and 2,010 manipulations of them; the mask of `z14/00030_fake` has another size."""
    found = Sorting()
    for file in listing(root):
        if len(file.parts) < 2:
            found.unknown.append(str(file))
        elif file.stem.endswith("_mask"):
            found.masks.append((str(file.with_name(file.stem.removesuffix("_mask"))), str(file)))
        elif file.stem.endswith("_orig"):
            found.authentic.append(str(file))
        else:
            found.tampered.append((str(file.with_suffix("")), str(file)))
    if not found.masks and not found.authentic:
        nothing_found(root, "imd2020", "a folder per scene with …_orig.jpg, …_0.jpg or .png, and …_0_mask.png")
    return assemble(found, "imd2020", lambda file: None)
