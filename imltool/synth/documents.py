"""Scanned documents with words and digits copied, spliced, retyped or erased, and unchanged pages."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from imltool.pictures.images import RGB
from imltool.pictures.pixels import jpeg
from imltool.synth.edit import Edit, Host, nothing
from imltool.synth.history import Before, add_noise, draw_quality, earlier, log_uniform
from imltool.synth.records import Box, Record
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

FONTS = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "DejaVuSans-Bold", "DejaVuSansMono-Bold", "cmr10", "cmtt10")
"""Fonts that come with matplotlib."""
WORDS = (
    *("TOTAL", "CASH", "CHANGE", "TAX", "INVOICE", "NO", "DATE", "QTY", "AMOUNT", "ITEM", "RM", "GST", "SUBTOTAL"),
    *("THANK", "YOU", "DISCOUNT", "CARD", "MEMBER", "Tel", "Fax", "Price", "Street", "Road", "Branch", "Account"),
    *("Balance", "Paid", "Received", "Name", "Address", "Signature", "Reference", "Office"),
)
ACTIONS = ("copy", "splice", "retype", "erase")


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def _token(rng: np.random.Generator) -> str:
    """Draw a word, an amount, a date or a number."""
    kind = int(rng.integers(5))
    if kind < 2:
        return str(rng.choice(WORDS))
    if kind == 2:
        return f"{rng.integers(0, 400)}.{rng.integers(0, 100):02d}"
    if kind == 3:
        return f"{rng.integers(1, 29):02d}/{rng.integers(1, 13):02d}/{rng.integers(2008, 2026)}"
    return str(rng.integers(10, 10 ** int(rng.integers(2, 9))))


def page(rng: np.random.Generator, width: int, height: int) -> RGB:
    """Render a receipt or letter as scanned, uint8 RGB [height,width,3]."""
    size = int(np.clip(width * rng.uniform(0.022, 0.042), 9, 64))
    name = str(rng.choice(FONTS))
    paper, ink = int(rng.integers(205, 253)), int(rng.integers(10, 110))
    image = Image.new("L", (width, height), paper)
    draw = ImageDraw.Draw(image)
    margin = int(width * rng.uniform(0.03, 0.12))
    y = int(height * rng.uniform(0.01, 0.05))
    while y < height - 2 * size:
        large = rng.random() < 0.06
        font = _font(name if rng.random() < 0.9 else str(rng.choice(FONTS)), int(size * (1.7 if large else 1.0)))
        if rng.random() < 0.85:
            left = " ".join(_token(rng) for _ in range(int(rng.integers(1, 5))))
            draw.text((margin, y), left, fill=ink, font=font)
            if rng.random() < 0.6:
                right = f"{rng.integers(0, 300)}.{rng.integers(0, 100):02d}"
                draw.text((width - margin - draw.textlength(right, font=font), y), right, fill=ink, font=font)
        elif rng.random() < 0.3:
            draw.line((margin, y + size // 2, width - margin, y + size // 2), fill=ink, width=max(1, size // 12))
        y += int(size * rng.uniform(1.15, 1.9) * (1.7 if large else 1.0))
    grey = np.asarray(image, dtype=np.float32)
    # light falls off over the page, ink is uneven, and the scan is neither perfectly sharp nor straight
    slope_x, slope_y = (float(value) for value in rng.uniform(-14, 14, 2))
    grey = grey + np.linspace(-slope_x, slope_x, width, dtype=np.float32)
    grey = grey + np.linspace(-slope_y, slope_y, height, dtype=np.float32)[:, None]
    coarse = rng.normal(0.0, 1.0, (max(2, height // 40), max(2, width // 40))).astype(np.float32)
    grey += float(rng.uniform(0, 5)) * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    angle = float(rng.normal(0.0, 0.5))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turned = cv2.warpAffine(grey, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    seen = np.asarray(cv2.GaussianBlur(turned, (0, 0), float(rng.uniform(0.35, 1.1))), dtype=np.float32)
    tint = rng.uniform(-6, 6, 3) if rng.random() < 0.5 else np.zeros(3)
    rgb = np.clip(seen[..., None] + tint.astype(np.float32), 0, 255).astype(np.uint8)
    rgb = add_noise(rng, rgb, float(rng.uniform(0.5, 5.0)))
    if rng.random() < 0.25:  # some scanners output pure black and white
        rgb = np.clip((rgb.astype(np.float32) - 128) * float(rng.uniform(1.5, 3.0)) + 150, 0, 255).astype(np.uint8)
    return rgb


def words(rgb: RGB) -> list[Box]:
    """Boxes of probable words on a page: dark marks on paper, joined along the line."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    side = max(15, min(grey.shape) // 20) | 1
    dark = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, side, 18)
    joined = cv2.dilate(dark, np.ones((1, max(3, rgb.shape[1] // 130)), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    found = []
    for x, y, wide, tall, area in stats[1:].tolist():
        if 8 <= tall <= 0.08 * max(rgb.shape[:2]) and 0.4 * tall <= wide <= 0.6 * rgb.shape[1] and area > 20:
            found.append((x, y, x + wide, y + tall))
    return found


def _part(rng: np.random.Generator, box: Box) -> Box:
    """Choose a word or a few of its characters."""
    x1, y1, x2, y2 = box
    tall, wide = y2 - y1, x2 - x1
    if wide > 1.2 * tall and rng.random() < 0.6:
        kept = int(np.clip(tall * rng.uniform(0.5, 2.5), 4, wide))
        x1 += int(rng.integers(0, wide - kept + 1))
        x2 = x1 + kept
    return x1, y1, x2, y2


def _grown(rng: np.random.Generator, box: Box, shape: tuple[int, ...]) -> Box:
    more = rng.integers(1, max(3, (box[3] - box[1]) // 4) + 1, 4)
    return (
        max(0, box[0] - int(more[0])),
        max(0, box[1] - int(more[1])),
        min(shape[1], box[2] + int(more[2])),
        min(shape[0], box[3] + int(more[3])),
    )


def _paper(rng: np.random.Generator, rgb: RGB, box: Box) -> RGB:
    """Erased contents of a box: flat paper, paper copied from beside it, or inpainted, [h,w,3]."""
    x1, y1, x2, y2 = box
    tall, wide = y2 - y1, x2 - x1
    near = rgb[max(0, y1 - tall) : y2 + tall, max(0, x1 - wide) : x2 + wide].reshape(-1, 3)
    light = near[near.mean(axis=1) >= np.percentile(near.mean(axis=1), 60)]
    how = int(rng.integers(3))
    if how == 0:
        flat = np.broadcast_to(np.median(light, axis=0), (tall, wide, 3)).astype(np.uint8)
        return add_noise(rng, np.ascontiguousarray(flat), float(rng.uniform(0.3, 4))) if rng.random() < 0.5 else flat
    if how == 1:
        for _ in range(20):
            x, y = int(rng.integers(0, rgb.shape[1] - wide + 1)), int(rng.integers(0, rgb.shape[0] - tall + 1))
            found = rgb[y : y + tall, x : x + wide]
            if found.std() < 12 and found.mean() > light.mean() - 25:
                return np.array(found)
    hole = np.zeros(rgb.shape[:2], np.uint8)
    hole[y1:y2, x1:x2] = 1
    rows, columns = slice(max(0, y1 - 8), y2 + 8), slice(max(0, x1 - 8), x2 + 8)
    filled = cv2.inpaint(np.ascontiguousarray(rgb[rows, columns]), hole[rows, columns], 4, cv2.INPAINT_TELEA)
    top, left = y1 - rows.start, x1 - columns.start
    return np.asarray(filled[top : top + tall, left : left + wide], dtype=np.uint8)


def _retyped(rng: np.random.Generator, rgb: RGB, box: Box) -> RGB:
    """New characters in the ink's colour on the erased paper of a box, [h,w,3]."""
    x1, y1, x2, y2 = box
    old = rgb[y1:y2, x1:x2]
    paper = _paper(rng, rgb, box)
    ink = np.percentile(old.reshape(-1, 3), 5, axis=0)
    tall, wide = old.shape[:2]
    scale = 3 if rng.random() < 0.5 else 1  # drawn larger and shrunk: smoother edges than the scanner's
    canvas = Image.new("L", (wide * scale, tall * scale), 0)
    font = _font(str(rng.choice(FONTS)), max(6, int(tall * scale * rng.uniform(0.75, 1.05))))
    text = "".join(str(digit) for digit in rng.integers(0, 10, max(1, round(wide / (0.6 * tall)))))
    if len(text) > 3 and rng.random() < 0.7:
        text = text[:-3] + "." + text[-2:]
    ImageDraw.Draw(canvas).text((0, int(-0.12 * tall * scale)), text, fill=255, font=font)
    drawn = cv2.resize(np.asarray(canvas), (wide, tall), interpolation=cv2.INTER_AREA)
    cover = np.asarray(drawn, dtype=np.float32) / 255
    if rng.random() < 0.5:
        cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), float(rng.uniform(0.3, 0.8))), dtype=np.float32)
    mixed = paper + cover[..., None] * (ink.astype(np.float32) - paper)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _moved(rng: np.random.Generator, source: RGB, box: Box, size: tuple[int, int]) -> RGB:
    """The contents of a box of a page, resized to the size (width, height) of the place where they are pasted."""
    part = source[box[1] : box[3], box[0] : box[2]]
    if part.shape[:2] == (size[1], size[0]):
        return np.array(part)
    kernel = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA]))
    return np.asarray(cv2.resize(part, size, interpolation=kernel), dtype=np.uint8)


def _as_page(rng: np.random.Generator, host: Host, settings: SynthSettings) -> RGB:
    """The host if the pool consists of documents, otherwise (mostly) a rendered page with its own history."""
    height, width = host.rgb.shape[:2]
    if rng.random() >= settings.rendered:
        return host.rgb
    # rendered at its final size, or larger and shrunk like a phone's picture of a page
    history = settings.history
    before = Before(history.host_jpeg, history.host_resample, 0.0)
    return earlier(rng, page(rng, width, height), (width, height), before, history)[0]


def document(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Change one to three words or digits of a page. The mask marks the overwritten boxes."""
    rgb = np.ascontiguousarray(_as_page(rng, host, settings))
    found = words(rgb)
    if len(found) < 3:
        return nothing(host.rgb)
    rgb, mask = rgb.copy(), np.zeros(rgb.shape[:2], dtype=bool)
    done: list[Record] = []
    action = str(rng.choice(ACTIONS))
    for _ in range(int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))):
        box = _grown(rng, _part(rng, found[int(rng.integers(len(found)))]), rgb.shape)
        x1, y1, x2, y2 = box
        tall, wide = y2 - y1, x2 - x1
        if mask[y1:y2, x1:x2].any() or tall < 6 or wide < 4:
            continue
        if action == "erase":
            patch = _paper(rng, rgb, box)
        elif action == "retype":
            patch = _retyped(rng, rgb, box)
        else:
            other, theirs = rgb, found
            if action == "splice":
                side = (max(200, rgb.shape[1] // 2), max(200, rgb.shape[0] // 3))
                other = page(rng, *side)
                if rng.random() < settings.history.donor_jpeg:
                    other = jpeg(other, draw_quality(rng, settings.history.jpeg_quality), int(rng.choice([0, 2])))
                theirs = words(other)
            near = [b for b in theirs if 0.6 < (b[3] - b[1]) / tall < 1.6]
            if not near:
                continue
            taken = _grown(rng, _part(rng, near[int(rng.integers(len(near)))]), other.shape)
            # pasted at its own size near the old place, or scaled to fit it
            if rng.random() < 0.7:
                wide, tall = taken[2] - taken[0], taken[3] - taken[1]
                x1 = int(np.clip((x1 + x2 - wide) // 2, 0, max(0, rgb.shape[1] - wide)))
                y1 = int(np.clip((y1 + y2 - tall) // 2, 0, max(0, rgb.shape[0] - tall)))
            elif rng.random() < 0.5:
                factor = log_uniform(rng, 0.8, 1.25)
                wide, tall = max(4, round(wide * factor)), max(6, round(tall * factor))
            wide, tall = min(wide, rgb.shape[1] - x1), min(tall, rgb.shape[0] - y1)
            if mask[y1 : y1 + tall, x1 : x1 + wide].any():
                continue
            patch = _moved(rng, other, taken, (wide, tall))
            if rng.random() < 0.5:  # matched to the paper's colour
                under = rgb[y1 : y1 + tall, x1 : x1 + wide]
                shift = np.percentile(under, 85, axis=(0, 1)) - np.percentile(patch, 85, axis=(0, 1))
                patch = np.clip(patch + shift, 0, 255).astype(np.uint8)
        tall, wide = patch.shape[:2]
        rgb[y1 : y1 + tall, x1 : x1 + wide] = patch
        mask[y1 : y1 + tall, x1 : x1 + wide] = True
        done.append(Record(action=action, box=(x1, y1, x1 + wide, y1 + tall)))
    return Edit(rgb, mask, Record(changes=tuple(done))) if done else nothing(host.rgb)


def scan(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Make an authentic page: nothing is changed."""
    return nothing(np.ascontiguousarray(_as_page(rng, host, settings)))
