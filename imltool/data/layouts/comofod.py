"""CoMoFoD: `001_F.png` forged, `001_B.png` its binary mask, `001_O.png` original, `001_M.png` a coloured mask.

Names of post-processed pictures have a further mark: `001_F_JC1.jpg` is forged and JPEG-compressed, `001_O_NA2.png` is
original with noise (JC, IB, NA, BC, CR, CA and a digit). The mark is the split of a picture; `base` is the split of an
unprocessed one.
"""

from __future__ import annotations

import re
from pathlib import Path

from imltool.data.layouts.common import Reading, Sorting, assemble, listing, nothing_found

NAME = re.compile(r"(\d{2,3})_(?:([BM])|([FO])(?:_([A-Z]{2}\d+))?)")


def read_comofod(root: Path) -> Reading:
    """CoMoFoD: 200 sets of 512×512 (three digits) or 60 of 3000×2000 (two digits), each in 25 variants."""
    found = Sorting()
    for file in listing(root):
        name = NAME.fullmatch(file.stem)
        if name is None:
            found.unknown.append(str(file))
        elif name[2] == "B":
            found.masks.append((name[1], str(file)))
        elif name[3] == "F":
            found.tampered.append((name[1], str(file)))
        elif name[3] == "O":
            found.authentic.append(str(file))
    if not found.tampered and not found.authentic:
        nothing_found(root, "comofod", "001_F.png, 001_B.png and 001_O.png")
    return assemble(found, "comofod", lambda file: "copymove", _variant)


def _variant(file: str) -> str | None:
    name = NAME.fullmatch(Path(file).stem)
    return (name[4] or "base") if name else None
