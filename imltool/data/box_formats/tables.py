"""Tables: CSV with a header, Open Images' and RetinaNet's CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from imltool.data.box_formats.files import AnnotationFile, four, is_number, recorded_size
from imltool.data.box_formats.model import Annotations, Shapes
from imltool.errors import DataError
from imltool.files import IMAGE_SUFFIXES

NAME_COLUMNS = ("image", "filename", "file_name")
CORNER_COLUMNS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))
SIDE_COLUMNS = ("x", "y", "w", "h")
CATEGORY_COLUMNS = ("category", "class", "label", "name")
OPEN_IMAGES = ("xmin", "ymin", "xmax", "ymax")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def _table(file: AnnotationFile) -> str:
    """The text of a table without the line `sep=;` that Excel may write before it."""
    first, _, rest = file.text.partition("\n")
    return rest if first.strip().lower().startswith("sep=") else file.text


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _delimiter(text: str) -> str:
    return max(",;\t", key=_first_line(text).count)


def table_rows(file: AnnotationFile) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a table split by comma, semicolon or tab, without empty rows; decimal commas become points.

    Raises `DataError` naming the line that is not valid CSV.
    """
    text = _table(file)
    delimiter = _delimiter(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield rows.line_num, [_decimal(cell) for cell in cells] if delimiter != "," else cells
    except csv.Error as error:
        raise DataError(f"{file.path}: line {rows.line_num} is not valid CSV: {error}") from error


def _decimal(cell: str) -> str:
    return cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell


def header_of(file: AnnotationFile) -> list[str]:
    """Cells of the first row, lower case; empty for an empty file."""
    first = _first_line(_table(file))
    return [cell.strip().strip('"').lower() for cell in first.split(_delimiter(first))]


def is_csv(file: AnnotationFile) -> bool:
    """Whether the first row names a column of pictures."""
    return any(cell in NAME_COLUMNS for cell in header_of(file))


def read_csv(file: AnnotationFile, found: Annotations) -> None:
    """CSV with a header and one box per row, split by comma, semicolon or tab. Column names in any case and order:

    the picture as `image`, `filename` or `file_name`; the box as `x1 y1 x2 y2`, `xmin ymin xmax ymax` (corners, pixels
    from 0) or `x y w h`; optionally the picture's size as `width height` and a `category`, `class` or `label`. Other
    columns are ignored. A row with four empty box cells means that nothing is boxed in its picture.
    """
    header, rows = _with_header(file, "a CSV needs a header: image,x1,y1,x2,y2")
    name_column = next((column for column in NAME_COLUMNS if column in header), None)
    columns = next((sides for sides in (*CORNER_COLUMNS, SIDE_COLUMNS) if set(sides) <= set(header)), None)
    if name_column is None or columns is None:
        missing = "a picture" if name_column is None else "a box"
        raise DataError(
            f"{file.path}: line 1 lacks the columns of {missing}: {', '.join(header)}",
            "expected image,x1,y1,x2,y2 or image,x,y,w,h (filename and xmin,ymin,xmax,ymax are known too)",
        )
    category = next((column for column in CATEGORY_COLUMNS if column in header), "")
    pictures: dict[str, Shapes] = {}
    for line, row in rows:
        where, shown = f"{file.path}: line {line}", file.name
        try:
            cells = _cells(header, row, where)
            name = file.beside(cells[name_column])
            if not name:
                raise DataError(f"{where} names no picture")
            shown = name
            size = recorded_size(cells, "width", "height", where)
            picture = pictures.setdefault(name, Shapes(size=size))
            if picture.size != size:
                raise DataError(f"{where}: {name} has another width and height than in an earlier line")
            _add(picture, cells, columns, where, cells.get(category) or "")
        except DataError as error:
            found.fault(shown, f"{error.message}: this box is left out")
    more = {} if category else {"categories": ()}
    found.images += [one.picture(name, **more) for name, one in pictures.items()]


def _with_header(file: AnnotationFile, remedy: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    rows = table_rows(file)
    _, header = next(rows, (0, []))
    if not header:
        raise DataError(f"{file.path} is empty", remedy)
    return [cell.lower() for cell in header], rows


def _cells(header: Sequence[str], row: Sequence[str], where: str) -> dict[str, str]:
    if len(row) != len(header):
        raise DataError(f"{where} has {len(row)} cells, the header has {len(header)}")
    return dict(zip(header, row, strict=True))


def _add(picture: Shapes, cells: dict[str, str], columns: Sequence[str], where: str, category: str) -> None:
    recorded = [cells[column] for column in columns]
    if not any(recorded):
        return
    a, b, c, d = four(recorded, where, ", ".join(columns))
    picture.add((a, b, a + c, b + d) if columns == SIDE_COLUMNS else (a, b, c, d), category)


def is_openimages(file: AnnotationFile) -> bool:
    """Whether the header is that of Open Images."""
    return {"imageid", *OPEN_IMAGES} <= set(header_of(file))


def read_openimages(file: AnnotationFile, found: Annotations) -> None:
    """Open Images: `ImageID` (no suffix), `XMin XMax YMin YMax` in shares of the sides, `LabelName`; a row per box."""
    header, rows = _with_header(file, "expected ImageID,XMin,XMax,YMin,YMax")
    pictures: dict[str, Shapes] = {}
    for line, row in rows:
        where, shown = f"{file.path}: line {line}", file.name
        try:
            cells = _cells(header, row, where)
            name = file.beside(cells["imageid"])
            if not name:
                raise DataError(f"{where} names no picture")
            shown = name
            picture = pictures.setdefault(name, Shapes())
            _add(picture, cells, OPEN_IMAGES, where, cells.get("labelname") or "")
        except DataError as error:
            found.fault(shown, f"{error.message}: this box is left out")
    found.images += [one.picture(name, normalised=True, any_suffix=True) for name, one in pictures.items()]


def is_retinanet(file: AnnotationFile) -> bool:
    """Whether the first row is `path,x1,y1,x2,y2,class` without a header."""
    cells = header_of(file)
    suffix = cells[0].rpartition(".")[2]
    return (
        len(cells) in (5, 6)
        and f".{suffix}" in IMAGE_SUFFIXES
        and (all(map(is_number, cells[1:5])) or not any(cells[1:5]))
    )


def read_retinanet(file: AnnotationFile, found: Annotations) -> None:
    """RetinaNet's CSV: `path,x1,y1,x2,y2,class` in pixels, no header; `path,,,,,` means nothing is boxed."""
    header = ("image", *CORNER_COLUMNS[0], "class")
    pictures: dict[str, Shapes] = {}
    for line, row in table_rows(file):
        where = f"{file.path}: line {line}"
        name = file.beside(row[0])
        with found.leaving_out(name or file.name, "box"):
            if not name:
                raise DataError(f"{where} names no picture")
            cells = _cells(header[: len(row)] if len(row) == 5 else header, row, where)
            picture = pictures.setdefault(name, Shapes())
            _add(picture, cells, CORNER_COLUMNS[0], where, cells.get("class") or "")
    found.images += [one.picture(name) for name, one in pictures.items()]
