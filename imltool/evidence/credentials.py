"""Content Credentials (C2PA): whether a file carries them, whether they hold, and what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from imltool.evidence.model import Credentials, Finding
from imltool.evidence.xmp import source_types
from imltool.texts import clean

MARK = b"jumdc2pa"
"""Every embedded manifest store begins with a JUMBF description of this kind; in no format is it compressed."""
READER = Path(__file__).with_name("credentials_reader.py")
SECONDS = 60
"""Wall-clock time the reader may take (our choice)."""
CHUNK = 1 << 20

MIME = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
}


def read_credentials(path: Path, image_format: str | None, provenance: str | None) -> Credentials:
    """The Content Credentials of a file, read by the official library in a process of its own.

    Args:
        image_format: Pillow's name of the format, None when unknown.
        provenance: the address XMP tells of credentials that lie elsewhere. It is told, never fetched.

    Returns:
        `state`: "absent"; "elsewhere" (only an address is told); "valid" (the signature holds and the file is what was
        signed); "invalid" (`failures` has C2PA's codes); "unreadable" and "not checked" (`reason` says why). Whether
        the signer can be trusted is not judged: no list of trusted signers is consulted. `generator`, `signer`,
        `signed` (time), `actions`, `source_types`: what the active manifest says. `address`: see `provenance`.

    Raises OSError when the file cannot be read.
    """
    if not holds(path, MARK):
        return Credentials(state="elsewhere" if provenance else "absent", address=provenance)
    answer = _ask(path, MIME.get(image_format or "", ""))
    return Credentials(
        address=provenance,
        state=answer.get("state"),
        source_types=source_types(answer.get("source_types") or []),
        actions=tuple(clean(each, 80) or "?" for each in answer.get("actions") or []),
        findings=tuple(Finding(code=clean(each, 80) or "?", concerns="other") for each in answer.get("failures") or []),
        **{name: clean(answer.get(name)) for name in ("reason", "generator", "signer", "signed")},
    )


def holds(path: Path, mark: bytes) -> bool:
    """Whether a file's bytes hold `mark`; read in pieces, whatever its size."""
    rest = b""
    with path.open("rb") as handle:
        while block := handle.read(CHUNK):
            if mark in rest + block:
                return True
            rest = block[-len(mark) :]
    return False


def _ask(path: Path, mime: str) -> dict[str, Any]:
    """What the reader says. It gets the open file, so that no name can be taken for an option."""
    try:
        with path.open("rb") as handle:
            done = subprocess.run(
                [sys.executable, str(READER), mime], stdin=handle, capture_output=True, timeout=SECONDS, check=False
            )
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return {"state": "unreadable", "reason": f"reading took more than {SECONDS} s"}
    except (OSError, ValueError) as error:
        return {"state": "not checked", "reason": f"the reader could not be started ({error})"}
    return {"state": "unreadable", "reason": f"the C2PA library stopped (exit status {done.returncode})"}
