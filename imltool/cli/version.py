"""`imltool version`: what a result depends on, for reports and bug reports."""

from __future__ import annotations

from typing import Any

from imltool.cli import common

PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "segment-anything": ("segment-anything",),
    # the same cv2 under four names; whichever is installed
    "opencv": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    "pillow": ("pillow",),
    "numpy": ("numpy",),
    "safetensors": ("safetensors",),
    "accelerate": ("accelerate",),
}


def version(
    as_json: common.JsonOption = False, verbose: common.VerboseOption = 0, quiet: common.QuietOption = False
) -> None:
    """Versions of imltool and its libraries, SHA-256 of the bundled weights, usable devices."""
    common.setup_logging(verbose, quiet)
    from imltool.journal import dump_json

    facts = collect()
    if as_json:
        common.stdout.print(dump_json(facts), markup=False, highlight=False)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                common.stdout.print(f"{name} {key}: {inner}", markup=False, highlight=False)
        else:
            shown = ", ".join(value) if isinstance(value, list) else value
            common.stdout.print(f"{name}: {shown}", markup=False, highlight=False)


def collect() -> dict[str, Any]:
    """The facts `imltool version` prints.

    Keys: imltool, python, platform, packages (name → version, None when not installed), weights (bundled and present:
    name → SHA-256 of the file as it is), devices (slowest first; empty when torch cannot be loaded).
    """
    import platform

    from imltool import __version__
    from imltool.weights import WEIGHTS, verify

    bundled = [name for name, info in WEIGHTS.items() if info.bundled]
    return {
        "imltool": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _installed(names) for name, names in PACKAGES.items()},
        "weights": {found.info.name: found.sha256 for found in verify(bundled) if found.sha256},
        "devices": _devices(),
    }


def _installed(distributions: tuple[str, ...]) -> str | None:
    from importlib import metadata

    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _devices() -> list[str]:
    from imltool.device import available_devices

    try:
        return available_devices()
    except (ImportError, OSError) as error:  # a broken torch is what people run this command to find out
        common.log.error("torch cannot be loaded: %s", error)
        return []
