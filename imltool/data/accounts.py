"""Number of pictures of each source that a run uses, and the reasons for leaving out the others.

Every run that trains on labelled data or makes it starts with this table: pictures left out silently would otherwise be
noticed in the results months later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imltool.errors import DataError
from imltool.files import write_text

ACCOUNTS = "sources.json"
MAX_LEFT_OUT = 0.1
"""Greatest share of a source that is left out unless a larger one is allowed (our choice)."""

NAMED = 3


@dataclass
class Account:
    """One source of pictures.

    Attributes:
        source: its name.
        used: number of used pictures.
        left_out: reason → names of the pictures that should have been used.
        aside: reason → names of pictures that are not meant to be used, such as those without an annotation.
    """

    source: str
    used: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    aside: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """Count a picture that should have been used."""
        self.left_out.setdefault(reason, []).append(name)

    def set_aside(self, reason: str, name: str) -> None:
        """Count a picture that is not meant to be used."""
        self.aside.setdefault(reason, []).append(name)

    @property
    def lost(self) -> int:
        """Number of pictures left out."""
        return sum(map(len, self.left_out.values()))

    @property
    def pictures(self) -> int:
        """Number of pictures examined."""
        return self.used + self.lost + sum(map(len, self.aside.values()))

    @property
    def share(self) -> float:
        """Left out / (left out + used); 0 for a source with neither."""
        return self.lost / max(1, self.lost + self.used)

    def why(self) -> list[str]:
        """One phrase per reason, with the first names: `mask of another size 3 (a.png, b.png, c.png)`."""
        return [reason_text(reason, names) for reason, names in (*self.left_out.items(), *self.aside.items())]

    def row(self) -> dict[str, Any]:
        """The account as JSON values: source, pictures, used, left_out and aside (reason → names)."""
        return {
            "source": self.source,
            "pictures": self.pictures,
            "used": self.used,
            "left_out": self.left_out,
            "aside": self.aside,
        }


def reason_text(reason: str, names: Sequence[str]) -> str:
    """A reason, its number of pictures, and the first of them: `mask of another size 3 (a.png, b.png, c.png)`."""
    more = ", …" if len(names) > NAMED else ""
    return f"{reason} {len(names)} ({', '.join(names[:NAMED])}{more})"


def account_lines(accounts: Iterable[Account]) -> list[str]:
    """The table as plain lines: source, pictures, used, left out, why; one line for every further reason."""
    head = ("source", "pictures", "used", "left out", "why")
    rows = [head]
    for one in accounts:
        first, *others = one.why() or ["–"]
        rows.append((one.source, str(one.pictures), str(one.used), str(one.lost), first))
        rows += [("", "", "", "", reason) for reason in others]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(row[column].rjust(widths[column]) for column in range(1, 4)), row[4]]
        ).rstrip()
        for row in rows
    ]


def write_accounts(folder: Path, accounts: Iterable[Account]) -> None:
    """Write `sources.json` into a run's folder: a list of `Account.row`. Atomic."""
    rows = [account.row() for account in accounts]
    write_text(folder / ACCOUNTS, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def require_used(accounts: Iterable[Account], most: float, option: str) -> None:
    """Raises `DataError` when a larger share of a source than `most` is left out.

    Args:
        option: the option with which the user allows it, for the message: `--max-left-out SHARE`.
    """
    for one in accounts:
        if one.share <= most:
            continue
        reasons = "; ".join(reason_text(reason, names) for reason, names in one.left_out.items())
        message = f"{one.source}: {one.lost} of {one.lost + one.used} pictures are left out: {reasons}"
        if not one.used:
            raise DataError(f"{message}; none is left", "repair the data, or remove the source")
        raise DataError(
            message,
            f"repair them, or allow it with {option.replace('SHARE', f'{math.ceil(one.share * 100) / 100:.2f}')}",
        )
