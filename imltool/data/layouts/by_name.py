"""Data sets whose files are told apart by their names: every picture, its mask and authentic pictures."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from imltool.data.layouts.common import Part, Reading, Sorting, assemble, inside, listing, nothing_found, read_by_name
from imltool.data.masks import MaskRule

EDGE_MASK = MaskRule(colour="green", threshold=32)
INVERTED = MaskRule(polarity="dark")
THREE_LEVELS = MaskRule(threshold=10)

COMOFOD = re.compile(r"(\d{2,3})_(?:([BM])|([FO])(?:_([A-Z]{2}\d+))?)")
GLIDE_FAKE = re.compile(r".*_val2017_(\d+)_up")
GLIDE_MASK = re.compile(r".+_(\d+)_mask")
FORGED = re.compile(r"forged_(jpeg\d+)")


def read_columbia(root: Path) -> Reading:
    """Columbia Uncompressed: 183 authentic and 180 spliced TIFF and BMP pictures of four cameras.

    `4cam_auth/`, `4cam_splc/`, and `4cam_splc/edgemask/NAME_edgemask.jpg`: colour JPEGs in which the host is red and
    the pasted region green, brighter along the seam. Pixels whose green exceeds red by more than 32 levels are tampered
    (our choice: at the seam the difference is near 0, and noise of the JPEG stays below it).
    """

    def part(file: PurePosixPath) -> Part | None:
        folders = [name.casefold() for name in file.parts[:-1]]
        if "edgemask" in folders or file.stem.endswith("_edgemask"):
            return "mask", file.stem.removesuffix("_edgemask")
        if "4cam_splc" in folders:
            return "tampered", file.stem
        return ("authentic", "") if "4cam_auth" in folders else None

    expected = "the folders 4cam_splc/ (with edgemask/ in it) and 4cam_auth/"
    return read_by_name(root, "columbia", expected, part, kind="splice", rule=EDGE_MASK)


def read_comofod(root: Path) -> Reading:
    """CoMoFoD: 200 sets of 512×512 (three digits) or 60 of 3000×2000 (two digits), each in 25 variants.

    `001_F.png` forged, `001_B.png` its binary mask, `001_O.png` original, `001_M.png` a coloured mask. Names of
    post-processed pictures have a further mark: `001_F_JC1.jpg` is forged and JPEG-compressed, `001_O_NA2.png` is
    original with noise (JC, IB, NA, BC, CR, CA and a digit). The mark is the split of a picture; `base` is the split of
    an unprocessed one.
    """

    def part(file: PurePosixPath) -> Part | None:
        name = COMOFOD.fullmatch(file.stem)
        if name is None:
            return None
        role = {"B": "mask", "M": "ignored", "F": "tampered", "O": "authentic"}[name[2] or name[3]]
        return role, name[1]

    def variant(file: str) -> str | None:
        name = COMOFOD.fullmatch(Path(file).stem)
        return (name[4] or "base") if name else None

    return read_by_name(root, "comofod", "001_F.png, 001_B.png and 001_O.png", part, kind="copymove", split=variant)


def read_coverage(root: Path) -> Reading:
    """COVERAGE: 100 authentic and 100 copy-move TIFFs; nine masks have another size than their picture.

    `image/1.tif` authentic, `image/1t.tif` its copy-move, `mask/1forged.tif` the pasted region. `mask/1copy.tif` and
    `mask/1paste.tif`, the copied object and a similar but genuine one, are not tampered.
    """

    def part(file: PurePosixPath) -> Part | None:
        name = re.fullmatch(r"(\d+)(forged|copy|paste)" if inside(file) == "mask" else r"(\d+)(t?)", file.stem)
        if name is None or inside(file) not in ("image", "mask"):
            return None
        return {"forged": "mask", "t": "tampered", "": "authentic"}.get(name[2], "ignored"), name[1]

    return read_by_name(root, "coverage", "image/1.tif, image/1t.tif and mask/1forged.tif", part, kind="copymove")


def read_dso1(root: Path) -> Reading:
    """DSO-1: 100 splices of people and 100 normal PNGs; in its masks black is tampered.

    `DSO-1/splicing-01.png`, `DSO-1/normal-01.png`, and `DSO-1-Fake-Images-Masks/splicing-01.png`; or the folders
    `images` and `masks`, to which a common download script renames them.
    """

    def part(file: PurePosixPath) -> Part | None:
        spliced, picture = file.stem.startswith("splicing-"), inside(file) in ("dso-1", "images")
        if spliced and inside(file) in ("dso-1-fake-images-masks", "masks"):
            return "mask", file.stem
        if spliced and picture:
            return "tampered", file.stem
        return ("authentic", "") if picture and file.stem.startswith("normal-") else None

    expected = "DSO-1/splicing-01.png, DSO-1/normal-01.png, DSO-1-Fake-Images-Masks/"
    return read_by_name(root, "dso1", expected, part, kind="splice", rule=INVERTED)


def read_imd2020(root: Path) -> Reading:
    """IMD2020, real-life part: 414 originals and 2,010 manipulations; the mask of `z14/00030_fake` has another size.

    A folder per scene with `ID_orig.jpg`, `NAME_0.jpg` or `.png`, and `NAME_0_mask.png`.
    """

    def part(file: PurePosixPath) -> Part | None:
        if len(file.parts) < 2:
            return None
        if file.stem.endswith("_mask"):
            return "mask", str(file.with_name(file.stem.removesuffix("_mask")))
        return ("authentic", "") if file.stem.endswith("_orig") else ("tampered", str(file.with_suffix("")))

    expected = "a folder per scene with …_orig.jpg, …_0.jpg or .png, and …_0_mask.png"
    return read_by_name(root, "imd2020", expected, part, needed=("mask", "authentic"))


def read_inthewild(root: Path) -> Reading:
    """In-the-Wild (Huh and others): 201 splices collected from the web, distributed as `label_in_wild/`.

    `images/2251.jpg` and `masks/2251.png`; every picture is tampered.
    """

    def part(file: PurePosixPath) -> Part | None:
        role = {"images": "tampered", "masks": "mask"}.get(inside(file))
        return (role, file.stem) if role else None

    return read_by_name(root, "inthewild", "images/2251.jpg and masks/2251.png", part, kind="splice")


def read_korus(root: Path) -> Reading:
    """Realistic Tampering (Korus and Huang): 220 tampered and 220 pristine TIFFs of 1920×1080 from four cameras.

    A folder per camera with `tampered-realistic`, `pristine` and `ground-truth`. The masks have three levels: black for
    authentic, white for changes of the meaning, and grey for other pixels that the forger changed. The set's readme
    counts grey as tampered in a standard evaluation; so does the threshold of 10 here.
    """

    def part(file: PurePosixPath) -> Part | None:
        role = {"ground-truth": "mask", "tampered-realistic": "tampered", "pristine": "authentic"}.get(inside(file))
        return (role, str(file.parent.parent / file.stem)) if role else None  # names repeat between cameras

    expected = "CAMERA/tampered-realistic/, CAMERA/pristine/ and CAMERA/ground-truth/"
    return read_by_name(root, "korus", expected, part, rule=THREE_LEVELS)


def read_cocoglide(root: Path) -> Reading:
    """CocoGlide: 512 pictures each in `real/` and `fake/`, paired with `mask/` by the COCO number in the names.

    `fake/glide_inpainting_val2017_114871_up.png`, `mask/dining table_114871_mask.png`, `real/dining table_114871.png`.
    """

    def part(file: PurePosixPath) -> Part | None:
        if inside(file) == "fake" and (fake := GLIDE_FAKE.fullmatch(file.stem)):
            return "tampered", fake[1]
        if inside(file) == "mask" and (mask := GLIDE_MASK.fullmatch(file.stem)):
            return "mask", mask[1]
        return ("authentic", "") if inside(file) == "real" else None

    expected = "fake/glide_inpainting_val2017_NUMBER_up.png, mask/NAME_NUMBER_mask.png, real/"
    return read_by_name(root, "cocoglide", expected, part, kind="inpainting")


def read_autosplice(root: Path) -> Reading:
    """AutoSplice: 3,621 forged pictures in three JPEG qualities (the splits jpeg100, jpeg90, jpeg75), 2,273 authentic.

    The mask of `Forged_JPEG100/56635_0.jpg` is `Mask/56635_0_mask.png`, or `Mask/56635_mask.png` for all forgeries of
    the picture 56635.
    """
    found = Sorting()
    masks: dict[str, str] = {}
    for file in listing(root):
        if inside(file) == "mask" and file.stem.endswith("_mask"):
            masks[file.stem.removesuffix("_mask")] = str(file)
        elif FORGED.fullmatch(inside(file)):
            # the picture's own name is its key: forgeries of the same photo are not duplicates
            found.tampered.append((file.stem, str(file)))
        else:
            found.add(file, ("authentic", "") if inside(file) == "authentic" else None)
    if not found.tampered and not found.authentic:
        nothing_found(root, "autosplice", "Authentic/, Forged_JPEG100/ (or 90, 75) and Mask/NUMBER_mask.png")
    of_stem: dict[str, str] = {}
    for stem, _ in found.tampered:
        own = stem if stem in masks else stem.partition("_")[0]
        if own in masks:
            of_stem[stem] = masks[own]
    used = set(of_stem.values())
    found.masks = [*of_stem.items(), *((stem, mask) for stem, mask in masks.items() if mask not in used)]

    def quality(file: str) -> str | None:
        forged = FORGED.fullmatch(inside(PurePosixPath(file)))
        return forged[1] if forged else None

    return assemble(found, "autosplice", lambda file: "inpainting", quality)
