"""Models that compute nothing, or only what a benchmark prescribes, and a counter around any model."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ontology import Category
from models.types import AttributeScore, AttributeScores, Detection
from serve_app.classifier import ClassifierModel
from serve_app.detector import DetectorModel


class ScriptedDetector:
    """Finds garments by lot.

    Args:
        num_garments: (fewest, most) per photo.
        weights: how often each category comes.
    """

    def __init__(self, num_garments: tuple[int, int], weights: Mapping[str, float]) -> None:
        rng = np.random.default_rng(0)
        shares = np.array(list(weights.values())) / sum(weights.values())
        counts = rng.integers(num_garments[0], num_garments[1] + 1, 512)
        self._lots = cycle([[str(each) for each in rng.choice(list(weights), count, p=shares)] for count in counts])

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        """Detections in the middle half of each canvas."""
        return [self._garments(*canvas.shape[:2]) for canvas in canvases]

    def _garments(self, height: int, width: int) -> list[Detection]:
        box = (width / 4, height / 4, width * 3 / 4, height * 3 / 4)
        return [Detection(box, 0.9, name) for name in next(self._lots)]


class FixedClassifier:
    """Answers the first value of every attribute."""

    def __init__(self, category: Category) -> None:
        self._scores: AttributeScores = {
            name: tuple(AttributeScore(value, 0.9 if not label else 0.01) for label, value in enumerate(each.values))
            for name, each in category.attributes.items()
        }

    def classify(self, crops: NDArray[np.uint8]) -> list[AttributeScores]:
        """The same for every crop."""
        return [self._scores] * len(crops)


class Counted:
    """A detector that appends a byte to a file for every batch, so that the mean batch is known exactly."""

    def __init__(self, load: Callable[[], DetectorModel], path: Path) -> None:
        self._model = load()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        """What the model finds."""
        os.write(self._file, b".")
        return self._model.detect(canvases, min_score)


def load_counted(load: Callable[[str], DetectorModel], path: Path, bundle: str) -> DetectorModel:
    """In the replica: the model with its counter."""
    return Counted(partial(load, bundle), path)


def load_scripted(num_garments: tuple[int, int], weights: Mapping[str, float], bundle: str) -> DetectorModel:
    """In the replica."""
    return ScriptedDetector(num_garments, weights)


def load_fixed(category: Category, bundle: str) -> ClassifierModel:
    """In the replica."""
    return FixedClassifier(category)


def weights_of(names: Sequence[str], skew: Any) -> dict[str, float]:
    """How often each category comes: alike, or each half as often as the one before."""
    return {name: 0.5**rank if skew == "skewed" else 1.0 for rank, name in enumerate(names)}
