"""From pictures to probability maps: the code shared by `eval`, `scan` and the validation in training.

Nothing here needs torch, so that a scan with another engine starts without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.engines.network import Batch, Compute, Network, Probabilities, normalise, require_compute
from imltool.engines.registry import graph_of, load_student_graph, pick_engine
from imltool.errors import WeightsError
from imltool.files import sha256_file
from imltool.pictures.images import RGB, Map
from imltool.pictures.pixels import resample
from imltool.pictures.strips import strips
from imltool.student.header import CheckpointHeader, read_header, refuse_other_traces
from imltool.student.operating_points import SCORE_DIGITS
from imltool.student.settings import StudentSettings
from imltool.traces.stack import Traces, on_grid, picture_traces

if TYPE_CHECKING:
    import torch

    from imltool.student.model import Student

log = logging.getLogger("imltool")

TTA_FLIPS: dict[int, tuple[tuple[int, ...], ...]] = {1: ((),), 2: ((), (3,)), 4: ((), (3,), (2,), (2, 3))}
"""Axes of [B,C,H,W] to reverse, by `StudentSettings.tta_flips`."""
LEAST_PROBABILITY = np.float32(1e-6)
"""Probabilities are kept this far from 0 and 1 when their logits are averaged (our choice)."""
SCORE_SHARE = 0.01
SCORE_SAMPLED = 37
"""Every 37th value of a map is sampled to estimate where its highest values begin; a prime, so that samples are not
aligned in columns.
"""


def resize_input(rgb: RGB, side: int) -> RGB:
    """Scale a uint8 picture [H,W,3] to side×side without keeping the aspect ratio, as in the paper; see `resample`."""
    return resample(rgb, (side, side))


def resize_map(probability: Map, shape: tuple[int, ...]) -> Map:
    """Resize a float32 [h,w] map in [0,1] to `shape` (height, width, …), bilinearly."""
    if probability.shape == shape[:2]:
        return probability
    resized = cv2.resize(probability, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(resized, 0.0, 1.0, out=resized), dtype=np.float32)


def merge_scales(maps: Sequence[Map]) -> Map:
    """Merge the maps of a picture at several input sizes: the mean of their logits, on the grid of the largest.

    Args:
        maps: float32 [S,S] in [0,1] each, the largest last. A single map is returned unchanged.
    """
    if len(maps) == 1:
        return maps[0]
    total = np.zeros(maps[-1].shape, np.float32)
    for each in maps:
        clipped = np.clip(resize_map(each, total.shape), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        total += np.log(clipped / (1 - clipped))
    return np.asarray(1 / (1 + np.exp(-total / len(maps))), dtype=np.float32)


def image_score(values: Map | NDArray[np.floating]) -> float:
    """Score of a picture in [0,1], rounded to `SCORE_DIGITS`.

    It is the mean of the highest 1 % of its map (at least one pixel; our choice).

    Args:
        values: the map [H,W] at the picture's own size.
    """
    flat = np.asarray(values, dtype=np.float32).ravel()
    count = max(1, round(flat.size * SCORE_SHARE))
    # twice that share of a sample gives a lower bound that leaves few values to sort; if it is too high, all are sorted
    some = flat[::SCORE_SAMPLED]
    share = min(some.size, max(1, round(2 * some.size * SCORE_SHARE)))
    begin = np.partition(some, -share)[-share]
    highest = _highest(flat, count, begin)
    if highest.size < count:
        highest = _highest(flat, count, np.float32(-np.inf))
    return round(float(highest.mean(dtype=np.float64)), SCORE_DIGITS)


def _highest(flat: Map, count: int, begin: np.float32) -> Map:
    """The highest `count` of the values [N] that are at least `begin` or NaN, unordered; fewer if there are fewer."""
    highest = flat[:0]
    for part in strips((flat.size, 1)):  # selecting from a large map at once would need its memory again
        values = flat[part]
        found = np.concatenate([highest, values[~(values < begin)]])
        kept = min(count, found.size)
        highest = np.partition(found, -kept)[-kept:] if kept else found
    return highest


class Localizer:
    """A student ready to localize.

    Attributes:
        network: the network, run by an engine.
        header: the header of its checkpoint.
        device: torch's name of the device.
        path: the checkpoint file, None for an untrained one.
    """

    def __init__(self, network: Network, header: CheckpointHeader, device: str, path: Path | None = None) -> None:
        self.network = network
        self.header = header
        self.device = device
        self.path = path

    @classmethod
    def load(
        cls, path: Path | None, device: str | torch.device, engine: str = "auto", compute: Compute = "fp32"
    ) -> Localizer:
        """Load a checkpoint file, a known student by its name, or the default one for None.

        Args:
            device: torch's name of it, see `device.choose_device`.
            engine: one of `engines.registry.ENGINES`; `auto` takes the fastest available, see `pick_engine`.
            compute: inference precision.

        Raises `WeightsError`, and `UsageError` for an engine that is unavailable or a device that does not support
        `compute`.
        """
        from imltool.weights import student_file

        path, name = student_file(path), str(device)
        require_compute(compute, name)
        header = read_header(path)
        refuse_other_traces(path, header)
        picked = pick_engine(engine, name == "cpu", compute, [graph_of(path, compute)])
        if picked != "torch":
            sha256 = sha256_file(path)
            try:
                network = load_student_graph(path, sha256, header, picked, compute)
            except WeightsError as error:
                if engine != "auto" or compute == "int8":  # torch has no int8 to fall back to
                    raise
                log.warning("%s; torch runs %s instead", error.message, path.name)
            else:
                loaded = cls(network, header, name, path)
                loaded.sha256 = sha256
                return loaded
        from imltool.student.checkpoint import load_checkpoint

        student, header = load_checkpoint(path)
        return cls.of(student, header, name, path, compute)

    @classmethod
    def of(
        cls,
        student: Student,
        header: CheckpointHeader,
        device: str | torch.device,
        path: Path | None = None,
        compute: Compute = "fp32",
    ) -> Localizer:
        """A student in memory, run by torch."""
        from imltool.engines.torch_network import TorchNetwork

        return cls(TorchNetwork(student, device, compute), header, str(device), path)

    @classmethod
    def untrained(cls, architecture: StudentSettings | None, device: str | torch.device, seed: int = 0) -> Localizer:
        """A network with random weights: the reference that every training has to beat."""
        from imltool.device import seed_everything
        from imltool.student.model import Student

        seed_everything(seed)
        settings = architecture or StudentSettings()
        return cls.of(Student(settings), CheckpointHeader(name="untrained", architecture=settings), device)

    @cached_property
    def sha256(self) -> str | None:
        """SHA-256 of the checkpoint file; None for an untrained student."""
        return sha256_file(self.path) if self.path else None

    @property
    def sees_traces(self) -> bool:
        """Whether the student takes traces in addition to RGB."""
        return bool(self.header.architecture.traces)

    @property
    def student(self) -> Student:
        """The module that torch runs. Raises TypeError when another engine runs an exported graph."""
        from imltool.engines.torch_network import TorchNetwork

        if not isinstance(self.network, TorchNetwork):
            raise TypeError(f"{self.engine} runs a graph, which has no module")
        return cast("Student", self.network.student)

    def save(self, path: Path) -> None:
        """Write weights and header as a checkpoint."""
        from imltool.student.checkpoint import save_checkpoint

        save_checkpoint(path, self.student.state_dict(), self.header)

    @property
    def engine(self) -> str:
        """The engine and its version for records, and the precision if it is not float32."""
        compute = self.network.compute
        return f"{self.network.engine} {self.network.version}" + (f", {compute}" if compute != "fp32" else "")

    def traces(self, rgb: RGB) -> Traces:
        """The student's second input for a picture: float16 [len(TRACES),t,t], see `StudentSettings.trace_grid`.

        Args:
            rgb: uint8 [H,W,3], at the picture's own size.

        Raises `ImageError`.
        """
        architecture = self.header.architecture
        return picture_traces(rgb, architecture.trace_grid(architecture.side_for(rgb.shape)))

    def maps(self, images: Sequence[RGB], traces: Sequence[Traces] | None = None, fill: int = 0) -> list[Map]:
        """Probability maps, float32 [H,W] in [0,1], each at its picture's own size.

        Pictures of different input sizes are put into separate batches.

        Args:
            images: uint8 RGB [H,W,3], any mix of sizes. The result of a picture does not depend on the others beyond
                rounding.
            traces: their `traces`, if the caller has kept them; otherwise they are computed.
            fill: if the batch size affects the last bits of a map, fill batches with black pictures up to this size, so
                that results do not depend on the number of pictures.

        Raises MemoryError when memory does not suffice.
        """
        found = self.small_maps(images, traces, fill)
        return [resize_map(each, image.shape) for each, image in zip(found, images, strict=True)]

    def small_maps(self, images: Sequence[RGB], traces: Sequence[Traces] | None = None, fill: int = 0) -> list[Map]:
        """`maps` before they are brought to the size of their picture: float32 [S,S], S its largest input side."""
        if self.sees_traces and traces is None:
            traces = list(self._threads.map(self.traces, images))
        architecture = self.header.architecture
        by_side: dict[int, list[int]] = {}
        for number, image in enumerate(images):
            for side in architecture.sides_for(image.shape):
                by_side.setdefault(side, []).append(number)
        found: list[list[Map]] = [[] for _ in images]
        for side, numbers in sorted(by_side.items()):
            inputs = [resize_input(images[number], side) for number in numbers]
            stacks = None if traces is None else [on_grid(traces[n], architecture.trace_grid(side)) for n in numbers]
            if self.network.batched and fill > len(numbers):
                missing = fill - len(numbers)
                inputs += [np.zeros_like(inputs[0])] * missing
                if stacks is not None:
                    stacks += [np.zeros_like(stacks[0])] * missing
            for number, probability in zip(numbers, self.probabilities(inputs, stacks), strict=False):
                found[number].append(probability)
        return [merge_scales(each) for each in found]

    def probabilities(self, inputs: Sequence[RGB], traces: Sequence[Traces] | None) -> Probabilities:
        """Maps of pictures, or parts of pictures, at the network's input size: float32 [B,H,W] in [0,1].

        A map is the mean over the architecture's flips (test-time augmentation). Traces are flipped with the picture
        instead of being computed again, because the file was never saved flipped.

        Args:
            inputs: uint8 RGB [H,W,3], all of one size, multiples of `STRIDE`.
            traces: float16 [len(TRACES),t,t] each; ignored by a student that takes RGB alone.

        Raises MemoryError when memory does not suffice.
        """
        flips = TTA_FLIPS[self.header.architecture.tta_flips]
        pixels = normalise(np.stack(inputs), self.header.mean, self.header.std)
        stacks = np.stack(traces).astype(np.float32) if self.sees_traces and traces is not None else None

        def flipped() -> Iterator[Batch]:
            for axes in flips:
                yield np.flip(pixels, axes), None if stacks is None else np.flip(stacks, axes)

        total = np.zeros((len(pixels), *pixels.shape[2:]), np.float32)
        for axes, found in zip(flips, self.network.forward(flipped()), strict=True):
            total += np.flip(found, tuple(axis - 1 for axis in axes))
        return np.asarray(total / np.float32(len(flips)), dtype=np.float32)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        # few large pictures may be processed together, whatever the number of cores: each takes some 200 MB
        return ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
