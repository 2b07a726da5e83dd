"""The frozen vocabulary of results and labels; every boundary between parts speaks in these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2) in pixels of the upright photo, origin top-left."""

NOT_VISIBLE = "not_visible"
"""The value of an attribute that the photo does not show."""

NONE = "none"
"""The value of an attribute that the garment is seen not to have (the sleeve type of a sleeveless top)."""


def _check_box(box: Box) -> None:
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"box needs x1 < x2 and y1 < y2, got {box}")


def _check_score(score: float) -> None:
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"score needs to be in [0, 1], got {score}")


@dataclass(frozen=True, slots=True)
class Detection:
    """A garment that the detector found: where, what, how sure."""

    box: Box
    score: float
    category: str

    def __post_init__(self) -> None:
        _check_box(self.box)
        _check_score(self.score)

    def __reduce__(self) -> tuple[type["Detection"], tuple[Box, float, str]]:
        """Pickle as a call: what a dataclass with slots does of itself asks for its fields again and again."""
        return Detection, (self.box, self.score, self.category)


@dataclass(frozen=True, slots=True)
class AttributeScore:
    """One value of an attribute with its score in [0, 1]."""

    value: str
    score: float

    def __post_init__(self) -> None:
        _check_score(self.score)

    def __reduce__(self) -> tuple[type["AttributeScore"], tuple[str, float]]:
        """As above; a garment has some eighty, which took 0.9 ms from process to process and take 0.15."""
        return AttributeScore, (self.value, self.score)


AttributeScores = Mapping[str, tuple[AttributeScore, ...]]
"""For each attribute all its values with their scores, best first."""


@dataclass(frozen=True, slots=True)
class LabelledGarment:
    """A garment as an annotation file describes it.

    `attributes` maps an attribute to its values; an attribute that is absent is unlabelled, which is not a negative.
    """

    category: str
    box: Box
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_box(self.box)


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo with all its garments; no garment is a valid label too.

    `region` is the part of it in which garments were labelled, None for all of it: what is found elsewhere is neither
    right nor wrong.
    """

    path: Path
    garments: tuple[LabelledGarment, ...]
    region: Box | None = None
