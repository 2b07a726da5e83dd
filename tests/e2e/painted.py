"""Models that read their orders from the colour of the photo: they run inside real replicas and load no torch."""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ontology import Category, Ontology, load_ontology
from models.types import NOT_VISIBLE, AttributeScore, AttributeScores, Detection
from serve_app.classifier import ClassifierModel
from serve_app.detector import DetectorModel

THREE_DRESSES = (180, 40, 45)
ONE_DRESS = (120, 80, 30)
ONE_SKIRT = (40, 160, 60)
NOTHING = (128, 128, 128)
UNSURE_TOP = (230, 210, 60)
SLOW_SKIRT = (200, 100, 200)
HIDDEN_TOP = (20, 60, 110)
BUSY_DRESS = (250, 150, 10)
BUSY_TROUSERS = (80, 20, 160)
KILLS_CLASSIFIER = (10, 10, 250)
BREAKS_CLASSIFIER = (10, 250, 250)
BREAKS_DETECTOR = (250, 10, 250)
_HARMFUL = (SLOW_SKIRT, BUSY_DRESS, BUSY_TROUSERS, KILLS_CLASSIFIER, BREAKS_CLASSIFIER, BREAKS_DETECTOR)

BATCH_S = 0.05
BUSY_S = 0.6
SLOW_S = 1.0

_BOXES = ((8.0, 8.0, 40.0, 60.0), (30.0, 10.0, 60.0, 90.0), (10.0, 40.0, 70.0, 95.0))
_CATEGORIES_BY_COLOUR = {
    THREE_DRESSES: ("dress", "dress", "dress"),
    ONE_DRESS: ("dress",),
    ONE_SKIRT: ("skirt",),
    UNSURE_TOP: ("top",),
    HIDDEN_TOP: ("top",),
    BUSY_DRESS: ("dress",),
    BUSY_TROUSERS: ("trousers",),
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
    """The known colour nearest to the middle of a picture; one that does harm has to be met exactly.

    Hostile photos have all colours, and shall not give orders by chance.
    """
    height, width = picture.shape[:2]
    middle = picture[height // 2, width // 2].astype(int)
    for colour in _HARMFUL:
        if tuple(middle) == colour:
            return colour
    harmless = _CATEGORIES_BY_COLOUR.keys() - set(_HARMFUL)
    return min(harmless, key=lambda colour: int(np.abs(middle - colour).sum()))


SECOND_BUNDLE = "/nowhere/second"
"""Address of a bundle whose models score 0.1 less than those of any other."""


def _best(bundle: str) -> float:
    return 0.8 if bundle == SECOND_BUNDLE else 0.9


class PaintedDetector:
    """Finds what the photo's colour says, slowly enough that concurrent calls meet."""

    def __init__(self, bundle: str) -> None:
        self._best = _best(bundle)

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        time.sleep(BATCH_S)
        colours = [_colour(canvas) for canvas in canvases]
        if BREAKS_DETECTOR in colours:
            raise ValueError("secret of the detector")
        return [
            [
                Detection(box, self._best - 0.1 * index, category)
                for index, (box, category) in enumerate(zip(_BOXES, _CATEGORIES_BY_COLOUR[colour], strict=False))
            ]
            for colour in colours
        ]


class PaintedClassifier:
    """Answers the first value of every attribute, or does as the crop's colour says."""

    def __init__(self, category: Category, bundle: str) -> None:
        self._category = category
        self._best = _best(bundle)

    def classify(self, crops: NDArray[np.uint8]) -> list[AttributeScores]:
        colours = [_colour(crop) for crop in crops]
        if KILLS_CLASSIFIER in colours:
            os._exit(1)
        if BREAKS_CLASSIFIER in colours:
            raise ValueError("secret of the classifier")
        if SLOW_SKIRT in colours:
            time.sleep(SLOW_S)
        if BUSY_DRESS in colours or BUSY_TROUSERS in colours:
            time.sleep(BUSY_S)
        return [
            self._scores(0.4 if colour == UNSURE_TOP else self._best, is_hidden=colour == HIDDEN_TOP)
            for colour in colours
        ]

    def _scores(self, best: float, is_hidden: bool) -> AttributeScores:
        """The first value best; of what is hidden `not_visible`, where an attribute has it."""
        scores = {}
        for attribute in self._category.attributes.values():
            rest = min(best, (1 - best) / (len(attribute.values) - 1))
            values = sorted(attribute.values, key=lambda value: not (is_hidden and value == NOT_VISIBLE))
            scores[attribute.name] = tuple(
                AttributeScore(value, best if label == 0 else rest) for label, value in enumerate(values)
            )
        return scores


class PaintedLoader:
    """Category -> what loads its classifier; hands only plain data to the replica."""

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology

    def __call__(self, category: str) -> "partial[ClassifierModel]":
        return partial(PaintedClassifier, self._ontology.categories[category])


def load_painted_detector(bundle: str) -> DetectorModel:
    return PaintedDetector(bundle)


class PaintedDetectorLoader:
    """Loads the detector, unless and until a file is gone: a detector that does not come back."""

    def __init__(self, obstacle: Path) -> None:
        self._obstacle = obstacle

    def __call__(self, bundle: str) -> DetectorModel:
        while self._obstacle.exists():
            time.sleep(0.1)
        return load_painted_detector(bundle)
