"""Tagging whole catalogues on Ray Data: `fashion-tagger catalog` and the jobs of the service are this engine."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

RowKind = Literal["garment", "photo"]
"""One row a garment, or a photo."""


@dataclass(frozen=True)
class Counts:
    """What became of some photos; `errors` counts those that failed, by code."""

    photos: int = 0
    garments: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.photos + other.photos, self.garments + other.garments, self.errors + other.errors)
