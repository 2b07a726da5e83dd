"""Pure functions on arrays of boxes: (N, 4) float, xyxy pixels, origin top-left; N may be 0 everywhere."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def box_area(boxes: Boxes) -> Boxes:
    """Area of each box in square pixels, (N,); 0 for one that is turned inside out."""
    sides = np.maximum(_checked(boxes)[:, 2:] - boxes[:, :2], 0)
    areas: Boxes = sides[:, 0] * sides[:, 1]
    return areas


def clip_boxes(boxes: Boxes, image_hw: tuple[int, int]) -> Boxes:
    """Cut off what lies outside the image; a box wholly outside ends up with no area. (N, 4), a new array."""
    height, width = image_hw
    limits = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(_checked(boxes), 0, limits).astype(np.float32)


def pad_boxes(boxes: Boxes, ratio: float, image_hw: tuple[int, int]) -> Boxes:
    """Grow each box by a share of its own size on every side, then clip it to the image.

    Args:
        boxes: (N, 4).
        ratio: share of width and height, >= 0; room for hems and straps.
        image_hw: (height, width) of the image in pixels.

    Returns:
        (N, 4), a new array.

    Raises:
        ValueError: if `boxes` is not (N, 4) or `ratio` is negative.
    """
    if ratio < 0:
        raise ValueError(f"ratio needs to be >= 0, got {ratio}")
    pads = (_checked(boxes)[:, 2:] - boxes[:, :2]) * ratio
    return clip_boxes(np.concatenate([boxes[:, :2] - pads, boxes[:, 2:] + pads], axis=1), image_hw)


def intersection_areas(boxes: Boxes, others: Boxes) -> Boxes:
    """Shared area of every pair in square pixels, (N, M)."""
    low = np.maximum(_checked(boxes)[:, None, :2], _checked(others)[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(high - low, 0)
    shared: Boxes = sides[..., 0] * sides[..., 1]
    return shared


def box_iou(boxes: Boxes, others: Boxes) -> Boxes:
    """Intersection over union of every pair, (N, M) in [0, 1]; 0 where both have no area."""
    shared = intersection_areas(boxes, others)
    union = box_area(boxes)[:, None] + box_area(others)[None, :] - shared
    ratios: Boxes = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratios


def _checked(boxes: Boxes) -> Boxes:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes need to be (N, 4), got {boxes.shape}")
    return boxes
