"""A model's files on their way to other machines, which need not have them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imltool.files import what_happened
from imltool.weights import ASSETS


@dataclass(frozen=True)
class ModelFile:
    """One of them.

    Attributes:
        name: without folder.
        sha256: of its bytes.
        sent: reference to the bytes in Ray's store.
    """

    name: str
    sha256: str
    sent: Any


@dataclass(frozen=True)
class ModelFiles:
    """Files of one folder: weights, and graphs that are looked for beside them.

    Attributes:
        folder: where the command has them.
    """

    folder: Path
    files: tuple[ModelFile, ...]

    @classmethod
    def of(cls, ray: Any, paths: Sequence[Path]) -> ModelFiles:
        """Put files into Ray's store, where they stay as long as this object does; a large one goes to its disk."""
        files = []
        for path in paths:
            data = path.read_bytes()
            files.append(ModelFile(path.name, hashlib.sha256(data).hexdigest(), ray.put(data)))
        return cls(Path(os.path.abspath(paths[0].parent)), tuple(files))

    @contextmanager
    def local(self) -> Iterator[list[Path]]:
        """Paths on this machine, in the order of `files`, while the models are loaded.

        They are the command's own, or those of the package, where all of them have the right SHA-256 there: then
        nothing travels.
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
