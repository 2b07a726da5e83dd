"""What a data set's words mean in our ontology: data in mapping files, applied here.

A mapping (YAML in `models/mappings/`, or a shop's own) says for each foreign category our category and the attribute
values it implies, and for each foreign field and value ours:

    categories:
      "shirt, blouse": {category: top}

Attributes:
      neckline type:
        v-neck: {neckline: v_neck}
      length:
        maxi (length): {length: [maxi, long, full]}    # each category takes the one it knows

What a mapping does not name is unlabelled, which is not a negative. Two different answers to a single choice cancel.
`like: name` takes what is not said here from another mapping in the same folder.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from models.errors import DatasetError
from models.ontology import Category, Ontology
from models.types import Box

Values = Mapping[str, tuple[str, ...]]
"""Our attributes with our values."""


@dataclass(frozen=True, slots=True)
class ForeignGarment:
    """One garment in the words of its data set.

    Attributes:
        category: "" if nobody named it, which leaves its photo out.
        labels: (field, value) pairs, such as ("neckline type", "v-neck").
        box: in pixels; None in sets without boxes.
        written: attributes that are given in our words already.
    """

    category: str
    labels: Sequence[tuple[str, str]] = ()
    box: Box | None = None
    written: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignPhoto:
    """A photo in the words of its data set.

    Attributes:
        file: its name there, unique within the set.
        path: where it lies.
        garments: what is annotated.
        region: the part of the photo that was annotated; None for all of it.
    """

    file: str
    path: Path
    garments: Sequence[ForeignGarment]
    region: Box | None = None


@dataclass(frozen=True, slots=True)
class CategoryMapping:
    """Our category of a foreign one and what it implies; no category: none of our garments is shown."""

    category: str | None
    attributes: Values


@dataclass(frozen=True)
class LabelMapping:
    """How a foreign data set speaks, and what it means in ours.

    Attributes:
        format: which reader reads it.
        categories: by foreign name.
        attributes: by foreign field and value.
        options: what its reader wants to know besides, such as names of columns.
    """

    format: str
    categories: Mapping[str, CategoryMapping]
    attributes: Mapping[str, Mapping[str, Values]]
    options: Mapping[str, Any]

    def attributes_of(self, garment: ForeignGarment, category: Category) -> dict[str, tuple[str, ...]]:
        """Our attributes of a foreign garment whose category is ours already."""
        said = _answers(category, (self.attributes.get(name, {}).get(value, {}) for name, value in garment.labels))
        merged = {**self.categories[garment.category].attributes, **said}
        return {name: values for name, values in merged.items() if values}


def _answers(category: Category, meanings: Iterable[Values]) -> dict[str, tuple[str, ...]]:
    """What several labels say together; nothing for a single choice on which they disagree."""
    answers: dict[str, dict[str, None]] = {}
    for meaning in meanings:
        for name, values in meaning.items():
            if name in category.attributes:
                known = category.attributes[name].label_by_value
                answers.setdefault(name, {}).update(dict.fromkeys(value for value in values if value in known))
    return {
        name: () if category.attributes[name].is_single and len(values) > 1 else tuple(values)
        for name, values in answers.items()
        if values
    }


def load_mapping(path: Path, ontology: Ontology) -> LabelMapping:
    """Read a mapping file and check every name in it against the ontology.

    Raises:
        DatasetError: naming what is wrong in it.
    """
    try:
        raw = _read(path)
        categories = {
            _name(foreign): CategoryMapping(entry.get("category"), _values(entry.get("attributes", {})))
            for foreign, entry in raw["categories"].items()
        }
        attributes = {
            _name(field): {_name(value): _values(ours) for value, ours in values.items()}
            for field, values in raw.get("attributes", {}).items()
        }
        mapping = LabelMapping(raw["format"], categories, attributes, raw)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as exc:
        raise DatasetError(f"{path.name} is no mapping: {exc}", str(path)) from exc
    _check(mapping, ontology, f"mapping {path.name}")
    return mapping


def _read(path: Path) -> dict[str, Any]:
    raw = cast(dict[str, Any], yaml.safe_load(path.read_text(encoding="utf-8")))
    return {**_read(path.with_name(f"{raw['like']}.yaml")), **raw} if "like" in raw else raw


def _name(raw: object) -> str:
    if isinstance(raw, bool):
        raise TypeError("put yes, no, on and off into quotes")
    return str(raw)


def _values(raw: Mapping[str, str | list[str]]) -> Values:
    return {str(name): (values,) if isinstance(values, str) else tuple(values) for name, values in raw.items()}


def _check(mapping: LabelMapping, ontology: Ontology, where: str) -> None:
    for foreign, entry in mapping.categories.items():
        if entry.category is not None and entry.category not in ontology.categories:
            raise DatasetError(f"{where}: {foreign} maps to unknown category {entry.category}")
        for name, values in entry.attributes.items():
            check_values(ontology.categories[cast(str, entry.category)], name, values, f"{where}: {foreign}")
    for field_name, values_of in mapping.attributes.items():
        for foreign, meaning in values_of.items():
            for name, values in meaning.items():
                _check_meaning(ontology, name, values, f"{where}: {field_name}: {foreign}")


def _check_meaning(ontology: Ontology, name: str, values: Sequence[str], where: str) -> None:
    asked = [each.attributes[name] for each in ontology.categories.values() if name in each.attributes]
    for value in values:
        if not any(value in attribute.label_by_value for attribute in asked):
            raise DatasetError(f"{where}: no category has {name} {value}")
    for attribute in asked:
        known = [value for value in values if value in attribute.label_by_value]
        if attribute.is_single and len(known) > 1:
            raise DatasetError(f"{where}: {name} takes one value, {' and '.join(known)} are of one category")


def check_values(category: Category, name: str, values: Sequence[str], where: str) -> None:
    """Refuse what a category does not know.

    Raises:
        DatasetError: naming it and what is known.
    """
    attribute = category.attributes.get(name)
    if attribute is None:
        raise DatasetError(f"{where}: {category.name} has no attribute {name}")
    for value in values:
        if value not in attribute.label_by_value:
            raise DatasetError(f"{where}: {name} has no value {value}; known: {', '.join(attribute.values)}")
    if attribute.is_single and len(values) > 1:
        raise DatasetError(f"{where}: {name} takes one value, not {' and '.join(values)}")
