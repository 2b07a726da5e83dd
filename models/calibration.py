"""Turns raw outputs into honest scores: a temperature and a threshold per head, and the score a detection needs.

Temperatures by Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599: one number per head that
makes its scores match how often it is right; it changes no order. All are fitted on photos that training never saw.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.bundle import DEFAULT_THRESHOLD, Bundle
from models.bundle_writer import record_calibration
from models.crops import UNLABELLED, CropSet, Labels, cut_crops, read_photo
from models.detection_report import centred_in, labelled_boxes
from models.detector_quality import LEAST_SCORE
from models.metrics import LabelledBoxes, matched_pairs
from models.predictor import Tagger
from models.types import LabelledPhoto

MIN_GARMENTS = 20
"""Labelled garments below which a head keeps temperature 1 and threshold 0.5, and detections the score 0.5."""

TRUSTED_PRECISION = 0.8
"""How often single-choice answers at or above their confidence are right."""

_DOUBTS = 2  # wrong answers added to those seen, since a few right ones in a row are luck
_CONFIDENCES = np.linspace(0.05, 0.95, 37)
_TEMPERATURES = np.geomspace(0.25, 4.0, 65)
_THRESHOLDS = np.linspace(0.1, 0.9, 33)

Logits = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""By category and attribute: (n, values), in the order of the garments of that category."""


@dataclass(frozen=True)
class Calibration:
    """What a bundle keeps of it.

    Attributes:
        temperatures: category -> attribute -> what its logits are divided by.
        thresholds: category -> attribute -> of several values: the score from which one counts as seen; of a single
            choice: the score from which answers are trusted.
        min_score: the score from which a detection counts.
    """

    temperatures: Mapping[str, Mapping[str, float]]
    thresholds: Mapping[str, Mapping[str, float]]
    min_score: float = DEFAULT_THRESHOLD


def calibrate(
    bundle: Bundle, photos: Sequence[LabelledPhoto], complete: Sequence[LabelledPhoto], device: str = "cpu"
) -> Calibration:
    """Fit temperatures and thresholds on photos that training never saw, and record them in the bundle.

    The bundle's digest changes; open it again.

    Args:
        bundle: what is fitted.
        photos: whose garments the heads are fitted to.
        complete: those of them on which every garment is labelled with its box; the detector is fitted to them.
        device: where the models run.

    Raises:
        DatasetError: if a photo is unreadable or a label unknown.
    """
    garments = cut_crops(
        photos, bundle.ontology, size_px=bundle.crop_size_px, context_ratio=bundle.crop_pad_ratio + 0.1
    )
    classifiers = bundle.load_classifiers(device)
    logits = {}
    for row, category in enumerate(garments.categories):
        members = np.flatnonzero(garments.category_rows == row)
        parts = [
            classifiers[category.name].logits(
                np.stack([garments.crop(int(member), bundle.crop_size_px, bundle.crop_pad_ratio) for member in part])
            )
            for part in np.array_split(members, math.ceil(len(members) / 32) or 1)
            if len(part)
        ]
        logits[category.name] = {
            name: np.concatenate([part[name] for part in parts])
            if parts
            else np.zeros((0, len(attribute.values)), np.float32)
            for name, attribute in category.attributes.items()
        }
    tagger = Tagger(bundle, device)
    found = [
        labelled_boxes(centred_in(photo.region, tagger.detect(read_photo(photo.path), LEAST_SCORE)), bundle.ontology)
        for photo in complete
    ]
    true = [labelled_boxes(photo.garments, bundle.ontology) for photo in complete]
    calibration = replace(fit_calibration(logits, garments), min_score=fit_min_score(found, true))
    record_calibration(bundle.dir, calibration)
    return calibration


def fit_calibration(logits: Logits, garments: CropSet) -> Calibration:
    """Fit every head with enough labelled garments.

    Args:
        logits: raw outputs for the garments.
        garments: their labels.
    """
    temperatures: dict[str, dict[str, float]] = {}
    thresholds: dict[str, dict[str, float]] = {}
    for category in garments.categories:
        for attribute in category.attributes.values():
            raw, labels = logits[category.name][attribute.name], garments.labels[category.name][attribute.name]
            is_labelled = (labels if attribute.is_single else labels[:, 0]) != UNLABELLED
            if is_labelled.sum() < MIN_GARMENTS:
                continue
            raw, labels = raw[is_labelled].astype(np.float64), labels[is_labelled]
            fit = fit_temperature(raw, labels)
            temperatures.setdefault(category.name, {})[attribute.name] = fit
            if attribute.is_single:
                threshold = fit_confidence(raw / fit, labels.astype(np.int64))
            else:
                threshold = fit_threshold(1 / (1 + np.exp(-raw / fit)), labels > 0)
            thresholds.setdefault(category.name, {})[attribute.name] = threshold
    return Calibration(temperatures, thresholds)


def fit_temperature(logits: NDArray[np.float64], labels: Labels) -> float:
    """The temperature with the least log loss, to two digits.

    Args:
        logits: (n, values).
        labels: (n,) int64 for a single choice, (n, values) of 0 and 1 for several; nothing unlabelled.
    """
    losses = [_log_loss(logits / temperature, labels) for temperature in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 2)


def fit_threshold(scores: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """The threshold with the highest F1 over all cells; of equals the one nearest to 0.5.

    Args:
        scores: (n, values) in [0, 1].
        true: (n, values).
    """
    return _best_threshold(scores, true, int(true.sum()))


def fit_min_score(found: Sequence[LabelledBoxes], true: Sequence[LabelledBoxes]) -> float:
    """The score with the highest F1 of the detections from it on; of equals the one nearest to 0.5.

    Args:
        found: detections of each photo, with scores; right where category and IoU of 0.5 agree with a labelled box.
        true: the labelled boxes of each photo, all of them.
    """
    num_true = sum(len(photo.labels) for photo in true)
    if num_true < MIN_GARMENTS:
        return DEFAULT_THRESHOLD
    scores = np.concatenate([np.zeros(0) if photo.scores is None else photo.scores for photo in found])
    is_right = np.zeros(len(scores), dtype=bool)
    first = 0
    for photo_found, photo_true in zip(found, true, strict=True):
        # The best score is matched first, so what is right above a score does not depend on what lies below it.
        is_right[[first + at for at, _ in matched_pairs(photo_found, photo_true)]] = True
        first += len(photo_found.labels)
    return _best_threshold(scores, is_right, num_true)


def _best_threshold(scores: NDArray[np.float64], is_right: NDArray[np.bool_], num_true: int) -> float:
    qualities = []
    for threshold in _THRESHOLDS:
        chosen = scores >= threshold
        qualities.append(2 * (chosen & is_right).sum() / max(1, chosen.sum() + num_true))
    best = np.flatnonzero(np.isclose(qualities, max(qualities)))
    return round(float(min(_THRESHOLDS[best], key=lambda threshold: abs(threshold - DEFAULT_THRESHOLD))), 3)


def fit_confidence(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The lowest score from which on at least four of five best values are right; 1 if there is none.

    Args:
        logits: (n, values), already divided by their temperature.
        labels: (n,), nothing unlabelled.
    """
    shares = np.exp(logits - logits.max(1, keepdims=True))
    scores = 1 / shares.sum(1)  # of the best value, whose share is 1
    is_right = logits.argmax(1) == labels
    for confidence in _CONFIDENCES:
        trusted = scores >= confidence
        if is_right[trusted].sum() >= TRUSTED_PRECISION * (trusted.sum() + _DOUBTS):
            return round(float(confidence), 3)
    return 1.0


def _log_loss(logits: NDArray[np.float64], labels: Labels) -> float:
    if labels.ndim == 1:
        shifted = logits - logits.max(1, keepdims=True)
        scores = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return float(-scores[np.arange(len(labels)), labels.astype(np.int64)].mean())
    return float((np.logaddexp(0, logits) - logits * labels).mean())
