"""The folder of a training run: configuration, log, curves, checkpoints, and states to resume from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from imltool.config import save_settings
from imltool.data.accounts import Account
from imltool.errors import ResumeError
from imltool.files import write_text, writing
from imltool.journal import PARAMETERS, Journal, dump_json, flatten, output_folder, read_rows
from imltool.training.settings import TrainSettings

STATE = "state-"
CONFIG = "config.yaml"
CHANGEABLE = frozenset(
    {"workers", "log_every", "save_every", "validate_every", "patience", "trackers"}
    | {"data.root", "data.lists", "data.cache", "data.max_left_out"}
)
"""Settings that may change when a run is resumed: with the same data they do not affect what is learned."""


def stopped_early(rows: Sequence[dict[str, Any]], patience: int | None) -> bool:
    """Whether the score in a log's rows has not risen for `patience` validations; never without patience."""
    scores = [row["score"] for row in rows if row["event"] == "validation"]
    return patience is not None and bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


class RunFolder:
    """The folder of one run.

    Files: `config.yaml` (resolved), `log.jsonl`, `curves.png`, `last.safetensors`, `best.safetensors`, and one
    `state-NNNNNNNN/` to resume from. A state folder gets its name only when it is complete.

    With several processes, only the main one calls `claim`, `open_log`, `log` and `finish_state`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log: Journal | None = None
        self._held = ExitStack()

    def claim(self, settings: TrainSettings, resume: bool, data_sha256: str = "") -> None:
        """Lock the folder for this run until `close`, and write its parameters.

        A resumed run keeps the settings it began with, apart from the `CHANGEABLE` ones.

        Args:
            data_sha256: digest of all data used for training and measuring.

        Raises `ResumeError` when the folder holds a run and `resume` is False, or when settings or data differ (all
        differences are named), and `UsageError` while another command trains into it.
        """
        if not resume and (self.path / "log.jsonl").exists():
            raise ResumeError(
                f"{self.path} already holds a training run", "add --resume to continue, or choose another --out"
            )
        parameters = {"command": "train", **settings.model_dump(mode="json"), "data_sha256": data_sha256}
        before = self._accepted(parameters) if resume else parameters
        self._held.enter_context(output_folder(self.path, before))
        if before != parameters:
            write_text(
                self.path / PARAMETERS, json.dumps(parameters, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
            )
        save_settings(settings, self.path / CONFIG)
        for unfinished in self.path.glob(f".{STATE}*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _accepted(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters the folder's run began with, after checking that it can be resumed with these."""
        path = self.path / PARAMETERS
        if not path.is_file():
            return parameters
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ResumeError(f"{path} cannot be read: {error}", "choose another --out") from error
        if before.get("command") != "train":
            return parameters  # `output_folder` reports which command's folder it is
        old, new = flatten(before), flatten(json.loads(dump_json(parameters)))
        changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        refused = [key for key in changed if not {key, key.rpartition(".")[0]} & CHANGEABLE]  # also items of a list
        if "optim.steps" in refused and old.get("optim.final_lr") == 1.0 and new["optim.steps"] >= self.step:
            refused.remove("optim.steps")  # after the warm-up the learning rate does not depend on the number of steps
        if refused == ["data_sha256"]:
            raise ResumeError(
                f"{self.path} was trained on other pictures or masks than the data holds now",
                "point data.root to the same files, or start a new run in another --out",
            )
        if refused:
            shown = [f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in refused if key != "data_sha256"]
            cosine = "; the learning rate falls over all steps unless optim.final_lr is 1" * ("optim.steps" in refused)
            raise ResumeError(
                f"{self.path} holds a run with other parameters: {', '.join(shown)}{cosine}",
                f"leave them as they were (only {', '.join(sorted(CHANGEABLE))} may change), or choose another --out",
            )
        return before

    @property
    def configuration(self) -> Path:
        """Path of the configuration that the run was started with. Raises `ResumeError` when there is no run."""
        path = self.path / CONFIG
        if not path.is_file():
            raise ResumeError(f"{self.path} holds no training run to resume", "give its folder as --out")
        return path

    @property
    def state(self) -> Path | None:
        """The newest complete state, None before the first."""
        states = sorted(self.path.glob(f"{STATE}*"))
        return states[-1] if states else None

    @property
    def step(self) -> int:
        """Steps taken by the state to resume from; 0 for a new run."""
        state = self.state
        return int(state.name.removeprefix(STATE)) if state else 0

    def open_log(self, accounts: Sequence[Account] = ()) -> None:
        """Open `log.jsonl`, dropping rows of steps that the resumed state has not taken.

        Args:
            accounts: of the sources, the first row of a new log.
        """
        path = self.path / "log.jsonl"
        if path.exists():
            kept = [row for row in read_rows(path) if row["step"] <= self.step]
            write_text(path, "".join(dump_json(row) + "\n" for row in kept))
        self._log = Journal(path)
        if accounts and not self._log.rows:
            self._log.append({"event": "sources", "step": 0, "sources": [account.row() for account in accounts]})

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to `log.jsonl`."""
        assert self._log is not None
        self._log.append(row)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row of the log so far."""
        return self._log.rows if self._log else []

    def hidden(self, step: int) -> Path:
        """Path at which the state of `step` is written before it is complete."""
        return self.path / f".{STATE}{step:08d}"

    def finish_state(self, hidden: Path) -> None:
        """Give a complete state its final name and delete the earlier ones."""
        final = self.path / hidden.name.removeprefix(".")
        with writing(final):
            shutil.rmtree(final, ignore_errors=True)
            hidden.rename(final)
        for old in self.path.glob(f"{STATE}*"):
            if old != final:
                shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        """Close the log and release the folder."""
        self._held.close()
        if self._log is not None:
            self._log.close()
