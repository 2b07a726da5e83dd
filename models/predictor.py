"""The whole way from a photo to its garments and their attributes, in one process and without waiting for anybody.

The service takes the same steps with the same functions, spread over deployments; `evaluate` measures them here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.classifier import Classifier
from models.detector import Detector
from models.images import crop_square, detector_canvas, letterbox
from models.types import AttributeScores, Box, Detection

_SMALLEST_SIDE_PX = 1.0


@dataclass(frozen=True, slots=True)
class TaggedGarment:
    """A detection in pixels of the photo, with the answers to its category's attributes."""

    detection: Detection
    attributes: AttributeScores


class Tagger:
    """Detects and classifies with the models of a bundle; one call at a time.

    Args:
        bundle: loaded here in full.
        device: where both stages run.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self.bundle = bundle
        self._detector: Detector = bundle.load_detector(device)
        self._classifiers: Mapping[str, Classifier] = bundle.load_classifiers(device)

    def tag(self, image: NDArray[np.uint8], min_score: float | None = None) -> list[TaggedGarment]:
        """Find the garments of a photo and answer their attributes, best detection first.

        Args:
            image: (H, W, 3) uint8, upright.
            min_score: detections below it are dropped; None: as the bundle says.
        """
        found = self.detect(image, self.bundle.min_score if min_score is None else min_score)
        answers = self.classify(image, [(detection.category, detection.box) for detection in found])
        return [TaggedGarment(detection, scores) for detection, scores in zip(found, answers, strict=True)]

    def detect(self, image: NDArray[np.uint8], min_score: float) -> list[Detection]:
        """Find the garments of a photo; boxes in its pixels, clipped to it, best first."""
        height, width = image.shape[:2]
        canvas, scale = letterbox(image, detector_canvas((height, width), self.bundle.detector_long_side_px))
        detections = []
        for found in self._detector.detect([canvas], min_score)[0]:
            box = _on_photo(found.box, scale, (height, width))
            if box is not None:
                detections.append(Detection(box, found.score, found.category))
        return sorted(detections, key=lambda detection: -detection.score)

    def classify(
        self, image: NDArray[np.uint8], garments: Sequence[tuple[str, Box]], max_batch: int = 32
    ) -> list[AttributeScores]:
        """Answer the attributes of garments at known places, one call per category.

        Args:
            image: (H, W, 3) uint8, upright.
            garments: category and box of each, in pixels of the photo.
            max_batch: crops that go through the network at once.

        Raises:
            ValueError: if a box does not meet the photo.
            KeyError: if a category is unknown.
        """
        answers: list[AttributeScores] = [{} for _ in garments]
        for category in dict.fromkeys(category for category, _ in garments):
            rows = [row for row, (its_category, _) in enumerate(garments) if its_category == category]
            for at in range(0, len(rows), max_batch):
                part = rows[at : at + max_batch]
                crops = np.stack([self.crop(image, garments[row][1]) for row in part])
                for row, scores in zip(part, self._classifiers[category].classify(crops), strict=True):
                    answers[row] = scores
        return answers

    def crop(self, image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """The square that the classifiers take: (S, S, 3) uint8."""
        return crop_square(image, box, self.bundle.crop_size_px, self.bundle.crop_pad_ratio)


def _on_photo(box: Box, scale: float, image_hw: tuple[int, int]) -> Box | None:
    """Map a box from canvas to photo and clip it; None if hardly anything of it is left."""
    height, width = image_hw
    x1, y1, x2, y2 = (side / scale for side in box)
    x1, x2 = max(0.0, x1), min(float(width), x2)
    y1, y2 = max(0.0, y1), min(float(height), y2)
    is_there = x2 - x1 >= _SMALLEST_SIDE_PX and y2 - y1 >= _SMALLEST_SIDE_PX
    return (x1, y1, x2, y2) if is_there else None


def chosen_values(scores: Sequence[tuple[str, float]], is_single: bool, threshold: float) -> tuple[str, ...]:
    """The values that an answer states: the best of a single choice, those from the threshold on of several.

    Args:
        scores: (value, score), best first.
        is_single: whether exactly one value holds.
        threshold: of several.
    """
    if is_single:
        return tuple(value for value, _ in scores[:1])
    return tuple(value for value, score in scores if score >= threshold)
