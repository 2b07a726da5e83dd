"""The colours of a garment, measured on its own pixels: names, hex values and shares. Pure numpy.

Independent of the classifier's `colour` attribute: that one says what a catalogue would call the garment, this one what
its pixels are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.types import Box

_GRID_PX = 64
_MAX_COLOURS = 5
_MIN_SHARE = 0.06
_BACKGROUND_DISTANCE = 9.0  # Lab units; studio paper varies by less, the palest fabric on it by more
_MIN_GARMENT_SHARE = 0.15

# Anchors in sRGB, several where a name spans light and dark; the nearest in Lab names a pixel.
_ANCHORS: dict[str, tuple[str, ...]] = {
    "black": ("#0a0a0a", "#1c1c1e", "#2b2a2c"),
    "white": ("#ffffff", "#f4f4f2", "#e9e9e8"),
    "grey": ("#bdbdbf", "#8f8f92", "#6a6a6d", "#4b4b4e"),
    "beige": ("#e8dcc4", "#d9c6a5", "#c8b08a"),
    "brown": ("#8b5a2b", "#6b4423", "#4a2f1b", "#a0673f"),
    "red": ("#d0202a", "#a81c24", "#7e1820", "#e8413c"),
    "orange": ("#f08024", "#d9691a", "#ff9c4a"),
    "yellow": ("#f5d327", "#e6bd1e", "#f8e680"),
    "green": ("#2e8b3d", "#1f5a2c", "#6fae54", "#7b8b4a", "#9fd0a4"),
    "blue": ("#2a62c4", "#4f8fdc", "#9cc3ea", "#4a6f9c", "#1fa0b8"),
    "navy": ("#16213f", "#1f2e56", "#0f1a33"),
    "purple": ("#6a2c91", "#8f5fb8", "#4a2560", "#c0a0d8"),
    "pink": ("#f0a0b8", "#e86a98", "#f8cdd6", "#d6457e"),
}


@dataclass(frozen=True, slots=True)
class ColourShare:
    """A named colour, its mean as #rrggbb, and its share of the garment's pixels in [0, 1]."""

    name: str
    hex: str
    share: float


def garment_colours(image: NDArray[np.uint8], box: Box, names: Sequence[str]) -> tuple[ColourShare, ...]:
    """Measure the colours of the garment in a box.

    Background is what is coloured like the box's border and connected to it; where that leaves too little, the middle
    of the box is taken.

    Args:
        image: (H, W, 3) uint8 sRGB.
        box: the garment in pixels of that image; parts outside are cut off.
        names: the colour names to choose from; those without a known anchor are never answered.

    Returns:
        At most five colours, largest share first; empty if the box misses the image or no name is known.
    """
    known = [name for name in names if name in _ANCHORS]
    pixels = _sample(image, box)
    if not known or pixels.size == 0:
        return ()
    lab = srgb_to_lab(pixels)
    mask = _garment_mask(lab)
    return _shares(pixels[mask], lab[mask], known)


def srgb_to_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE L*a*b* (D65) of sRGB: (..., 3) uint8 -> (..., 3) float32, L in [0, 100]. Formulas: IEC 61966-2-1, CIE 15."""
    linear = _LINEAR_BY_LEVEL[pixels]
    xyz = linear @ _XYZ_FROM_RGB.T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def _sample(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """At most 64 x 64 pixels of the box, evenly spread."""
    height, width = image.shape[:2]
    x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
    x2, y2 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if x1 >= x2 or y1 >= y2:
        return np.zeros((0, 0, 3), dtype=np.uint8)
    ys = np.linspace(y1, y2 - 1, min(_GRID_PX, y2 - y1)).round().astype(int)
    xs = np.linspace(x1, x2 - 1, min(_GRID_PX, x2 - x1)).round().astype(int)
    return np.asarray(image[np.ix_(ys, xs)])


def _garment_mask(lab: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(h, w) bool: not coloured like the border and connected to it."""
    height, width = lab.shape[:2]
    corner = max(1, min(height, width) // 10)
    corners = np.concatenate(
        [lab[ys, xs].reshape(-1, 3) for ys in _ends(corner) for xs in _ends(corner)]
    )  # garments fill the middle of a box's sides more often than its corners
    like_background = np.linalg.norm(lab - np.median(corners, axis=0), axis=-1) < _BACKGROUND_DISTANCE
    garment = ~_connected_to_border(like_background)
    if garment.mean() < _MIN_GARMENT_SHARE:
        ys, xs = np.ogrid[:height, :width]
        garment = ((ys + 0.5) / height - 0.5) ** 2 + ((xs + 0.5) / width - 0.5) ** 2 < 0.3**2
    return garment if garment.any() else np.ones((height, width), dtype=bool)


def _ends(length: int) -> tuple[slice, slice]:
    return slice(None, length), slice(-length, None)


def _connected_to_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of a mask that the border reaches in steps to the four sides."""
    reached = mask.copy()
    reached[1:-1, 1:-1] = False
    count = -1
    while (total := int(reached.sum())) != count:
        count = total
        reached[1:] |= reached[:-1]
        reached[:-1] |= reached[1:]
        reached[:, 1:] |= reached[:, :-1]
        reached[:, :-1] |= reached[:, 1:]
        reached &= mask
    return reached


def _shares(pixels: NDArray[np.uint8], lab: NDArray[np.float32], names: Sequence[str]) -> tuple[ColourShare, ...]:
    """Name each of (N, 3) pixels, and sum up."""
    anchor_lab, name_of_anchor = _anchors(tuple(names))
    # nearest by |p - a|^2 = |p|^2 - 2 p.a + |a|^2, of which the first is the same for every anchor
    nearness = lab @ (2 * anchor_lab.T) - (anchor_lab**2).sum(axis=1)  # (N, anchors)
    name_of_pixel = name_of_anchor[nearness.argmax(axis=1)]
    found = []
    for index, name in enumerate(names):
        own = pixels[name_of_pixel == index]
        share = len(own) / len(pixels)
        if share >= _MIN_SHARE:
            red, green, blue = np.median(own, axis=0).astype(int)
            found.append(ColourShare(name, f"#{red:02x}{green:02x}{blue:02x}", round(share, 3)))
    return tuple(sorted(found, key=lambda colour: -colour.share)[:_MAX_COLOURS])


@cache
def _anchors(names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Lab of every anchor of these names, (A, 3), and which name each belongs to, (A,)."""
    anchors = [(index, anchor) for index, name in enumerate(names) for anchor in _ANCHORS[name]]
    rgb = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for _, text in anchors], dtype=np.uint8)
    return srgb_to_lab(rgb), np.array([index for index, _ in anchors])


_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=np.float32,
) / np.array([[0.95047], [1.0], [1.08883]], dtype=np.float32)
_LEVELS = np.arange(256) / 255
_LINEAR_BY_LEVEL = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)
