"""Ray's actors as an ordered map: yields the workers' outputs for tasks, each exactly once, with bounded memory."""

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
"""Retries of a task whose worker died (our choice): a machine may be lost, but a picture that kills its worker must not
be retried for ever."""
TASKS_AT_A_TIME = 2
"""Tasks given to a worker, including the one it works on, so that it does not wait for the next. Their results stay in
Ray's store until they are taken; it never holds more than the results of these tasks."""
END_SECONDS = 10.0
"""Longest wait at the end for tasks of killed workers to fail (our choice); they fail within tenths of a second."""


class Worker(Protocol):
    """The work of a worker process."""

    def __call__(self, task: Any) -> Iterator[Any]:
        """The outputs for a task, one by one; a repeated task must give the same outputs."""
        ...


@dataclass(frozen=True)
class Fault:
    """An `ImlError` of a worker, sent as its texts."""

    message: str
    remedy: str


class _Process:
    """A worker process. Its first task makes the worker: Ray would lose the arguments of a constructor."""

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
    """The workers' outputs for `tasks`, one by one, in the order of the tasks.

    Args:
        ray: the connected module.
        make: makes a `Worker` once in every process, and again in the process that replaces a dead one.
        workers: number of processes.
        cpus: CPUs reserved per process.
        gpus: GPUs reserved per process.

    Raises `ClusterError` when a worker cannot do its work or the cluster is lost; outputs yielded before are valid.
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
        if running:  # a task that fails after Ray's shutdown would be reported on stderr
            ray.wait([*running], num_returns=len(running), timeout=END_SECONDS)

    # a suspended generator is closed while the interpreter exits, after Ray's shutdown: this runs before that
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
            f"workers died {REPEATS + 1} times on the same task, or their machines are lost",
            "finished rows are kept and the same command resumes; run it without --engine-cluster to find a picture "
            "that ends the process that reads it",
        ) from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the cluster failed: {clean(_last_line(error)) or type(error).__name__}",
            "finished rows are kept: the same command resumes",
        ) from error
    finally:
        atexit.unregister(end)
        if not sys.is_finalizing():
            end()


def _last_line(error: Exception) -> str:
    """The last line of an exception's text, which may hold a worker's whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else ""
