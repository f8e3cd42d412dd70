"""Object stores through fsspec: recognise addresses, list and fetch objects. Nothing is written to a store.

fsspec and the package of a store are imported only when an address needs them, never for local files. Failed requests
are repeated by the store's package.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from imltool.errors import ImlError, ObjectError, ObjectGone, OutputError, StoreError, UsageError
from imltool.files import human_size
from imltool.texts import printable

LARGEST = 4_000_000_000
"""Size in bytes of the largest object that is fetched (our choice: four times 300 megapixels of 8 bits)."""
HEAD = 4096
"""Bytes fetched of an object without a picture's extension, to see whether it begins like a picture (our choice)."""
LONGEST_SUFFIX = 100

FILE = "file"
"""The scheme of local files, which are read in place."""
OF_ONE_PROCESS = "memory"
"""The scheme of a store that other processes cannot read: for programs and tests."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Scheme:
    """A kind of store: the package that fsspec needs for it ("" for none), and the options to open it."""

    package: str
    options: Mapping[str, Any] = field(default_factory=dict)


SCHEMES = {
    # parts fetched concurrently would be held in memory; s3fs repeats requests itself, so its library need not
    "s3": Scheme("s3fs", {"max_concurrency": 1, "config_kwargs": {"retries": {"total_max_attempts": 1}}}),
    "gs": Scheme("gcsfs"),
    OF_ONE_PROCESS: Scheme(""),
}
"""Scheme of an address → its kind of store."""
_KNOWN = ", ".join(f"{name}://" for name in (*SCHEMES, FILE))


@dataclass(frozen=True)
class Stored:
    """An object of a store, or a folder of them.

    Attributes:
        url: its address, as a person writes it: `s3://bucket/folder/a.jpg`, not percent-encoded.
        size: size in bytes as listed; None when unknown.
        root: the address below which it was listed.
    """

    url: str
    size: int | None = field(default=None, compare=False)
    root: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def name(self) -> PurePosixPath:
        """The last part of the address."""
        return PurePosixPath(self.url.rpartition("/")[2])


def is_address(text: str) -> bool:
    """Whether a text begins like `scheme://`."""
    return _ADDRESS.match(text) is not None


def read_address(text: str) -> Stored | Path:
    """The object or folder that an address names in a store, or with `file://` a local path.

    Raises `UsageError` for a scheme that is not known or whose package is missing, and for an address with credentials
    or a query, which the message does not repeat.
    """
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    host = rest.partition("/")[0]
    if scheme != FILE and ("@" in host or (":" in host and not host.startswith("arn:"))):
        raise UsageError(
            f"a {scheme}:// address must not hold a user, a key or a password",
            "the store's package finds credentials in the environment or its own files",
        )
    if scheme == FILE:
        if not rest.startswith("/"):
            raise UsageError("a file:// address must begin with three slashes", "write file:///path")
        return Path(rest[1:] if PureWindowsPath(rest[1:]).drive and os.name == "nt" else rest)  # file:///C:/folder
    if scheme not in SCHEMES:
        raise UsageError(f"unknown scheme {scheme}://", f"choose one of {_KNOWN}")
    if "?" in rest:
        raise UsageError(
            f"a {scheme}:// address must not hold a query (?…)", "give the object's or folder's own address"
        )
    place = rest.strip("/")
    if not place:
        raise UsageError(f"{scheme}:// names no bucket", f"write {scheme}://bucket/folder")
    open_store(scheme)
    return Stored(f"{scheme}://{place}")


@cache
def open_store(scheme: str) -> Any:
    """The file system of fsspec for a scheme. Raises `UsageError` when a package is missing."""
    package = SCHEMES[scheme].package
    missing = [name for name in ("fsspec", package) if name and importlib.util.find_spec(name) is None]
    if missing:
        install = f"'imltool[storage]' {package}".strip()
        raise UsageError(f"{scheme}:// needs {' and '.join(missing)}, not installed here", f"pip install {install}")
    import fsspec

    # a cached listing would show objects that are gone; fsspec's instance cache makes one instance per thread
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **SCHEMES[scheme].options)


def _ask(place: Stored, request: Callable[[Any, str], Result], may_be_locked: bool = False) -> Result | None:
    """Call `request` with the file system of a store and the store's name of the place; return its result.

    Returns None when nothing is there, and, if it `may_be_locked`, when reading is not permitted.

    Raises `StoreError` without the store's own texts, which may hold addresses with keys in them. For the same
    reason it is raised `from None`: `-vv` shows the causes of errors.
    """
    store = open_store(place.scheme)
    try:
        return request(store, str(store._strip_protocol(place.url)))  # noqa: SLF001 fsspec offers no other way
    except FileNotFoundError:
        return None
    except PermissionError:
        if may_be_locked:
            return None
        raise StoreError(
            f"no permission to access {printable(place.url)}", "check the address, the credentials and their rights"
        ) from None
    except Exception as error:  # stores raise errors of any type
        raise StoreError(
            f"{printable(place.url)} cannot be accessed: {type(error).__name__}",
            "check the address, the credentials in the environment and the network",
        ) from None


def exists(place: Stored) -> bool:
    """Whether there is such an object or folder. Raises `StoreError` when the store does not answer."""
    return _ask(place, lambda store, key: store.info(key)) is not None


def list_objects(place: Stored) -> list[Stored]:
    """All objects below a folder, in no particular order; an object itself; an empty list when nothing is there.

    Raises `StoreError` when the store does not answer.
    """
    about = _ask(place, lambda store, key: store.info(key))
    if about is None:
        return []
    if about["type"] != "directory":
        return [Stored(place.url, about.get("size"), place.url)]
    found = _ask(place, lambda store, key: (f"{key}/", store.find(key, detail=True)))
    top, listed = found or ("", {})
    return [
        Stored(f"{place.url}/{name[len(top) :]}", about.get("size"), place.url)
        for name, about in listed.items()
        # an empty object whose name ends in a slash stands for a folder
        if about["type"] == "file" and name.startswith(top) and not (name.endswith("/") and not about.get("size"))
    ]


def read_head(place: Stored) -> bytes:
    """The first bytes of an object, enough to recognise a picture's format; none if reading is not permitted.

    Raises `StoreError` when the store does not answer.
    """
    if place.size == 0:
        return b""
    return bytes(_ask(place, lambda store, key: store.cat_file(key, start=0, end=HEAD), may_be_locked=True) or b"")


def fetch(place: Stored, folder: Path, stem: str, stop: threading.Event | None = None) -> Path:
    """Copy an object to `folder` as `stem` with the suffix of its name; return the copy's path.

    Args:
        stop: the copy is abandoned soon after this is set.

    Raises `ObjectGone` and `ObjectError` with the reason only, `StoreError` when the store as a whole does not answer,
    and `OutputError` when there is no space for the copy.
    """
    if (place.size or 0) > LARGEST:
        raise ObjectError(f"larger than {human_size(LARGEST)}: not fetched")
    suffix = place.name.suffix
    path = folder / (stem + (suffix if len(suffix.encode()) <= LONGEST_SUFFIX and "\0" not in suffix else ".long"))
    store = open_store(place.scheme)
    try:
        store.get_file(store._strip_protocol(place.url), str(path), callback=_bound(stop or threading.Event()))  # noqa: SLF001
        if not path.is_file():  # fsspec makes a folder of a folder
            raise ObjectError("is a folder, not an object")
    except Exception as error:
        path.unlink(missing_ok=True)
        raise _reason(error, place) from None
    return path


def _bound(stop: threading.Event) -> Any:
    """A progress callback for fsspec that ends a copy when `stop` is set or the copy has grown too large."""
    from fsspec.callbacks import Callback

    class Bound(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if stop.is_set():
                raise ObjectError("not fetched: the scan was ended")
            if self.value > LARGEST:
                raise ObjectError(f"larger than {human_size(LARGEST)}: not fetched")

    return Bound()


def _reason(error: Exception, place: Stored) -> ImlError:
    """Why an object could not be copied, without the store's own texts."""
    if isinstance(error, ImlError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"no space left in {tempfile.gettempdir()} to fetch {printable(place.url)}",
            "free some space, or set TMPDIR to a folder that has it; the same command resumes",
        )
    if isinstance(error, FileNotFoundError):
        return ObjectGone("no such object")
    try:  # is this object unreadable, or are the network or the credentials gone?
        exists(Stored(place.root or place.url))
    except StoreError as silent:
        return silent
    if isinstance(error, PermissionError):
        return ObjectError("no permission to read")
    return ObjectError(f"cannot be fetched ({type(error).__name__})")
