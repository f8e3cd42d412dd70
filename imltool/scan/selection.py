"""Which of a scan's pictures a report shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from imltool.scan.results import ScanResult


@dataclass(frozen=True)
class Selection:
    """The analysed files that the report and the terminal show; what a scan records is never narrowed.

    Attributes:
        only_indicated: leave out files without an indication.
        top: show the files with the N highest scores of the rest; None shows all.
    """

    only_indicated: bool = False
    top: int | None = None

    def choose(self, results: Sequence[ScanResult], always: Collection[str] = ()) -> list[ScanResult]:
        """The results to show, highest score first, equal ones by path. Failed files are never among them.

        Args:
            always: paths to show whatever was selected: what an examiner has decided about is not left out.
        """
        analysed = [one for one in results if one.status == "ok"]
        ordered = sorted(analysed, key=lambda one: (-(one.score or 0.0), one.path))
        fitting = [one.path for one in ordered if one.is_indicated or not self.only_indicated]
        chosen = {*fitting[: self.top]}
        return [one for one in ordered if one.path in chosen or one.path in always]

    def describe(self) -> dict[str, Any]:
        """As `run.json` keeps it, so that a report that is written again shows the same pictures."""
        return asdict(self)

    @classmethod
    def of_record(cls, run: Mapping[str, Any]) -> Selection:
        """That of the reports of a scan, by its `run.json`; all pictures when there is none."""
        return cls(**run.get("reports_show", {}))
