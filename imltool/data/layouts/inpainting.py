"""Sets whose forged regions a model generated: CocoGlide and AutoSplice."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from imltool.data.layouts.common import Reading, Sorting, assemble, folders, listing, nothing_found

GLIDE_FAKE = re.compile(r".*_val2017_(\d+)_up")
GLIDE_MASK = re.compile(r".+_(\d+)_mask")
FORGED = re.compile(r"forged_(jpeg\d+)")


def read_cocoglide(root: Path) -> Reading:
    """CocoGlide: 512 pictures each of `real/` and `fake/`, joined with `mask/` by the COCO number in the names.

    `fake/glide_inpainting_val2017_114871_up.png`, `mask/dining table_114871_mask.png`, `real/dining table_114871.png`.
    """
    found = Sorting()
    for file in listing(root):
        inside = folders(file)[-1:]
        if inside == ("fake",) and (fake := GLIDE_FAKE.fullmatch(file.stem)):
            found.tampered.append((fake[1], str(file)))
        elif inside == ("mask",) and (mask := GLIDE_MASK.fullmatch(file.stem)):
            found.masks.append((mask[1], str(file)))
        elif inside == ("real",):
            found.authentic.append(str(file))
        else:
            found.unknown.append(str(file))
    if not found.tampered and not found.authentic:
        nothing_found(
            root, "cocoglide", "fake/glide_inpainting_val2017_NUMBER_up.png, mask/NAME_NUMBER_mask.png, real/"
        )
    return assemble(found, "cocoglide", lambda file: "inpainting")


def read_autosplice(root: Path) -> Reading:
    """AutoSplice: 3,621 forged pictures in three JPEG qualities (the splits jpeg100, jpeg90, jpeg75), 2,273 authentic.

    `Forged_JPEG100/56635_0.jpg` has the mask `Mask/56635_0_mask.png`, or `Mask/56635_mask.png`, which then serves all
    forgeries of the picture 56635.
    """
    found = Sorting()
    masks, forged = {}, []
    for file in listing(root):
        inside = folders(file)[-1] if len(file.parts) > 1 else ""
        if inside == "mask" and file.stem.endswith("_mask"):
            masks[file.stem.removesuffix("_mask")] = str(file)
        elif FORGED.fullmatch(inside):
            forged.append(file)
        elif inside == "authentic":
            found.authentic.append(str(file))
        else:
            found.unknown.append(str(file))
    if not forged and not found.authentic:
        nothing_found(root, "autosplice", "Authentic/, Forged_JPEG100/ (or 90, 75) and Mask/NUMBER_mask.png")
    of_stem: dict[str, str] = {}
    for file in forged:
        # the picture's own name is its key: several forgeries of one photo are no double of each other
        found.tampered.append((file.stem, str(file)))
        own = file.stem if file.stem in masks else file.stem.partition("_")[0]
        if own in masks:
            of_stem[file.stem] = masks[own]
    found.masks += of_stem.items()
    used = set(of_stem.values())
    found.masks += [(stem, mask) for stem, mask in masks.items() if mask not in used]
    return assemble(found, "autosplice", lambda file: "inpainting", _quality)


def _quality(file: str) -> str | None:
    inside = folders(PurePosixPath(file))[-1]
    return forged[1] if (forged := FORGED.fullmatch(inside)) else None
