"""`imltool version`: versions, weights and devices, for reports and bug reports."""

from __future__ import annotations

from typing import Any

from imltool.cli import common


def version(as_json: common.JsonOption = False) -> None:
    """Show the versions of imltool and its libraries, SHA-256 of the bundled weights, usable devices."""
    facts = collect()
    if as_json:
        common.print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                common.print_line(f"{name} {key}: {inner}")
        else:
            shown = ", ".join(value) if isinstance(value, list) else value
            common.print_line(f"{name}: {shown}")


def collect() -> dict[str, Any]:
    """The facts `imltool version` prints.

    Keys: imltool, python, platform, packages (the rest of `installed_versions`), weights (bundled and present: name →
    SHA-256 of the present file), devices (slowest first; empty when torch cannot be loaded).
    """
    import platform

    from imltool.versions import installed_versions
    from imltool.weights import WEIGHTS, verify

    versions = installed_versions()
    bundled = [name for name, info in WEIGHTS.items() if info.bundled]
    return {
        "imltool": versions.pop("imltool"),
        "python": versions.pop("python"),
        "platform": platform.platform(),
        "packages": versions,
        "weights": {found.info.name: found.sha256 for found in verify(bundled) if found.sha256},
        "devices": _devices(),
    }


def _devices() -> list[str]:
    from imltool.device import available_devices

    try:
        return available_devices()
    except (ImportError, OSError) as error:  # a broken torch is something this command is run to find out
        common.log.error("torch cannot be loaded: %s", error)
        return []
