"""A data set as a manifest: one JSON line a picture, with its mask and how that mask is to be read.

`{"image": "Tp/a.jpg", "kind": "splice", "mask": "Gt/a_gt.png", "mask_rule": {"polarity": "dark"},
"source": "casia2", "split": null}`; a rule says what differs from
`MaskRule`. Paths are relative to the manifest's folder when the file is below it, otherwise absolute (our choice: a
manifest beside its pictures can be moved with them).
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, ValidationError, model_validator

from imltool.config import Frozen
from imltool.data.folder import is_plain
from imltool.data.masks import MaskRule, read_truth
from imltool.errors import DataError, UsageError
from imltool.files import write_text
from imltool.journal import dump_json
from imltool.pictures.images import Mask

Kind = Literal["authentic", "splice", "copymove", "removal", "inpainting", "mixed"]
KINDS: tuple[str, ...] = get_args(Kind)
"""`inpainting` is content a model generated, `mixed` several kinds in one picture."""


class Record(Frozen):
    """One picture of a data set.

    Attributes:
        image, mask: paths with forward slashes, relative to the manifest's root or absolute; `mask` is None exactly
            when `kind` is `authentic`.
        split: part of the set, such as `train` or a variant of its pictures; None belongs to every part.
        kind: what was done to the picture, None when that is not known.
        source: name of the data set.
        mask_rule: how to read the mask.
    """

    image: str = Field(min_length=1)
    mask: str | None = Field(None, min_length=1)
    split: str | None = None
    kind: Kind | None = None
    source: str = Field(min_length=1)
    mask_rule: MaskRule = MaskRule()

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if (self.mask is None) != (self.kind == "authentic"):
            raise ValueError("a picture has no mask exactly when its kind is authentic")
        if not is_plain(self.image + (self.mask or "")):
            raise ValueError("a path holds a control character")
        return self

    @property
    def tampered(self) -> bool:
        return self.mask is not None


@dataclass(frozen=True)
class Manifest:
    """Records and the folder their relative paths start from."""

    root: Path
    records: list[Record]

    def file(self, name: str) -> Path:
        """The file a record means by `name`."""
        return self.root / name

    def truth(self, record: Record) -> Mask:
        """Bool [H,W] of a tampered record over its displayed picture, True = tampered; see `read_truth`."""
        if record.mask is None:
            raise DataError(f"{record.image} is authentic, it has no mask")
        return read_truth(self.file(record.mask), record.mask_rule, self.file(record.image))

    def ruled(self, changes: Mapping[str, object]) -> Manifest:
        """The same records, the rules of all masks changed. Raises `UsageError` when that makes no rule."""
        if not changes:
            return self
        try:
            records = [
                record.model_copy(
                    update={"mask_rule": MaskRule.model_validate(record.mask_rule.model_dump() | dict(changes))}
                )
                for record in self.records
            ]
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            fault = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"--mask-rule {place}: {fault}", f"known: {', '.join(MaskRule.model_fields)}") from error
        return Manifest(self.root, records)

    def select(self, splits: Collection[str] | None) -> Manifest:
        """The records of the named splits and those without one; all of them for None.

        Raises `DataError` when no record has such a split.
        """
        if not splits:
            return self
        known = sorted({record.split for record in self.records if record.split is not None})
        for split in splits:
            if split not in known:
                raise DataError(f"no picture has the split {split!r}", f"splits here: {', '.join(known) or 'none'}")
        return Manifest(self.root, [record for record in self.records if record.split in {None, *splits}])


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; blank lines are skipped.

    Raises `DataError` naming file and line when a line is not a record or names a picture again, and when there is no
    record at all. Whether the files exist is not looked at.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"manifest {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise DataError(f"manifest {path} is not UTF-8 text", "make one with imltool data index") from None
    records: list[Record] = []
    lines: dict[str, int] = {}
    # split at line feeds alone: JSON allows other line separators inside a text
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        record = _read_record(line, f"{path}: line {number}")
        if record.image in lines:
            raise DataError(f"{path}: line {number}: {record.image} was already in line {lines[record.image]}")
        lines[record.image] = number
        records.append(record)
    if not records:
        raise DataError(f"manifest {path} holds no record", "make one with imltool data index")
    return Manifest(path.parent, records)


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of this tool, though maybe a damaged one: some line of it is a record.

    Others also call a list of their files `manifest.jsonl`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except OSError:
        return True  # whoever reads it says what is wrong
    return any(_is_record(line) for line in lines)


def _is_record(line: str) -> bool:
    try:
        Record.model_validate_json(line)
    except ValidationError:
        return False
    return True


def _read_record(line: str, where: str) -> Record:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}", "a manifest has one JSON object a line") from error
    if not isinstance(values, dict):
        raise DataError(f"{where} is a JSON {type(values).__name__}", "a manifest has one JSON object a line")
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        fault = first["msg"].removeprefix("Value error, ")
        known = f"known here: {', '.join(sorted(Record.model_fields))}" if first["type"] == "extra_forbidden" else ""
        raise DataError(f"{where}: {f'{field}: ' if field else ''}{fault}", known) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest whose paths start from `path`'s folder; `read_manifest` finds the same files. Atomic."""
    home = os.path.abspath(path.parent)

    def rebased(name: str) -> str:
        file = os.path.abspath(manifest.file(name))
        inside = Path(file).is_relative_to(home)
        return (Path(file).relative_to(home) if inside else Path(file)).as_posix()

    lines = []
    for record in manifest.records:
        mask = None if record.mask is None else rebased(record.mask)
        moved = record.model_copy(update={"image": rebased(record.image), "mask": mask})
        values = moved.model_dump(mode="json")
        values["mask_rule"] = record.mask_rule.model_dump(mode="json", exclude_defaults=True)
        lines.append(dump_json(values))
    write_text(path, "".join(f"{line}\n" for line in lines))
