"""What is reported of detection: average precision with its interval, confusions, and what a whole photo gets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.boxes import Boxes
from models.metrics import DetectionQuality, LabelledBoxes, detection_quality, matched_pairs
from models.ontology import Ontology
from models.types import Box, Detection, LabelledGarment

_ROUNDS = 40  # each costs a whole measurement, 0.1 s on 500 photos
MISSED = "nothing"


def centred_in(region: Box | None, detections: Sequence[Detection]) -> list[Detection]:
    """Those that count where only a part of the photo was labelled; None: the whole was."""
    if region is None:
        return list(detections)
    left, top, right, bottom = region
    return [
        each
        for each in detections
        if left <= (each.box[0] + each.box[2]) / 2 <= right and top <= (each.box[1] + each.box[3]) / 2 <= bottom
    ]


def labelled_boxes(garments: Sequence[Detection] | Sequence[LabelledGarment], ontology: Ontology) -> LabelledBoxes:
    """What was found on a photo, with scores, or what is labelled on it, without."""
    boxes: Boxes = np.array([garment.box for garment in garments], dtype=np.float32).reshape(-1, 4)
    labels = np.array([ontology.detector_label(garment.category) for garment in garments], dtype=np.int64)
    scores = [garment.score for garment in garments if isinstance(garment, Detection)]
    return LabelledBoxes(boxes, labels, np.array(scores, dtype=np.float32) if len(scores) == len(garments) else None)


def detection_entry(
    found: Sequence[LabelledBoxes], true: Sequence[LabelledBoxes], ontology: Ontology, rounds: int = _ROUNDS
) -> dict[str, Any]:
    """COCO's figures, by category too, with 95 % bootstrap intervals over photos."""
    quality = detection_quality(found, true)
    low, high = _intervals(found, true, quality, rounds)
    return {
        "ap": quality.ap,
        "ap_interval": [low[0], high[0]],
        "ap50": quality.ap50,
        "ap50_interval": [low[1], high[1]],
        "ap75": quality.ap75,
        "recall": quality.recall,
        "photos": quality.num_photos,
        "boxes": quality.num_boxes,
        "by_category": {
            ontology.category_of_label(label): {"ap": ap, "ap50": quality.ap50_by_label[label]}
            for label, ap in quality.ap_by_label.items()
        },
    }


def _intervals(
    found: Sequence[LabelledBoxes], true: Sequence[LabelledBoxes], quality: DetectionQuality, rounds: int
) -> tuple[list[float], list[float]]:
    if not quality.num_boxes:
        return [np.nan, np.nan], [np.nan, np.nan]
    rng = np.random.default_rng(0)
    figures = []
    for _ in range(rounds):
        drawn = rng.integers(len(true), size=len(true))
        each = detection_quality([found[at] for at in drawn], [true[at] for at in drawn])
        figures.append((each.ap, each.ap50))
    low, high = np.nanpercentile(np.array(figures), [2.5, 97.5], axis=0)
    return [float(value) for value in low], [float(value) for value in high]


def category_confusion(
    found: Sequence[LabelledBoxes], true: Sequence[LabelledBoxes], ontology: Ontology, min_score: float
) -> dict[str, Any]:
    """How often each true category (row) was found as which (column), by boxes that overlap by half.

    The last row counts what was found where nothing is labelled, the last column what was not found.
    """
    names = [*ontology.category_names, MISSED]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for photo_found, photo_true in zip(found, true, strict=True):
        sure = above(photo_found, min_score)
        pairs = matched_pairs(_unlabelled(sure), _unlabelled(photo_true))
        rows, columns = photo_true.labels - 1, sure.labels - 1  # 0 is background
        for at_found, at_true in pairs:
            counts[rows[at_true], columns[at_found]] += 1
        for at in set(range(len(rows))) - {at for _, at in pairs}:
            counts[rows[at], -1] += 1
        for at in set(range(len(columns))) - {at for at, _ in pairs}:
            counts[-1, columns[at]] += 1
    return {"names": names, "counts": counts.tolist()}


def photo_entry(found: Sequence[LabelledBoxes], true: Sequence[LabelledBoxes], min_score: float) -> dict[str, Any]:
    """What matters where a photo shows one garment or none: the category of the best detection, the empty answer."""
    dressed = [(above(each, min_score), labels) for each, labels in zip(found, true, strict=True) if len(labels.labels)]
    empty = [above(each, min_score) for each, labels in zip(found, true, strict=True) if not len(labels.labels)]
    right = sum(len(each.labels) > 0 and _best(each) in labels.labels for each, labels in dressed)
    return {
        "photos_with_garments": len(dressed),
        "best_category_right": right / len(dressed) if dressed else np.nan,
        "photos_without": len(empty),
        "empty_answer_right": sum(not len(each.labels) for each in empty) / len(empty) if empty else np.nan,
    }


def above(found: LabelledBoxes, min_score: float) -> LabelledBoxes:
    """The detections of a photo that reach a score."""
    scores = np.zeros(0, np.float32) if found.scores is None else found.scores
    kept = scores >= min_score
    return LabelledBoxes(found.boxes[kept], found.labels[kept], scores[kept])


def _best(found: LabelledBoxes) -> int:
    assert found.scores is not None
    return int(found.labels[found.scores.argmax()])


def _unlabelled(boxes: LabelledBoxes) -> LabelledBoxes:
    return LabelledBoxes(boxes.boxes, np.zeros_like(boxes.labels), boxes.scores)
