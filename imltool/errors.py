"""The exceptions. Every error that a user can cause has a message of one line and a remedy of one line."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FATAL = 1
EXIT_USAGE = 2
EXIT_FAILURES = 3
EXIT_FOUND = 4
EXIT_INTERRUPTED = 130


class ImlError(Exception):
    """Root of every error that imltool raises on purpose.

    Args:
        message: the fault and its place, one line, without a full stop.
        remedy: what the user can do about it, one line; empty when the message is enough.
    """

    exit_code = EXIT_FATAL

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class UsageError(ImlError):
    """The command line is invalid, or its options contradict each other."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """A configuration file or a `--set` override does not fit its model."""


class DataError(ImlError):
    """A data set, annotation file or folder does not meet the needs of the command."""


class ImageError(ImlError):
    """One picture cannot be read. Batches record it as that file's failure and continue."""


class ObjectError(ImlError):
    """One object of a store cannot be fetched. Batches record it as that file's failure and continue."""


class ObjectGone(ObjectError):
    """A store has no such object."""


class StoreError(ImlError):
    """An object store cannot be listed, or rejects the credentials."""


class WeightsError(ImlError):
    """A weights file is missing, damaged, or made for another architecture."""


class ResumeError(UsageError):
    """An output folder belongs to a run with other parameters."""


class OutputError(ImlError):
    """A result cannot be written: disk full, no permission, not a folder."""


class ClusterError(ImlError):
    """A cluster is unavailable, or its workers cannot do their part; finished work is saved."""


class TrainingError(ImlError):
    """Training had to stop (lack of memory, NaN); the last good state is saved."""
