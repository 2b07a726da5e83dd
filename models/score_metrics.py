"""How good scores are, beyond the answer they lead to: ranks, calibration, coverage; and how sure a figure is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15
_ROUNDS = 1000


def top_k_recall(scores: NDArray[np.float64], true: NDArray[np.bool_], k: int) -> float:
    """Share of true values that are among the k best of their garment; nan without any.

    Args:
        scores: (N, V).
        true: (N, V), the values that hold.
        k: at least 1.
    """
    ranks = (-scores).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return float((ranks < k)[true].mean()) if true.any() else float("nan")


def mean_average_precision(scores: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Mean over the values that any garment has of the area under precision and recall; nan without any.

    Args:
        scores: (N, V).
        true: (N, V).
    """
    areas = []
    for score, is_true in zip(scores.T, true.T, strict=True):
        if is_true.any():
            hits = is_true[np.argsort(-score, kind="stable")]
            precision = hits.cumsum() / np.arange(1, len(hits) + 1)
            areas.append(float(precision[hits].mean()))
    return float(np.mean(areas)) if areas else float("nan")


def without_temperature(scores: NDArray[np.float64], temperature: float, is_single: bool) -> NDArray[np.float64]:
    """The scores (N, V) as they were before their logits were divided by a temperature."""
    logits = np.log(np.clip(scores, 1e-12, 1.0)) * temperature
    if not is_single:
        against = np.log(np.clip(1 - scores, 1e-12, 1.0)) * temperature
        return np.asarray(1 / (1 + np.exp(against - logits)))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def reliability(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Of every bin of the score that any answer falls into: mean score, share of right answers, number of answers.

    Args:
        scores: (N,) in [0, 1], of the answers given.
        is_right: (N,).
    """
    bins = np.minimum((scores * NUM_BINS).astype(int), NUM_BINS - 1)
    return [
        {
            "score": float(scores[bins == each].mean()),
            "right": float(is_right[bins == each].mean()),
            "answers": int((bins == each).sum()),
        }
        for each in np.unique(bins)
    ]


def coverage(
    scores: NDArray[np.float64], is_right: NDArray[np.bool_], thresholds: Sequence[float]
) -> list[dict[str, float]]:
    """At each threshold the share of answers that reach it, and the share of these that are right (nan without)."""
    rows = []
    for threshold in thresholds:
        kept = scores >= threshold
        right = float(is_right[kept].mean()) if kept.any() else float("nan")
        rows.append({"threshold": threshold, "coverage": float(kept.mean()) if len(kept) else 0.0, "right": right})
    return rows


def macro_f1_interval(
    answered: NDArray[np.bool_], true: NDArray[np.bool_], photos: NDArray[np.int64], seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the macro-F1 over the values that any garment has; photos are drawn, not garments.

    Args:
        answered: (N, V).
        true: (N, V).
        photos: (N,), which photo each garment is of.
        seed: of the draws.
    """
    _, rows = np.unique(photos, return_inverse=True)
    num_photos = int(rows.max(initial=-1)) + 1
    supported = true.any(axis=0)
    if not supported.any():
        return float("nan"), float("nan")

    def by_photo(cells: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.zeros((num_photos, int(supported.sum())))
        np.add.at(sums, rows, cells[:, supported])
        return sums

    draws = np.random.default_rng(seed).multinomial(num_photos, np.full(num_photos, 1 / num_photos), size=_ROUNDS)
    both = draws @ by_photo(answered & true)
    either = draws @ (by_photo(answered) + by_photo(true))
    f1 = np.divide(2 * both, either, out=np.full_like(both, np.nan), where=either > 0)  # undefined where never drawn
    low, high = np.percentile(np.nanmean(f1, axis=1), [2.5, 97.5])
    return float(low), float(high)
