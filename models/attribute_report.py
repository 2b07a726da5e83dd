"""What is reported of every attribute of every category, from the answers to labelled garments."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import DEFAULT_THRESHOLD, Bundle
from models.crops import encode_labels
from models.metrics import AttributeQuality, calibration_error, several_choice_quality
from models.ontology import Attribute
from models.predictor import chosen_values
from models.score_metrics import (
    coverage,
    macro_f1_interval,
    mean_average_precision,
    reliability,
    top_k_recall,
    without_temperature,
)
from models.types import NOT_VISIBLE, AttributeScores, LabelledGarment

COVERAGE_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_MEANS = ("macro_f1", "accuracy", "majority_macro_f1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered of a labelled garment; `photo` is the number of its photo."""

    photo: int
    garment: LabelledGarment
    scores: AttributeScores


@dataclass(frozen=True, slots=True)
class _Head:
    """The answers of one head to its labelled garments.

    Attributes:
        attribute: what was asked.
        scores: (N, V).
        before: (N, V), without the head's temperature.
        stated: (N, V), the values that the service would state.
        true: (N, V).
        photos: (N,).
    """

    attribute: Attribute
    scores: NDArray[np.float64]
    before: NDArray[np.float64]
    stated: NDArray[np.bool_]
    true: NDArray[np.bool_]
    photos: NDArray[np.int64]

    def best(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Score of each garment's best value, and whether it holds."""
        labels = scores.argmax(axis=1)
        rows = np.arange(len(labels))
        return scores[rows, labels], self.true[rows, labels]


def attribute_report(answers: Sequence[Answer], bundle: Bundle) -> dict[str, Any]:
    """Entries by category and attribute, and a summary over all of them.

    Args:
        answers: on true boxes, or on found ones.
        bundle: that gave them; its thresholds decide what is stated.
    """
    heads: dict[tuple[str, str], _Head] = {}
    for category in bundle.ontology.categories.values():
        own = [answer for answer in answers if answer.garment.category == category.name]
        for attribute in category.attributes.values():
            labelled = [answer for answer in own if attribute.name in answer.garment.attributes]
            if labelled:
                heads[category.name, attribute.name] = _head(bundle, category.name, attribute, labelled)
    entries: dict[str, dict[str, Any]] = {name: {} for name in bundle.ontology.category_names}
    for (name, attribute_name), head in heads.items():
        threshold = bundle.thresholds.get(name, {}).get(attribute_name, DEFAULT_THRESHOLD)
        entries[name][attribute_name] = _entry(head) | ({} if head.attribute.is_single else {"threshold": threshold})
    return {"heads": entries, "summary": _summary(entries, list(heads.values()))}


def _head(bundle: Bundle, category: str, attribute: Attribute, answers: Sequence[Answer]) -> _Head:
    threshold = bundle.thresholds.get(category, {}).get(attribute.name, DEFAULT_THRESHOLD)
    temperature = bundle.temperatures.get(category, {}).get(attribute.name, 1.0)
    num = len(attribute.values)
    scores, stated = np.zeros((len(answers), num)), np.zeros((len(answers), num), dtype=bool)
    for row, answer in enumerate(answers):
        for each in answer.scores[attribute.name]:
            scores[row, attribute.label_by_value[each.value]] = each.score
        pairs = [(each.value, each.score) for each in answer.scores[attribute.name]]
        for value in chosen_values(pairs, attribute.is_single, threshold):
            stated[row, attribute.label_by_value[value]] = True
    labels = encode_labels(attribute, [answer.garment for answer in answers])
    true = labels[:, None] == np.arange(num) if attribute.is_single else labels > 0
    before = without_temperature(scores, temperature, attribute.is_single)
    return _Head(attribute, scores, before, stated, true, np.array([answer.photo for answer in answers]))


def _entry(head: _Head) -> dict[str, Any]:
    values = head.attribute.values
    quality = several_choice_quality(head.stated, head.true.astype(np.int64), values)
    recalls = [each.recall for each in quality.values.values() if each.support]
    entry: dict[str, Any] = {
        "choice": head.attribute.choice,
        **_quality_entry(quality),
        "macro_f1_interval": list(macro_f1_interval(head.stated, head.true, head.photos)),
        "balanced_accuracy": _mean(recalls),
        "top3_recall": top_k_recall(head.scores, head.true, 3),
        "calibration_error_before": _calibration_error(*head.best(head.before)),
        "calibration_error": _calibration_error(*head.best(head.scores)),
        "coverage": coverage(*head.best(head.scores), COVERAGE_THRESHOLDS),
    }
    if NOT_VISIBLE in values:
        entry["applicability_f1"] = _applicability([head])
    if head.attribute.is_single:
        entry["confusion"] = (head.true.T.astype(np.int64) @ head.stated.astype(np.int64)).tolist()  # true by stated
    else:
        entry["map"] = mean_average_precision(head.scores, head.true)
    return entry


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


def _pooled(heads: Sequence[_Head]) -> dict[str, Any]:
    """One attribute over the garments of all categories, where single heads have too few labels to tell anything."""
    values = list(dict.fromkeys(value for head in heads for value in head.attribute.values))
    columns = [[values.index(value) for value in head.attribute.values] for head in heads]
    stated, true = np.zeros((2, sum(len(head.true) for head in heads), len(values)), dtype=bool)
    at = 0
    for head, its_columns in zip(heads, columns, strict=True):
        stated[at : at + len(head.true), its_columns] = head.stated
        true[at : at + len(head.true), its_columns] = head.true
        at += len(head.true)
    entry = _quality_entry(several_choice_quality(stated, true.astype(np.int64), values))
    return {key: entry[key] for key in ("garments", *_MEANS, "majority_accuracy")}


def _applicability(heads: Iterable[_Head]) -> float:
    """F1 of saying that an attribute is not visible, over all garments that some head was asked about."""
    hits = said = held = 0
    for head in heads:
        label = head.attribute.label_by_value.get(NOT_VISIBLE)
        if label is not None:
            stated, true = head.stated[:, label], head.true[:, label]
            hits, said, held = hits + int((stated & true).sum()), said + int(stated.sum()), held + int(true.sum())
    return 2 * hits / (said + held) if held else math.nan


def _summary(entries: Mapping[str, Mapping[str, Mapping[str, Any]]], heads: Sequence[_Head]) -> dict[str, Any]:
    """Means over heads; attributes over all categories; calibration of the answers of all heads together."""
    named = [(name, entry) for by_name in entries.values() for name, entry in by_name.items()]
    names = dict.fromkeys(name for name, _ in named)
    summary: dict[str, Any] = {
        "heads": len(named),
        **{key: _mean(entry[key] for _, entry in named) for key in _MEANS},
        "heads_at_twice_majority": sum(entry["ratio"] >= 2 for _, entry in named),
        "pooled": {name: _pooled([head for head in heads if head.attribute.name == name]) for name in names},
        "applicability_f1": _applicability(heads),
        "not_visible": sum(entry["values"].get(NOT_VISIBLE, {}).get("support", 0) for _, entry in named),
    }
    for suffix, of in (
        ("_before", [head.best(head.before) for head in heads]),
        ("", [h.best(h.scores) for h in heads]),
    ):
        best, is_right = (np.concatenate(parts) for parts in zip(*of, strict=True)) if of else (np.zeros(0),) * 2
        summary[f"calibration_error{suffix}"] = _calibration_error(best, is_right.astype(bool))
        summary[f"reliability{suffix}"] = reliability(best, is_right.astype(bool))
        if not suffix:
            summary["coverage"] = coverage(best, is_right.astype(bool), COVERAGE_THRESHOLDS)
    return summary


def _calibration_error(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    return calibration_error(scores.astype(np.float32), is_right)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
