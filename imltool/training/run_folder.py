"""What a training run leaves behind: configuration, log, curves, checkpoints, and states to resume from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from imltool.config import save_settings
from imltool.errors import ResumeError
from imltool.files import make_folder, write_text, writing
from imltool.journal import Journal, claim_folder, dump_json
from imltool.training.settings import TrainSettings

STATE = "state-"


class RunFolder:
    """The folder of one run.

    Files: `config.yaml` (resolved), `log.jsonl`, `curves.png`, `last.safetensors`, `best.safetensors`, and one
    `state-NNNNNNNN/` to resume from. A state folder gets its name only when it is complete.

    Raises `ResumeError` when the folder holds a run and `resume` is not asked for, or the parameters differ.
    """

    def __init__(self, path: Path, settings: TrainSettings, resume: bool) -> None:
        self.path = path
        if not resume and (path / "log.jsonl").exists():
            raise ResumeError(
                f"{path} already holds a training run", "add --resume to continue it, or choose another --out"
            )
        claim_folder(path, settings.model_dump(mode="json"))
        save_settings(settings, path / "config.yaml")
        for unfinished in path.glob(f".{STATE}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        states = sorted(path.glob(f"{STATE}*"))
        self.state: Path | None = states[-1] if states else None
        self._log: Journal | None = None

    @property
    def step(self) -> int:
        """Steps taken by the state to resume from; 0 for a new run."""
        return int(self.state.name.removeprefix(STATE)) if self.state else 0

    def open_log(self) -> None:
        """Open `log.jsonl`, dropping rows of steps that the resumed state has not taken."""
        path = self.path / "log.jsonl"
        if path.exists():
            with Journal(path) as old:
                kept = [row for row in old.rows if row["step"] <= self.step]
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
        hidden = self.path / f".{STATE}{step:08d}"
        shutil.rmtree(hidden, ignore_errors=True)
        return make_folder(hidden)

    def finish_state(self, hidden: Path) -> None:
        """Give a complete state its name and delete the one before it."""
        final = self.path / hidden.name.removeprefix(".")
        with writing(final):
            shutil.rmtree(final, ignore_errors=True)
            hidden.rename(final)
        if self.state is not None and self.state != final:
            shutil.rmtree(self.state, ignore_errors=True)
        self.state = final

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's `log.jsonl`."""
    return [json.loads(line) for line in (path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
