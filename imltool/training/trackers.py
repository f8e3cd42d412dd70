"""Experiment trackers beside log.jsonl: TensorBoard and others, by accelerate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from imltool.config import Settings
from imltool.errors import UsageError
from imltool.journal import flatten


def require_trackers(names: tuple[str, ...]) -> None:
    """Raises `UsageError` for a tracker that accelerate does not know or whose package is not installed."""
    known = sorted(str(name) for name in LOGGER_TYPE_TO_CLASS)
    available = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UsageError(f"trackers: unknown tracker {name!r}", f"choose from {', '.join(known)}")
        if name not in available:
            raise UsageError(f"trackers: {name} is not installed", f"pip install {name}")


class Trackers:
    """Sends the numbers of events to the trackers of an accelerator.

    Args:
        accelerator: made with `log_with` those names and `project_dir` the `tracker_folder`.
        names: of trackers that are installed, see `require_trackers`; with none nothing happens.
        name: what the run is called there.
        settings: the run's configuration, kept with it.
    """

    def __init__(self, accelerator: Accelerator, names: tuple[str, ...], name: str, settings: Settings) -> None:
        self._accelerator = accelerator if names else None
        if names:
            # every tracker takes numbers and text
            values = flatten(settings.model_dump(mode="json"))
            plain = {key: one if isinstance(one, int | float) else str(one) for key, one in values.items()}
            accelerator.init_trackers(name, config=plain)

    def log(self, event: dict[str, Any]) -> None:
        """The numbers of a `train` or `validation` event, at its step."""
        if self._accelerator is not None:
            numbers = {
                f"{event['event']}/{key}": value
                for key, value in event.items()
                if key != "step" and isinstance(value, int | float)
            }
            self._accelerator.log(numbers, step=event["step"])

    def close(self) -> None:
        if self._accelerator is not None:
            self._accelerator.end_training()


def tracker_folder(out: Path) -> Path:
    """Where trackers that write files, as TensorBoard does, keep those of a run."""
    return out / "trackers"
