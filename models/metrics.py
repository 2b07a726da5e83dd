"""How good detections and attributes are, as pure functions on arrays; photos, models and files are not known here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.boxes import Boxes, box_iou


@dataclass(frozen=True, slots=True)
class LabelledBoxes:
    """The boxes of one photo, found or true.

    Attributes:
        boxes: (N, 4) float32; any unit, the same for found and true.
        labels: (N,) int64.
        scores: (N,) float32 in [0, 1]; None for true boxes.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class DetectionQuality:
    """Average precision by COCO's rules, each in [0, 1]; nan for a label without a true box.

    Attributes:
        ap: mean over IoU thresholds 0.50, 0.55, ... 0.95 and labels.
        ap50: at IoU 0.5.
        ap75: at IoU 0.75.
        recall: average recall with up to 10 boxes a photo.
        ap_by_label: `ap` of each label that has a true box.
        ap50_by_label: `ap50` of each label that has a true box.
        num_photos: photos measured.
        num_boxes: true boxes among them.
    """

    ap: float
    ap50: float
    ap75: float
    recall: float
    ap_by_label: Mapping[int, float]
    ap50_by_label: Mapping[int, float]
    num_photos: int
    num_boxes: int


def detection_quality(found: Sequence[LabelledBoxes], true: Sequence[LabelledBoxes]) -> DetectionQuality:
    """Average precision of detections.

    Args:
        found: per photo the detections, with scores.
        true: per photo the labelled boxes; as many photos, in the same order.

    Raises:
        ValueError: if the numbers of photos differ, or a detection lacks its score.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    if len(found) != len(true):
        raise ValueError(f"{len(found)} photos of detections cannot be compared with {len(true)} photos of labels")
    labels = sorted({int(label) for photo in true for label in photo.labels})
    num_boxes = sum(len(photo.labels) for photo in true)
    if not labels:
        return DetectionQuality(np.nan, np.nan, np.nan, np.nan, {}, {}, len(true), 0)
    rows = [row for number, photo in enumerate(found, start=1) for row in _coco_rows(number, photo, needs_score=True)]
    rows = [row for row in rows if row["category_id"] in labels] or [_NO_DETECTION | {"category_id": labels[0]}]
    truth = COCO(_coco_dataset(true, labels))
    evaluation = COCOeval_faster(truth, truth.loadRes(rows), "bbox", lvis_style=False)
    evaluation.params.maxDets = [1, 10, 100]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (IoU thresholds, recalls, labels, areas, maxDets), -1 where undefined
    recall = evaluation.eval["recall"]  # (IoU thresholds, labels, areas, maxDets)
    by_label = precision[:, :, :, 0, -1]
    return DetectionQuality(
        _mean(by_label),
        _mean(by_label[0]),
        _mean(by_label[5]),
        _mean(recall[:, :, 0, 1]),
        {label: _mean(by_label[:, :, at]) for at, label in enumerate(labels)},
        {label: _mean(by_label[0, :, at]) for at, label in enumerate(labels)},
        len(true),
        num_boxes,
    )


# COCO's reader refuses an empty list; a box without area at score 0 matches nothing.
_NO_DETECTION = {"image_id": 1, "bbox": [0.0, 0.0, 0.0, 0.0], "score": 0.0}


def _coco_rows(number: int, photo: LabelledBoxes, needs_score: bool = False) -> list[dict[str, object]]:
    if needs_score and photo.scores is None and len(photo.labels):
        raise ValueError("detections need scores")
    scores = np.ones(len(photo.labels)) if photo.scores is None else photo.scores
    return [
        {
            "image_id": number,
            "category_id": int(label),
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "area": float((x2 - x1) * (y2 - y1)),
            "iscrowd": 0,
            "score": float(score),
        }
        for (x1, y1, x2, y2), label, score in zip(photo.boxes, photo.labels, scores, strict=True)
    ]


def _coco_dataset(true: Sequence[LabelledBoxes], labels: Sequence[int]) -> dict[str, object]:
    rows = [row for number, photo in enumerate(true, start=1) for row in _coco_rows(number, photo)]
    return {
        "images": [{"id": number} for number in range(1, len(true) + 1)],
        "annotations": [row | {"id": number} for number, row in enumerate(rows, start=1)],
        "categories": [{"id": label, "name": str(label)} for label in labels],
    }


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of what is defined (COCO marks the rest with -1); nan if nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


def matched_pairs(found: LabelledBoxes, true: LabelledBoxes, min_iou: float = 0.5) -> list[tuple[int, int]]:
    """Pair detections with true boxes of the same label, best score first, each at most once.

    Args:
        found: detections of one photo, with scores.
        true: its labelled boxes.
        min_iou: pairs overlap at least so much.

    Returns:
        (index in `found`, index in `true`) of each pair.
    """
    overlaps = box_iou(found.boxes, true.boxes)
    overlaps[found.labels[:, None] != true.labels[None, :]] = 0
    scores = np.zeros(len(found.labels)) if found.scores is None else found.scores
    pairs: list[tuple[int, int]] = []
    for index in np.argsort(-scores, kind="stable") if len(true.labels) else ():
        best = int(overlaps[index].argmax())
        if overlaps[index, best] >= min_iou:
            pairs.append((int(index), best))
            overlaps[:, best] = -1
    return pairs


@dataclass(frozen=True, slots=True)
class ValueQuality:
    """One value of an attribute: precision, recall and F1 in [0, 1]; `support` garments truly have it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class AttributeQuality:
    """One attribute over the garments whose label is known.

    Attributes:
        values: each value's own quality.
        macro_f1: mean F1 over the values that any garment truly has; nan if no garment is labelled.
        micro_f1: F1 over all answers; for a single choice this is the accuracy.
        majority_macro_f1: `macro_f1` of always answering the most frequent value, the least a model must beat.
        majority_micro_f1: `micro_f1` of the same.
        num_garments: labelled garments.
    """

    values: Mapping[str, ValueQuality]
    macro_f1: float
    micro_f1: float
    majority_macro_f1: float
    majority_micro_f1: float
    num_garments: int


def single_choice_quality(
    predicted: NDArray[np.int64], true: NDArray[np.int64], values: Sequence[str]
) -> AttributeQuality:
    """Quality of an attribute that takes one value.

    Args:
        predicted: (N,) labels.
        true: (N,) labels; negative where unlabelled, which is left out.
        values: names in label order.

    Raises:
        ValueError: if the shapes differ, or a label has no value.
    """
    if predicted.shape != true.shape or predicted.ndim != 1:
        raise ValueError(f"labels need to be two (N,), got {predicted.shape} and {true.shape}")
    is_labelled = true >= 0
    labels = np.arange(len(values))
    if np.concatenate([predicted[is_labelled], true]).max(initial=-1) >= len(values):
        raise ValueError(f"labels need to be below {len(values)}, the number of values")
    return several_choice_quality(
        predicted[is_labelled, None] == labels, (true[is_labelled, None] == labels).astype(np.int64), values
    )


def several_choice_quality(
    predicted: NDArray[np.bool_], true: NDArray[np.int64] | NDArray[np.float32], values: Sequence[str]
) -> AttributeQuality:
    """Quality of an attribute that takes any number of values.

    Args:
        predicted: (N, V) bool, the values answered.
        true: (N, V) of 0 and 1; a row with a negative is unlabelled and left out.
        values: V names in label order.

    Raises:
        ValueError: if the shapes differ.
    """
    if predicted.shape != true.shape or predicted.shape[1:] != (len(values),):
        raise ValueError(f"answers need to be two (N, {len(values)}), got {predicted.shape} and {true.shape}")
    is_labelled = (true >= 0).all(axis=1)
    answered, truth = predicted[is_labelled].astype(bool), true[is_labelled] > 0
    support = truth.sum(axis=0)
    majority = np.zeros_like(truth)
    if len(truth):
        majority[:, support.argmax()] = True
    hits = (answered & truth).sum(axis=0)
    precision, recall = _ratio(hits, answered.sum(axis=0)), _ratio(hits, support)
    f1 = _f1_by_value(answered, truth)
    return AttributeQuality(
        {
            name: ValueQuality(float(precision[at]), float(recall[at]), float(f1[at]), int(support[at]))
            for at, name in enumerate(values)
        },
        *_macro_micro(answered, truth),
        *_macro_micro(majority, truth),
        len(truth),
    )


def calibration_error(scores: NDArray[np.float32], is_right: NDArray[np.bool_], num_bins: int = 15) -> float:
    """Expected calibration error: mean gap between score and share of right answers, over equal bins of the score.

    Args:
        scores: (N,) in [0, 1], of the answer given.
        is_right: (N,) whether it was right.
        num_bins: equal bins of [0, 1].

    Returns:
        In [0, 1]; nan if there is no answer.
    """
    if not len(scores):
        return float("nan")
    bins = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=scores - is_right.astype(np.float64), minlength=num_bins)
    return float(np.abs(gaps).sum() / len(scores))


def _macro_micro(answered: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    has_support = truth.any(axis=0)
    if not has_support.any():
        return float("nan"), float("nan")
    micro = 2 * (answered & truth).sum() / (answered.sum() + truth.sum())
    return float(_f1_by_value(answered, truth)[has_support].mean()), float(micro)


def _f1_by_value(answered: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    return _ratio(2 * (answered & truth).sum(axis=0), answered.sum(axis=0) + truth.sum(axis=0))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Element-wise share, 0 where there is nothing."""
    shares: NDArray[np.float64] = part / np.maximum(whole, 1)
    return shares
