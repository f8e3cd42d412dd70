"""Edits in several places of one picture: pastes from several donors, and a small patch stamped repeatedly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imltool.pictures.pixels import bounds
from imltool.synth.edit import Edit, Host, draw_geometry, nothing, paste, some_region
from imltool.synth.records import Record
from imltool.synth.regions import cut, place, transform
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

STAMPS = (2, 8)
"""Range of the number of stamps of a small patch."""


def collage(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Paste objects of several donors, each with its own history, into one host (a multi-splice)."""
    from imltool.synth.kinds import splice

    wanted = int(rng.integers(settings.regions[0], settings.regions[1] + 1))
    # the more pastes, the smaller each is, so that all of them fit
    largest = settings.object_side[1] * min(1.0, 1.6 / wanted**0.5)
    largest = min(largest, (2.6 * settings.area[1] / wanted) ** 0.5)
    smaller = settings.model_copy(update={"object_side": (min(settings.object_side[0], largest), largest)})
    rgb, mask = host.rgb, np.zeros(host.rgb.shape[:2], dtype=bool)
    parts: list[Record] = []
    for _ in range(2 * wanted):
        edit = splice(rng, Host(rgb, None, host.path), pool, smaller)
        share = float(edit.mask.mean())
        if not edit.mask.any() or float((edit.mask & mask).sum()) > 0.25 * edit.mask.sum() or share > 0.25:
            continue
        rgb, mask = edit.rgb, mask | edit.mask
        parts.append(edit.record)
        if len(parts) == wanted:
            break
    return Edit(rgb, mask, Record(parts=tuple(parts))) if len(parts) >= 2 else nothing(host.rgb)


def stamps(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Stamp a small region of the host several times elsewhere, each time with its own rotation and scale.

    The mask marks the stamps, not their source.
    """
    region, source = some_region(rng, host, settings, growth=float(STAMPS[0] + 1))
    original = cut(host.rgb, region)
    height, width = region.shape
    edit = nothing(host.rgb, Record(region=source))
    taken = [bounds(region)]
    same = draw_geometry(rng, settings)
    for _ in range(int(rng.integers(*STAMPS)) + 1):
        geometry = same if rng.random() < 0.6 else draw_geometry(rng, settings)
        geometry = replace(geometry, scale=float(np.clip(geometry.scale, 0.6, 1.6)))
        piece = transform(original, geometry.scale, geometry.degrees, geometry.flip)
        tall, wide = piece.shape.shape
        for _ in range(8):
            x, y = place(rng, piece, height, width, overhang=0.0)
            if all(x >= b[2] or x + wide <= b[0] or y >= b[3] or y + tall <= b[1] for b in taken):
                break
        else:
            continue
        taken.append((x, y, x + wide, y + tall))
        edit = paste(rng, edit, piece, x, y, settings)
    return edit
