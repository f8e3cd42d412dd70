"""Versions of everything a result can depend on, reported with the same keys by every command."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata

__version__ = "0.1.0"

PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "pillow-heif": ("pillow-heif",),
    "c2pa-python": ("c2pa-python",),
    "segment-anything": ("segment-anything",),
    # cv2 is distributed under four names; the installed one is reported
    "opencv": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    "pillow": ("pillow",),
    "tifffile": ("tifffile",),
    "imagecodecs": ("imagecodecs",),
    "deflate": ("deflate",),
    "numpy": ("numpy",),
    "safetensors": ("safetensors",),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "accelerate": ("accelerate",),
}
"""Name in results → names of the distributions that may provide it."""


def installed_versions() -> dict[str, str | None]:
    """Versions of `imltool`, `python` and every key of `PACKAGES`; None for a package that is not installed."""
    return {
        "imltool": __version__,
        "python": platform.python_version(),
        **{name: _installed(distributions) for name, distributions in PACKAGES.items()},
    }


def versions_text(versions: Mapping[str, str | None]) -> str:
    """Versions in one line for a report, without what is not installed."""
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


@cache  # finding a distribution reads its folder
def _installed(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
