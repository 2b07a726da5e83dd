import pickle

import pytest

from models import errors
from models.types import AttributeScore, Detection, LabelledGarment


@pytest.mark.parametrize("box", [(40.0, 8.0, 12.0, 90.0), (0.0, 5.0, 9.0, 5.0)], ids=["x_swapped", "no_height"])
def test_a_box_without_area_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="x1 < x2"):
        Detection(box, 0.9, "dress")
    with pytest.raises(ValueError, match="x1 < x2"):
        LabelledGarment("dress", box)


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan")])
def test_a_score_outside_the_unit_interval_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="score"):
        AttributeScore("red", score)


@pytest.mark.parametrize("result", [Detection((1.0, 2.0, 3.0, 4.0), 0.9, "dress"), AttributeScore("red", 0.5)])
def test_results_survive_pickling(result: Detection | AttributeScore) -> None:
    assert pickle.loads(pickle.dumps(result)) == result


def test_every_error_survives_pickling_with_message_detail_and_code() -> None:
    """Past a handle an error that cannot be unpickled could not be caught by its class."""
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) >= 8
    for cls in classes:
        copy = pickle.loads(pickle.dumps(cls("for the caller", "for the log")))
        assert type(copy) is cls
        assert (copy.message, copy.detail, copy.code) == ("for the caller", "for the log", cls.code)
