"""imltool finds where a photo was edited.

A command-line toolkit around BoxPromptIML (arXiv 2511.20359): coarse boxes are turned into
pseudo-masks by a frozen Segment Anything teacher, and a light TinyViT student with a
Memory-Guided Gated Fusion Module learns to localize edits from the image alone.

For programs: `load_student` gives a `Predictor` that makes a map, a mask and a score of a picture; `Scanner` is
`imltool scan`. Importing this package is cheap; heavy libraries load with these.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from imltool.versions import __version__

# newer versions of ONNX Runtime report their use to their maker once imported; imltool uses no network unasked
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from imltool.inference.predictor import Prediction, Predictor, load_student
    from imltool.scanner import Scanner

__all__ = ["Prediction", "Predictor", "Scanner", "__version__", "load_student"]

_MODULES = {
    "Prediction": "imltool.inference.predictor",
    "Predictor": "imltool.inference.predictor",
    "Scanner": "imltool.scanner",
    "load_student": "imltool.inference.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
