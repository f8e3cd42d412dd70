"""What an evaluation leaves in its folder, as the tests read it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def results_in(out: Path) -> dict[str, Any]:
    """The content of results.json."""
    found: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return found


def method_in(out: Path, label: str) -> dict[str, Any]:
    """One method of results.json."""
    (found,) = [one for one in results_in(out)["methods"] if one["label"] == label]
    return dict(found)


def sets_in(out: Path, label: str) -> dict[str, Any]:
    """Set → metrics of one method."""
    return dict(method_in(out, label)["sets"])


def csv_in(out: Path) -> list[dict[str, str]]:
    """The rows of per_image.csv."""
    with (out / "per_image.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
