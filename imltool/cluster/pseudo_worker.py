"""The work of a cluster's process for `imltool pseudo`: makes rows and masks of its share, sent as bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imltool.cluster.check_order import Made
from imltool.cluster.model_files import ModelFiles, require_engine, require_version
from imltool.teacher.embeddings import EmbeddingFolder
from imltool.teacher.pseudo import PseudoSettings, Unlabelled, label_picture
from imltool.teacher.pseudo_rows import FailedPicture, PseudoRow
from imltool.teacher.registry import load_teacher, teacher_files
from imltool.teacher.teacher import Teacher
from imltool.versions import __version__


@dataclass(frozen=True)
class SentTeacher:
    """A teacher that can be sent to other machines.

    Attributes:
        name: of `registry.TEACHERS`.
        device: torch's name of the device on which it computes.
        files: `registry.teacher_files`; None for a teacher without weights.
        network: name of the engine that runs it; None for a teacher without weights.
        engine: `Teacher.engine`, including the version.
        embeddings: folder of embeddings that all processes share, and its limit in bytes.
        tool_version: of imltool.
    """

    name: str
    device: str
    files: ModelFiles | None = None
    network: str | None = None
    engine: str | None = None
    embeddings: tuple[Path, int] | None = None
    tool_version: str = __version__

    @classmethod
    def of(cls, ray: Any, teacher: Teacher) -> SentTeacher:
        """A loaded teacher, ready to be sent."""
        if teacher.engine is None:
            return cls(teacher.name, teacher.device)
        sent = ModelFiles.of(ray, teacher_files(teacher))
        kept = teacher.embeddings
        embeddings = (Path(os.path.abspath(kept.folder)), kept.most_bytes) if kept else None
        network = teacher.engine.split()[0]
        return cls(teacher.name, teacher.device, sent, network, teacher.engine, embeddings)

    def load(self) -> Teacher:
        """The teacher, loaded in this process. Raises `ClusterError` when versions differ from the command's.

        Embeddings are cached if their folder exists under the same path on this machine. It is never created, so that
        workers do not fill the disks of other machines.
        """
        require_version(self.tool_version)
        if self.files is None or self.network is None:
            return load_teacher(self.name)
        folder = EmbeddingFolder(*self.embeddings) if self.embeddings and self.embeddings[0].is_dir() else None
        with self.files.local() as paths:
            teacher = load_teacher(self.name, paths[0], self.device, self.network, folder)
        require_engine(teacher.engine, self.engine)
        return teacher


@dataclass(frozen=True)
class LabelledPicture(Made[PseudoRow | FailedPicture]):
    """A `Made` with the number of cached embeddings.

    Attributes:
        found: embeddings that were found in the cache.
    """

    found: int


class PseudoWorker:
    """Labels pictures in a worker process; see `ray_map.Worker`."""

    def __init__(self, teacher: SentTeacher, settings: PseudoSettings) -> None:
        self._teacher = teacher.load()
        self._kept = self._teacher.embeddings
        self._settings = settings

    def __call__(self, task: Sequence[Unlabelled]) -> Iterator[LabelledPicture]:
        for one in task:
            before = self._kept.found if self._kept else 0
            row, files = label_picture(one, self._teacher, self._settings)
            found = self._kept.found - before if self._kept else 0
            yield LabelledPicture(one.item.name, row, files, not os.path.lexists(one.item.image), found)
