"""Columbia Uncompressed: `4cam_auth/`, `4cam_splc/`, and `4cam_splc/edgemask/NAME_edgemask.jpg` in red and green.

The edge masks are colour JPEGs in which the host is red and the pasted region green, brighter along the seam. Pixels
whose green exceeds red by more than 32 levels are tampered (our choice: at the seam the difference is near 0, and noise
of the JPEG stays below it).
"""

from __future__ import annotations

from pathlib import Path

from imltool.data.layouts.common import Reading, Sorting, assemble, folders, listing, nothing_found
from imltool.data.masks import MaskRule

EDGE_MASK = MaskRule(colour="green", threshold=32)


def read_columbia(root: Path) -> Reading:
    """Columbia Uncompressed: 183 authentic and 180 spliced TIFF and BMP pictures of four cameras."""
    found = Sorting()
    for file in listing(root):
        inside = folders(file)
        if "edgemask" in inside or file.stem.endswith("_edgemask"):
            found.masks.append((file.stem.removesuffix("_edgemask"), str(file)))
        elif "4cam_splc" in inside:
            found.tampered.append((file.stem, str(file)))
        elif "4cam_auth" in inside:
            found.authentic.append(str(file))
        else:
            found.unknown.append(str(file))
    if not found.tampered and not found.authentic:
        nothing_found(root, "columbia", "the folders 4cam_splc/ (with edgemask/ in it) and 4cam_auth/")
    return assemble(found, "columbia", lambda file: "splice", rule=EDGE_MASK)
