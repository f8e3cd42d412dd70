"""Reads the Content Credentials of the file on stdin with c2pa-python and prints one JSON object.

`imltool.evidence.credentials` runs it as a script in a separate process, so that a file made to hang or crash the
native library, or to exhaust memory, ends that process and not the scan. It imports nothing of imltool, so that it
starts fast, and fetches nothing from the network.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

MEMORY = 4_000_000_000
"""Limit of the address space in bytes (our choice; the library maps about 0.5 GB)."""
SECONDS = 30
"""Limit of the processor time (our choice)."""
LISTED = 20
UNTRUSTED = "signingCredential.untrusted"
"""Left out of the failures: trust is not judged here, as no list of trusted signers is consulted."""
SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False}}


def limit() -> None:
    """Limit the memory and time of this process, where the system supports it."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def recorded(ingredients: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results that a signer recorded when a source was included; today's results list only what differs from them."""
    found: list[dict[str, Any]] = []
    for ingredient in ingredients:
        results = ingredient.get("validation_results") or {}
        found.append(results.get("activeManifest") or {})
        found += [each.get("validationDeltas") or {} for each in results.get("ingredientDeltas") or []]
        found.append({"failure": ingredient.get("validation_status") or []})  # of versions 1 and 2
    return found


def read(mime: str) -> dict[str, Any]:
    """The library's results for the active manifest, or a `state`: "absent", "unreadable" or "not checked"."""
    try:
        import c2pa  # type: ignore[import-untyped]
    except Exception:
        return {"state": "not checked", "reason": "c2pa-python cannot be loaded"}
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(SETTINGS))
        stream = io.BytesIO(sys.stdin.buffer.read())
        store = json.loads(c2pa.Reader(mime, stream, context=context).json())
    except Exception as error:  # its text may change with the library; the name of its class is fixed
        kind = type(error).__name__.lstrip("_")
        if kind == "C2paManifestNotFound" or str(error).startswith("Remote:"):  # an address is looked for only then
            return {"state": "absent"}
        return {"state": "unreadable", "reason": f"the C2PA library cannot read them ({kind})"}
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in (assertion.get("data") or {}).get("actions", [])
    ]
    generators = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    results = store.get("validation_results") or {}
    active = results.get("activeManifest") or {}
    deltas = [each.get("validationDeltas") or {} for each in results.get("ingredientDeltas") or []]
    return {
        "validation_state": store.get("validation_state"),
        "generator": " ".join(str(generators[0].get(key) or "") for key in ("name", "version")).strip(),
        "signer": signature.get("issuer"),
        "signed": signature.get("time"),
        "actions": [str(action.get("action")) for action in actions[:LISTED]],
        "source_types": [
            str(action["digitalSourceType"]) for action in actions[:LISTED] if "digitalSourceType" in action
        ],
        "success": active.get("success", []),
        "ingredient_success": [each for delta in deltas for each in delta.get("success") or []],
        "failure": active.get("failure", [])[:LISTED],
        "ingredient_failure": [
            each
            for part in [*recorded(manifest.get("ingredients") or []), *deltas]
            for each in part.get("failure") or []
            if each.get("code") != UNTRUSTED
        ][:LISTED],
    }


if __name__ == "__main__":
    limit()
    json.dump(read(sys.argv[1]), sys.stdout)
