"""Text found in evidence, made safe to store and show."""

from __future__ import annotations

LONGEST = 200
"""Characters kept of a text found in a file (our choice)."""


def clean(value: object, limit: int = LONGEST) -> str | None:
    """One line of a text or of bytes, without control or direction-changing characters; None when nothing is left.

    Bytes are UTF-8, or Latin-1 where they are not. What follows a NUL is padding. Longer texts end in `…`.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        part = value[: 8 * limit]
        try:
            text = part.decode("utf-8")
        except UnicodeDecodeError:
            text = part.decode("latin-1")
    else:
        text = str(value)[: 8 * limit]
    text = " ".join(text.split("\0", 1)[0].split())
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return (text if len(text) <= limit else text[: limit - 1] + "…") or None
