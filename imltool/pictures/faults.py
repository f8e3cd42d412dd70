"""Fixed phrases for faults of picture files: texts of libraries hold memory addresses, and change with versions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from imltool.errors import ImageError

log = logging.getLogger("imltool")

MAX_PIXELS = 300_000_000
"""Pictures with more pixels are refused as decompression bombs (our choice: three times a 100-megapixel camera)."""

MARKS = (
    ("truncated", "the file ends inside its data"),
    ("not enough image data", "the file ends inside its data"),
    ("end of file", "the file ends inside its data"),
    ("unexpected end", "the file ends inside its data"),
    ("broken data stream", "its coded data is broken"),
    ("corrupt", "its coded data is broken"),
    ("decoder error", "its coded data is broken"),
    ("failed", "its coded data is broken"),
    ("too large", "a part of it unpacks to too much data"),
    ("broken png", "its chunks are broken"),
    ("not supported", "a variant that is not supported"),
    ("unsupported", "a variant that is not supported"),
    ("unknown", "a variant that is not supported"),
)
"""Words in the texts of libraries, in lower case, and the phrase that replaces the text."""


def phrase(error: BaseException) -> str:
    """The fixed phrase for an error of a decoder or reader, without the library's text."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, RecursionError):
        return "its parts are nested too deep"
    if isinstance(error, EOFError):
        return "the file ends inside its data"
    text = str(error).lower()
    return next((words for mark, words in MARKS if mark in text), "its data is malformed")


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turn any error of a decoder into an `ImageError` with a fixed reason; the library's text goes to the log."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError as error:
        # raised by a function that does not know the file's name
        named = error.message.startswith(f"{path}: ")
        raise error if named else ImageError(f"{path}: {error.message}") from error
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except PermissionError:
        raise ImageError(f"{path}: no permission to read") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, not a picture") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a picture format known here") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise ImageError(f"{path}: not enough memory to decode") from None
    except Exception as error:  # decoders raise many types (struct.error, SyntaxError, ValueError, OSError, EOFError)
        log.info("%s: %s: %s", path, type(error).__name__, error)
        raise ImageError(f"{path}: damaged picture ({phrase(error)})") from error
