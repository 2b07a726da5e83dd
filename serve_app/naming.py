"""The names in an answer: a shop's own where a profile gives them, and labels in a language. Pure.

A profile replaces the ontology's names on the wire; a language adds labels beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from models.ontology import Attribute, Ontology
from models.types import NONE, NOT_VISIBLE, AttributeScore
from models.vocabulary import Vocabulary, load_languages, load_profiles

_UNTAGGED = (NONE, NOT_VISIBLE)


@dataclass(frozen=True, slots=True)
class NamedScore:
    """A value under its name on the wire; None where the profile leaves it out.

    Args:
        name: on the wire.
        label: for people.
        score: of all values of that name together.
        is_tag: whether it says something that a garment has.
    """

    name: str | None
    label: str
    score: float
    is_tag: bool


@dataclass(frozen=True, slots=True)
class Naming:
    """How one answer names things."""

    language: Vocabulary | None = None
    profile: Vocabulary | None = None

    @property
    def has_labels(self) -> bool:
        """Whether the caller asked for labels."""
        return self.language is not None or self.profile is not None

    def category(self, name: str) -> str:
        """On the wire."""
        return self.profile.categories.get(name, name) if self.profile else name

    def attribute(self, name: str) -> str:
        """On the wire."""
        return self.profile.attributes.get(name, name) if self.profile else name

    def value(self, attribute: str, name: str) -> str | None:
        """On the wire; None where the profile leaves it out."""
        return self.profile.values.get(attribute, {}).get(name, name) if self.profile else name

    def category_label(self, name: str) -> str:
        """For people."""
        if self.profile and name in self.profile.categories:
            return self.profile.categories[name]
        return self.language.categories.get(name, words(name)) if self.language else words(name)

    def attribute_label(self, name: str) -> str:
        """For people."""
        if self.profile and name in self.profile.attributes:
            return self.profile.attributes[name]
        return self.language.attributes.get(name, words(name)) if self.language else words(name)

    def value_label(self, attribute: str, name: str) -> str:
        """For people."""
        if self.profile and (own := self.profile.values.get(attribute, {}).get(name)):
            return own
        own = self.language.values.get(attribute, {}).get(name) if self.language else None
        return own or words(name)

    def named(self, attribute: Attribute, scores: Sequence[AttributeScore]) -> list[NamedScore]:
        """Scores under their names, best first; values of one name are one: either of them holds.

        Values of a single choice exclude each other, so their scores add up; of several the best counts.
        """
        if self.profile is None:  # every value has a name of its own, and the scores come best first
            labels = self.language.values.get(attribute.name, {}) if self.language else {}
            return [
                NamedScore(
                    each.value, labels.get(each.value) or words(each.value), each.score, each.value not in _UNTAGGED
                )
                for each in scores
            ]
        found: dict[str | None, NamedScore] = {}
        for score in scores:
            name = self.value(attribute.name, score.value)
            label, is_tag = self.value_label(attribute.name, score.value), score.value not in _UNTAGGED
            other = found.get(name)
            if other is not None:
                together = min(1.0, other.score + score.score) if attribute.is_single else max(other.score, score.score)
                found[name] = NamedScore(name, other.label, together, other.is_tag or is_tag)
            else:
                found[name] = NamedScore(name, label, score.score, is_tag)
        return sorted(found.values(), key=lambda named: -named.score)


@dataclass(frozen=True)
class Names:
    """Every language and profile that may be asked for."""

    languages: Mapping[str, Vocabulary] = field(default_factory=dict)
    profiles: Mapping[str, Vocabulary] = field(default_factory=dict)

    @classmethod
    def load(cls, profiles: str, ontology: Ontology) -> Self:
        """The shipped languages, and the profiles of a folder; raises OntologyError."""
        return cls(load_languages(), load_profiles(profiles, ontology))


def words(name: str) -> str:
    """A name of the ontology as words."""
    return name.replace("_", " ")
