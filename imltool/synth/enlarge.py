"""Enlarge or shrink an object or region in its own place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imltool.pictures.pixels import bounds
from imltool.synth.edit import Edit, Host, nothing, paste, some_region
from imltool.synth.history import log_uniform
from imltool.synth.records import Record
from imltool.synth.regions import cut, transform, window
from imltool.synth.removal import fill, grow, inpaint, shrink
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

UNDER = 6
"""Number of pixels by which the filled ring extends under the pasted region."""


def enlarge(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Scale a region about its centre or its lower edge and paste it over itself.

    The mask marks the pasted region. When the region shrinks, the ring around it is first filled as in a removal, and
    the mask includes the ring.
    """
    own = settings.enlarge
    smaller = bool(rng.random() < own.shrink)
    scale = log_uniform(rng, *(own.shrink_factor if smaller else own.factor))
    region, source = some_region(rng, host, settings, max(scale, 1.0) ** 2)
    stand = bool(rng.random() < own.stand)
    edit = nothing(host.rgb, Record(region=source, scale=scale, stand=stand))
    piece = transform(cut(host.rgb, region), scale, 0.0, False)
    tall, wide = piece.shape.shape
    x1, y1, x2, y2 = bounds(region)
    x = round((x1 + x2 - wide) / 2)
    y = y2 - tall if stand else round((y1 + y2 - tall) / 2)
    if smaller:
        ring = grow(region, 2)
        overlap = window(piece.shape.shape, x, y, *region.shape)
        if overlap is not None:
            rows, columns, piece_rows, piece_columns = overlap
            # the ring extends under the soft border of the paste
            ring[rows, columns] &= ~shrink(piece.shape, UNDER)[piece_rows, piece_columns]
        if ring.any():  # a "smaller" factor of one or more leaves no ring
            # no patch fits around a large object, but its ring is thin enough to inpaint
            filled = fill(rng, host.rgb, ring, settings) or inpaint(rng, host.rgb, ring)
            edit = Edit(filled.rgb, filled.mask, replace(edit.record, filled=filled.record))
    return paste(rng, edit, piece, x, y, settings)
