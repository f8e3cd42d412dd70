"""Which rows people are shown; what a scan records is never narrowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imltool.scan.pipeline import Row
from imltool.scan.verdicts import INDICATION


@dataclass(frozen=True)
class Selection:
    """The analysed files that the report and the terminal show.

    Attributes:
        only_indicated: leave out files without an indication.
        top: show at most so many of the rest, those with the highest scores; None shows all.
    """

    only_indicated: bool = False
    top: int | None = None

    def choose(self, rows: Sequence[Row]) -> list[Row]:
        """The rows to show, highest score first, equal ones by path. Failed files are never among them."""
        chosen = [
            row for row in rows if row["status"] == "ok" and (row["verdict"] == INDICATION or not self.only_indicated)
        ]
        return sorted(chosen, key=lambda row: (-row["score"], row["path"]))[: self.top]
