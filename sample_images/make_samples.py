"""Make the pictures of this folder again from their sources (see LICENSES.md for where each comes from).

Usage: python sample_images/make_samples.py SOURCES OUT

SOURCES is a flat folder with the original files under their original names; OUT gets `splices/` and `copymoves/`.
Outlines were drawn by hand on the scaled pictures (x, y in pixels of the long side given) and refined by GrabCut.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from imltool.data.boxes import BoxedImage, write_coco
from imltool.data.layouts.coarse import coarse_boxes
from imltool.files import atomic
from imltool.pictures.images import RGB, Mask, encode_jpeg, encode_png, read_rgb, write_mask
from imltool.pictures.pixels import jpeg
from imltool.synth.blending import alpha_paste, match_colour, poisson_paste
from imltool.synth.regions import Piece, bounds, cut, transform

Points = list[tuple[int, int]]

BIRD: Points = [
    (199, 395), (215, 394), (290, 404), (345, 418), (362, 424), (368, 408), (378, 396), (392, 390), (412, 389),
    (430, 396), (441, 405), (460, 385), (485, 366), (512, 350), (522, 352), (512, 368), (490, 385), (462, 408),
    (441, 428), (444, 455), (442, 480), (434, 500), (418, 510), (385, 512), (364, 508), (354, 492), (324, 486),
    (325, 474), (344, 466), (356, 448), (300, 448), (270, 441), (215, 413),
]  # fmt: skip
FIG: Points = [
    (330, 243), (352, 240), (380, 238), (400, 222), (430, 203), (470, 194), (505, 197), (535, 213), (555, 245),
    (560, 280), (556, 330), (535, 370), (510, 398), (478, 405), (445, 398), (415, 372), (392, 335), (378, 290),
    (374, 272), (355, 268), (332, 263),
]  # fmt: skip
DRUM: Points = [
    (18, 570), (30, 556), (60, 548), (112, 552), (150, 500), (205, 450), (235, 438), (275, 436), (310, 450),
    (345, 478), (370, 520), (376, 545), (405, 548), (432, 565), (455, 610), (470, 660), (474, 740), (462, 780),
    (440, 820), (410, 855), (380, 868), (320, 878), (200, 870), (80, 858), (45, 838), (28, 800), (30, 730),
    (40, 665), (42, 655), (22, 630), (17, 600),
]  # fmt: skip
PINE: Points = [
    (746, 264), (756, 284), (766, 300), (776, 316), (786, 330), (791, 346), (784, 372), (768, 398), (752, 420),
    (742, 446), (728, 462), (706, 462), (692, 440), (698, 400), (706, 380), (704, 356), (712, 340), (716, 318),
    (726, 300), (736, 282),
]  # fmt: skip
DANDELION: Points = [
    (275, 48), (330, 55), (380, 80), (410, 115), (430, 160), (436, 205), (420, 240), (395, 270), (360, 290),
    (310, 300), (298, 306), (296, 400), (296, 540), (266, 540), (272, 400), (274, 306), (235, 296), (190, 280),
    (150, 250), (128, 205), (130, 160), (145, 110), (180, 70), (225, 50),
]  # fmt: skip
DOG: Points = [
    (290, 420), (305, 406), (335, 400), (360, 408), (372, 424), (380, 440), (394, 462), (402, 500), (398, 530),
    (384, 546), (368, 546), (362, 520), (350, 518), (336, 528), (330, 548), (348, 568), (348, 586), (330, 592),
    (312, 584), (302, 560), (296, 530), (284, 500), (280, 470), (284, 440),
]  # fmt: skip
ROCKET: Points = [
    (321, 110), (328, 120), (331, 135), (331, 172), (334, 180), (334, 340), (344, 370), (344, 404), (300, 404),
    (300, 370), (308, 340), (308, 180), (311, 172), (311, 135), (314, 120),
]  # fmt: skip
BOULDER: Points = [(832, 728), (905, 722), (912, 795), (836, 800)]
HOUR_MARK: Points = [(384, 322), (452, 342), (456, 378), (366, 464), (322, 440), (384, 372)]


def load(sources: Path, name: str, side: int) -> RGB:
    """A source picture with a long side of `side` pixels."""
    rgb = read_rgb(sources / name)
    factor = side / max(rgb.shape[:2])
    if factor == 1.0:
        return rgb
    size = round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def outline(rgb: RGB, points: Points, refine: int = 6) -> Mask:
    """The object inside a polygon; GrabCut decides within `refine` pixels of its edge (0: the polygon as it is)."""
    drawn = np.zeros(rgb.shape[:2], np.uint8)
    cv2.fillPoly(drawn, [np.array(points, np.int32)], 1)
    if refine == 0:
        return drawn > 0
    kernel = np.ones((2 * refine + 1, 2 * refine + 1), np.uint8)
    state = np.full(drawn.shape, cv2.GC_BGD, np.uint8)
    state[cv2.dilate(drawn, kernel[: refine + 1, : refine + 1]) > 0] = cv2.GC_PR_BGD
    state[drawn > 0] = cv2.GC_PR_FGD
    state[cv2.erode(drawn, kernel) > 0] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(rgb, state, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.medianBlur(found, 5)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    return labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def paste(
    host: RGB,
    donor: RGB,
    shape: Mask,
    at: tuple[int, int],
    scale: float = 1.0,
    degrees: float = 0.0,
    flip: bool = False,
    feather: float = 0.8,
    colour: float = 0.0,
) -> tuple[RGB, Mask]:
    """Paste an object with its top-left corner at `at`; `colour` moves its colours towards those around it."""
    piece = transform(cut(donor, shape), scale, degrees, flip)
    tall, wide = piece.shape.shape
    x, y = at
    around = host[max(0, y) : y + tall, max(0, x) : x + wide]
    piece = Piece(match_colour(piece.rgb, piece.shape, around, colour), piece.shape)
    return alpha_paste(host, piece, x, y, feather)


def cover(host: RGB, region: Mask, offset: tuple[int, int]) -> tuple[RGB, Mask]:
    """Hide a region under a patch of the same picture, taken at `offset` (dx, dy) from it."""
    x1, y1, x2, y2 = bounds(region)
    dx, dy = offset
    patch = Piece(np.ascontiguousarray(host[y1 + dy : y2 + dy, x1 + dx : x2 + dx]), region[y1:y2, x1:x2])
    return poisson_paste(host, patch, x1, y1) or alpha_paste(host, patch, x1, y1, 2.0)


def splices(sources: Path) -> dict[str, tuple[RGB, Mask]]:
    """Name → (edited picture before its last save, mask): four splices and two removals."""
    bird = jpeg(load(sources, "free_by_Peter_Nerlich.jpg", 800), 80, 2)
    fig = jpeg(load(sources, "Picture_0B_by_freespace.jpg", 800), 82, 2)
    room = jpeg(load(sources, "Wine_by_Jakkub_Mede.jpg", 900), 85, 0)
    hill = jpeg(load(sources, "aitzgorri_by_Aitzol_Berasategi.jpg", 1000), 88, 2)
    estuary = jpeg(load(sources, "Bridge_by_Sander_Klootwijk.jpg", 960), 93, 2)
    coffee = jpeg(load(sources, "coffee.png", 600), 92, 0)
    tower = load(sources, "china.jpg", 640)
    peaks = jpeg(load(sources, "picosdeeuropa_by_Aitzol_Berasategi.jpg", 1100), 90, 2)
    clock = jpeg(load(sources, "greentock_by_Peter_Nerlich.jpg", 720), 90, 2)
    return {
        "estuary_bird.jpg": paste(estuary, bird, outline(bird, BIRD), (170, 150), 0.62, 8.0, colour=0.15),
        "coffee_fig.jpg": paste(coffee, fig, outline(fig, FIG), (478, 268), 0.46, -20.0, colour=0.25),
        "meadow_drum.jpg": paste(hill, room, outline(room, DRUM), (420, 395), 0.46, colour=0.1),
        "pagoda_pine.jpg": paste(tower, hill, outline(hill, PINE), (448, 212), 1.0),
        "mountain_boulder_removed.jpg": cover(peaks, outline(peaks, BOULDER, 0), (-130, 5)),
        "clock_mark_removed.jpg": cover(clock, outline(clock, HOUR_MARK, 0), (-120, -75)),
    }


def copymoves(sources: Path) -> dict[str, tuple[RGB, Mask]]:
    """Name → (edited picture before its last save, mask): an object of the picture copied within it."""
    dogs = jpeg(load(sources, "friends_by_Aitzol_Berasategi.jpg", 900), 92, 2)
    field = jpeg(load(sources, "seeding_by_Clements_Engelhardt.jpg", 960), 90, 2)
    bowl = load(sources, "Picture_0B_by_freespace.jpg", 800)
    lamp = jpeg(load(sources, "free_by_Peter_Nerlich.jpg", 800), 88, 0)
    pad = load(sources, "rocket.jpg", 640)
    return {
        "window_dog.jpg": paste(dogs, dogs, outline(dogs, DOG), (128, 398)),
        "dandelion.jpg": paste(field, field, outline(field, DANDELION, 3), (600, 226), 0.64, flip=True, feather=1.5),
        "fig.png": paste(bowl, bowl, outline(bowl, FIG), (600, 150), 0.62, 150.0),
        "lamp_bird.jpg": paste(lamp, lamp, outline(lamp, BIRD), (545, 360), 0.7, flip=True),
        "rocket.jpg": paste(pad, pad, outline(pad, ROCKET, 3), (376, 118)),
    }


AUTHENTIC: dict[str, dict[str, tuple[str, int]]] = {
    "splices": {
        "cat.jpg": ("chelsea.png", 451),
        "stream.jpg": ("life_by_Aitzol_Berasategi.jpg", 1200),
        "sunset.jpg": ("sunset_by_Aitzol_Berasategi.jpg", 1000),
        "brushes.jpg": ("Picture_1A_by_freespace.jpg", 700),
        "dahlia.jpg": ("flower.jpg", 640),
    },
    "copymoves": {
        "room.jpg": ("Wine_by_Jakkub_Mede.jpg", 900),
        "leaves.jpg": ("Dragonfly_by_Bolly.jpg", 960),
        "astronaut.png": ("astronaut.png", 512),
        "pagoda.jpg": ("china.jpg", 384),
        "nuthatch.jpg": ("Kleiber_by_Lukas_Baubkus.jpg", 900),
    },
}
TURNED = {"window_dog.jpg": 6, "room.jpg": 8}
"""Portraits stored lying on their side, with the EXIF orientation that sets them upright."""


def save(path: Path, rgb: RGB, quality: int) -> None:
    if path.suffix == ".png":
        data = encode_png(rgb)
    elif path.name in TURNED:
        orientation = TURNED[path.name]
        picture = Image.fromarray(np.ascontiguousarray(np.rot90(rgb, 1 if orientation == 6 else -1)))
        exif = Image.Exif()
        exif[0x0112] = orientation
        with atomic(path) as temporary:
            picture.save(temporary, "JPEG", quality=quality, subsampling=2, exif=exif)
        return
    else:
        data = encode_jpeg(rgb, quality, 2)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def main(sources: Path, out: Path) -> None:
    rng = np.random.default_rng(2)
    for name, made in {"splices": splices(sources), "copymoves": copymoves(sources)}.items():
        entries = []
        for file, (rgb, mask) in made.items():
            save(out / name / "tampered" / file, rgb, int(rng.integers(80, 94)))
            write_mask(out / name / "masks" / f"{Path(file).stem}.png", mask)
            boxes = coarse_boxes(rng, mask, (-0.05, 0.15))
            entries.append(BoxedImage(file, tuple(boxes), (rgb.shape[1], rgb.shape[0])))
        write_coco(out / name / "boxes.json", entries)
        for file, (source, side) in AUTHENTIC[name].items():
            save(out / name / "authentic" / file, load(sources, source, side), int(rng.integers(80, 94)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
