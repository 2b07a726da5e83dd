"""Measures a bundle on labelled photos: detection, attributes on true boxes, attributes on the boxes it found itself.

The two ways of measuring attributes keep the errors of both stages apart. Each attribute stands beside the macro-F1 of
always answering its most frequent value, which an untrained guess reaches.
"""

import json
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.attribute_report import Answer, attribute_report
from models.bundle import Bundle
from models.colours import COLOUR_ATTRIBUTE, garment_colours
from models.crops import read_photo
from models.detection_report import category_confusion, centred_in, detection_entry, labelled_boxes, photo_entry
from models.detector_quality import LEAST_SCORE
from models.metrics import LabelledBoxes, matched_pairs
from models.ontology import Ontology
from models.predictor import Tagger
from models.types import Box, Detection, LabelledGarment, LabelledPhoto
from models.worst_photos import PhotoErrors, photo_errors

REPORT_FORMAT = 4
_NUM_WORST = 12

OnPhoto = Callable[[int, int], None]


@dataclass
class _Collected:
    """What the bundle said about all photos."""

    complete: bool
    found: list[LabelledBoxes] = field(default_factory=list)
    true: list[LabelledBoxes] = field(default_factory=list)
    on_true_boxes: list[Answer] = field(default_factory=list)
    on_found_boxes: list[Answer] = field(default_factory=list)
    first_colour_true: dict[str, list[bool]] = field(
        default_factory=lambda: {"on_true_boxes": [], "on_found_boxes": []}
    )
    errors: list[PhotoErrors] = field(default_factory=list)
    num_found: int = 0
    num_matched: int = 0


def evaluate(
    bundle: Bundle,
    photos: Sequence[LabelledPhoto],
    split: str,
    *,
    device: str = "cpu",
    min_score: float | None = None,
    complete: bool = True,
    on_photo: OnPhoto | None = None,
) -> dict[str, Any]:
    """Measure a bundle.

    Args:
        bundle: what is measured.
        photos: labelled, and never trained on. Detections centred outside a photo's region count neither way.
        split: names them in the report.
        device: where the models run.
        min_score: detections below it count as not found; None: as the bundle says.
        complete: whether every garment of a photo is labelled, with its box. If not, detection is not measured, and
            a garment is looked for in the surest detection of its category.
        on_photo: called with the number of photos done and their total.

    Returns:
        The report: plain JSON values, None for what cannot be measured; `save_report` makes it readable.

    Raises:
        BundleError: if the weights cannot be loaded.
        DatasetError: if a photo is unreadable or a label unknown.
    """
    return measure(
        Tagger(bundle, device), photos, split, device=device, min_score=min_score, complete=complete, on_photo=on_photo
    )


def measure(
    tagger: Tagger,
    photos: Sequence[LabelledPhoto],
    split: str,
    *,
    device: str = "cpu",
    min_score: float | None = None,
    complete: bool = True,
    on_photo: OnPhoto | None = None,
) -> dict[str, Any]:
    """`evaluate` with models that are loaded already."""
    collected = _Collected(complete)
    if min_score is None:
        min_score = tagger.bundle.min_score
    started_s = time.perf_counter()
    for number, photo in enumerate(photos):
        _measure_photo(tagger, number, photo, min_score, collected)
        if on_photo:
            on_photo(number + 1, len(photos))
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device}",
        "elapsed_s": round(time.perf_counter() - started_s, 1),
    }
    cleaned: dict[str, Any] = _without_nan(_report(tagger.bundle, photos, split, collected, min_score) | machine)
    return cleaned


def _report(
    bundle: Bundle, photos: Sequence[LabelledPhoto], split: str, collected: _Collected, min_score: float
) -> dict[str, Any]:
    ontology = bundle.ontology
    attributes = {
        "on_true_boxes": attribute_report(collected.on_true_boxes, bundle),
        "on_found_boxes": attribute_report(collected.on_found_boxes, bundle),
    }
    worst = sorted(collected.errors, key=lambda each: -each.weight)[:_NUM_WORST]
    return {
        "format": REPORT_FORMAT,
        "bundle": {"name": bundle.name, "version": bundle.version, "digest": bundle.digest},
        "split": split,
        "complete": collected.complete,
        "photos": len(photos),
        "garments": dict(Counter(garment.category for photo in photos for garment in photo.garments)),
        "detection": detection_entry(collected.found, collected.true, ontology)
        | {"confusion": category_confusion(collected.found, collected.true, ontology, min_score)},
        "photo_level": photo_entry(collected.found, collected.true, min_score),
        "end_to_end": {
            "min_score": min_score,
            "found": collected.num_found,
            "matched": collected.num_matched,
            "labelled": sum(len(photo.garments) for photo in photos),
        },
        "attributes": {way: each["heads"] for way, each in attributes.items()},
        "summary": {way: each["summary"] for way, each in attributes.items()},
        "colours": {
            way: {"garments": len(each), "first_true": float(np.mean(each)) if each else None}
            for way, each in collected.first_colour_true.items()
        },
        "worst": [each.to_dict() for each in worst if each.weight > 0],
    }


def save_report(report: Mapping[str, Any], photos: Sequence[LabelledPhoto], out_dir: Path) -> None:
    """Write report.json, and report.html with its plots and worst photos inside."""
    from models.report import report_html

    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out_dir / "report.html").write_text(report_html(report, photos), encoding="utf-8")


def quality_summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What of a report is recorded in the bundle itself; nothing of detection where not every garment is labelled."""
    kept = ("heads", "macro_f1", "accuracy", "majority_macro_f1", "heads_at_twice_majority", "pooled")
    calibrated = ("applicability_f1", "not_visible", "calibration_error", "calibration_error_before")
    detection = ("ap", "ap50", "ap_interval", "ap50_interval", "photos", "boxes", "by_category")
    whole = {"detection": {key: report["detection"][key] for key in detection}} | {
        key: report[key] for key in ("photo_level", "end_to_end")
    }
    return {
        **{key: report[key] for key in ("split", "photos", "garments", "machine", "colours")},
        **(whole if report["complete"] else {}),
        "summary": {way: {key: each[key] for key in kept + calibrated} for way, each in report["summary"].items()},
        "attributes": {
            category: {
                name: {key: entry[key] for key in ("macro_f1", "majority_macro_f1", "garments")}
                for name, entry in attributes.items()
            }
            for category, attributes in report["attributes"]["on_true_boxes"].items()
        },
    }


def _measure_photo(tagger: Tagger, number: int, photo: LabelledPhoto, min_score: float, collected: _Collected) -> None:
    image = read_photo(photo.path)
    ontology = tagger.bundle.ontology
    detections = centred_in(photo.region, tagger.detect(image, LEAST_SCORE))
    true = labelled_boxes(photo.garments, ontology)
    collected.found.append(labelled_boxes(detections, ontology))
    collected.true.append(true)
    answers = tagger.classify(image, [(garment.category, garment.box) for garment in photo.garments])
    on_true = [Answer(number, garment, scores) for garment, scores in zip(photo.garments, answers, strict=True)]
    sure = [detection for detection in detections if detection.score >= min_score]
    if collected.complete:
        pairs = matched_pairs(labelled_boxes(sure, ontology), true)
    else:
        pairs = _best_of_category(sure, photo.garments)
    answers = tagger.classify(image, [(sure[found].category, sure[found].box) for found, _ in pairs])
    collected.on_true_boxes += on_true
    collected.on_found_boxes += [
        Answer(number, photo.garments[at], scores) for (_, at), scores in zip(pairs, answers, strict=True)
    ]
    for way, boxes, labelled in (
        ("on_true_boxes", [garment.box for garment in photo.garments], list(enumerate(photo.garments))),
        ("on_found_boxes", [each.box for each in sure], [(found, photo.garments[at]) for found, at in pairs]),
    ):
        collected.first_colour_true[way] += _first_colours_true(image, boxes, labelled, ontology)
    collected.num_found += len(sure)
    collected.num_matched += len(pairs)
    if not collected.complete:  # what is found or missed there is no error
        sure, pairs = [], [(at, at) for at in range(len(photo.garments))]
    collected.errors.append(photo_errors(number, photo, sure, pairs, on_true, ontology))


def _best_of_category(sure: Sequence[Detection], garments: Sequence[LabelledGarment]) -> list[tuple[int, int]]:
    """For each garment the surest detection of its category, as (index in `sure`, index in `garments`)."""
    pairs = []
    for at, garment in enumerate(garments):
        found = [number for number, each in enumerate(sure) if each.category == garment.category]
        if found:
            pairs.append((max(found, key=lambda number: sure[number].score), at))
    return pairs


def _first_colours_true(
    image: NDArray[np.uint8], boxes: Sequence[Box], labelled: Sequence[tuple[int, LabelledGarment]], ontology: Ontology
) -> list[bool]:
    """Whether the largest measured colour is a labelled one; of the garments with labelled colours, by place of box."""
    answers = []
    for at, garment in labelled:
        if true := garment.attributes.get(COLOUR_ATTRIBUTE):
            names = ontology.categories[garment.category].attributes[COLOUR_ATTRIBUTE].values
            measured = garment_colours(image, boxes[at], names, [*boxes[:at], *boxes[at + 1 :]])
            answers.append(bool(measured) and measured[0].name in true)
    return answers


def _without_nan(value: Any) -> Any:
    """JSON has no nan: None instead; floats to six digits."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
