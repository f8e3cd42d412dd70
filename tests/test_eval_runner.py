"""The evaluation loop: a fault in one picture affects no other, and internal errors are raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.pictures import noise_set

from imltool.data.folder import Sample, read_folder
from imltool.evaluation.methods import Method, Predict
from imltool.evaluation.rows import ImageRow
from imltool.evaluation.runner import evaluate_set
from imltool.pictures.images import RGB, Map, Mask, read_rgb
from imltool.traces.stack import picture_traces


def rows_of(samples: Sequence[Sample], predict: Predict, **options: Any) -> list[ImageRow]:
    method = Method("m", "checkpoint", {"half": 0.5}, predict=predict)
    return [row for _, row in evaluate_set(samples, [method], **options)]


def test_out_of_memory_is_retried_picture_by_picture(tmp_path: Path) -> None:
    samples = read_folder(noise_set(tmp_path / "x", 3, 0)).samples
    big = read_rgb(samples[1].image)

    def predict(images: Sequence[RGB], traces: object) -> list[Map]:
        if len(images) > 1 or np.array_equal(images[0], big):
            raise MemoryError
        return [np.ones(image.shape[:2], np.float32) for image in images]

    rows = rows_of(samples, predict)
    assert [row.reason for row in rows] == ["", "out of memory", ""]
    assert [int(row.counts["half"].tp) for row in rows if row.ok] == [200, 600]


def test_internal_error_is_raised(tmp_path: Path) -> None:
    def predict(images: Sequence[RGB], traces: object) -> list[Map]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        rows_of(read_folder(noise_set(tmp_path / "x")).samples, predict)


def test_picture_too_large_to_degrade_affects_no_other(tmp_path: Path) -> None:
    samples = read_folder(noise_set(tmp_path / "x", 3, 0)).samples
    message = (
        "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes in 'OutOfMemoryError'"
    )

    def prepare(sample: Sample, rgb: RGB, mask: Mask) -> tuple[RGB, Mask]:
        if sample == samples[1]:
            raise cv2.error(message)
        return rgb, mask

    def predict(images: Sequence[RGB], traces: object) -> list[Map]:
        return [np.ones(image.shape[:2], np.float32) for image in images]

    reasons = [row.reason for row in rows_of(samples, predict, prepare=prepare)]
    assert reasons == ["", f"{samples[1].image}: out of memory", ""]
    message = "(-215:Assertion failed) !ssize.empty()"
    with pytest.raises(cv2.error, match="Assertion"):
        rows_of(samples, predict, prepare=prepare)


@pytest.mark.parametrize("fault", [float("nan"), 1.5])
def test_invalid_map_fails_only_its_picture(tmp_path: Path, fault: float) -> None:
    def predict(images: Sequence[RGB], traces: object) -> list[Map]:
        maps = [np.ones(image.shape[:2], np.float32) for image in images]
        maps[0][0, 0] = fault
        return maps

    rows = rows_of(read_folder(noise_set(tmp_path / "x")).samples, predict, batch=8)
    assert ["0..1" in row.reason for row in rows] == [True, False, False, False, False]


def test_every_method_gets_the_same_pictures_and_traces(tmp_path: Path) -> None:
    samples = read_folder(noise_set(tmp_path / "x", 3, 2)).samples
    inputs: dict[str, list[Any]] = {"a": [], "b": [], "blind": []}

    def method(name: str, take: Callable[[RGB], Any] | None) -> Method:
        def predict(images: Sequence[RGB], traces: Sequence[Any] | None) -> list[Map]:
            inputs[name] += list(zip(images, traces or [None] * len(images), strict=True))
            return [np.ones(image.shape[:2], np.float32) for image in images]

        return Method(name, "baseline", {"half": 0.5}, predict=predict, traces=take)

    methods = [method("a", picture_traces), method("blind", None), method("b", picture_traces)]
    rows = list(evaluate_set(samples, methods, batch=2))
    assert [(one.label, row.name) for one, row in rows[:6]] == [
        (name, sample.name) for name in ("a", "blind", "b") for sample in samples[:2]
    ]
    assert len(rows) == 15 and all(row.ok for _, row in rows)
    assert all(one[0] is other[0] and one[1] is other[1] for one, other in zip(inputs["a"], inputs["b"], strict=True))
    assert all((one[1] == picture_traces(one[0])).all() for one in inputs["a"])
    assert all(traces is None for _, traces in inputs["blind"])


def test_batches_do_not_depend_on_finished_rows(tmp_path: Path) -> None:
    samples = read_folder(noise_set(tmp_path / "x", 5, 0)).samples
    sizes: list[int] = []

    def predict(images: Sequence[RGB], traces: object) -> list[Map]:
        sizes.append(len(images))
        return [np.ones(image.shape[:2], np.float32) for image in images]

    known = {samples[0].name, samples[1].name, samples[2].name}
    rows = rows_of(samples, predict, batch=2, done=lambda method, sample: sample.name in known)
    assert [row.name for row in rows] == [samples[3].name, samples[4].name]
    assert sizes == [2, 1], "the first batch is finished, the second is predicted as a whole"
