"""How good a detector is on photos that are held in memory; what training measures along the way."""

from typing import Any

import numpy as np

from models.detector import Detector
from models.metrics import DetectionQuality, LabelledBoxes, detection_quality
from models.ontology import Ontology
from models.views import PhotoSet

LEAST_SCORE = 0.05
"""Average precision, and whoever looks for the best score to ask for, need the unsure detections too."""


def measure_detector(detector: Detector, photos: PhotoSet, ontology: Ontology, batch: int) -> DetectionQuality:
    """Average precision on the photos as serving letterboxes them, in canvas pixels.

    Args:
        detector: of the canvas that the photos were loaded for.
        photos: with their true boxes.
        ontology: names the detector's labels.
        batch: photos at a time.
    """
    found: list[LabelledBoxes] = []
    true: list[LabelledBoxes] = []
    for at in range(0, len(photos), batch):
        views = [photos.plain_view(index) for index in range(at, min(len(photos), at + batch))]
        true += [LabelledBoxes(view.boxes, view.labels) for view in views]
        for detections in detector.detect([view.canvas for view in views], LEAST_SCORE):
            boxes = np.array([each.box for each in detections], dtype=np.float32).reshape(-1, 4)
            labels = np.array([ontology.detector_label(each.category) for each in detections], dtype=np.int64)
            scores = np.array([each.score for each in detections], dtype=np.float32)
            found.append(LabelledBoxes(boxes, labels, scores))
    return detection_quality(found, true)


def quality_record(quality: DetectionQuality, ontology: Ontology) -> dict[str, Any]:
    """JSON form of a measurement, categories by name, with the counts it rests on."""
    by_category = {ontology.category_of_label(label): round(ap, 4) for label, ap in quality.ap50_by_label.items()}
    return {
        "ap": round(quality.ap, 4),
        "ap50": round(quality.ap50, 4),
        "ap75": round(quality.ap75, 4),
        "ap50_by_category": by_category,
        "num_photos": quality.num_photos,
        "num_garments": quality.num_boxes,
    }
