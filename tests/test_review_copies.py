"""Copy-move pairs on the review page: the mean of the map at both ends, and lines between the ends."""

from __future__ import annotations

import numpy as np
from helpers.pictures import textured

from imltool.review.copies import find_copied_places


def test_map_mean_is_measured_at_both_ends_of_a_copy() -> None:
    rgb = textured(1)
    rgb[115:195, 200:280] = rgb[30:110, 20:100]
    levels = np.full(rgb.shape[:2], 51, np.uint8)
    levels[115:195, 200:280] = 204
    (pair,) = find_copied_places(rgb, levels)
    assert pair.map_means is not None
    ends = [(line[0], line[1]) for line in pair.lines], [(line[2], line[3]) for line in pair.lines]
    for points, mean in zip(ends, pair.map_means, strict=True):
        x, y = np.mean(points, axis=0)
        assert (mean > 0.7) == (200 <= x < 280 and 115 <= y < 195), "the mean is given for the right end"
    assert sorted(round(mean, 1) for mean in pair.map_means) == [0.2, 0.8]
    (unmarked,) = find_copied_places(rgb, None)
    assert unmarked.map_means is None and unmarked.lines == pair.lines
