import numpy as np
import pytest

from models.score_metrics import (
    coverage,
    macro_f1_interval,
    mean_average_precision,
    reliability,
    top_k_recall,
    without_temperature,
)

SCORES = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
TRUE = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], dtype=bool)


@pytest.mark.parametrize(
    ("k", "share"), [pytest.param(1, 0.5, id="1"), pytest.param(2, 0.5, id="2"), pytest.param(3, 1, id="3")]
)
def test_top_k_counts_every_true_value(k: int, share: float) -> None:
    assert top_k_recall(SCORES, TRUE, k) == share


def test_average_precision_leaves_out_values_that_nobody_has() -> None:
    # First value: ranks 1 and 3 of three hit. Second: rank 1. Third: 0.3, 0.2, 0.1, rank 2.
    assert mean_average_precision(SCORES, TRUE) == pytest.approx(((1 + 2 / 3) / 2 + 1 + 1 / 2) / 3)
    assert mean_average_precision(SCORES[:1, :1], TRUE[:1, :1]) == 1
    assert np.isnan(mean_average_precision(SCORES, np.zeros_like(TRUE)))
    assert np.isnan(top_k_recall(SCORES[:0], TRUE[:0], 1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_can_be_taken_off_scores_again(temperature: float) -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 4.0]])
    exponentials = np.exp(logits / temperature)
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert without_temperature(softmax, temperature, True) == pytest.approx(
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    )
    sigmoid = 1 / (1 + np.exp(-logits / temperature))
    assert without_temperature(sigmoid, temperature, False) == pytest.approx(1 / (1 + np.exp(-logits)))


def test_reliability_and_coverage_count_answers() -> None:
    scores, is_right = np.array([0.95, 0.97, 0.5, 1.0]), np.array([True, False, True, True])
    low, high = reliability(scores, is_right)
    assert low == {"score": 0.5, "right": 1.0, "answers": 1}
    assert high == {"score": pytest.approx(2.92 / 3), "right": pytest.approx(2 / 3), "answers": 3}
    rows = coverage(scores, is_right, (0.5, 0.96))
    assert rows == [
        {"threshold": 0.5, "coverage": 1.0, "right": 0.75},
        {"threshold": 0.96, "coverage": 0.5, "right": 0.5},
    ]
    assert np.isnan(coverage(scores, is_right, (1.1,))[0]["right"])
    assert coverage(scores[:0], is_right[:0], (0.5,))[0]["coverage"] == 0


def test_the_interval_narrows_with_photos_and_garments_of_one_photo_count_as_one() -> None:
    rng = np.random.default_rng(1)
    true = np.eye(2, dtype=bool)[rng.integers(2, size=400)]
    answered = np.where(rng.random((400, 1)) < 0.8, true, ~true)
    low, high = macro_f1_interval(answered, true, np.arange(400))
    assert low < 0.8 < high and high - low < 0.1
    few_low, few_high = macro_f1_interval(answered[:40], true[:40], np.arange(40))
    assert few_high - few_low > 2 * (high - low)
    one_low, one_high = macro_f1_interval(answered, true, np.zeros(400, dtype=np.int64))
    assert one_high == pytest.approx(one_low)
    assert np.isnan(macro_f1_interval(answered[:0], true[:0], np.arange(0))[0])
