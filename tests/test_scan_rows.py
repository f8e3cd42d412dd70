"""Row models: the tables of the guide describe all keys, and the CSV table has all values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from imltool.evidence.model import Camera, Context, Part, Remark, Trace
from imltool.scan.results import Region, ScanResult
from imltool.scan.tables import columns, errors_text, table_text

GUIDE = (Path(__file__).parents[1] / "docs" / "scan.md").read_text(encoding="utf-8")


def described(after: str) -> dict[str, str]:
    """The first table in the guide after a text: each key in its first column → its row."""
    table = re.search(r"(?:^\|.*\n)+", GUIDE[GUIDE.index(after) :], re.MULTILINE)
    assert table
    found = {}
    for line in table[0].splitlines()[2:]:
        for key in re.findall(r"`(\w+)`", line.split("|")[1]):
            assert key not in found, f"{key} is described twice"
            found[key] = line
    return found


def parts_of(annotation: object) -> list[type[Part]]:
    inner = [part for argument in get_args(annotation) for part in parts_of(argument)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Part) else inner


@pytest.mark.parametrize(
    ("after", "model"), [("A row has these keys", ScanResult), ("Every row of `results.jsonl` has `context`", Context)]
)
def test_guide_describes_every_row_key(after: str, model: type[Part]) -> None:
    rows = described(after)
    assert rows.keys() == model.model_fields.keys()
    for name, field in model.model_fields.items():
        for part in parts_of(field.annotation):
            if part in (Context, Remark):  # described in separate sections
                continue
            text = GUIDE if "below" in rows[name] or "](#" in rows[name] else rows[name]  # or a separate section
            missing = [key for key in part.model_fields if f"`{key}`" not in text]
            assert not missing, f"{name}: {missing}"


def test_csv_table_has_a_column_for_every_value() -> None:
    context = Context(
        camera=Camera(make="=Canon", model="EOS"),
        software=(Trace(where="EXIF", text="GIMP"), Trace(where="XMP", text="GIMP"), Trace(where="XMP", text="x | y")),
        problems=("one", "two"),
        exif_size=(64, 64),
        history=("saved", "converted", "saved"),
    )
    region = Region(x=0, y=0, width=2, height=2, area=4, score=0.5)
    remark = Remark(id="editor", text="saved by an editor", evidence="software: GIMP")
    whole = ScanResult(
        path="-a.jpg", status="ok", score=0.25, regions=(region, region), context=context, remarks=(remark,)
    )
    empty = ScanResult(path="b.jpg", status="failed", reason="damaged")
    names, first, second = (line.split(",") for line in table_text([whole, empty]).splitlines())
    cells = dict(zip(names, first, strict=True))
    assert (cells["path"], cells["score"], cells["regions"]) == ("./-a.jpg", "0.25", "2")
    assert (cells["camera_make"], cells["camera_model"], cells["camera_lens"]) == ("'=Canon", "EOS", "")
    assert (cells["software"], cells["problems"], cells["remarks"]) == (
        "GIMP | x | y",
        "one | two",
        "saved by an editor",
    )
    assert (cells["exif_size"], cells["history"]) == ("64 | 64", "saved | converted | saved")
    cells = dict(zip(names, second, strict=True))
    assert (cells["regions"], cells["camera_make"], cells["software"], cells["reason"]) == ("0", "", "", "damaged")
    assert errors_text([whole, empty]).splitlines() == ["path,sha256,size_bytes,reason", "b.jpg,,,damaged"]
    assert len({column.name for column in columns()}) == len(columns())


def test_rows_round_trip_through_json(tmp_path: Path) -> None:
    result = ScanResult(path="a.jpg", status="ok", context=Context(exif_size=(4, 3)), companions={"ela": "x.png"})
    row = result.model_dump(mode="json")
    assert row.keys() == ScanResult.model_fields.keys(), "a row has every key"
    after = result.chained("0" * 64, tmp_path)
    assert after.previous_sha256 == "0" * 64 and result.previous_sha256 == ""
    assert ScanResult.of_row(after.model_dump(mode="json"), tmp_path) == after
