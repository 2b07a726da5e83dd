"""How good detections and attributes are, as pure functions on arrays; photos, models and files are not known here."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.boxes import Boxes


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
    with contextlib.redirect_stdout(io.StringIO()):
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
