import numpy as np
import pytest

from models.calibration import MIN_GARMENTS, fit_calibration, fit_confidence, fit_temperature, fit_threshold
from models.crops import UNLABELLED, CropSet
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
