"""Realistic Tampering (Korus and Huang): a folder per camera with `tampered-realistic`, `pristine` and `ground-truth`.

The masks have three levels: black for authentic, white for changes of the meaning, and grey for other pixels that the
forger changed. The set's readme counts grey as tampered in a standard evaluation; so does the threshold of 10 here.
"""

from __future__ import annotations

from pathlib import Path

from imltool.data.layouts.common import Reading, Sorting, assemble, folders, listing, nothing_found
from imltool.data.masks import MaskRule

THREE_LEVELS = MaskRule(threshold=10)


def read_korus(root: Path) -> Reading:
    """Realistic Tampering: 220 tampered and 220 pristine TIFFs of 1920×1080 from four cameras."""
    found = Sorting()
    for file in listing(root):
        inside = folders(file)[-1] if len(file.parts) > 1 else ""
        key = str(file.parent.parent / file.stem)  # names repeat between cameras
        if inside == "ground-truth":
            found.masks.append((key, str(file)))
        elif inside == "tampered-realistic":
            found.tampered.append((key, str(file)))
        elif inside == "pristine":
            found.authentic.append(str(file))
        else:
            found.unknown.append(str(file))
    if not found.tampered and not found.authentic:
        nothing_found(root, "korus", "CAMERA/tampered-realistic/, CAMERA/pristine/ and CAMERA/ground-truth/")
    return assemble(found, "korus", lambda file: None, rule=THREE_LEVELS)
