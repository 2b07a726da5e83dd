import math

import numpy as np
import pytest

from models.metrics import (
    LabelledBoxes,
    calibration_error,
    detection_quality,
    matched_pairs,
    several_choice_quality,
    single_choice_quality,
)

DRESS, SKIRT = 1, 5
Row = tuple[float, float, float, float]


def photo(*rows: tuple[Row, int]) -> LabelledBoxes:
    boxes = np.array([box for box, _ in rows], dtype=np.float32).reshape(-1, 4)
    return LabelledBoxes(boxes, np.array([label for _, label in rows], dtype=np.int64))


def found(*rows: tuple[Row, int, float]) -> LabelledBoxes:
    plain = photo(*[(box, label) for box, label, _ in rows])
    return LabelledBoxes(plain.boxes, plain.labels, np.array([score for *_, score in rows], dtype=np.float32))


A, B, FAR = (0, 0, 100, 100), (200, 0, 300, 150), (500, 500, 600, 600)
TRUE = [photo((A, DRESS), (B, SKIRT)), photo(), photo((A, DRESS))]


def test_perfect_detections() -> None:
    quality = detection_quality([found((A, DRESS, 0.9), (B, SKIRT, 0.8)), found(), found((A, DRESS, 0.7))], TRUE)
    assert (quality.ap, quality.ap50, quality.ap75, quality.recall) == (1, 1, 1, 1)
    assert quality.ap_by_label == {DRESS: 1, SKIRT: 1}
    assert (quality.num_photos, quality.num_boxes) == (3, 3)


def test_nothing_found() -> None:
    quality = detection_quality([found(), found(), found()], TRUE)
    assert (quality.ap, quality.ap50, quality.recall) == (0, 0, 0)


def test_nothing_to_find() -> None:
    quality = detection_quality([found((A, DRESS, 0.9))], [photo()])
    assert math.isnan(quality.ap50) and quality.num_boxes == 0 and quality.ap_by_label == {}


def test_category_decides() -> None:
    swapped = [found((A, SKIRT, 0.9), (B, DRESS, 0.8)), found(), found((A, SKIRT, 0.9))]
    assert detection_quality(swapped, TRUE).ap50 == 0


def test_a_loose_box_counts_at_half_overlap_only() -> None:
    loose = (0, 0, 100, 140)  # IoU 0.714 with A
    quality = detection_quality([found((loose, DRESS, 0.9))], [photo((A, DRESS))])
    assert quality.ap50 == 1 and quality.ap75 == 0
    assert quality.ap == pytest.approx(0.5)  # five of ten thresholds


def test_a_false_detection_ahead_costs_precision() -> None:
    before = detection_quality([found((FAR, DRESS, 0.95), (A, DRESS, 0.9))], [photo((A, DRESS))])
    after = detection_quality([found((FAR, DRESS, 0.5), (A, DRESS, 0.9))], [photo((A, DRESS))])
    assert before.ap50 == pytest.approx(0.5) and after.ap50 == 1


def test_a_category_nobody_wears_is_left_out_of_the_mean() -> None:
    quality = detection_quality([found((A, DRESS, 0.9), (B, SKIRT, 0.9))], [photo((A, DRESS))])
    assert quality.ap50 == 1 and set(quality.ap50_by_label) == {DRESS}


def test_different_numbers_of_photos_are_refused() -> None:
    with pytest.raises(ValueError, match="1 photos of detections"):
        detection_quality([found()], TRUE)


@pytest.mark.parametrize(
    ("answers", "truth", "pairs"),
    [
        pytest.param(found(), photo(), [], id="nothing"),
        pytest.param(found((A, DRESS, 0.9)), photo(), [], id="nothing_true"),
        pytest.param(found(), photo((A, DRESS)), [], id="nothing_found"),
        pytest.param(found((A, SKIRT, 0.9)), photo((A, DRESS)), [], id="other_category"),
        pytest.param(found((FAR, DRESS, 0.9), (A, DRESS, 0.2)), photo((A, DRESS)), [(1, 0)], id="one"),
        pytest.param(found((A, DRESS, 0.2), (A, DRESS, 0.9)), photo((A, DRESS)), [(1, 0)], id="better_score_wins"),
        pytest.param(
            found((A, DRESS, 0.9), (B, DRESS, 0.8)), photo((B, DRESS), (A, DRESS)), [(0, 1), (1, 0)], id="two"
        ),
    ],
)
def test_pairs(answers: LabelledBoxes, truth: LabelledBoxes, pairs: list[tuple[int, int]]) -> None:
    assert matched_pairs(answers, truth) == pairs


LENGTHS = ("mini", "midi", "maxi")


def test_single_choice() -> None:
    true = np.array([0, 0, 0, 1, -100, -100])
    quality = single_choice_quality(np.array([0, 0, 1, 1, 2, 2]), true, LENGTHS)
    assert quality.num_garments == 4 and quality.micro_f1 == 0.75
    mini, midi, maxi = (quality.values[name] for name in LENGTHS)
    assert (mini.precision, mini.recall, mini.f1, mini.support) == (1, pytest.approx(2 / 3), pytest.approx(0.8), 3)
    assert (midi.precision, midi.recall, midi.f1, midi.support) == (0.5, 1, pytest.approx(2 / 3), 1)
    assert (maxi.f1, maxi.support) == (0, 0)
    assert quality.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)  # nobody truly wears maxi
    assert quality.majority_micro_f1 == 0.75
    assert quality.majority_macro_f1 == pytest.approx((6 / 7) / 2)


def test_answering_a_value_nobody_has_costs_recall_not_the_mean() -> None:
    quality = single_choice_quality(np.array([2, 0]), np.array([0, 0]), LENGTHS)
    assert quality.macro_f1 == pytest.approx(2 / 3)


def test_several_choice() -> None:
    predicted = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    true = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [-100, -100, -100]], dtype=np.float32)
    quality = several_choice_quality(predicted, true, ("red", "blue", "pink"))
    assert quality.num_garments == 3
    assert quality.values["red"].f1 == 1 and quality.values["blue"].f1 == 0
    assert quality.macro_f1 == 0.5
    assert quality.micro_f1 == pytest.approx(2 * 2 / (3 + 4))
    assert quality.majority_micro_f1 == pytest.approx(2 * 2 / (3 + 4))
    assert quality.majority_macro_f1 == pytest.approx(0.8 / 2)


def test_no_labelled_garment() -> None:
    quality = single_choice_quality(np.array([0]), np.array([-100]), LENGTHS)
    assert quality.num_garments == 0 and math.isnan(quality.macro_f1) and math.isnan(quality.majority_macro_f1)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="two"):
        single_choice_quality(np.array([0, 1]), np.array([0]), LENGTHS)
    with pytest.raises(ValueError, match="below 3"):
        single_choice_quality(np.array([0]), np.array([3]), LENGTHS)
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        several_choice_quality(np.zeros((2, 2), bool), np.zeros((2, 2), np.int64), LENGTHS)


@pytest.mark.parametrize(
    ("scores", "is_right", "error"),
    [
        pytest.param([1.0, 1.0], [True, True], 0.0, id="sure_and_right"),
        pytest.param([1.0, 1.0], [False, False], 1.0, id="sure_and_wrong"),
        pytest.param([0.75] * 4, [True, True, True, False], 0.0, id="as_right_as_sure"),
        pytest.param([0.95] * 2 + [0.05] * 2, [True, False, False, False], 0.25, id="two_bins"),
    ],
)
def test_calibration(scores: list[float], is_right: list[bool], error: float) -> None:
    assert calibration_error(np.array(scores, np.float32), np.array(is_right)) == pytest.approx(error, abs=1e-6)


def test_calibration_of_nothing() -> None:
    assert math.isnan(calibration_error(np.zeros(0, np.float32), np.zeros(0, bool)))
