"""imltool finds where a photo was edited.

A command-line toolkit around BoxPromptIML (arXiv 2511.20359): a frozen Segment Anything teacher turns coarse boxes into
pseudo-masks, and a light TinyViT student with a Memory-Guided Gated Fusion Module learns from them to localize edits
from the image alone.

For programs: `load_student` returns a `Predictor` that computes the map, mask and score of a picture; `Scanner` does
what `imltool scan` does. Importing this package is fast; heavy libraries are loaded when one of these is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from imltool.versions import __version__

# newer versions of ONNX Runtime send usage reports once imported; imltool uses no network without being asked to
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
