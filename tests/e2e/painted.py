"""Models that read their orders from the colour of the photo: they run inside real replicas and load no torch."""

import os
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.ontology import Category, Ontology, load_ontology
from models.types import AttributeScore, AttributeScores, Detection
from serve_app.classifier import ClassifierModel
from serve_app.detector import DetectorModel

THREE_DRESSES = (180, 40, 45)
ONE_SKIRT = (40, 160, 60)
NOTHING = (128, 128, 128)
UNSURE_TOP = (230, 210, 60)
SLOW_SKIRT = (200, 100, 200)
KILLS_CLASSIFIER = (10, 10, 250)
BREAKS_CLASSIFIER = (10, 250, 250)
BREAKS_DETECTOR = (250, 10, 250)

BATCH_S = 0.05
SLOW_S = 1.0

_BOXES = ((8.0, 8.0, 40.0, 60.0), (30.0, 10.0, 60.0, 90.0), (10.0, 40.0, 70.0, 95.0))
_CATEGORIES_BY_COLOUR = {
    THREE_DRESSES: ("dress", "dress", "dress"),
    ONE_SKIRT: ("skirt",),
    UNSURE_TOP: ("top",),
    SLOW_SKIRT: ("skirt",),
    NOTHING: (),
}

HAT = {"attributes": {"brim": {"choice": "single", "values": ["none", "narrow", "wide"]}}}
"""A category that the embedded ontology does not have; data alone has to bring its deployment and its values."""


def extended_ontology() -> Ontology:
    data = load_ontology().to_dict()
    data["categories"]["hat"] = HAT
    return Ontology.from_dict(data)


def _colour(picture: NDArray[np.uint8]) -> tuple[int, int, int]:
    """The known colour nearest to the middle of a picture."""
    height, width = picture.shape[:2]
    middle = picture[height // 2, width // 2].astype(int)
    known = (*_CATEGORIES_BY_COLOUR, KILLS_CLASSIFIER, BREAKS_CLASSIFIER, BREAKS_DETECTOR)
    return min(known, key=lambda colour: int(np.abs(middle - colour).sum()))


class PaintedDetector:
    """Finds what the photo's colour says, slowly enough that concurrent calls meet."""

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        time.sleep(BATCH_S)
        colours = [_colour(canvas) for canvas in canvases]
        if BREAKS_DETECTOR in colours:
            raise ValueError("secret of the detector")
        return [
            [
                Detection(box, 0.9 - 0.1 * index, category)
                for index, (box, category) in enumerate(zip(_BOXES, _CATEGORIES_BY_COLOUR[colour], strict=False))
            ]
            for colour in colours
        ]


class PaintedClassifier:
    """Answers the first value of every attribute, or does as the crop's colour says."""

    def __init__(self, category: Category) -> None:
        self._category = category

    def classify(self, crops: NDArray[np.uint8]) -> list[AttributeScores]:
        colours = [_colour(crop) for crop in crops]
        if KILLS_CLASSIFIER in colours:
            os._exit(1)
        if BREAKS_CLASSIFIER in colours:
            raise ValueError("secret of the classifier")
        if SLOW_SKIRT in colours:
            time.sleep(SLOW_S)
        return [self._scores(0.4 if colour == UNSURE_TOP else 0.9) for colour in colours]

    def _scores(self, best: float) -> AttributeScores:
        scores = {}
        for attribute in self._category.attributes.values():
            rest = min(best, (1 - best) / (len(attribute.values) - 1))
            scores[attribute.name] = tuple(
                AttributeScore(value, best if label == 0 else rest) for label, value in enumerate(attribute.values)
            )
        return scores


class PaintedLoader:
    """Category -> what loads its classifier; hands only plain data to the replica."""

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology

    def __call__(self, category: str) -> "partial[ClassifierModel]":
        return partial(PaintedClassifier, self._ontology.categories[category])


def load_painted_detector() -> DetectorModel:
    return PaintedDetector()
