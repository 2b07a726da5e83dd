"""The ontology: categories, the attributes of each and their values, as data that drives everything else.

Detector labels, classifier heads, deployments, the HTTP interface and dashboards all follow from it: adding a category
is an entry in the YAML file, a trained classifier and a redeploy.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from models.errors import OntologyError
from models.types import NOT_VISIBLE

Choice = Literal["single", "several"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_EMBEDDED = Path(__file__).with_name("ontology.yaml")


@dataclass(frozen=True)
class Attribute:
    """A question put to a category; a value's position is its label."""

    name: str
    choice: Choice
    values: tuple[str, ...]

    @property
    def is_single(self) -> bool:
        """Whether exactly one value holds (softmax) rather than any number (sigmoid)."""
        return self.choice == "single"

    @cached_property
    def label_by_value(self) -> dict[str, int]:
        """Value -> 0-based label in the head of this attribute."""
        return {value: label for label, value in enumerate(self.values)}


@dataclass(frozen=True)
class Category:
    """A garment type with its attributes by name, in the order of the file."""

    name: str
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Ontology:
    """All categories by name, in the order of their detector labels."""

    name: str
    version: str
    categories: Mapping[str, Category]

    @property
    def category_names(self) -> tuple[str, ...]:
        """Category names in label order."""
        return tuple(self.categories)

    def detector_label(self, category: str) -> int:
        """Contiguous label of a category in the detector; 1-based, 0 is background.

        Raises:
            KeyError: if the category is unknown.
        """
        return self._label_by_category[category]

    def category_of_label(self, label: int) -> str:
        """Category of a detector label; the reverse of `detector_label`."""
        return self.category_names[label - 1]

    @cached_property
    def _label_by_category(self) -> dict[str, int]:
        return {category: label for label, category in enumerate(self.categories, start=1)}

    def to_dict(self) -> dict[str, Any]:
        """JSON form with every definition spelt out; `from_dict` reads it back."""
        return {
            "name": self.name,
            "version": self.version,
            "categories": {
                category.name: {
                    "attributes": {
                        attribute.name: {"choice": attribute.choice, "values": list(attribute.values)}
                        for attribute in category.attributes.values()
                    }
                }
                for category in self.categories.values()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Ontology":
        """Build from `to_dict`'s form or any mapping of the YAML file's shape.

        Raises:
            OntologyError: with the mend, if the mapping is no ontology.
        """
        return parse_ontology(yaml.safe_dump(dict(data), sort_keys=False), source="ontology")


def load_ontology(path: Path | None = None) -> Ontology:
    """Read an ontology file; without a path the one embedded in the package.

    Raises:
        OntologyError: naming the line and the mend.
    """
    path = path or _EMBEDDED
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise OntologyError(
            f"the ontology file {path.name} cannot be read; give a readable YAML file", str(exc)
        ) from exc
    return parse_ontology(text, source=path.name)


def parse_ontology(text: str, source: str) -> Ontology:
    """Read YAML text; `source` names it in errors.

    Raises:
        OntologyError: naming the line and the mend.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as exc:
        raise OntologyError(f"{source} is no valid YAML: {' '.join(str(exc).split())}") from exc
    if root is None:
        raise OntologyError(f"{source} is empty; it needs name, version and categories")
    return _Reader(source).ontology(root)


class _Reader:
    """Turns YAML nodes, which know their lines, into an ontology."""

    def __init__(self, source: str) -> None:
        self._source = source

    def ontology(self, root: yaml.Node) -> Ontology:
        fields = self._fields(root, required=("name", "version", "categories"), optional=("attributes",))
        shared = (
            {name: self._attribute(name, node) for name, _, node in self._entries(fields["attributes"], "attribute")}
            if "attributes" in fields
            else {}
        )
        categories = {
            name: self._category(name, key, node, shared)
            for name, key, node in self._entries(fields["categories"], "category")
        }
        if not categories:
            raise self._error(fields["categories"], "there is no category; add at least one")
        return Ontology(self._text(fields["name"]), self._text(fields["version"]), categories)

    def _category(self, name: str, key: yaml.Node, node: yaml.Node, shared: Mapping[str, Attribute]) -> Category:
        body = (
            self._fields(node, required=(), optional=("attributes",))
            if self._is_wrapped(node)
            else {"attributes": node}
        )
        attributes: dict[str, Attribute] = {}
        for attribute, at, definition in self._entries(body["attributes"], "attribute"):
            if not self._is_null(definition):
                attributes[attribute] = self._attribute(attribute, definition)
            elif attribute in shared:
                attributes[attribute] = shared[attribute]
            else:
                raise self._error(
                    at, f"{name}.{attribute} has no definition; define it here or under the top-level attributes"
                )
        if not attributes:
            raise self._error(key, f"category {name} has no attribute; give it at least one")
        return Category(name, attributes)

    def _attribute(self, name: str, node: yaml.Node) -> Attribute:
        fields = self._fields(node, required=("choice", "values"))
        choice = self._text(fields["choice"])
        if choice not in ("single", "several"):
            raise self._error(fields["choice"], f"choice of {name} is {choice!r}; write single or several")
        if not isinstance(fields["values"], yaml.SequenceNode):
            raise self._error(fields["values"], f"values of {name} must be a list, like [short, long]")
        values: list[str] = []
        for item in fields["values"].value:
            value = self._name(item, "value")
            if value in values:
                raise self._error(item, f"value {value!r} of {name} stands twice; remove one")
            values.append(value)
        if len(values) < 2:
            raise self._error(fields["values"], f"{name} needs at least two values")
        if choice == "several" and NOT_VISIBLE in values:
            raise self._error(fields["values"], f"{name} takes several values: remove {NOT_VISIBLE}, or make it single")
        return Attribute(name, cast(Choice, choice), tuple(values))

    def _is_wrapped(self, node: yaml.Node) -> bool:
        """Whether a category is written as {attributes: {...}}, the form of `to_dict`, rather than directly."""
        return (
            isinstance(node, yaml.MappingNode)
            and len(node.value) == 1
            and node.value[0][0].value == "attributes"
            and isinstance(node.value[0][1], yaml.MappingNode)
        )

    def _fields(
        self, node: yaml.Node, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        found: dict[str, yaml.Node] = {}
        for name, key, value in self._entries(node, "key"):
            if name not in required + optional:
                raise self._error(key, f"unknown key {name!r}; known here: {', '.join(required + optional)}")
            found[name] = value
        for name in required:
            if name not in found:
                raise self._error(node, f"{name} is missing; add it")
        return found

    def _entries(self, node: yaml.Node, what: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"expected a mapping from {what} to its content")
        seen: set[str] = set()
        for key, value in node.value:
            name = self._name(key, what)
            if name in seen:
                raise self._error(key, f"{what} {name!r} stands twice; remove one")
            seen.add(name)
            yield name, key, value

    def _name(self, node: yaml.Node, what: str) -> str:
        text = self._text(node)
        if node.tag != "tag:yaml.org,2002:str":
            raise self._error(node, f"{what} {text!r} is not read as text by YAML; put it in quotes")
        if not _NAME.fullmatch(text):
            raise self._error(node, f"{what} {text!r} is no snake_case name, like v_neck; rename it")
        return text

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "expected one word here")
        return str(node.value)

    def _is_null(self, node: yaml.Node) -> bool:
        return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"

    def _error(self, node: yaml.Node, message: str) -> OntologyError:
        return OntologyError(f"{self._source} line {node.start_mark.line + 1}: {message}")
