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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.boxes import Boxes
from models.bundle import Bundle
from models.bundle_writer import record_calibration
from models.calibration import DEFAULT_THRESHOLD, Calibration, fit_calibration
from models.crops import cut_crops, encode_labels, read_photo
from models.metrics import (
    AttributeQuality,
    DetectionQuality,
    LabelledBoxes,
    calibration_error,
    detection_quality,
    matched_pairs,
    several_choice_quality,
    single_choice_quality,
)
from models.ontology import Attribute, Ontology
from models.predictor import Tagger, chosen_values
from models.types import AttributeScores, Detection, LabelledGarment, LabelledPhoto

REPORT_FORMAT = 1
_AP_MIN_SCORE = 0.05  # average precision needs the unsure detections too

OnPhoto = Callable[[int, int], None]
Answer = tuple[LabelledGarment, AttributeScores]


@dataclass
class _Collected:
    """What the bundle said about all photos."""

    found: list[LabelledBoxes] = field(default_factory=list)
    true: list[LabelledBoxes] = field(default_factory=list)
    on_true_boxes: list[Answer] = field(default_factory=list)
    on_found_boxes: list[Answer] = field(default_factory=list)
    num_found: int = 0
    num_matched: int = 0


def evaluate(
    bundle: Bundle,
    photos: Sequence[LabelledPhoto],
    split: str,
    *,
    device: str = "cpu",
    min_score: float = 0.5,
    on_photo: OnPhoto | None = None,
) -> dict[str, Any]:
    """Measure a bundle.

    Args:
        bundle: what is measured.
        photos: labelled, and never trained on.
        split: names them in the report.
        device: where the models run.
        min_score: detections below it count as not found where attributes are measured on found boxes.
        on_photo: called with the number of photos done and their total.

    Returns:
        The report: plain JSON values, None for what cannot be measured; `report_text` makes it readable.

    Raises:
        BundleError: if the weights cannot be loaded.
        DatasetError: if a photo is unreadable or a label unknown.
    """
    return measure(Tagger(bundle, device), photos, split, device=device, min_score=min_score, on_photo=on_photo)


def measure(
    tagger: Tagger,
    photos: Sequence[LabelledPhoto],
    split: str,
    *,
    device: str = "cpu",
    min_score: float = 0.5,
    on_photo: OnPhoto | None = None,
) -> dict[str, Any]:
    """`evaluate` with models that are loaded already."""
    bundle = tagger.bundle
    collected = _Collected()
    started_s = time.perf_counter()
    for done, photo in enumerate(photos, start=1):
        _measure_photo(tagger, photo, min_score, collected)
        if on_photo:
            on_photo(done, len(photos))
    elapsed_s = time.perf_counter() - started_s
    ontology = bundle.ontology
    on_true = _attributes(collected.on_true_boxes, bundle)
    on_found = _attributes(collected.on_found_boxes, bundle)
    report = {
        "format": REPORT_FORMAT,
        "bundle": {"name": bundle.name, "version": bundle.version, "digest": bundle.digest},
        "split": split,
        "photos": len(photos),
        "garments": dict(Counter(garment.category for photo in photos for garment in photo.garments)),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device}",
        "elapsed_s": round(elapsed_s, 1),
        "detection": _detection(detection_quality(collected.found, collected.true), ontology),
        "end_to_end": {
            "min_score": min_score,
            "found": collected.num_found,
            "matched": collected.num_matched,
            "labelled": sum(len(photo.garments) for photo in photos),
        },
        "attributes": {"on_true_boxes": on_true, "on_found_boxes": on_found},
        "summary": {"on_true_boxes": _summary(on_true), "on_found_boxes": _summary(on_found)},
    }
    cleaned: dict[str, Any] = _without_nan(report)
    return cleaned


def save_report(report: Mapping[str, Any], out_dir: Path) -> None:
    """Write report.json, report.md and the plots that it shows."""
    from models.report import draw_plots, report_text

    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plots = draw_plots(report, out_dir)
    (out_dir / "report.md").write_text(report_text(report, plots), encoding="utf-8")


def quality_summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What of a report is recorded in the bundle itself."""
    return {
        **{key: report[key] for key in ("split", "photos", "garments", "machine", "end_to_end", "summary")},
        "detection": {key: report["detection"][key] for key in ("ap", "ap50", "photos", "boxes", "by_category")},
        "macro_f1": {
            category: {name: entry["macro_f1"] for name, entry in attributes.items()}
            for category, attributes in report["attributes"]["on_true_boxes"].items()
        },
    }


def calibrate(bundle: Bundle, photos: Sequence[LabelledPhoto], device: str = "cpu") -> Calibration:
    """Fit temperatures and thresholds on photos that training never saw, and record them in the bundle.

    The bundle's digest changes; open it again.

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
    calibration = fit_calibration(logits, garments)
    record_calibration(bundle.dir, calibration)
    return calibration


def _measure_photo(tagger: Tagger, photo: LabelledPhoto, min_score: float, collected: _Collected) -> None:
    image = read_photo(photo.path)
    ontology = tagger.bundle.ontology
    detections = tagger.detect(image, _AP_MIN_SCORE)
    true = _labelled_boxes(photo.garments, ontology)
    collected.found.append(_labelled_boxes(detections, ontology))
    collected.true.append(true)
    answers = tagger.classify(image, [(garment.category, garment.box) for garment in photo.garments])
    collected.on_true_boxes.extend(zip(photo.garments, answers, strict=True))
    sure = [detection for detection in detections if detection.score >= min_score]
    pairs = matched_pairs(_labelled_boxes(sure, ontology), true)
    answers = tagger.classify(image, [(sure[found].category, sure[found].box) for found, _ in pairs])
    collected.on_found_boxes.extend(
        (photo.garments[at], scores) for (_, at), scores in zip(pairs, answers, strict=True)
    )
    collected.num_found += len(sure)
    collected.num_matched += len(pairs)


def _labelled_boxes(garments: Sequence[Detection] | Sequence[LabelledGarment], ontology: Ontology) -> LabelledBoxes:
    boxes: Boxes = np.array([garment.box for garment in garments], dtype=np.float32).reshape(-1, 4)
    labels = np.array([ontology.detector_label(garment.category) for garment in garments], dtype=np.int64)
    scores = [garment.score for garment in garments if isinstance(garment, Detection)]
    return LabelledBoxes(boxes, labels, np.array(scores, dtype=np.float32) if len(scores) == len(garments) else None)


def _attributes(answers: Sequence[Answer], bundle: Bundle) -> dict[str, dict[str, Any]]:
    report: dict[str, dict[str, Any]] = {}
    for category in bundle.ontology.categories.values():
        own = [answer for answer in answers if answer[0].category == category.name]
        entries = {}
        for attribute in category.attributes.values():
            threshold = bundle.thresholds.get(category.name, {}).get(attribute.name, DEFAULT_THRESHOLD)
            labelled = [answer for answer in own if attribute.name in answer[0].attributes]
            if labelled:
                entries[attribute.name] = _attribute_entry(attribute, labelled, threshold)
        report[category.name] = entries
    return report


def _attribute_entry(attribute: Attribute, answers: Sequence[Answer], threshold: float) -> dict[str, Any]:
    true = encode_labels(attribute, [garment for garment, _ in answers])
    scores = [[(each.value, each.score) for each in answered[attribute.name]] for _, answered in answers]
    chosen = [chosen_values(each, attribute.is_single, threshold) for each in scores]
    entry: dict[str, Any] = {"choice": attribute.choice}
    if attribute.is_single:
        labels = np.array([attribute.label_by_value[values[0]] for values in chosen], dtype=np.int64)
        quality = single_choice_quality(labels, true.astype(np.int64), attribute.values)
        best = np.array([each[0][1] for each in scores], dtype=np.float32)
        entry["calibration_error"] = calibration_error(best, labels == true)
    else:
        stated = np.zeros((len(chosen), len(attribute.values)), dtype=bool)
        for row, values in zip(stated, chosen, strict=True):
            row[[attribute.label_by_value[value] for value in values]] = True
        quality = several_choice_quality(stated, true.astype(np.int64), attribute.values)
        entry["threshold"] = threshold
    return entry | _quality_entry(quality)


def _quality_entry(quality: AttributeQuality) -> dict[str, Any]:
    majority = quality.majority_macro_f1
    return {
        "garments": quality.num_garments,
        "macro_f1": quality.macro_f1,
        "accuracy": quality.micro_f1,  # of several: the F1 over all answers
        "majority_macro_f1": majority,
        "majority_accuracy": quality.majority_micro_f1,
        "ratio": quality.macro_f1 / majority if majority else math.nan,
        "values": {value: asdict(each) for value, each in quality.values.items()},
    }


def _summary(attributes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Means over heads, of all together and by attribute, and how many beat the baseline twice over."""
    entries = [(name, entry) for by_name in attributes.values() for name, entry in by_name.items()]
    names = dict.fromkeys(name for name, _ in entries)
    return {
        "heads": len(entries),
        "macro_f1": _mean(entry["macro_f1"] for _, entry in entries),
        "accuracy": _mean(entry["accuracy"] for _, entry in entries),
        "majority_macro_f1": _mean(entry["majority_macro_f1"] for _, entry in entries),
        "heads_at_twice_majority": sum(entry["ratio"] >= 2 for _, entry in entries),
        "macro_f1_by_attribute": {
            name: _mean(entry["macro_f1"] for its_name, entry in entries if its_name == name) for name in names
        },
    }


def _detection(quality: DetectionQuality, ontology: Ontology) -> dict[str, Any]:
    return {
        "ap": quality.ap,
        "ap50": quality.ap50,
        "ap75": quality.ap75,
        "recall": quality.recall,
        "photos": quality.num_photos,
        "boxes": quality.num_boxes,
        "by_category": {
            ontology.category_of_label(label): {"ap": ap, "ap50": quality.ap50_by_label[label]}
            for label, ap in quality.ap_by_label.items()
        },
    }


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _without_nan(value: Any) -> Any:
    """JSON has no nan: None instead; floats to six digits."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
