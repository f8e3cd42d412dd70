"""A model's files, sent to other machines, which need not have them, and checks that those have the same versions.

Other versions could write other bytes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imltool.errors import ClusterError
from imltool.files import what_happened
from imltool.versions import __version__
from imltool.weights import ASSETS

REMEDY = "install the same version on all machines of the cluster"


@dataclass(frozen=True)
class ModelFile:
    """A file of a model.

    Attributes:
        name: its name without the folder.
        sha256: of its bytes.
        sent: reference to the bytes in Ray's store.
    """

    name: str
    sha256: str
    sent: Any


@dataclass(frozen=True)
class ModelFiles:
    """Files of one folder: weights, and exported graphs beside them.

    Attributes:
        folder: their folder on the command's machine.
    """

    folder: Path
    files: tuple[ModelFile, ...]

    @classmethod
    def of(cls, ray: Any, paths: Sequence[Path]) -> ModelFiles:
        """Put files into Ray's store, which keeps them as long as this object exists, large ones on its disk."""
        files = []
        for path in paths:
            data = path.read_bytes()
            files.append(ModelFile(path.name, hashlib.sha256(data).hexdigest(), ray.put(data)))
        return cls(Path(os.path.abspath(paths[0].parent)), tuple(files))

    @contextmanager
    def local(self) -> Iterator[list[Path]]:
        """Paths on this machine, in the order of `files`, valid while the block runs.

        If the same folder or the package has all of them with the right SHA-256, those are used and nothing is sent.
        """
        for folder in (self.folder, ASSETS):
            if all(not what_happened(folder / one.name, one.sha256) for one in self.files):
                yield [folder / one.name for one in self.files]
                return
        import ray

        with tempfile.TemporaryDirectory(prefix="imltool-model-") as made:
            paths = [Path(made, one.name) for one in self.files]
            for path, one in zip(paths, self.files, strict=True):
                path.write_bytes(ray.get(one.sent))
            yield paths


def require_version(tool_version: str) -> None:
    """Raise `ClusterError` when imltool on this machine has another version than the command's."""
    if tool_version != __version__:
        raise ClusterError(f"{platform.node()} has imltool {__version__}, the command has {tool_version}", REMEDY)


def require_engine(engine: str | None, commands: str | None) -> None:
    """Raise `ClusterError` when the engine on this machine, with its version, is not the command's."""
    if engine != commands:
        raise ClusterError(
            f"{platform.node()} has {engine}, the command has {commands}", f"{REMEDY}, or choose another --engine"
        )
