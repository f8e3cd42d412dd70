"""Object stores through fsspec: addresses told from paths, objects listed and fetched. Nothing is written to a store.

fsspec, tenacity and a store's own package are imported when an address asks for them, never for files of this machine.
"""

from __future__ import annotations

import errno
import importlib.util
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from imltool.errors import ImlError, ObjectError, ObjectGone, OutputError, StoreError, UsageError
from imltool.files import human_size
from imltool.texts import printable

LARGEST = 4_000_000_000
"""Bytes of an object that is fetched at most (our choice: four times what 300 megapixels of 8 bits take)."""
HEAD = 4096
"""Bytes fetched of an object whose name is no picture's, to see whether it begins like one (our choice)."""
ATTEMPTS = 3
"""How often a request is made that fails in a way that may pass (our choice); a store's package may try more often
within each."""
FIRST_WAIT = 0.2
"""Seconds between the first two attempts, twice as long before the third, and up to half of it more by chance."""
LONGEST_SUFFIX = 100

FILE = "file"
"""The scheme of files of this machine, which are read where they lie."""
OF_ONE_PROCESS = "memory"
"""The scheme of a store that no other process sees: for programs and tests."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("TokenRetrievalError", "UnauthorizedSSOTokenError", "DefaultCredentialsError", "RefreshError"),
}
"""Names of what the packages of Amazon and Google raise without usable credentials."""
_REFUSED = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"}
"""S3's codes for credentials that it does not take."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Scheme:
    """A kind of store: the package that fsspec needs for it ("" for none), and the options it is opened with."""

    package: str
    options: Mapping[str, Any] = field(default_factory=dict)


SCHEMES = {
    "s3": Scheme(
        "s3fs",
        {
            "max_concurrency": 1,  # parts fetched side by side would be held in memory
            # s3fs tries five times itself, and what it is built on would so each time
            "config_kwargs": {"retries": {"total_max_attempts": 1}},
        },
    ),
    "gs": Scheme("gcsfs"),
    OF_ONE_PROCESS: Scheme(""),
}
"""Scheme of an address → what serves it."""
_KNOWN = ", ".join(f"{name}://" for name in (*SCHEMES, FILE))


@dataclass(frozen=True)
class Stored:
    """An object of a store, or a folder of them.

    Attributes:
        url: its address, as a person writes it: `s3://bucket/folder/a.jpg`, nothing in it percent-encoded.
        size: bytes, as they were listed; None when that is not known.
    """

    url: str
    size: int | None = field(default=None, compare=False)

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
    """What an address names: an object or a folder of a store, or with `file://` a path of this machine.

    Raises `UsageError` for a scheme that is not known or whose package is missing, and for an address with credentials
    or a query in it. Neither is repeated in the message.
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
        return Path(rest)
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
    missing = [name for name in ("fsspec", "tenacity", package) if name and importlib.util.find_spec(name) is None]
    if missing:
        install = " ".join(["'imltool[storage]'", package]).strip()
        raise UsageError(f"{scheme}:// needs {' and '.join(missing)}, not installed here", f"pip install {install}")
    import fsspec

    # a listing kept from before would show objects that are gone; fsspec's own cache makes an instance a thread
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **SCHEMES[scheme].options)


@contextmanager
def _asking(place: Stored) -> Iterator[None]:
    """Turn what a store raises when it is asked for a listing or a beginning into a `StoreError`."""
    try:
        yield
    except Exception as error:  # stores raise what they like
        told = _explain(error, place)
        if isinstance(error, FileNotFoundError | PermissionError) and isinstance(told, ObjectError):
            raise
        if isinstance(told, ObjectError):
            told = StoreError(
                f"{_shown(place)} cannot be looked at: {_word(error)}", "check the address and the network"
            )
        raise told from None


def exists(place: Stored) -> bool:
    """Whether there is such an object or folder. Raises `StoreError` when the store does not tell."""
    return _look_up(place) is not None


def _look_up(place: Stored) -> dict[str, Any] | None:
    try:
        with _asking(place):
            return dict(_patiently(lambda: open_store(place.scheme).info(_key(place))))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise _locked(place) from None


def _locked(place: Stored) -> StoreError:
    return StoreError(
        f"no permission to look at {_shown(place)}", "check the address, the credentials and their rights"
    )


def list_objects(place: Stored) -> list[Stored]:
    """All objects below a folder, in no order; an object itself; nothing where nothing is.

    Raises `StoreError` when the store does not tell.
    """
    about = _look_up(place)
    if about is None:
        return []
    if about["type"] != "directory":
        return [Stored(place.url, about.get("size"))]
    key = _key(place)
    try:
        with _asking(place):
            listed = _patiently(lambda: open_store(place.scheme).find(key, detail=True))
    except FileNotFoundError:
        return []
    except PermissionError:
        raise _locked(place) from None
    top = f"{key}/"
    return [
        Stored(f"{place.url}/{name[len(top) :]}", about.get("size"))
        for name, about in listed.items()
        # an empty object whose name ends in a slash stands for a folder
        if about["type"] == "file" and name.startswith(top) and not (name.endswith("/") and not about.get("size"))
    ]


def read_head(place: Stored) -> bytes:
    """The first bytes of an object, enough to tell a picture's format; none of one that may not be read.

    Raises `StoreError` when the store does not answer.
    """
    if place.size == 0:
        return b""
    try:
        with _asking(place):
            return bytes(_patiently(lambda: open_store(place.scheme).cat_file(_key(place), start=0, end=HEAD)))
    except (FileNotFoundError, PermissionError):
        return b""


def fetch(place: Stored, folder: Path, stem: str, stop: threading.Event | None = None) -> Path:
    """Copy an object to `folder`, under `stem` and the suffix of its name; gives the copy's path.

    Failures that may pass are met by further attempts. A store's package reads a whole object by one request.

    Args:
        stop: gives up soon after it is set.

    Raises `ObjectGone` and `ObjectError` with the reason alone, `StoreError` without usable credentials, and
    `OutputError` when there is no room for the copy.
    """
    if (place.size or 0) > LARGEST:
        raise ObjectError(f"larger than {human_size(LARGEST)}: not fetched")
    suffix = place.name.suffix
    path = folder / (stem + (suffix if len(suffix.encode()) <= LONGEST_SUFFIX and "\0" not in suffix else ".long"))
    stop = stop or threading.Event()
    try:
        _patiently(lambda: open_store(place.scheme).get_file(_key(place), str(path), callback=_bound(stop)), stop)
        if not path.is_file():  # what fsspec leaves of a folder
            raise ObjectError("is a folder, not an object")
    except Exception as error:
        path.unlink(missing_ok=True)
        raise _explain(error, place) from None
    return path


def _bound(stop: threading.Event) -> Any:
    """What fsspec reports its progress to: ends a copy that is no longer wanted or has grown too large."""
    from fsspec.callbacks import Callback

    class Bound(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if stop.is_set():
                raise ObjectError("not fetched: the scan was ended")
            if self.value > LARGEST:
                raise ObjectError(f"larger than {human_size(LARGEST)}: not fetched")

    return Bound()


def _key(place: Stored) -> str:
    """The name by which the store knows an object."""
    return str(open_store(place.scheme)._strip_protocol(place.url))


def _patiently(request: Callable[[], Result], stop: threading.Event | None = None) -> Result:
    """Make a request, again where its failure may pass; the last failure is raised as it is."""
    import tenacity

    stop = stop or threading.Event()
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_when_event_set(stop),
        wait=tenacity.wait_exponential(multiplier=FIRST_WAIT) + tenacity.wait_random(0, FIRST_WAIT / 2),
        sleep=tenacity.sleep_using_event(stop),
        retry=tenacity.retry_if_exception(_may_pass),
        reraise=True,
    )
    return retrying(request)


def _may_pass(error: BaseException) -> bool:
    lasting = (ImlError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, MemoryError)
    if isinstance(error, lasting) or not isinstance(error, Exception):
        return False
    return not _is_about_credentials(error) and not _is_about_room(error)


def _explain(error: Exception, place: Stored) -> ImlError:
    """The error to tell, without a word of the store's own texts: they may hold addresses with keys in them.

    For the same reason it is raised `from None`: `-vv` shows where errors come from.
    """
    if isinstance(error, ImlError):
        return error
    if _is_about_credentials(error):
        return StoreError(
            f"no credentials that {place.scheme}:// takes for {_shown(place)}: {_word(error)}",
            "set them in the environment as for the store's own tools; what was finished is kept",
        )
    if _is_about_room(error):
        return OutputError(
            f"no space left in {tempfile.gettempdir()} to fetch {_shown(place)}",
            "free some space, or set TMPDIR to a folder that has it; the same command goes on",
        )
    if isinstance(error, FileNotFoundError):
        return ObjectGone("no such object")
    if isinstance(error, PermissionError):
        return ObjectError("no permission to read")
    return ObjectError(f"cannot be fetched ({_word(error)})")


def _is_about_credentials(error: Exception) -> bool:
    return bool(_NO_CREDENTIALS & {kind.__name__ for kind in type(error).__mro__}) or _code(error) in _REFUSED


def _is_about_room(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _code(error: Exception) -> str:
    """S3's code of an error, which s3fs keeps as the cause of its own; "" for others."""
    response = getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"\w{1,60}", code) else ""


def _word(error: Exception) -> str:
    return _code(error) or type(error).__name__


def _shown(place: Stored) -> str:
    return printable(place.url)
