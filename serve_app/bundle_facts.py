"""What the router has to know of a bundle; small, without weights, and sent to every router replica."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from models.bundle import DEFAULT_THRESHOLD, Bundle
from models.ontology import Attribute, Ontology


@dataclass(frozen=True)
class BundleFacts:
    """Identity, ontology and preprocessing of the bundle that answers.

    Args:
        name: of the bundle; `version` and `digest` (SHA-256 over its manifest) go with it.
        ontology: the categories that have a classifier.
        detector_long_side_px: long side of the canvas that the detector takes.
        crop_size_px: side of the square that the classifiers take.
        crop_pad_ratio: share of a box's own size around its crop.
        min_score: score from which a detection counts unless somebody says otherwise.
        threshold_by_attribute: category -> attribute -> score from which a value of several counts as seen, or a single
            choice is trusted.
    """

    name: str
    version: str
    digest: str
    ontology: Ontology
    detector_long_side_px: int
    crop_size_px: int
    crop_pad_ratio: float
    min_score: float = DEFAULT_THRESHOLD
    threshold_by_attribute: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Read them off a loaded bundle."""
        return cls(
            name=bundle.name,
            version=bundle.version,
            digest=bundle.digest,
            ontology=bundle.ontology,
            detector_long_side_px=bundle.detector_long_side_px,
            crop_size_px=bundle.crop_size_px,
            crop_pad_ratio=bundle.crop_pad_ratio,
            min_score=bundle.min_score,
            threshold_by_attribute=bundle.thresholds,
        )

    @property
    def label(self) -> str:
        """name@version, as answers name it."""
        return f"{self.name}@{self.version}"

    def attributes_of(self, category: str) -> Mapping[str, Attribute]:
        """Attributes of a category by name, in the order of the ontology."""
        return self.ontology.categories[category].attributes

    def threshold(self, category: str, attribute: str, default: float) -> float:
        """Score from which a value of several counts as seen, or a single choice is trusted."""
        return self.threshold_by_attribute.get(category, {}).get(attribute, default)
