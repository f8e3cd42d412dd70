"""imltool finds where a photo was edited.

A command-line toolkit around BoxPromptIML (arXiv 2511.20359): coarse boxes are turned into
pseudo-masks by a frozen Segment Anything teacher, and a light TinyViT student with a
Memory-Guided Gated Fusion Module learns to localize edits from the image alone.

Importing this package is cheap; heavy libraries load inside the functions that need them, and with `Scanner`.
"""

from typing import TYPE_CHECKING, Any

from imltool.versions import __version__

if TYPE_CHECKING:
    from imltool.scanner import Scanner

__all__ = ["Scanner", "__version__"]


def __getattr__(name: str) -> Any:
    if name != "Scanner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from imltool.scanner import Scanner

    return Scanner
