"""A training configuration for generated sets and the smallest student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from helpers.pictures import make_set


def write_config(root: Path, **changes: Any) -> Path:
    """Write a configuration with pixel masks, `root`/train.yaml, and its sets train, val and test below `root`.

    Args:
        changes: groups of the configuration; groups of settings are merged.
    """
    for number, name in enumerate(("train", "val", "test")):
        make_set(root / name, seed=100 * number)
    sources = {
        name: [
            {"name": name, "kind": "masks", "images": f"{name}/tampered", "masks": f"{name}/masks"},
            {"name": name, "kind": "authentic", "images": f"{name}/authentic"},
        ]
        for name in ("train", "val")
    }
    settings: dict[str, Any] = {
        "init": "random",
        "student": {"backbone": "nano", "input_size": 64},
        "data": {"root": str(root), "train": sources["train"], "validation": sources["val"]},
        "optim": {"steps": 4, "batch_size": 2, "warmup": 1, "precision": "fp32"},
        "workers": 0,
    }
    for key, value in changes.items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    path = root / "train.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path
