"""Which of a scan's pictures a report shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imltool.scan.results import ScanResult


@dataclass(frozen=True)
class Selection:
    """The analysed files that the report and the terminal show. The recorded results are always complete.

    Attributes:
        only_indicated: leave out files without an indication.
        top: show only the N highest scores of the remaining files; None shows all.
    """

    only_indicated: bool = False
    top: int | None = None

    def choose(self, results: Sequence[ScanResult], always: Collection[str] = ()) -> list[ScanResult]:
        """The results to show, highest score first, equal scores by path. Failed files are never included.

        Args:
            always: paths that are shown in any case: those that an examiner has decided about.
        """
        analysed = [one for one in results if one.status == "ok"]
        ordered = sorted(analysed, key=lambda one: (-(one.score or 0.0), one.path))
        fitting = [one.path for one in ordered if one.is_indicated or not self.only_indicated]
        chosen = {*fitting[: self.top]}
        return [one for one in ordered if one.path in chosen or one.path in always]
