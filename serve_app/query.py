"""The query parameters of POST /v1/tag: text of the caller -> TagOptions, or a sentence about what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.ontology import Ontology
from models.vocabulary import Vocabulary
from serve_app.errors import BadRequest
from serve_app.naming import Names, Naming

PARAMETERS = (
    *("min_score", "top_k", "categories", "attributes", "category", "garments", "include"),
    *("lang", "profile"),
)
_MAX_TOP_K = 100
_MAX_SHOWN = 60
_NO_NAMES = Names()


@dataclass(frozen=True, slots=True)
class TagOptions:
    """What the caller wants of a photo.

    Args:
        min_score: detections below it are dropped.
        top_k: values answered per attribute; None: the best of a single one, all seen ones of several.
        categories: only these; None: all.
        attributes: only these; None: all.
        category: skip detection, the whole photo shows this one.
        is_largest_only: only the garment with the largest box.
        has_probabilities: answer every value of every attribute besides.
        naming: how the answer names things.
    """

    min_score: float
    top_k: int | None = None
    categories: frozenset[str] | None = None
    attributes: frozenset[str] | None = None
    category: str | None = None
    is_largest_only: bool = False
    has_probabilities: bool = False
    naming: Naming = field(default_factory=Naming)


def parse_query(
    pairs: Sequence[tuple[str, str]], ontology: Ontology, default_min_score: float, names: Names = _NO_NAMES
) -> TagOptions:
    """Check every parameter against the interface and the ontology.

    Args:
        pairs: names and values as they came, repetitions included.
        ontology: says which categories and attributes there are.
        default_min_score: used where the caller says nothing.
        names: languages and profiles that may be asked for.

    Raises:
        BadRequest: naming the parameter and what it takes.
    """
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            raise BadRequest(f"unknown query parameter {_shown(name)}; known: {', '.join(PARAMETERS)}")
        if name in given:
            raise BadRequest(f"query parameter {name} is given twice; separate values by commas where it takes several")
        given[name] = value
    if "category" in given and "categories" in given:
        raise BadRequest("category skips detection and categories filters it; give one of the two")
    attribute_names = {name for category in ontology.categories.values() for name in category.attributes}
    return TagOptions(
        min_score=_score(given["min_score"]) if "min_score" in given else default_min_score,
        top_k=_top_k(given["top_k"]) if "top_k" in given else None,
        categories=_names("categories", given.get("categories"), ontology.category_names),
        attributes=_names("attributes", given.get("attributes"), sorted(attribute_names)),
        category=_name("category", given["category"], ontology.category_names) if "category" in given else None,
        is_largest_only="garments" in given and _name("garments", given["garments"], ("largest", "all")) == "largest",
        naming=Naming(
            _vocabulary("lang", given.get("lang"), names.languages),
            _vocabulary("profile", given.get("profile"), names.profiles),
        ),
        has_probabilities=bool(_names("include", given.get("include"), ("probabilities",))),
    )


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= 1.0:  # false for nan too
        raise BadRequest(f"min_score takes a number from 0 to 1, got {_shown(text)}")
    return score


def _top_k(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= _MAX_TOP_K):
        raise BadRequest(f"top_k takes a whole number from 1 to {_MAX_TOP_K}, got {_shown(text)}")
    return int(text)


def _names(parameter: str, text: str | None, known: Sequence[str]) -> frozenset[str] | None:
    if text is None:
        return None
    return frozenset(_name(parameter, name, known) for name in text.split(","))


def _name(parameter: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise BadRequest(f"{parameter} does not know {_shown(name)}; known: {', '.join(known) or 'none'}")
    return name


def _vocabulary(parameter: str, text: str | None, known: Mapping[str, Vocabulary]) -> Vocabulary | None:
    return None if text is None else known[_name(parameter, text, tuple(known))]


def _shown(text: str) -> str:
    """The caller's own text, short and harmless enough for a message."""
    return repr(text[:_MAX_SHOWN])
