"""Sets with one garment a row: tables as a shop writes them, Myntra's records, FashionAI's lists."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.readers.mapping import ForeignGarment, ForeignPhoto, LabelMapping
from models.types import Box


def read_csv(source: Path, images: Path | None, split: str | None, mapping: LabelMapping) -> Iterator[ForeignPhoto]:
    """Read a table; rows of one file are garments of one photo.

    Columns: the file (relative to the table), the label, optionally x1, y1, x2, y2 or x, y, w, h in pixels. A column
    that the mapping names is read by it; any other that bears the name of an attribute holds our own values, several
    separated by `|`. Empty is unlabelled. A row is left out if it has a text in the column `left_out_field`.
    """
    garments: dict[str, list[ForeignGarment]] = defaultdict(list)
    with source.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            if (split is None or row["split"] == split) and not row.get(mapping.options.get("left_out_field", "")):
                labels = [(column, row[column]) for column in mapping.attributes]
                label = row[mapping.options["label_column"]]
                ours = [column for column in row if column not in (*mapping.attributes, *_PLACES)]
                written = {column: tuple(row[column].split("|")) for column in ours if row[column]}
                garments[row[mapping.options["file_column"]]].append(ForeignGarment(label, labels, _box(row), written))
    for file, found in garments.items():
        yield ForeignPhoto(file, (images or source.parent) / file, found)


_CORNERS = ("x1", "y1", "x2", "y2")
_PLACES = (*_CORNERS, "x", "y", "w", "h")


def _box(row: Mapping[str, str]) -> Box | None:
    if row.get("x1"):
        x1, y1, x2, y2 = (float(row[side]) for side in _CORNERS)
        return (x1, y1, x2, y2)
    if row.get("w"):
        x, y, width, height = (float(row[side]) for side in ("x", "y", "w", "h"))
        return (x, y, x + width, y + height)
    return None


def read_records(source: Path, images: Path | None, split: str | None, mapping: LabelMapping) -> Iterator[ForeignPhoto]:
    """Read Myntra's product records, one garment each: a folder of style files, `styles.csv`, or JSON lines.

    All of them come as fields with values; nested ones by their innermost name. Photos are `images/<id>.jpg` beside. A
    record is left out if its field `left_out_field` holds anything.
    """
    read = {".csv": _styles_table, ".jsonl": _json_lines}.get(source.suffix, _style_files)
    folder = images or source.parent / "images"
    for record in read(source):
        if (split is None or record["split"] == split) and not record.get(mapping.options.get("left_out_field", "")):
            file = f"{record['id']}.jpg"
            garment = ForeignGarment(record[mapping.options["category_field"]], list(record.items()))
            yield ForeignPhoto(file, folder / file, [garment])


def _json_lines(source: Path) -> Iterator[dict[str, str]]:
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            yield _flat(json.loads(line))


def _style_files(source: Path) -> Iterator[dict[str, str]]:
    for path in sorted(source.glob("*.json")):
        yield _flat(json.loads(path.read_text(encoding="utf-8"))["data"])


def _flat(record: Mapping[str, Any]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            # {"articleType": {"typeName": "Shirts"}} is one field, {"articleAttributes": {"Fit": ...}} are several.
            fields |= {name: str(value["typeName"])} if "typeName" in value else _flat(value)
        elif value is not None:
            fields[name] = str(value)
    return fields


def _styles_table(source: Path) -> Iterator[dict[str, str]]:
    """Rows of styles.csv, whose last column, the product's name, may hold commas without quotes."""
    with source.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        columns = next(rows)
        for row in rows:
            last = len(columns) - 1
            yield dict(zip(columns, [*row[:last], ",".join(row[last:])], strict=True))


def read_fashionai(
    source: Path, images: Path | None, split: str | None, mapping: LabelMapping
) -> Iterator[ForeignPhoto]:
    """Read FashionAI's `label.csv`: rows of file, task and a letter for each value of the task.

    The letters stand in the order in which the mapping lists the values of the task: `y` is the answer, `m` could be
    one as well and so is neither right nor wrong, `n` is none. A row without `y` says nothing and is left out. The task
    tells of which category the garment is.
    """
    with source.open(encoding="utf-8", newline="") as lines:
        for file, task, letters in csv.reader(lines):
            values = list(mapping.attributes.get(task, ()))
            if values and len(values) != len(letters):
                raise ValueError(f"{file} has {len(letters)} letters for the {len(values)} values of {task}")
            if "y" in letters and values:
                garment = ForeignGarment(task, [(task, values[letters.index("y")])])
                yield ForeignPhoto(file, (images or source.parent.parent) / file, [garment])


def rows_of(path: Path, head_lines: int = 0) -> Iterable[list[str]]:
    """Fields of a file whose columns are separated by white space, after so many lines of heading."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number >= head_lines and line.strip():
                yield line.split()
