"""The pass over a data set: one picture's fault costs no other its score, and a bug is not swallowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_eval_cli import make_set

from imltool.data.folder import Sample, read_folder
from imltool.evaluation.runner import evaluate_set
from imltool.pictures.images import RGB, Map, Mask, read_rgb


def test_out_of_memory_is_retried_picture_by_picture(tmp_path: Path) -> None:
    samples = read_folder(make_set(tmp_path / "x", 3, 0))
    big = read_rgb(samples[1].image)

    def predict(images: Sequence[RGB]) -> list[Map]:
        if len(images) > 1 or np.array_equal(images[0], big):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [np.ones(image.shape[:2], np.float32) for image in images]

    rows = list(evaluate_set(samples, predict, {"half": 0.5}))
    assert [row.reason for row in rows] == ["", "out of memory", ""]
    assert [int(row.counts["half"].tp) for row in rows if row.ok] == [200, 600]


def test_a_fault_that_is_no_picture_s_is_not_swallowed(tmp_path: Path) -> None:
    def predict(images: Sequence[RGB]) -> list[Map]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(evaluate_set(read_folder(make_set(tmp_path / "x")), predict, {"half": 0.5}))


def test_a_picture_too_large_to_degrade_costs_no_other(tmp_path: Path) -> None:
    samples = read_folder(make_set(tmp_path / "x", 3, 0))
    said = (
        "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes in 'OutOfMemoryError'"
    )

    def prepare(sample: Sample, rgb: RGB, mask: Mask) -> tuple[RGB, Mask]:
        if sample == samples[1]:
            raise cv2.error(said)
        return rgb, mask

    def predict(images: Sequence[RGB]) -> list[Map]:
        return [np.ones(image.shape[:2], np.float32) for image in images]

    reasons = [row.reason for row in evaluate_set(samples, predict, {"half": 0.5}, prepare=prepare)]
    assert reasons == ["", f"{samples[1].image}: out of memory", ""]
    said = "(-215:Assertion failed) !ssize.empty()"
    with pytest.raises(cv2.error, match="Assertion"):
        list(evaluate_set(samples, predict, {"half": 0.5}, prepare=prepare))


@pytest.mark.parametrize("fault", [float("nan"), 1.5])
def test_an_impossible_map_fails_its_picture_only(tmp_path: Path, fault: float) -> None:
    def predict(images: Sequence[RGB]) -> list[Map]:
        maps = [np.ones(image.shape[:2], np.float32) for image in images]
        maps[0][0, 0] = fault
        return maps

    rows = list(evaluate_set(read_folder(make_set(tmp_path / "x")), predict, {"half": 0.5}, batch=8))
    assert ["0..1" in row.reason for row in rows] == [True, False, False, False, False]
