"""In-the-Wild (Huh and others): `images/2251.jpg` and `masks/2251.png`; every picture is tampered."""

from __future__ import annotations

from pathlib import Path

from imltool.data.layouts.common import Reading, Sorting, assemble, folders, listing, nothing_found


def read_inthewild(root: Path) -> Reading:
    """In-the-Wild: 201 splices collected from the web, distributed as `label_in_wild/`."""
    found = Sorting()
    for file in listing(root):
        inside = folders(file)[-1:]
        if inside == ("images",):
            found.tampered.append((file.stem, str(file)))
        elif inside == ("masks",):
            found.masks.append((file.stem, str(file)))
        else:
            found.unknown.append(str(file))
    if not found.tampered:
        nothing_found(root, "inthewild", "images/2251.jpg and masks/2251.png")
    return assemble(found, "inthewild", lambda file: "splice")
