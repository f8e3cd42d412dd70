"""Ray's actors as an ordered map: tasks in, what workers make of them out, each exactly once, with bounded memory."""

from __future__ import annotations

import atexit
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imltool.errors import ClusterError, ImlError
from imltool.interrupt import noted_interrupt
from imltool.texts import clean

REPEATS = 5
"""How often a task is begun again whose worker died (our choice): a machine may be lost, but a picture that kills its
worker must not be retried for ever."""
TASKS_AT_A_TIME = 2
"""Tasks given to a worker, the one it works on included, so that it does not wait for the next. What they make stays in
Ray's store until it is taken: no more than these tasks' results are there at once."""
END_SECONDS = 10.0
"""How long the end waits for tasks of killed workers to fail (our choice); they fail within tenths of a second."""


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
    """A worker in a process of its own, made by its first task: Ray would lose what a constructor was given."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def work(self, make: Callable[[], Worker], task: Any) -> list[Any] | Fault:
        try:
            if self._worker is None:
                self._worker = make()
            return list(self._worker(task))
        except ImlError as error:
            return Fault(error.message, error.remedy)


def ordered_map(
    ray: Any, make: Callable[[], Worker], tasks: Sequence[Any], workers: int, cpus: float, gpus: float = 0.0
) -> Iterator[Any]:
    """What workers make of `tasks`, piece by piece, in the order of the tasks.

    Args:
        ray: the module, connected.
        make: makes a `Worker` once in every process; called there again after a process died.
        workers: processes.
        cpus: CPUs a process is counted for.
        gpus: GPUs likewise.

    Raises `ClusterError` when a worker cannot do its work or the cluster is lost; what was yielded before is sound.
    """
    from ray.util import ActorPool

    kind = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=REPEATS)(_Process)
    actors, maker = [kind.remote() for _ in range(workers)], ray.put(make)
    pool: Any = ActorPool(actors * TASKS_AT_A_TIME)
    running: deque[Any] = deque()

    def submit(actor: Any, task: Any) -> Any:
        running.append(actor.work.remote(maker, task))
        return running[-1]

    def end() -> None:
        for actor in actors:
            ray.kill(actor)
        if running:  # a task that failed after Ray's own end would be reported on stderr
            ray.wait([*running], num_returns=len(running), timeout=END_SECONDS)

    # a generator left suspended is closed while the interpreter ends, after Ray: this runs before Ray's end
    atexit.register(end)
    try:
        with noted_interrupt() as interrupted:
            for made in pool.map(submit, tasks):
                running.popleft()
                if interrupted():  # Ray's code has swallowed it
                    raise KeyboardInterrupt
                if isinstance(made, Fault):
                    raise ClusterError(made.message, made.remedy)
                yield from made
    except ray.exceptions.RayActorError as error:
        raise ClusterError(
            f"workers died {REPEATS + 1} times over the same task, or their machines are lost",
            "what was finished is kept: the same command resumes, and without --engine-cluster it finds a picture that "
            "ends the process that reads it",
        ) from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the cluster failed: {clean(_last_line(error)) or type(error).__name__}",
            "what was finished is kept: the same command resumes",
        ) from error
    finally:
        atexit.unregister(end)
        if not sys.is_finalizing():
            end()


def _last_line(error: Exception) -> str:
    """What remains of an exception that may hold a worker's whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else ""
