"""Text for display: file names and texts of evidence made safe to show, and numbers with their nouns."""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Iterable, Sequence

_SECRET = re.compile(r"(?<=://)(?:[^\s/@]*:\S*|[^\s/@]*)@|(?<=\S)\?\S*")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
LONGEST = 200
"""Characters of a text from a file that are kept (our choice)."""


def decoded(data: bytes) -> str:
    """`data` as UTF-8, or as Latin-1 if it is not valid UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def clean(value: object, limit: int = LONGEST) -> str | None:
    """A text or bytes as one line without control or direction-changing characters; None when nothing is left.

    Bytes are `decoded`. Everything after a NUL is padding. A text longer than `limit` is cut and ends in `…`.
    """
    if value is None:
        return None
    text = (decoded(value) if isinstance(value, bytes) else str(value))[: 8 * limit]
    text = " ".join(text.split("\0", 1)[0].split())
    text = _escaped(text)
    return (text if len(text) <= limit else text[: limit - 1] + "…") or None


def readable(text: str) -> str:
    r"""`text` as valid Unicode: bytes of a file name that are not UTF-8 become `\xNN`."""
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that no file name has, but a forged JSON file may
        return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """`text` on one line without control or direction-changing characters, safe for terminals and tables."""
    return _escaped(readable(text))


def _escaped(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def counted(count: int, one: str, more: str = "") -> str:
    """`1 picture`, `2 pictures`; `more` is the plural if it is not formed with an s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The number of names and the first of them: `5 (a, b, c and 2 more)`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"


def shortened(text: str, limit: int = 40) -> str:
    """The end of a text longer than `limit`, with `…` before it."""
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def without_secrets(text: str) -> str:
    """`text` with `…` for parts of addresses that may be secret: `user:password@`, and a query."""
    return _ADDRESS.sub(lambda address: _SECRET.sub("…", address[0]), text)


def data_uri(kind: str, data: bytes) -> str:
    """A picture's bytes as a data URI; `kind` is jpeg, webp or svg+xml."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def command_text(words: Iterable[str]) -> str:
    """A command as a person would type it, on one line; undecodable file names are escaped by `printable`.

    Parts of addresses that may be secret are replaced, see `without_secrets`.
    """
    return shlex.join(printable(without_secrets(word)) for word in words)
