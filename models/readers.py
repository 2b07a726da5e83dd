"""Readers of public and hand-written data sets into `LabelledPhoto`s; what their labels mean to us is data in mappings.

A mapping (YAML in `models/mappings/`, or a shop's own) says for each foreign category our category and the attribute
values it implies, and for each foreign attribute value ours. What a mapping does not name is unlabelled.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

from models.errors import DatasetError
from models.foreground import foreground_box
from models.images import decode_image
from models.ontology import Ontology
from models.types import Box, LabelledGarment, LabelledPhoto

Values = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class CategoryMapping:
    """Our category of a foreign one and what it implies; no category: none of our garments is shown."""

    category: str | None
    attributes: Values = field(default_factory=dict)


@dataclass(frozen=True)
class LabelMapping:
    """How a foreign data set speaks, and what it means in ours."""

    format: str
    categories: Mapping[str, CategoryMapping]
    attributes: Mapping[str, Values]
    fields: Mapping[str, str]


def load_mapping(path: Path, ontology: Ontology) -> LabelMapping:
    """Read a mapping file and check every name in it against the ontology.

    Raises:
        DatasetError: naming what the ontology does not know.
    """
    raw = cast(dict[str, Any], yaml.safe_load(path.read_text(encoding="utf-8")))
    categories = {
        str(foreign): CategoryMapping(entry.get("category"), _values(entry.get("attributes", {})))
        for foreign, entry in raw["categories"].items()
    }
    attributes = {name: _values(values) for name, values in raw.get("attributes", {}).items()}
    for foreign, entry in categories.items():
        if entry.category is not None and entry.category not in ontology.categories:
            raise DatasetError(f"mapping {path.name}: {foreign} maps to unknown category {entry.category}")
        for name, values in entry.attributes.items():
            _check_values(ontology, cast(str, entry.category), name, values, f"mapping {path.name}: {foreign}")
    fields = {key: value for key, value in raw.items() if key.endswith(("_field", "_column"))}
    return LabelMapping(raw["format"], categories, attributes, fields)


def _values(raw: Mapping[str, list[str]]) -> Values:
    return {str(key): tuple(values) for key, values in raw.items()}


def _check_values(ontology: Ontology, category: str, name: str, values: tuple[str, ...], where: str) -> None:
    attribute = ontology.categories[category].attributes.get(name)
    if attribute is None:
        raise DatasetError(f"{where}: {category} has no attribute {name}")
    for value in values:
        if value not in attribute.label_by_value:
            raise DatasetError(f"{where}: {name} has no value {value}; known: {', '.join(attribute.values)}")


def read_coco(annotations: Path, images: Path, mapping: LabelMapping, ontology: Ontology) -> list[LabelledPhoto]:
    """Read a COCO detection file.

    Categories are matched by name, never by id: ids have gaps and differ between drafts of a set.

    Args:
        annotations: the JSON with `images`, `annotations` and `categories`; boxes are [x, y, width, height] in pixels.
        images: the folder that `file_name` is relative to.
        mapping: from `load_mapping`.
        ontology: whose categories and values the result uses.

    Raises:
        DatasetError: if the file is no COCO file or an annotation has no area.
    """
    raw = cast(dict[str, Any], json.loads(annotations.read_text(encoding="utf-8")))
    name_by_id = {entry["id"]: entry["name"] for entry in raw["categories"]}
    field_name = mapping.fields.get("category_field")
    garments: dict[int, list[LabelledGarment]] = defaultdict(list)
    for row in raw["annotations"]:
        foreign = row[field_name] if field_name else name_by_id[row["category_id"]]
        entry = mapping.categories.get(foreign)
        if entry is None or entry.category is None or row.get("iscrowd"):
            continue
        x, y, width, height = (float(value) for value in row["bbox"])
        if width <= 0 or height <= 0:
            raise DatasetError(f"{annotations.name}: annotation {row['id']} has a box without area")
        weak = row.get(mapping.fields.get("attribute_field", ""), {})
        attributes = dict(entry.attributes) | dict(_mapped(weak, mapping, ontology, entry.category))
        garments[row["image_id"]].append(LabelledGarment(entry.category, (x, y, x + width, y + height), attributes))
    return [LabelledPhoto(images / entry["file_name"], tuple(garments[entry["id"]])) for entry in raw["images"]]


def _mapped(
    raw: Mapping[str, Any], mapping: LabelMapping, ontology: Ontology, category: str
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Our attributes of a foreign record; a name or value that is not mapped is unlabelled."""
    for name, values in mapping.attributes.items():
        if name in ontology.categories[category].attributes and raw.get(name) in values:
            yield name, values[raw[name]]


def read_csv(table: Path, mapping: LabelMapping, ontology: Ontology, where: Mapping[str, str]) -> list[LabelledPhoto]:
    """Read a table with one garment a row, as a shop would write it by hand.

    Columns: the file (relative to the table), the label, optionally x1, y1, x2, y2 in pixels, and any attribute of the
    ontology by its name (several values separated by `|`; empty is unlabelled). A row without a box gets the
    foreground of the photo; rows of one file are garments of one photo.

    Args:
        table: the CSV file.
        mapping: from `load_mapping`.
        ontology: whose categories and values the result uses.
        where: column -> value that a row must have, like {"split": "train"}.

    Raises:
        DatasetError: naming the file and line of a row that cannot be used.
    """
    garments: dict[Path, list[LabelledGarment]] = {}
    with table.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if any(row[column] != value for column, value in where.items()):
                continue
            path = table.parent / row[mapping.fields["file_column"]]
            label = row[mapping.fields["label_column"]]
            if label not in mapping.categories:
                raise DatasetError(f"{table.name}: label {label!r} of {path.name} is not in the mapping")
            entry = mapping.categories[label]
            found = garments.setdefault(path, [])
            if entry.category is not None:
                attributes = dict(entry.attributes) | _written(row, ontology, entry.category, table.name)
                found.append(LabelledGarment(entry.category, _row_box(row, path), attributes))
    return [LabelledPhoto(path, tuple(found)) for path, found in garments.items()]


def _written(row: Mapping[str, str], ontology: Ontology, category: str, table: str) -> dict[str, tuple[str, ...]]:
    written: dict[str, tuple[str, ...]] = {}
    for name in ontology.categories[category].attributes:
        if row.get(name):
            written[name] = tuple(row[name].split("|"))
            _check_values(ontology, category, name, written[name], table)
    return written


def _row_box(row: Mapping[str, str], path: Path) -> Box:
    if row.get("x1"):
        return (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"]))
    image: np.ndarray[Any, np.dtype[np.uint8]] = decode_image(path.read_bytes())
    return foreground_box(image)
