"""The steps around the two models, the same in every peer; needs neither Ray nor this project's own dependencies.

A peer finds the bundle's directory in the variable `BENCH_BUNDLE` and its port in `BENCH_PORT`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.colours import garment_colours
from models.images import crop_square, decode_image, detector_canvas, letterbox

MIN_SCORE = 0.5
MAX_BATCH = 8
BUNDLE_VARIABLE, PORT_VARIABLE = "BENCH_BUNDLE", "BENCH_PORT"
Found = tuple[str, float, tuple[float, float, float, float]]
"""Category, score and box in canvas pixels."""


def bundle() -> Bundle:
    """The bundle that the benchmark runs."""
    return load_bundle(os.environ[BUNDLE_VARIABLE], check_digests=False)


def port() -> int:
    """Where to listen, on loopback."""
    return int(os.environ[PORT_VARIABLE])


class Photo:
    """A photo on its way: decoded, letterboxed, then cut into crops, then answered."""

    def __init__(self, data: bytes, own: Bundle) -> None:
        self._bundle = own
        self._image = decode_image(data)
        shape_hw = (self._image.shape[0], self._image.shape[1])
        self.canvas, self._scale = letterbox(self._image, detector_canvas(shape_hw, own.detector_long_side_px))
        self.garments: list[dict[str, Any]] = []
        self._rows: dict[str, list[int]] = {}

    def cut(self, found: Sequence[Found]) -> dict[str, NDArray[np.uint8]]:
        """Crops (N, S, S, 3) by category; the garments have their boxes and colours from here on."""
        crops: dict[str, list[NDArray[np.uint8]]] = {}
        for category, score, box in found:
            x1, y1, x2, y2 = (side / self._scale for side in box)
            place = (x1, y1, max(x1 + 1, x2), max(y1 + 1, y2))
            names = self._bundle.ontology.categories[category].attributes["colour"].values
            colours = [each.name for each in garment_colours(self._image, place, names)]
            self._rows.setdefault(category, []).append(len(self.garments))
            self.garments.append({"category": category, "score": score, "box": place, "colours": colours})
            crop = crop_square(self._image, place, self._bundle.crop_size_px, self._bundle.crop_pad_ratio)
            crops.setdefault(category, []).append(crop)
        return {category: np.stack(own) for category, own in crops.items()}

    def answer(self, category: str, attributes: Sequence[Mapping[str, Any]]) -> None:
        """Take the answers to the crops of a category."""
        for row, own in zip(self._rows[category], attributes, strict=True):
            self.garments[row]["attributes"] = own


class DetectorSteps:
    """The detector on one torch thread."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self._detector = bundle().load_detector()

    def detect(self, canvases: Sequence[NDArray[np.uint8]]) -> list[list[Found]]:
        """Find the garments of a batch of canvases."""
        batch = self._detector.detect(canvases, MIN_SCORE)
        return [[(each.category, each.score, each.box) for each in found] for found in batch]


class ClassifierSteps:
    """The classifiers of some categories on one torch thread."""

    def __init__(self, categories: list[str] | None = None) -> None:
        import torch

        torch.set_num_threads(1)
        self._classifiers = bundle().load_classifiers(categories=categories)

    def classify(self, category: str, crops: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """The best value of each attribute with its score, for each crop."""
        answers = self._classifiers[category].classify(crops)
        return [{name: (own[0].value, own[0].score) for name, own in each.items()} for each in answers]


class Pipeline:
    """Everything in one process."""

    def __init__(self) -> None:
        self._bundle, self._detector, self._classifiers = bundle(), DetectorSteps(), ClassifierSteps()

    def tag_all(self, data: Sequence[bytes]) -> list[list[dict[str, Any]]]:
        """The garments of each photo of a batch."""
        photos = [Photo(each, self._bundle) for each in data]
        parts: dict[str, list[tuple[Photo, NDArray[np.uint8]]]] = {}
        for photo, found in zip(photos, self._detector.detect([each.canvas for each in photos]), strict=True):
            for category, crops in photo.cut(found).items():
                parts.setdefault(category, []).append((photo, crops))
        for category, own in parts.items():
            answers = iter(self._classifiers.classify(category, np.concatenate([crops for _, crops in own])))
            for photo, crops in own:
                photo.answer(category, [next(answers) for _ in crops])
        return [photo.garments for photo in photos]
