"""Content Credentials (C2PA): whether a file has them, which of their checks hold, and what they state."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from imltool.evidence.model import Check, Concern, Credentials, Finding
from imltool.evidence.xmp import source_types
from imltool.pictures.source import Source
from imltool.texts import clean

MARK = b"jumdc2pa"
"""Every embedded manifest store begins with a JUMBF description of this kind, which no format compresses."""
READER = Path(__file__).with_name("credentials_reader.py")
SECONDS = 60
"""Wall-clock time that the reader may take (our choice)."""
ADDRESS = re.compile(r"0x[0-9a-fA-F]{5,}")

MIME = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
    "JPEG2000": "image/jp2",
}
CONCERNS: tuple[tuple[Concern, re.Pattern[str]], ...] = (
    ("ingredient", re.compile(r"^ingredient\.|^assertion\.ingredient")),
    ("binding", re.compile(r"^assertion\.(dataHash|bmffHash|boxesHash|collectionHash|multiAssetHash)|hardBindings?")),
    ("time", re.compile(r"^timeStamp\.|\.expired$|Validity$|notYetValid|timeOfSigning")),
    ("identity", re.compile(r"^cawg\.|^signingCredential\.")),
    ("signature", re.compile(r"^claimSignature\.|^claim\.|^assertion\.(hashedURI|missing|notRedacted|inaccessible)")),
)
"""The concern of a code of the C2PA specification: that of the first pattern that matches."""
OFFLINE = re.compile(r"unavailable|inaccessible|\.ocsp\.|skipped|notChecked|did_|unresolved|fetch", re.IGNORECASE)
"""Codes of checks that need a network; not faults."""
PROVES: Mapping[Concern, re.Pattern[str]] = {
    "binding": re.compile(r"^assertion\.(dataHash|bmffHash|boxesHash|collectionHash|multiAssetHash)\.match$"),
    "signature": re.compile(r"^claimSignature\.validated$"),
    "time": re.compile(r"^claimSignature\.insideValidity$|^timeStamp\.(validated|trusted)$"),
    "identity": re.compile(r"^cawg\.ica\.credential_valid$|^cawg\..*\.trusted$|^signingCredential\.trusted$"),
    "ingredient": re.compile(r"^ingredient\.(manifest|claimSignature)\.validated$"),
}
"""Codes that mean that a check holds."""


def read_credentials(source: Source, image_format: str | None, provenance: str | None) -> Credentials:
    """The Content Credentials of a file, read by the official library in a separate process, without network.

    Args:
        source: opened with `MARK` among its marks.
        image_format: Pillow's name of the format, None when unknown.
        provenance: the address of credentials in XMP. It is reported, never fetched.

    Returns:
        `state` is one of:

        - "absent";
        - "removed": XMP says that they are in this file, and they are not;
        - "elsewhere": only an address is given;
        - "valid": the file is the one that was signed, the signature holds, and there are no faults;
        - "valid with faults": the same, with a fault elsewhere (time of the certificate, identity, ingredient);
        - "invalid": the file is not the one that was signed, or the signature does not hold;
        - "unreadable";
        - "not checked": `reason` says why.

        `binding`, `signature`, `time`, `identity`, `ingredients` are the outcomes of these checks. Whether the signer
        can be trusted is not judged: no list of trusted signers is consulted. `findings` are faults and checks that
        were impossible offline, with the library's explanations.
    """
    answer = _ask(source, MIME.get(image_format or "", "")) if MARK in source.found else dict[str, Any](state="absent")
    if answer.get("state") == "absent":  # also where a comment or an appended file holds the mark
        if not provenance:
            return Credentials()
        inside = provenance.startswith(("self#", "#"))
        return Credentials(state="removed" if inside else "elsewhere", address=provenance)
    if "state" in answer:
        return Credentials(state=answer["state"], reason=clean(answer.get("reason")), address=provenance)
    said = {name: clean(answer.get(name)) for name in ("generator", "signer", "signed")}
    codes, of_sources = (
        [str(each.get("code")) for each in answer.get(key) or []] for key in ("success", "ingredient_success")
    )
    findings = [_finding(each, ingredient=False) for each in answer.get("failure") or []]
    findings += [_finding(each, ingredient=True) for each in answer.get("ingredient_failure") or []]
    checks = {
        concern: _check(concern, [*codes, *of_sources] if concern == "ingredient" else codes, findings)
        for concern in PROVES
    }
    return Credentials(
        state=_state(checks, findings, answer.get("validation_state") in ("Valid", "Trusted")),
        binding=checks["binding"],
        signature=checks["signature"],
        time=checks["time"],
        identity=checks["identity"],
        ingredients=checks["ingredient"],
        findings=tuple(findings),
        source_types=source_types(answer.get("source_types") or []),
        actions=tuple(clean(each, 80) or "?" for each in answer.get("actions") or []),
        address=provenance,
        **said,
    )


def concern_of(code: str) -> Concern:
    """The concern of a code."""
    return next((concern for concern, pattern in CONCERNS if pattern.search(code)), "other")


def _finding(status: Mapping[str, Any], ingredient: bool) -> Finding:
    code = clean(status.get("code"), 80) or "?"
    explanation = clean(status.get("explanation"))
    return Finding(
        code=code,
        concerns="ingredient" if ingredient else concern_of(code),
        explanation=ADDRESS.sub("0x…", explanation) if explanation else None,
    )


def is_fault(finding: Finding) -> bool:
    """Whether a finding is a fault, not just a check that is impossible offline."""
    return not OFFLINE.search(finding.code) or finding.concerns in ("binding", "signature")


def _check(concern: Concern, codes: Sequence[str], findings: Sequence[Finding]) -> Check:
    if any(finding.concerns == concern and is_fault(finding) for finding in findings):
        return "fails"
    return "holds" if any(PROVES[concern].search(code) for code in codes) else "not checked"


def _state(
    checks: Mapping[Concern, Check], findings: Sequence[Finding], accepted: bool
) -> Literal["valid", "valid with faults", "invalid"]:
    """The state of credentials that were read. Only the binding and the signature decide whether they are valid."""
    if "fails" in (checks["binding"], checks["signature"]):
        return "invalid"
    if not accepted and not checks["binding"] == checks["signature"] == "holds":
        return "invalid"
    return "valid with faults" if any(is_fault(finding) for finding in findings) else "valid"


def _ask(source: Source, mime: str) -> dict[str, Any]:
    """The output of the reader process. It gets the bytes only: a file name could be mistaken for an option."""
    command = [sys.executable, str(READER), mime]
    try:
        if isinstance(source.stream, io.BytesIO):
            done = subprocess.run(command, input=source.whole(), capture_output=True, timeout=SECONDS, check=False)
        else:
            # the process shares the offset of the system; seeking to the end drops the buffer, in which a seek may stay
            source.stream.seek(0, io.SEEK_END)
            source.stream.seek(0)
            done = subprocess.run(command, stdin=source.stream, capture_output=True, timeout=SECONDS, check=False)
            source.stream.seek(0, io.SEEK_END)
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return {"state": "unreadable", "reason": f"reading took more than {SECONDS} s"}
    except (OSError, ValueError):
        return {"state": "not checked", "reason": "the reader could not be started"}
    return {"state": "unreadable", "reason": "the C2PA library stopped"}
