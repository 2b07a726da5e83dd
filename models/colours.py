"""The colours of a garment, measured on its own pixels: names, hex values and shares. Pure numpy.

Independent of the classifier's `colour` attribute: that one says what a catalogue would call the garment, this one what
its pixels are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.garment_pixels import garment_pixels
from models.oklab import srgb_to_oklab
from models.types import Box

COLOUR_ATTRIBUTE = "colour"
"""The attribute of an ontology whose values name colours."""

_MAX_COLOURS = 5
_MIN_SHARE = 0.06

# Anchors in sRGB, from dark to light and from dull to bright; the nearest in OKLab names a pixel. Names without a hue
# need the closest steps: where they are sparse, greys are taken for dull colours.
_ANCHORS: dict[str, str] = {
    "black": "0a0a0a 161618 222224 2e2e30 383839 241f1c 1b1d26",
    "white": "dedee0 eaeaea f4f4f2 ffffff",
    "grey": "48484a 58585a 6a6a6c 7c7c7e 8e8e90 a2a2a4 b6b6b8 cacacc 8b857c 5a5f66",
    "beige": "efe6d6 e8dcc4 d9c6a5 c8b08a cfc4b2 b5a58a d8c4b0",
    "brown": "38291f 4a2f1b 6b4423 8b5a2b a0673f 5c4a3c 7a5c46 8f7358 b07a4c",
    "red": "40141c 5a1a24 7e1820 a81c24 d0202a e8413c 8f2a3a c8323f",
    "orange": "c4561e d9691a f08024 ff9c4a f7a978",
    "yellow": "b8962c d0a838 e6bd1e f5d327 f8e680 f5ecb0",
    "green": "26382a 1f5a2c 2e8b3d 3fd17a 6fae54 9fd0a4 d4e6d0 46462c 5f6440 7b8b4a a9b88a 27524a 5c7c66 1f8a70",
    "blue": "2c4a8c 2a62c4 1c34a8 4f8fdc 9cc3ea c3d5e6 dde8f2 38506e 556880 4a6f9c 8496ab 1d6f8c 1fa0b8 7fd0e0 b4ddea",
    "navy": "0f1a33 16213f 1f2e56 262e44 2c3550 1c2a66",
    "purple": "3a2040 4a2560 6a2c91 8f5fb8 c0a0d8 dccbe6 523f5a 6e5a80 9a86a8 7a2a70 5a4fb0 2e1a78 3c20a0",
    "pink": "d6457e e0189a e86a98 f0a0b8 f8cdd6 f3dde0 cfa5a5 b8607a f59a8c",
}


@dataclass(frozen=True, slots=True)
class ColourShare:
    """A named colour, its median as #rrggbb, and its share of the garment's pixels in [0, 1]."""

    name: str
    hex: str
    share: float


def garment_colours(
    image: NDArray[np.uint8], box: Box, names: Sequence[str], others: Sequence[Box] = ()
) -> tuple[ColourShare, ...]:
    """Measure the colours of the garment in a box.

    Args:
        image: (H, W, 3) uint8 sRGB.
        box: the garment in pixels of that image; parts outside are cut off.
        names: the colour names to choose from; those without a known anchor are never answered.
        others: boxes of the other garments of the photo.

    Returns:
        At most five colours, largest share first, none below 6 %; empty if the box misses the image or no name is
        known.
    """
    known = tuple(name for name in names if name in _ANCHORS)
    pixels = garment_pixels(image, box, others) if known else None
    if pixels is None:
        return ()
    anchors, name_of_anchor = _anchors(known)
    # nearest by |p - a|^2 = |p|^2 - 2 p.a + |a|^2, of which the first is the same for every anchor
    nearness = pixels.oklab @ (2 * anchors.T) - (anchors**2).sum(axis=1)  # (N, anchors)
    name_of_pixel = name_of_anchor[nearness.argmax(axis=1)]
    shares = np.bincount(name_of_pixel, weights=pixels.weight, minlength=len(known)) / pixels.weight.sum()
    order = [index for index in np.argsort(-shares, kind="stable")[:_MAX_COLOURS] if shares[index] >= _MIN_SHARE]
    return tuple(
        ColourShare(known[index], _median_hex(pixels.rgb[name_of_pixel == index]), round(float(shares[index]), 3))
        for index in order
    )


def _median_hex(rgb: NDArray[np.uint8]) -> str:
    red, green, blue = np.median(rgb, axis=0).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


@cache
def _anchors(names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """OKLab of every anchor of these names, (A, 3), and which name each belongs to, (A,)."""
    anchors = [(index, bytes.fromhex(anchor)) for index, name in enumerate(names) for anchor in _ANCHORS[name].split()]
    rgb = np.array([list(anchor) for _, anchor in anchors], dtype=np.uint8)
    return srgb_to_oklab(rgb), np.array([index for index, _ in anchors])
