"""Trivial cues that predict the labels of synthetic forgeries, compared with real forgeries.

Usage: python benchmarks/shortcuts.py PHOTOS [IMAGES:MASKS] [--count N] [--real IMAGES MASKS] [--authentic FOLDER]

AUC 0.5: the cue is uninformative. First tampered against authentic pictures by cues of the picture, then true masks
against misplaced masks by cues of the region, for all kinds and for each. `together` is a
cross-validated logistic regression on all cues. One star marks a cue that separates ours by 0.15 AUC more than real
forgeries, two stars one with an AUC above 0.9 or below 0.1 on ours.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from shortcut_cues import Cues, Judged, compare_regions, cue_aucs, joint_auc, picture_cues, stronger

from imltool.data.folder import pair_by_stem
from imltool.files import walk_images
from imltool.pictures.images import read_mask, read_rgb
from imltool.synth.forge import Forge, sample_rng
from imltool.synth.kinds import KINDS
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool


def synthetic(forge: Forge, count: int, seed: int, kind: str | None) -> list[Judged]:
    made = [forge.make(sample_rng(seed, index), kind) for index in range(count)]
    return [Judged(one.image, one.mask, one.file, one.record["host"], one.kind) for one in made]


def real(path: Path, mask: Path | None) -> Judged:
    rgb = read_rgb(path)
    marked = np.zeros(rgb.shape[:2], bool) if mask is None else read_mask(mask, (rgb.shape[1], rgb.shape[0]))
    jpeg = path.read_bytes() if path.suffix.lower() in {".jpg", ".jpeg"} else None
    return Judged(rgb, marked, jpeg, path.stem)


def table(columns: dict[str, Cues]) -> None:
    """A Markdown table of AUCs; the first column is ours, a column named `real` is the reference."""
    ours, theirs = next(iter(columns.values())), columns.get("real")
    bold = stronger(ours, theirs) if theirs else []
    print("| cue | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for cue in ours:
        star = "**" if abs(ours[cue] - 0.5) > 0.4 else "*" if cue in bold else ""
        print(
            f"| {cue}{star} | "
            + " | ".join(f"{column.get(cue, float('nan')):.3f}" for column in columns.values())
            + " |"
        )
    print()


def whole(tampered: list[Judged], authentic: list[Judged]) -> Cues:
    sides = [picture_cues(item) for item in tampered], [picture_cues(item) for item in authentic]
    groups = [item.group for item in tampered], [item.group for item in authentic]
    return cue_aucs(*sides) | {"together": joint_auc(*sides, groups)}


def regions(items: list[Judged], together: bool = True) -> Cues:
    true, false, kept = compare_regions(items)
    groups = [item.group for item in kept]
    return cue_aucs(true, false) | ({"together": joint_auc(true, false, (groups, groups))} if together else {})


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photos", type=Path)
parser.add_argument("objects", nargs="*", help="IMAGES:MASKS")
parser.add_argument("--count", type=int, default=300)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--real", type=Path, nargs=2, metavar=("IMAGES", "MASKS"))
parser.add_argument("--authentic", type=Path, help="authentic pictures of the real set")
options = parser.parse_args()
cv2.setNumThreads(1)
pairs = [(Path(images), Path(masks)) for images, _, masks in (text.partition(":") for text in options.objects)]
forge = Forge(SynthSettings(), SourcePool.from_folders([options.photos], pairs))
tampered = synthetic(forge, options.count, options.seed, None)
authentic = synthetic(forge, options.count, options.seed + 1, "authentic")
found = [real(*pair) for pair in pair_by_stem(*options.real).pairs.items()] if options.real else []
found_authentic = [real(path, None) for path in walk_images(options.authentic)] if options.authentic else []

print(f"Tampered against authentic pictures: {len(tampered)} and {len(authentic)} synthetic", end="")
print(f", {len(found)} and {len(found_authentic)} real\n" if found and found_authentic else "\n")
table({"ours": whole(tampered, authentic)} | ({"real": whole(found, found_authentic)} if found_authentic else {}))
print("True masks against masks laid elsewhere\n")
columns = {"ours": regions(tampered)} | ({"real": regions(found)} if found else {})
each = max(40, options.count // 5)
columns |= {kind: regions(synthetic(forge, each, options.seed + 2, kind)) for kind in KINDS if kind != "authentic"}
table(columns)
if found:
    print("True masks of ours against those of real forgeries (how far apart the two worlds are)\n")
    ours, theirs = (compare_regions(items)[0] for items in (tampered, found))
    table({"ours against real": cue_aucs(ours, theirs)})
