import numpy as np
import pytest

from models.calibration import (
    MIN_GARMENTS,
    fit_calibration,
    fit_confidence,
    fit_min_score,
    fit_temperature,
    fit_threshold,
)
from models.crops import UNLABELLED, CropSet
from models.metrics import LabelledBoxes
from models.ontology import Attribute, Category

LENGTH = Attribute("length", "single", ("mini", "midi"))
COLOUR = Attribute("colour", "several", ("red", "blue"))


@pytest.mark.parametrize("factor", [pytest.param(3.0, id="overconfident"), pytest.param(0.4, id="underconfident")])
def test_a_temperature_undoes_false_confidence(factor: float) -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (4000, 2))
    scores = 1 / (1 + np.exp(honest[:, 1] - honest[:, 0]))
    labels = (rng.uniform(size=4000) > scores).astype(np.int64)
    assert fit_temperature(honest * factor, labels) == pytest.approx(factor, rel=0.1)


def test_a_threshold_lies_where_f1_is_best() -> None:
    scores = np.array([[0.9], [0.35], [0.3], [0.1]])
    assert 0.3 < fit_threshold(scores, np.array([[True], [True], [False], [False]])) <= 0.35


def test_a_threshold_that_does_not_matter_stays_in_the_middle() -> None:
    assert fit_threshold(np.array([[0.99], [0.01]]), np.array([[True], [False]])) == 0.5


def _photo(*scored: tuple[float, float], labels: int = 1) -> LabelledBoxes:
    """Detections at (score, left side); the label lies at 0."""
    boxes = np.array([(left, 0, left + 10, 10) for _, left in scored], dtype=np.float32)
    scores = np.array([score for score, _ in scored], dtype=np.float32)
    return LabelledBoxes(boxes, np.full(len(scored), labels), scores)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        pytest.param(1, (0.3, 0.4), id="what_is_right_counts"),
        pytest.param(2, (0.4, 0.5), id="what_is_of_another_category_does_not"),
    ],
)
def test_a_detection_needs_the_score_with_the_best_f1(label: int, expected: tuple[float, float]) -> None:
    """Half of the photos have it at 0.9 and wrongly again at 0.3, half once at 0.4; of equal scores 0.5 is taken."""
    true = [LabelledBoxes(np.array([(0, 0, 10, 10)], np.float32), np.array([1]))] * (2 * MIN_GARMENTS)
    found = [_photo((0.9, 0), (0.3, 1)), _photo((0.4, 0), labels=label)] * MIN_GARMENTS
    low, high = expected
    assert low < fit_min_score(found, true) <= high


def test_a_detectors_score_is_not_fitted_to_few_garments() -> None:
    true = [LabelledBoxes(np.array([(0, 0, 10, 10)], np.float32), np.array([1]))] * (MIN_GARMENTS - 1)
    assert fit_min_score([_photo((0.2, 0))] * len(true), true) == 0.5


@pytest.mark.parametrize(
    ("num_right", "expected"),
    [
        pytest.param(20, 0.05, id="always_right"),
        pytest.param(10, 0.625, id="right_where_sure"),
        pytest.param(0, 1.0, id="never_right"),
    ],
)
def test_a_confidence_is_where_four_of_five_are_right(num_right: int, expected: float) -> None:
    """Ten answers at 0.9 and ten at 0.6; the first so many are right."""
    scores = np.array([0.9] * 10 + [0.6] * 10)
    logits = np.log(np.stack([scores, 1 - scores], axis=1))
    labels = np.where(np.arange(20) < num_right, 0, 1)
    assert fit_confidence(logits, labels) == pytest.approx(expected, abs=0.026)


@pytest.mark.parametrize(
    ("num_labelled", "is_fitted"),
    [pytest.param(MIN_GARMENTS - 1, False, id="too_few"), pytest.param(MIN_GARMENTS, True, id="enough")],
)
def test_heads_with_few_labels_are_left_alone(num_labelled: int, is_fitted: bool) -> None:
    category = Category("dress", {"length": LENGTH, "colour": COLOUR})
    lengths = np.full(50, UNLABELLED, dtype=np.int64)
    lengths[:num_labelled] = 1
    colours = np.full((50, 2), UNLABELLED, dtype=np.float32)
    colours[:num_labelled] = (0, 1)
    garments = CropSet(
        (category,),
        np.zeros(50, np.int64),
        np.arange(50),
        [],
        [],
        {"dress": {"length": lengths, "colour": colours}},
    )
    logits = {"dress": {"length": np.zeros((50, 2), np.float32), "colour": np.ones((50, 2), np.float32)}}
    calibration = fit_calibration(logits, garments)
    assert set(calibration.temperatures.get("dress", {})) == ({"length", "colour"} if is_fitted else set())
    assert set(calibration.thresholds.get("dress", {})) == ({"length", "colour"} if is_fitted else set())
