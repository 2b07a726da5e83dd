import numpy as np
import pytest
from numpy.typing import NDArray

from models.boxes import box_area, box_iou, clip_boxes, intersection_areas, pad_boxes


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


NONE = boxes()


def test_no_boxes_at_all() -> None:
    assert box_area(NONE).shape == (0,)
    assert clip_boxes(NONE, (10, 10)).shape == (0, 4)
    assert pad_boxes(NONE, 0.1, (10, 10)).shape == (0, 4)
    assert box_iou(NONE, boxes((0, 0, 1, 1))).shape == (0, 1)


@pytest.mark.parametrize(
    ("box", "area"),
    [
        pytest.param((2, 3, 5, 7), 12, id="plain"),
        pytest.param((2, 3, 2, 7), 0, id="no_width"),
        pytest.param((5, 7, 2, 3), 0, id="inside_out"),
    ],
)
def test_area(box: tuple[float, float, float, float], area: float) -> None:
    assert box_area(boxes(box)).tolist() == [area]


def test_clip_uses_width_for_x_and_height_for_y() -> None:
    assert clip_boxes(boxes((-5, -5, 500, 500), (300, 1, 400, 2)), (100, 200)).tolist() == [
        [0, 0, 200, 100],
        [200, 1, 200, 2],
    ]


def test_pad_is_a_share_of_each_side_and_clipped() -> None:
    assert pad_boxes(boxes((10, 10, 30, 50)), 0.5, (60, 100)).tolist() == [[0, 0, 40, 60]]
    with pytest.raises(ValueError, match="ratio"):
        pad_boxes(NONE, -0.1, (1, 1))


def test_inputs_stay_as_they_were() -> None:
    given = boxes((-5, -5, 500, 500))
    clip_boxes(given, (10, 10))
    pad_boxes(given, 0.2, (10, 10))
    assert given.tolist() == [[-5, -5, 500, 500]]


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        pytest.param((0, 0, 10, 10), 1.0, id="same"),
        pytest.param((5, 0, 15, 10), 1 / 3, id="half_over"),
        pytest.param((10, 0, 20, 10), 0.0, id="touching"),
        pytest.param((2, 2, 4, 4), 0.04, id="inside"),
        pytest.param((3, 3, 3, 3), 0.0, id="a_point"),
    ],
)
def test_iou(other: tuple[float, float, float, float], iou: float) -> None:
    assert box_iou(boxes((0, 0, 10, 10)), boxes(other))[0, 0] == pytest.approx(iou)
    assert box_iou(boxes(other), boxes((0, 0, 10, 10)))[0, 0] == pytest.approx(iou)


def test_iou_of_two_points_is_no_division_by_zero() -> None:
    assert box_iou(boxes((1, 1, 1, 1)), boxes((1, 1, 1, 1))).tolist() == [[0.0]]


def test_intersections_of_every_pair() -> None:
    found = intersection_areas(boxes((0, 0, 4, 4), (2, 2, 6, 6)), boxes((0, 0, 4, 4), (3, 3, 4, 9), (9, 9, 10, 10)))
    assert found.tolist() == [[16, 1, 0], [4, 3, 0]]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, 4\), got \(4,\)"):
        box_area(np.zeros(4, np.float32))
