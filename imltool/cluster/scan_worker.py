"""What a process of a cluster does in a scan: the pipeline of one machine over its share, results sent as bytes."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imltool import __version__
from imltool.engines.registry import graph_of
from imltool.errors import ClusterError
from imltool.scan.inputs import Input
from imltool.scan.pipeline import Row, analyse
from imltool.scan.settings import ScanSettings
from imltool.student.localizer import Localizer


@dataclass(frozen=True)
class Student:
    """A student on its way to other machines, which need not have its files.

    Attributes:
        files: its checkpoint, then its exported graph where it has one: name → reference to the bytes in Ray's store.
        device: see `Localizer`.
        network: name of what runs it.
        engine: that with its version. Another version could compute other digits.
        tool_version: of imltool.
    """

    files: Mapping[str, Any]
    device: str
    network: str
    engine: str
    tool_version: str = __version__

    @classmethod
    def of(cls, ray: Any, localizer: Localizer) -> Student:
        """Put the files of a loaded student into Ray's store, where they stay as long as this object does."""
        assert localizer.path is not None, "an untrained student has no file to send"
        files = [path for path in (localizer.path, graph_of(localizer.path)) if path.is_file()]
        sent = {path.name: ray.put(path.read_bytes()) for path in files}
        return cls(sent, localizer.device, localizer.network.engine, localizer.engine)

    def load(self) -> Localizer:
        """The student, loaded in this process. Raises `ClusterError` where it would not be quite the same."""
        import ray

        if self.tool_version != __version__:
            raise ClusterError(
                f"{platform.node()} has imltool {__version__}, and the scan is of {self.tool_version}",
                "install the same version on all machines of the cluster",
            )
        with tempfile.TemporaryDirectory(prefix="imltool-student-") as folder:
            paths = [Path(folder, name) for name in self.files]
            for path, data in zip(paths, ray.get([*self.files.values()]), strict=True):
                path.write_bytes(data)
            localizer = Localizer.load(paths[0], self.device, self.network)
        if localizer.engine != self.engine:
            raise ClusterError(
                f"{platform.node()} has {localizer.engine}, and the scan is of {self.engine}",
                "install the same version on all machines of the cluster, or choose another --engine",
            )
        return localizer


@dataclass(frozen=True)
class Made:
    """What a worker made of one file.

    Attributes:
        row: see `runner.scan`.
        files: path relative to the output folder → content.
        unseen: there is no such file on the worker's machine; False for an object of a store.
    """

    row: Row
    files: Mapping[str, bytes]
    unseen: bool


class ScanWorker:
    """Analyses files in a process of its own; see `ray_map.Worker`.

    Args:
        batch: as the whole scan has it; it alone decides the last digits, not how many files a task has.
    """

    def __init__(self, student: Student, settings: ScanSettings, batch: int) -> None:
        self._localizer = student.load()
        self._settings, self._batch = settings, batch

    def __call__(self, task: Sequence[Input]) -> Iterator[Made]:
        with tempfile.TemporaryDirectory(prefix=f"imltool-worker-{os.getpid()}-") as folder:
            out = Path(folder)
            rows = analyse(task, self._localizer, out, self._settings, self._batch)
            for item, row in zip(task, rows, strict=True):
                files = {name: (out / name).read_bytes() for name in row["outputs_sha256"]}
                for name in files:
                    (out / name).unlink()
                unseen = isinstance(item.path, Path) and not item.fault and not os.path.lexists(item.path)
                yield Made(row, files, unseen)
