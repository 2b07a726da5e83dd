"""What categories, attributes and values are called: a language shipped here, or a shop's own profile. Data files.

Both have one form: `categories`, `attributes` and, by attribute, `values`, each from the ontology's name to another. A
language adds `language`, its own name of itself. In a profile two values of one name are one value, and a value whose
name is null is left out. What a file does not name keeps the ontology's name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from models.errors import OntologyError
from models.ontology import Ontology

_LANGUAGES = Path(__file__).with_name("languages")
_MAX_NAME_LENGTH = 100


@dataclass(frozen=True)
class Vocabulary:
    """Other names for the parts of an ontology.

    Attributes:
        title: the language's name of itself, or the profile's name.
        categories: ontology's name -> name.
        attributes: likewise.
        values: attribute -> value -> name; None leaves the value out.
    """

    title: str
    categories: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


@cache
def load_languages() -> Mapping[str, Vocabulary]:
    """The shipped languages by their code; read once."""
    return {
        path.stem: _parse(path.read_text(encoding="utf-8"), path.name) for path in sorted(_LANGUAGES.glob("*.yaml"))
    }


def load_profiles(location: str, ontology: Ontology) -> dict[str, Vocabulary]:
    """The profiles of a folder: each `<name>.yaml` in it.

    Args:
        location: a path or fsspec URL of the folder, or of one profile; empty: there are none.
        ontology: has to know every name.

    Raises:
        OntologyError: naming the file and what is wrong with it.
    """
    if not location:
        return {}
    import fsspec  # type: ignore[import-untyped]  # here, since few use profiles

    try:
        filesystem, folder = fsspec.core.url_to_fs(location)
        paths = sorted(str(path) for path in filesystem.ls(folder, detail=False) if str(path).endswith(".yaml"))
        text_by_name = {Path(path).name: filesystem.cat_file(path).decode("utf-8") for path in paths}
    except (OSError, ValueError, ImportError) as exc:
        raise OntologyError("the folder of profiles cannot be read; give a readable one", repr(exc)) from exc
    profiles = {}
    for name, text in text_by_name.items():
        profile = _parse(text, name)
        for problem in problems(profile, ontology):
            raise OntologyError(f"profile {name}: {problem}")
        profiles[name.removesuffix(".yaml")] = profile
    return profiles


def problems(vocabulary: Vocabulary, ontology: Ontology) -> Iterator[str]:
    """What an ontology does not know of it, and names that would make two attributes of a category one."""
    values: dict[str, set[str]] = {}
    for category in ontology.categories.values():
        for attribute in category.attributes.values():
            values.setdefault(attribute.name, set()).update(attribute.values)
        names = [vocabulary.attributes.get(name, name) for name in category.attributes]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"two attributes of {category.name} are called {name!r}"
    for name in (name for name in vocabulary.categories if name not in ontology.categories):
        yield f"there is no category {name}"
    for name in (name for name in (*vocabulary.attributes, *vocabulary.values) if name not in values):
        yield f"there is no attribute {name}"
    for attribute_name, by_value in vocabulary.values.items():
        for name in (name for name in by_value if name not in values.get(attribute_name, ())):
            yield f"{attribute_name} has no value {name}"


def _parse(text: str, source: str) -> Vocabulary:
    try:
        root = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise OntologyError(f"{source} is no valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(root, dict) or not set(root) <= {"language", "categories", "attributes", "values"}:
        raise OntologyError(f"{source} needs nothing but categories, attributes and values")
    values = _mapping(root.get("values", {}), source)
    return Vocabulary(
        title=str(root.get("language", source.removesuffix(".yaml"))),
        categories=_names(root.get("categories", {}), source),
        attributes=_names(root.get("attributes", {}), source),
        values={
            name: {
                value: None if text is None else _name(text, source) for value, text in _mapping(each, source).items()
            }
            for name, each in values.items()
        },
    )


def _names(node: object, source: str) -> dict[str, str]:
    return {key: _name(name, source) for key, name in _mapping(node, source).items()}


def _mapping(node: object, source: str) -> dict[str, Any]:
    if not isinstance(node, dict) or not all(isinstance(key, str) for key in node):
        raise OntologyError(f"{source}: expected a mapping from names to names")
    return node


def _name(name: object, source: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME_LENGTH or not name.isprintable():
        raise OntologyError(f"{source}: {str(name)[:60]!r} is no name of 1 to {_MAX_NAME_LENGTH} characters; quote it")
    return name
