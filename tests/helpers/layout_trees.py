"""Small generated data sets in every published layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers.pictures import photo, write_rgb
from imltool.data.layouts import Problem

WIDTH, HEIGHT = 64, 48
TRUTH = np.zeros((HEIGHT, WIDTH), dtype=bool)
TRUTH[16:32, 16:48] = True
"""Aligned to the 16-pixel grid of a 4:2:0 JPEG, so that a colour mask is decoded exactly."""

BRIGHT = np.where(TRUTH, 255, 0).astype(np.uint8)


class Tree:
    """Files of a data set; all pictures differ."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seed = 0

    def picture(self, *names: str, width: int = WIDTH, height: int = HEIGHT) -> None:
        for name in names:
            self._seed += 1
            write_rgb(self.root / name, photo(self._seed, width, height))

    def mask(self, *names: str, values: NDArray[np.uint8] = BRIGHT) -> None:
        for name in names:
            write_rgb(self.root / name, values)


@dataclass
class Expected:
    """Image → (mask, kind, split) of the tampered pictures, image → split of the authentic ones."""

    tampered: Mapping[str, tuple[str, str | None, str | None]]
    authentic: Mapping[str, str | None] = field(default_factory=dict)


def casia1(tree: Tree) -> Expected:
    spliced, moved = "Sp_D_CNN_A_ani0049_ani0084_0266", "Sp_S_NNN_A_art0060_art0060_0205"
    tampered = [
        f"CASIA 1.0 dataset/Modified Tp/Tp/Sp/{spliced}.jpg",
        f"CASIA 1.0 dataset/Modified Tp/Tp/CM/{moved}.jpg",
    ]
    masks = [f"CASIA 1.0 groundtruth/Sp/{spliced}_gt.png", f"CASIA 1.0 groundtruth/CM/{moved}_gt.png"]
    tree.picture(*tampered, "CASIA 1.0 dataset/Au/Au_ani_0001.jpg")
    tree.mask(*masks)
    pairs = {tampered[0]: (masks[0], "splice", None), tampered[1]: (masks[1], "copymove", None)}
    return Expected(pairs, {"CASIA 1.0 dataset/Au/Au_ani_0001.jpg": None})


def casia2(tree: Tree) -> Expected:
    spliced, moved = "Tp_D_CRN_M_N_ani00100_ani10101_10089", "Tp_S_NRN_S_N_pla00005_pla00005_10937"
    tree.picture(f"Tp/{spliced}.tif", f"Tp/{moved}.jpg", "Au/Au_ani_00001.jpg", "Au/Au_ind_20003.bmp")
    tree.mask(f"CASIA 2 Groundtruth/{spliced}_gt.png", f"CASIA 2 Groundtruth/{moved}_gt.png")
    pairs = {
        f"Tp/{spliced}.tif": (f"CASIA 2 Groundtruth/{spliced}_gt.png", "splice", None),
        f"Tp/{moved}.jpg": (f"CASIA 2 Groundtruth/{moved}_gt.png", "copymove", None),
    }
    return Expected(pairs, {"Au/Au_ani_00001.jpg": None, "Au/Au_ind_20003.bmp": None})


def columbia(tree: Tree) -> Expected:
    paint = np.where(TRUTH[..., None], (0, 200, 0), (200, 0, 0)).astype(np.uint8)
    seam = np.zeros_like(TRUTH)
    seam[15:33, 15:49] = True
    seam[18:30, 18:46] = False
    paint = np.where(seam[..., None] & (paint > 0), 255, paint).astype(np.uint8)
    names = ["canong3_canonxt_sub_01", "nikond70_kodakdcs330_sub_26"]
    tree.picture(*(f"4cam_splc/{name}.tif" for name in names), "4cam_auth/canong3_02_sub_01.tif")
    tree.mask(*(f"4cam_splc/edgemask/{name}_edgemask.jpg" for name in names), values=paint)
    pairs: dict[str, tuple[str, str | None, str | None]] = {
        f"4cam_splc/{name}.tif": (f"4cam_splc/edgemask/{name}_edgemask.jpg", "splice", None) for name in names
    }
    return Expected(pairs, {"4cam_auth/canong3_02_sub_01.tif": None})


def coverage(tree: Tree) -> Expected:
    tree.picture("image/1.tif", "image/1t.tif", "image/10.tif", "image/10t.tif")
    tree.mask("mask/1forged.tif", "mask/10forged.tif")
    tree.mask("mask/1copy.tif", "mask/1paste.tif", "mask/10copy.tif", values=255 - BRIGHT)
    pairs = {f"image/{n}t.tif": (f"mask/{n}forged.tif", "copymove", None) for n in (1, 10)}
    return Expected(pairs, {"image/1.tif": None, "image/10.tif": None})


NIST_HEADER = (
    "TaskID|ProbeFileID|ProbeFileName|ProbeMaskFileName|IsTarget|BaseFileName|IsManipulationTypeSplice"
    "|IsManipulationTypeRemoval|IsManipulationTypeCopyClone\n"
)


def nist_row(probe: str, mask: str, flags: str, task: str = "manipulation") -> str:
    """`flags`: is target, splice, removal, copy-clone."""
    target, *kinds = list(flags)
    return "|".join([task, probe, f"probe/{probe}.jpg", mask, target, "world/NC2016_1.jpg", *kinds]) + "\n"


def nist16(tree: Tree) -> Expected:
    probes = ["NC2016_0128", "NC2016_6607", "NC2016_6438", "NC2016_0500", "NC2016_0600"]
    tree.picture(*(f"probe/{probe}.jpg" for probe in probes), "world/NC2016_1.jpg")
    tree.mask(
        "reference/manipulation/mask/NC2016_3942.png", "reference/removal/mask/NC2016_3891.png", values=255 - BRIGHT
    )
    tree.mask("reference/splice/mask/NC2016_1253.png", values=255 - BRIGHT)
    (tree.root / "reference/manipulation/NC2016-manipulation-ref.csv").write_text(
        NIST_HEADER
        + nist_row("NC2016_0128", "reference/manipulation/mask/NC2016_3942.png", "YYNY")
        + nist_row("NC2016_6607", "reference/manipulation/mask/NC2016_3891.png", "YNYN")  # the mask is in removal/
        + nist_row("NC2016_0500", "", "NNNN")
        + nist_row("NC2016_6438", "", "NNNN")
    )
    (tree.root / "reference/splice/NC2016-splice-ref.csv").write_text(
        NIST_HEADER
        + nist_row("NC2016_6438", "reference/splice/mask/NC2016_1253.png", "YNNN", "splice")
        + nist_row("NC2016_0128", "reference/splice/mask/NC2016_1253.png", "YYNN", "splice")  # the first mask is used
        + nist_row("NC2016_0600", "", "NNNN", "splice")
    )
    pairs = {
        "probe/NC2016_0128.jpg": ("reference/manipulation/mask/NC2016_3942.png", "mixed", None),
        "probe/NC2016_6607.jpg": ("reference/removal/mask/NC2016_3891.png", "removal", None),
        "probe/NC2016_6438.jpg": ("reference/splice/mask/NC2016_1253.png", "splice", None),
    }
    return Expected(pairs, {"probe/NC2016_0500.jpg": None, "probe/NC2016_0600.jpg": None})


def imd2020(tree: Tree) -> Expected:
    tree.picture("1a1ogs/1a1ogs_orig.jpg", "1a1ogs/c8tf5mq_0.png", "1a1ogs/c8tf5mr_0.jpg")
    tree.picture("z28/00065_orig.jpg", "z28/00065_fake.jpg")
    tree.mask("1a1ogs/c8tf5mq_0_mask.png", "1a1ogs/c8tf5mr_0_mask.png", "z28/00065_fake_mask.png")
    pairs = {
        "1a1ogs/c8tf5mq_0.png": ("1a1ogs/c8tf5mq_0_mask.png", None, None),
        "1a1ogs/c8tf5mr_0.jpg": ("1a1ogs/c8tf5mr_0_mask.png", None, None),
        "z28/00065_fake.jpg": ("z28/00065_fake_mask.png", None, None),
    }
    return Expected(pairs, {"1a1ogs/1a1ogs_orig.jpg": None, "z28/00065_orig.jpg": None})


def korus(tree: Tree) -> Expected:
    levels = BRIGHT.copy()
    levels[16:24, 16:48] = 127
    pairs: dict[str, tuple[str, str | None, str | None]] = {}
    authentic: dict[str, str | None] = {}
    for camera in ("Canon_60D", "Sony_A57"):  # the same name in both
        tree.picture(f"{camera}/tampered-realistic/DPP0012.TIF", f"{camera}/pristine/DPP0012.TIF")
        tree.mask(f"{camera}/ground-truth/DPP0012.PNG", values=levels)
        pairs[f"{camera}/tampered-realistic/DPP0012.TIF"] = (f"{camera}/ground-truth/DPP0012.PNG", None, None)
        authentic[f"{camera}/pristine/DPP0012.TIF"] = None
    return Expected(pairs, authentic)


def dso1(tree: Tree) -> Expected:
    tree.picture("DSO-1/splicing-01.png", "DSO-1/splicing-100.png", "DSO-1/normal-01.png")
    names = [f"DSO-1-Fake-Images-Masks/splicing-{n}.png" for n in ("01", "100")]
    tree.mask(*names, values=255 - BRIGHT)
    pairs = {f"DSO-1/{Path(name).name}": (name, "splice", None) for name in names}
    return Expected(dict(pairs), {"DSO-1/normal-01.png": None})


def inthewild(tree: Tree) -> Expected:
    tree.picture("label_in_wild/images/2251.jpg", "label_in_wild/images/2508.jpg")
    tree.mask("label_in_wild/masks/2251.png", "label_in_wild/masks/2508.png")
    return Expected(
        {f"label_in_wild/images/{n}.jpg": (f"label_in_wild/masks/{n}.png", "splice", None) for n in (2251, 2508)}
    )


def cocoglide(tree: Tree) -> Expected:
    tree.picture("fake/glide_inpainting_val2017_114871_up.png", "fake/glide_inpainting_val2017_73326_up.png")
    tree.picture("real/dining table_114871.png", "real/refrigerator_73326.png")
    tree.mask("mask/dining table_114871_mask.png", "mask/refrigerator_73326_mask.png")
    pairs = {
        "fake/glide_inpainting_val2017_114871_up.png": ("mask/dining table_114871_mask.png", "inpainting", None),
        "fake/glide_inpainting_val2017_73326_up.png": ("mask/refrigerator_73326_mask.png", "inpainting", None),
    }
    return Expected(dict(pairs), {"real/dining table_114871.png": None, "real/refrigerator_73326.png": None})


def autosplice(tree: Tree) -> Expected:
    tree.picture("Authentic/56635.jpg", "Forged_JPEG100/56635_0.jpg", "Forged_JPEG100/56635_1.jpg")
    tree.picture("Forged_JPEG75/56635_0.jpg", "Forged_JPEG100/56785_0.jpg", "Forged_JPEG100/56785_1.jpg")
    tree.mask("Mask/56635_mask.png", "Mask/56785_0_mask.png", "Mask/56785_mask.png")
    shared = "Mask/56635_mask.png"
    pairs = {
        "Forged_JPEG100/56635_0.jpg": (shared, "inpainting", "jpeg100"),
        "Forged_JPEG100/56635_1.jpg": (shared, "inpainting", "jpeg100"),
        "Forged_JPEG75/56635_0.jpg": (shared, "inpainting", "jpeg75"),
        "Forged_JPEG100/56785_0.jpg": ("Mask/56785_0_mask.png", "inpainting", "jpeg100"),
        "Forged_JPEG100/56785_1.jpg": ("Mask/56785_mask.png", "inpainting", "jpeg100"),
    }
    return Expected(dict(pairs), {"Authentic/56635.jpg": None})


def comofod(tree: Tree) -> Expected:
    tree.picture("001_F.png", "001_F_JC1.jpg", "001_F_NA3.png", "001_O.png", "001_O_JC1.jpg", "001_M.png")
    tree.mask("001_B.png")
    pairs = {
        "001_F.png": ("001_B.png", "copymove", "base"),
        "001_F_JC1.jpg": ("001_B.png", "copymove", "JC1"),
        "001_F_NA3.png": ("001_B.png", "copymove", "NA3"),
    }
    return Expected(dict(pairs), {"001_O.png": "base", "001_O_JC1.jpg": "JC1"})


def folder(tree: Tree) -> Expected:
    tree.picture("tampered/a.jpg", "tampered/deep/a.png", "authentic/b.jpg")
    tree.mask("masks/a.png", "masks/deep/a.png")
    pairs = {"tampered/a.jpg": ("masks/a.png", None, None), "tampered/deep/a.png": ("masks/deep/a.png", None, None)}
    return Expected(dict(pairs), {"authentic/b.jpg": None})


def imdlbenco(tree: Tree) -> Expected:
    tree.picture("Tp/6.jpg", "Au/8.jpg", "elsewhere/7.jpg")
    tree.mask("Gt/6.jpg.png", "elsewhere/7_mask.png")
    far = [str(tree.root / name) for name in ("elsewhere/7.jpg", "elsewhere/7_mask.png")]
    pairs = [["./Tp/6.jpg", "./Gt/6.jpg.png"], [far[0], far[1]], ["Au/8.jpg", "Negative"]]
    tree.root /= "list.json"
    tree.root.write_text(json.dumps(pairs))
    return Expected({"./Tp/6.jpg": ("./Gt/6.jpg.png", None, None), far[0]: (far[1], None, None)}, {"Au/8.jpg": None})


TREES: dict[str, Callable[[Tree], Expected]] = {
    "casia1": casia1,
    "casia2": casia2,
    "columbia": columbia,
    "coverage": coverage,
    "nist16": nist16,
    "imd2020": imd2020,
    "korus": korus,
    "dso1": dso1,
    "inthewild": inthewild,
    "cocoglide": cocoglide,
    "autosplice": autosplice,
    "comofod": comofod,
    "folder": folder,
    "imdlbenco": imdlbenco,
}


def make_tree(root: Path, layout: str) -> Tree:
    tree = Tree(root)
    root.mkdir(exist_ok=True)
    TREES[layout](tree)
    return tree


def messages_by_file(problems: list[Problem], kind: str | None = None) -> dict[str, str]:
    """File → message of the problems, or of those of one kind."""
    return {problem.file: problem.message for problem in problems if kind in (None, problem.kind)}
