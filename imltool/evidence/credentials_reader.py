"""Reads the Content Credentials of the file on stdin with c2pa-python and prints one JSON object.

Run as a script in a process of its own, by `imltool.evidence.credentials`, so that a file made to hang, crash or fill
the memory of the native library costs that process and not the scan. It imports nothing of imltool, so that it starts
fast, and nothing is fetched from the network.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MEMORY = 4_000_000_000
"""Bytes of address space (our choice; the library maps about 0.5 GB)."""
SECONDS = 30
"""Processor time (our choice)."""
LISTED = 20
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False},
}


def limit() -> None:
    """Bound this process where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def read(mime: str) -> dict[str, Any]:
    """`state` "valid", "invalid", "unreadable" or "not checked", and what the active manifest says."""
    try:
        import c2pa  # type: ignore[import-untyped]
    except Exception as error:
        return {"state": "not checked", "reason": f"c2pa-python cannot be loaded ({error})"}
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(SETTINGS))
        store = json.loads(c2pa.Reader(mime, sys.stdin.buffer, context=context).json())
    except Exception as error:
        return {"state": "unreadable", "reason": str(error)}
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in (assertion.get("data") or {}).get("actions", [])
    ]
    generators = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    failures = (store.get("validation_results") or {}).get("activeManifest", {}).get("failure", [])
    return {
        "state": "valid" if store.get("validation_state") in ("Valid", "Trusted") else "invalid",
        "generator": " ".join(str(generators[0].get(key) or "") for key in ("name", "version")).strip(),
        "signer": signature.get("issuer"),
        "signed": signature.get("time"),
        "actions": [str(action.get("action")) for action in actions[:LISTED]],
        "source_types": [
            str(action["digitalSourceType"]) for action in actions[:LISTED] if "digitalSourceType" in action
        ],
        "failures": [str(failure.get("code")) for failure in failures[:LISTED]],
    }


if __name__ == "__main__":
    limit()
    json.dump(read(sys.argv[1]), sys.stdout)
