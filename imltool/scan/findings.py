"""Findings of `imltool verify`."""

from __future__ import annotations

from dataclasses import dataclass

CHANGED, MISSING, EXTRA, UNCHECKED = "changed", "missing", "extra", "unchecked"
"""Kinds of findings: the first three mean that something was changed, the last that it could not be checked."""


@dataclass(frozen=True)
class Finding:
    """One deviation from what was written, or something that could not be checked.

    Attributes:
        kind: `changed`, `missing`, `extra` or `unchecked`.
        where: a file of the output folder, a row of the results, or the name of an evidence file in the results.
        what: what is wrong with it.
    """

    kind: str
    where: str
    what: str
