"""Which pixels of a box are the garment: by their place in the box, and by what is coloured like its surroundings.

No network and no mask: a box, the ring around it, and two colour histograms that expectation-maximisation separates.
Pure numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.foreground import foreground_box
from models.oklab import srgb_to_oklab
from models.types import Box

# All chosen on the masks of 150 street photos and of 200 drawn ones; none changes the result much.
_GRID_PX = 48
_FOREGROUND_PX = 384
_RING = 0.15  # of the box's sides: skin, trousers and walls beside a garment continue inside its box
_ROUNDS = 4
_BIN = np.array([0.06, 0.03, 0.03], dtype=np.float32)  # of OKLab: folds and shadows move lightness most
_FIRST = np.array([0.0, -0.27, -0.36], dtype=np.float32)
_NUM_BINS = (18, 20, 20)
_MIDDLE, _EDGE = 0.55, 0.2  # how surely a pixel in the middle and at the edge of a box is the garment, by place alone
_SIDE_RAMP, _TOP_RAMP, _BOTTOM_RAMP = 0.12, 0.2, 0.3  # the way from edge to middle, of the box's sides
_LEFT_OVER = 0.25  # what a pixel in the box tells of the surroundings, beside one around it
_ENCLOSED = 0.8  # how surely what a garment encloses is its own: a print, more often than a gap at the elbow
_SHARED = 0.5  # factor where another garment's box is too
_SAME_GARMENT_SHARE = 0.6  # another box over more of this one is taken for a second answer to the same garment


@dataclass(frozen=True, slots=True)
class GarmentPixels:
    """Pixels of a garment, evenly spread over its box.

    Attributes:
        rgb: (N, 3) uint8 sRGB.
        oklab: (N, 3) float32, the same.
        weight: (N,) float32 in (0, 1], how surely each is the garment's.
    """

    rgb: NDArray[np.uint8]
    oklab: NDArray[np.float32]
    weight: NDArray[np.float32]


def garment_pixels(image: NDArray[np.uint8], box: Box, others: Sequence[Box] = ()) -> GarmentPixels | None:
    """Find the pixels of the garment in a box.

    A pixel begins as garment by its place in the box. Then colours that are commoner around the box and at its edges
    than in the garment lose, the others win, four times over; what the garment encloses is taken for its own.

    Args:
        image: (H, W, 3) uint8 sRGB.
        box: the garment in pixels of that image; parts outside are cut off. Where it is the whole photo, the
            foreground of the photo is taken.
        others: boxes of the other garments.

    Returns:
        None if the box misses the image.
    """
    height, width = image.shape[:2]
    box = (max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3]))
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    if box == (0.0, 0.0, width, height):
        step = max(1, max(height, width) // _FOREGROUND_PX)  # of 24 megapixels, 10 ms instead of 100
        x1, y1, x2, y2 = foreground_box(image[::step, ::step])
        box = (x1 * step, y1 * step, x2 * step, y2 * step)
    ys, xs = _spread(box[1], box[3], height), _spread(box[0], box[2], width)
    rgb = image[np.ix_(ys, xs)]
    oklab = srgb_to_oklab(rgb)
    weight = _separate(oklab, _by_place(xs, ys, box, others))
    is_garment = weight > 0.5
    if not is_garment.any():
        is_garment = weight == weight.max()
    return GarmentPixels(rgb[is_garment], oklab[is_garment], weight[is_garment])


def _spread(start: float, end: float, length: int) -> NDArray[np.int64]:
    """At most 48 positions from a side of the box to the other and the ring beyond."""
    ring = _RING * (end - start)
    first, last = max(0, int(start - ring)), min(length, int(np.ceil(end + ring))) - 1
    return np.linspace(first, last, min(_GRID_PX, last - first + 1)).round().astype(np.int64)


def _by_place(xs: NDArray[np.int64], ys: NDArray[np.int64], box: Box, others: Sequence[Box]) -> NDArray[np.float32]:
    """(h, w) probability that a pixel is the garment, by where it is: 0 around the box, rising from its edges."""
    across, down = (xs + 0.5 - box[0]) / (box[2] - box[0]), (ys + 0.5 - box[1]) / (box[3] - box[1])
    side = np.minimum(across, 1 - across) / _SIDE_RAMP
    end = np.minimum(down / _TOP_RAMP, (1 - down) / _BOTTOM_RAMP)
    nearness = np.minimum(np.minimum.outer(end, side), 1.0)
    place = np.where(nearness >= 0, _EDGE + (_MIDDLE - _EDGE) * nearness, 0.0)
    for x1, y1, x2, y2 in others:
        is_shared = np.outer((ys >= y1) & (ys < y2), (xs >= x1) & (xs < x2)) & (place > 0)
        if is_shared.sum() < _SAME_GARMENT_SHARE * (place > 0).sum():
            place[is_shared] *= _SHARED
    return place.astype(np.float32)


def _separate(oklab: NDArray[np.float32], place: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) probability that a pixel is the garment, by place, colour and neighbours."""
    steps = ((oklab - _FIRST) / _BIN).astype(np.int64)
    colour = np.ravel_multi_index(tuple(np.moveaxis(steps, -1, 0)), _NUM_BINS, mode="clip").ravel()
    size = int(np.prod(_NUM_BINS))
    ring, within = (np.bincount(colour, weights=part.ravel(), minlength=size) for part in (place <= 0, place > 0))
    weight = place
    for _ in range(_ROUNDS):
        garment = np.bincount(colour, weights=weight.ravel(), minlength=size)
        around = ring + _LEFT_OVER * (within - garment)
        ratio = (garment / max(garment.sum(), 1.0) + 1e-5) / (around / max(around.sum(), 1.0) + 1e-5)
        odds = place * ratio[colour].reshape(place.shape)
        weight = np.where(place > 0, _with_neighbours(odds / (odds + 1 - place)), 0.0)
    return np.where(_enclosed(weight > 0.5), np.maximum(weight, _ENCLOSED), weight).astype(np.float32)


def _with_neighbours(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(weight, 1, mode="edge")
    beside = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return np.asarray((2 * weight + beside) / 6)


def _enclosed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels that have some of the mask in all four directions, or are in it: prints, logos, pale checks."""
    seen = np.logical_or.accumulate
    vertical = seen(mask, 0) & seen(mask[::-1], 0)[::-1]
    return np.asarray(vertical & seen(mask, 1) & seen(mask[:, ::-1], 1)[:, ::-1])
