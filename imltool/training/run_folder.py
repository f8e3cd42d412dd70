"""What a training run leaves behind: configuration, log, curves, checkpoints, and states to resume from."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from imltool.config import save_settings
from imltool.errors import ResumeError
from imltool.files import make_folder, write_text, writing
from imltool.journal import Journal, dump_json, output_folder, read_rows
from imltool.training.settings import TrainSettings

STATE = "state-"


class RunFolder:
    """The folder of one run.

    Files: `config.yaml` (resolved), `log.jsonl`, `curves.png`, `last.safetensors`, `best.safetensors`, and one
    `state-NNNNNNNN/` to resume from. A state folder gets its name only when it is complete.

    Of several processes only the main one calls `claim`, `open_log`, `log`, `begin_state` and `finish_state`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log: Journal | None = None
        self._held = ExitStack()

    def claim(self, settings: TrainSettings, resume: bool) -> None:
        """Make the folder this run's own, until `close`.

        Raises `ResumeError` when it holds a run and `resume` is not asked for, or the parameters differ, `UsageError`
        while another command trains into it.
        """
        if not resume and (self.path / "log.jsonl").exists():
            raise ResumeError(
                f"{self.path} already holds a training run", "add --resume to continue, or choose another --out"
            )
        self._held.enter_context(output_folder(self.path, {"command": "train", **settings.model_dump(mode="json")}))
        save_settings(settings, self.path / "config.yaml")
        for unfinished in self.path.glob(f".{STATE}*"):
            shutil.rmtree(unfinished, ignore_errors=True)

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

    def open_log(self) -> None:
        """Open `log.jsonl`, dropping rows of steps that the resumed state has not taken."""
        path = self.path / "log.jsonl"
        if path.exists():
            kept = [row for row in read_rows(path) if row["step"] <= self.step]
            write_text(path, "".join(dump_json(row) + "\n" for row in kept))
        self._log = Journal(path)

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to `log.jsonl`."""
        assert self._log is not None
        self._log.append(row)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row of the log so far."""
        return self._log.rows if self._log else []

    def begin_state(self, step: int) -> Path:
        """A hidden folder to write the state of `step` into."""
        hidden = self.hidden(step)
        shutil.rmtree(hidden, ignore_errors=True)
        return make_folder(hidden)

    def hidden(self, step: int) -> Path:
        """Where the state of `step` is written before it is complete."""
        return self.path / f".{STATE}{step:08d}"

    def finish_state(self, hidden: Path) -> None:
        """Give a complete state its name and delete those before it."""
        final = self.path / hidden.name.removeprefix(".")
        with writing(final):
            shutil.rmtree(final, ignore_errors=True)
            hidden.rename(final)
        for old in self.path.glob(f"{STATE}*"):
            if old != final:
                shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        """Close the log and let other commands have the folder."""
        self._held.close()
        if self._log is not None:
            self._log.close()
