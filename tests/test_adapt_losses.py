"""Table of what adaptations cost on known kinds, and which pictures may show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from adapt_losses import chosen_samples, numbers, table
from PIL import Image

from imltool.data.sets import apply_lists, named_sets


def adapted(size: int, fold: int) -> dict[str, Any]:
    """A row of the benchmark of adaptations whose calibrated limit is .5."""
    labels = "boxes" if size else "–"
    return {"size": size, "fold": fold, "labels": labels, "parts": "all" if size else "–",
            "calibrating": [{"score": 0.5}] * 3}  # fmt: skip


def one(size: int, fold: int, name: str, score: float, f1: float | None = None) -> dict[str, Any]:
    row = {key: value for key, value in adapted(size, fold).items() if key != "calibrating"}
    return row | {"set": "known", "name": name, "score": score} | ({} if f1 is None else {"f1": f1})


def test_a_picture_counts_once_with_its_mean_over_folds() -> None:
    rows = [adapted(0, 0), adapted(0, 1), adapted(20, 0), adapted(20, 1)]
    found = [one(0, 0, "a", 0.9, 0.5), one(0, 0, "b", 0.9, 0.1), one(0, 0, "clean", 0.4)]
    found += [one(20, 0, "a", 0.9, 0.4), one(20, 0, "b", 0.9, 0.1), one(20, 0, "clean", 0.4)]
    found += [one(20, 1, "a", 0.9, 0.2), one(20, 1, "b", 0.9, 0.3), one(20, 1, "clean", 0.6)]
    lines = table(found, rows).splitlines()
    # a: .5 -> mean(.4, .2) = .3; b: .1 -> .2
    assert "| 20 | boxes | all | known | 2 | 0.300 | 0.250 | -0.050 [-0.200, +0.100] |" in lines
    assert "| 20 | boxes | all | false alarms, known | 1 | 0.0% | 50.0% |  |" in lines
    assert numbers(found) == {"20 boxes, all": {"known": {"a": [0.5, 0.3], "b": [0.1, 0.2], "clean": [0.4, 0.5]}}}


def test_pictures_of_the_adaptation_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder, authentic = tmp_path / "set" / "authentic", tmp_path / "authentic"
    folder.mkdir(parents=True)
    authentic.mkdir()
    for name in ("Au_ani_0001.png", "Au_ani_0002.png", "c.png", "d.png"):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    (authentic / "other_name.png").write_bytes((folder / "c.png").read_bytes())  # the same file
    (authentic / "casia_Au_ani_0001.png").write_bytes((folder / "Au_ani_0002.png").read_bytes())  # a scene of CASIA
    listed = tmp_path / "list.txt"
    listed.write_text("authentic/Au_ani_0001.png\nauthentic/c.png\nauthentic/d.png\n")
    sets = named_sets([f"known={tmp_path / 'set'}"])
    apply_lists(sets, [f"known={listed}"])
    found = chosen_samples(sets, authentic)
    assert [sample.name for sample in found["known"]] == ["authentic/d.png"]
