"""What a process of a cluster does for `imltool pseudo`: rows and masks of its share, sent as bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imltool.cluster.check_order import Made
from imltool.cluster.model_files import ModelFiles
from imltool.cluster.same_setup import require_engine, require_version
from imltool.teacher.embeddings import EmbeddingFolder
from imltool.teacher.pseudo import PseudoSettings, Unlabelled, label_picture
from imltool.teacher.registry import load_teacher, teacher_files
from imltool.teacher.teacher import Teacher
from imltool.versions import __version__


@dataclass(frozen=True)
class SentTeacher:
    """A teacher on its way to other machines.

    Attributes:
        name: of `registry.TEACHERS`.
        device: on which it computes, as torch names it.
        files: `registry.teacher_files`; None for a teacher without weights.
        network: name of what runs it; None likewise.
        engine: `Teacher.engine`, its version among it.
        embeddings: folder of embeddings that all share, and its bound in bytes.
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
        """The teacher, loaded in this process. Raises `ClusterError` where it would not be quite the same.

        Embeddings are looked for and kept where the folder has the same path on this machine. It is not made:
        workers do not fill other machines' disks.
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
class LabelledPicture(Made[dict[str, Any]]):
    """See `Made`.

    Attributes:
        found: embeddings that were kept from before.
    """

    found: int


class PseudoWorker:
    """Labels pictures in a process of its own; see `ray_map.Worker`."""

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
