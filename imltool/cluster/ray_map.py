"""Ray Data as an ordered map: tasks in, what workers make of them out, each exactly once, with bounded memory.

Ray Data and not tasks of our own: it restarts workers that died and repeats what they had begun, keeps results in the
order of the tasks, and stops giving out tasks while results wait to be taken.
"""

from __future__ import annotations

import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import numpy as np

from imltool.errors import ClusterError, ImlError
from imltool.texts import clean

REPEATS = 5
"""How often a task is begun again whose worker died (our choice): a machine may be lost, a picture that kills its
worker must not keep the cluster for ever."""
BLOCK = 16 * 1024 * 1024
"""Bytes of results that a worker collects before it sends them (our choice)."""
AHEAD = 2
"""Tasks given to a worker at a time, the one it works on included: so it does not wait for the next."""


class Worker(Protocol):
    """What a worker process does with a task."""

    def __call__(self, task: Any) -> Iterator[Any]:
        """What it makes of the task, piece by piece; the same pieces when the task is given again."""
        ...


@dataclass(frozen=True)
class Fault:
    """An `ImlError` of a worker, which goes over the wire as its texts."""

    message: str
    remedy: str


class _Process:
    """A worker as Ray Data runs it: a row in, rows out."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._fault: Fault | None = None
        try:
            self._worker = make()
        except ImlError as error:  # raised here it would be tried for ever
            self._fault = Fault(error.message, error.remedy)

    def __call__(self, rows: dict[str, Any]) -> Iterator[dict[str, Any]]:
        number, task = int(rows["number"][0]), pickle.loads(rows["task"][0])
        try:
            if self._fault:
                yield _wrap(number, self._fault)
            else:
                for made in self._worker(task):
                    yield _wrap(number, made)
        except ImlError as error:
            yield _wrap(number, Fault(error.message, error.remedy))


def _wrap(number: int, made: Any) -> dict[str, Any]:
    return {"number": np.array([number]), "made": [pickle.dumps(made)]}


def ordered_map(
    ray: Any, make: Callable[[], Worker], tasks: Sequence[Any], workers: int, cpus: float, gpus: float = 0.0
) -> Iterator[tuple[int, Any]]:
    """What workers make of `tasks`, in their order: the task's number and a piece each.

    Args:
        ray: the module, connected.
        make: makes a `Worker` once in every process; called there again after a process died.
        workers: processes.
        cpus: CPUs a process is counted for.
        gpus: of these as well.

    Raises `ClusterError` when a worker cannot do its work or the cluster is lost; what was yielded before is sound.
    """
    if not tasks:
        return
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # until 2.64 there is no other way to limit repeats
        made = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Process,
            fn_constructor_args=(make,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=AHEAD),
            num_cpus=cpus,
            num_gpus=gpus or None,
            max_task_retries=REPEATS,
        )
    try:
        for block in heeding_interrupts(_blocks(ray, made)):
            for number, data in zip(block["number"].to_pylist(), block["made"], strict=True):
                piece = pickle.loads(data.as_buffer())
                if isinstance(piece, Fault):
                    raise ClusterError(piece.message, piece.remedy)
                yield number, piece
    except ray.exceptions.RayActorError as error:
        raise ClusterError(
            f"workers died {REPEATS + 1} times over the same task, or their machines are lost",
            "what was finished is kept: the same command goes on with it, and without --engine-cluster it finds a "
            "picture that ends the process that reads it",
        ) from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the cluster could not go on: {clean(_last_line(error)) or type(error).__name__}",
            "what was finished is kept: the same command goes on with it",
        ) from error


def _blocks(ray: Any, made: Any) -> Iterator[Any]:
    """Arrow tables of a dataset, fetched by this thread: `iter_batches` would leave threads behind when it is left."""
    for bundle in made.iter_internal_ref_bundles():
        for block in bundle.blocks:
            yield ray.get(block.ref)


def heeding_interrupts(blocks: Iterable[Any]) -> Iterator[Any]:
    """What Ray gives; `KeyboardInterrupt` at the next block where the one of Ctrl-C was lost in Ray's own code."""
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    # another handler is the program's own matter, and only the main thread may set one
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, handle)
    try:
        for block in blocks:
            if came:
                raise KeyboardInterrupt
            yield block
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def _last_line(error: Exception) -> str:
    """What remains of an exception that may hold a worker's whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else ""
