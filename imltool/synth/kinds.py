"""The kinds of edits: splice, copy-move and authentic pictures, and the list of all kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imltool.pictures.pixels import bounds, resize_mask, scaled
from imltool.synth.blending import match_colour
from imltool.synth.develop import developed
from imltool.synth.documents import document, scan
from imltool.synth.edit import Edit, Host, Kind, draw_geometry, nothing, paste, recolour, relight, some_region
from imltool.synth.enlarge import enlarge
from imltool.synth.exemplar import erased, regenerated
from imltool.synth.history import Before, earlier
from imltool.synth.records import Record, named
from imltool.synth.regions import Piece, around, blob, cut, place, transform
from imltool.synth.removal import removal
from imltool.synth.retouch import retouch
from imltool.synth.settings import SynthSettings
from imltool.synth.several import collage, stamps
from imltool.synth.sources import SourcePool


def splice(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Paste an object of another picture, with its own history, into the host.

    A plain paste keeps the donor's pixel grid: the donor is resized before its own save, not for the paste.
    """
    donor = pool.pick_object(rng)
    if donor is None or rng.random() < settings.blob_splice:
        donor = pool.pick_host(rng)
    rgb, shape = pool.picture(donor)
    if shape is None or not shape.any():
        shape = blob(rng, rgb.shape[0], rgb.shape[1], float(rng.uniform(0.05, 0.3)))
    box = bounds(shape)
    # only the donor's part around the object is saved and resized: pixels further away do not affect it
    rows, columns = around(box, int(rng.integers(8, 24)), *shape.shape)
    height, width = host.rgb.shape[:2]
    side = float(rng.uniform(*settings.object_side)) * max(height, width)
    whole = min(side / max(box[2] - box[0], box[3] - box[1]), max(1.0, settings.scale[1]))
    geometry = draw_geometry(rng, settings)
    if not geometry.plain:
        # the donor was not enlarged before its save: the paste enlarges it to the wanted size
        geometry = replace(geometry, scale=max(geometry.scale, whole))
    size = scaled(shape[rows, columns].shape, whole / geometry.scale)
    before = Before(settings.history.donor_jpeg, settings.history.donor_resample, settings.history.donor_noise)
    rgb, history = earlier(rng, np.ascontiguousarray(rgb[rows, columns]), size, before, settings.history)
    shape = resize_mask(shape[rows, columns], size)
    if not shape.any():
        return nothing(host.rgb)
    record = Record(donor=donor.name) | named(history, "donor") | geometry.record()
    piece = transform(cut(rgb, shape), geometry.scale, geometry.degrees, geometry.flip)
    if not piece.shape.any():
        return nothing(host.rgb)
    x, y = place(rng, piece, height, width)
    strength = float(rng.uniform(*settings.colour_match))
    matched = match_colour(piece.rgb, piece.shape, host.rgb, strength)
    piece = recolour(rng, Piece(matched, piece.shape, Record(colour_match=strength)), settings)
    piece = relight(rng, piece, host.rgb, x, y, settings)
    return paste(rng, nothing(host.rgb, record), piece, x, y, settings)


def copymove(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Paste a region of the host elsewhere in the host. The mask marks the pasted region only."""
    region, source = some_region(rng, host, settings)
    original = cut(host.rgb, region)
    height, width = host.rgb.shape[:2]
    geometry = draw_geometry(rng, settings)
    count = 2 if rng.random() < settings.pastes else 1
    if not geometry.plain:
        # do not try a scale outside of the area limits
        share = max(float(region.mean()), 1e-6)
        least, most = (limit**0.5 for limit in (1.1 * settings.area[0] / share, 0.9 * settings.area[1] / share))
        geometry = replace(geometry, scale=float(np.clip(geometry.scale, min(least, most), most)))
    piece = transform(original, geometry.scale, geometry.degrees, geometry.flip)
    if not geometry.plain:
        piece = recolour(rng, piece, settings)
    edit = nothing(host.rgb, Record(region=source, pastes=count) | geometry.record())
    x1, y1, _, _ = bounds(region)
    for _ in range(count):
        for _ in range(8):
            x, y = place(rng, piece, height, width, overhang=0.1)
            if abs(x - x1) + abs(y - y1) > 0.5 * max(piece.shape.shape):
                break
        else:
            return nothing(host.rgb)  # as large as the picture: it would cover itself
        lit = piece if geometry.plain else relight(rng, piece, host.rgb, x, y, settings)
        edit = paste(rng, edit, lit, x, y, settings)
    return edit


def authentic(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Edit nothing; the histories before and after are the same as for every other kind."""
    return nothing(host.rgb)


KINDS: dict[str, Kind] = {
    "splice": splice,
    "copymove": copymove,
    "removal": removal,
    "retouch": retouch,
    "enlarge": enlarge,
    "authentic": authentic,
    "collage": collage,
    "stamps": stamps,
    "erased": erased,
    "regenerated": regenerated,
    "document": document,
    "scan": scan,
    "developed": developed,
}
UNTOUCHED = frozenset({"authentic", "scan", "developed"})
"""Kinds without a forgery."""
