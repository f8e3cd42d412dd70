"""Cached embeddings: a folder of limited size that processes may share, and a network that looks there first."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imltool.errors import OutputError, UsageError
from imltool.files import PARTIAL, make_folder, sha256_text, write_bytes
from imltool.journal import dump_json
from imltool.pictures.images import RGB
from imltool.teacher.network import EMBED_DIM, EMBED_GRID, SamNetwork

log = logging.getLogger("imltool")

FORMAT = 1
SUFFIX = ".embedding"
SHAPE = (1, EMBED_DIM, EMBED_GRID, EMBED_GRID)
ENTRY_BYTES = hashlib.sha256().digest_size + 4 * EMBED_DIM * EMBED_GRID * EMBED_GRID
"""Size of an entry: the SHA-256 of the values, then the values as float32 in C order, little-endian."""
_OURS = re.compile(rf"[0-9a-f]{{64}}\{SUFFIX}")


class EmbeddingFolder:
    """Embeddings by key in a folder of limited size.

    An entry is written atomically and contains a hash of its values; incomplete or damaged entries count as missing.
    Any number of processes may use the folder: an entry removed by one is computed again by another. Only files named
    by this class are ever removed.

    Attributes:
        found: number of valid entries found so far.

    Args:
        most_bytes: size limit; the least recently used entries are removed to keep it. While several processes write,
            each may exceed it by the entry it is writing.

    Raises `OutputError` when the folder cannot be made, `UsageError` when the limit is less than an entry.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        if most_bytes < ENTRY_BYTES:
            raise UsageError(f"{most_bytes} bytes hold no embedding, which takes {ENTRY_BYTES}", "give it more room")
        self.folder, self.most_bytes = make_folder(folder), most_bytes
        self.found = 0
        self._refused = False

    def take(self, key: str) -> NDArray[np.float32] | None:
        """The embedding float32 [1,256,64,64] stored under `key` (64 hex digits); None if there is no valid one."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        values = memoryview(data)[hashlib.sha256().digest_size :]
        if len(data) != ENTRY_BYTES or hashlib.sha256(values).digest() != data[: -len(values)]:
            log.warning("%s is damaged and made again", path)
            return None
        self.found += 1
        with suppress(OSError):  # removed by another process, or a read-only folder
            os.utime(path)
        return np.frombuffer(values, "<f4").reshape(SHAPE).astype(np.float32)

    def put(self, key: str, embedding: NDArray[np.float32]) -> None:
        """Store an embedding. If it cannot be written, the run continues with a single warning."""
        values = embedding.astype("<f4").tobytes()
        self._make_room(ENTRY_BYTES)
        try:
            write_bytes(self._path(key), hashlib.sha256(values).digest() + values)
        except OutputError as error:
            if not self._refused:
                log.warning("%s: embeddings are not cached", error.message)
            self._refused = True

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def _make_room(self, wanted: int) -> None:
        """Remove the least recently used entries until `wanted` bytes fit. Files of killed writers count as entries."""
        entries = sorted(self._entries())
        total = wanted + sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self.most_bytes:
                break
            with suppress(OSError):
                path.unlink()
                total -= size

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Time of last use, size in bytes and path of every file named by this class."""
        with suppress(OSError), os.scandir(self.folder) as found:
            for entry in found:
                if _OURS.fullmatch(entry.name) or (PARTIAL.fullmatch(entry.name) and SUFFIX in entry.name):
                    with suppress(OSError):
                        status = entry.stat()
                        yield status.st_mtime_ns, status.st_size, Path(entry.path)


class CachingSam:
    """A network that looks up embeddings before it computes them; see `SamNetwork`.

    The key of an entry depends on the weights, the engine with its version, and the encoder's input pixels, so that
    masks are the same with and without the cache.

    Attributes:
        folder: the cache folder.

    Args:
        weights_sha256: SHA-256 of the network's weights.
    """

    def __init__(self, network: SamNetwork, weights_sha256: str, folder: EmbeddingFolder) -> None:
        self.engine, self.version = network.engine, network.version
        self.folder = folder
        self._network = network
        self._maker = {"format": FORMAT, "weights": weights_sha256, "engine": [network.engine, network.version]}

    @property
    def layers(self) -> Iterable[nn.Module]:
        return self._network.layers

    def encode(self, view: RGB) -> Tensor:
        pixels = hashlib.sha256(np.ascontiguousarray(view).data).hexdigest()
        key = sha256_text(dump_json(self._maker | {"shape": view.shape, "pixels": pixels}))
        kept = self.folder.take(key)
        if kept is not None:
            return torch.from_numpy(kept)
        features = self._network.encode(view)
        self.folder.put(key, features.cpu().numpy())
        return features

    def decode(
        self, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        return self._network.decode(features, points, labels)
