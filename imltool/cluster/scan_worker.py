"""The work of a cluster's process in a scan: the pipeline of one machine over its share, with outputs sent as bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imltool.cluster.check_order import Made
from imltool.cluster.model_files import ModelFiles, require_engine, require_version
from imltool.engines.network import Compute
from imltool.engines.registry import graph_of
from imltool.inference.localizer import Localizer
from imltool.scan.inputs import Input
from imltool.scan.pipeline import analyse
from imltool.scan.results import ScanResult
from imltool.scan.settings import ScanSettings
from imltool.versions import __version__


@dataclass(frozen=True)
class SentStudent:
    """A student that can be sent to other machines.

    Attributes:
        files: its checkpoint, then its exported graph if there is one.
        device: see `Localizer`.
        network: name of the engine that runs it.
        precision: of the engine.
        engine: `Localizer.engine`, including the version. Another version could compute other digits.
        tool_version: of imltool.
    """

    files: ModelFiles
    device: str
    network: str
    precision: Compute
    engine: str
    tool_version: str = __version__

    @classmethod
    def of(cls, ray: Any, localizer: Localizer) -> SentStudent:
        """A loaded student, ready to be sent."""
        assert localizer.path is not None, "an untrained student has no file to send"
        network = localizer.network
        paths = [path for path in (localizer.path, graph_of(localizer.path, network.compute)) if path.is_file()]
        sent = ModelFiles.of(ray, paths)
        return cls(sent, localizer.device, network.engine, network.compute, localizer.engine)

    def load(self) -> Localizer:
        """The student, loaded in this process. Raises `ClusterError` when versions differ from the command's."""
        require_version(self.tool_version)
        with self.files.local() as paths:
            localizer = Localizer.load(paths[0], self.device, self.network, self.precision)
        require_engine(localizer.engine, self.engine)
        return localizer


class ScanWorker:
    """Analyses files in a worker process; see `ray_map.Worker`.

    Args:
        batch: batch size of the whole scan. Only this affects the last digits, not the number of files in a task.
    """

    def __init__(self, student: SentStudent, settings: ScanSettings, batch: int) -> None:
        self._localizer = student.load()
        self._settings, self._batch = settings, batch

    def __call__(self, task: Sequence[Input]) -> Iterator[Made[ScanResult]]:
        with tempfile.TemporaryDirectory(prefix=f"imltool-worker-{os.getpid()}-") as folder:
            out = Path(folder)
            results = analyse(task, self._localizer, out, self._settings, self._batch)
            for item, result in zip(task, results, strict=True):
                files = {name: (out / name).read_bytes() for name in result.outputs_sha256}
                for name in files:
                    (out / name).unlink()
                unseen = isinstance(item.path, Path) and not item.fault and not os.path.lexists(item.path)
                yield Made(result.path, result, files, unseen)
