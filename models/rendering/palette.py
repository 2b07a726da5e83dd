"""Colours that can be told apart by eye: clearly separated regions of OKLCh for the colour names of the ontology.

The matrices from OKLab to linear sRGB are Björn Ottosson's, https://bottosson.github.io/posts/oklab/.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.float32]
"""(3,) sRGB in 0 to 255."""


@dataclass(frozen=True)
class _Region:
    """A box in OKLCh: lightness 0 to 1, chroma, hue in degrees; `weight` is its share of the name's samples."""

    lightness: tuple[float, float]
    chroma: tuple[float, float]
    hue: tuple[float, float]
    weight: float = 1.0


_REGIONS: dict[str, tuple[_Region, ...]] = {
    "black": (_Region((0.13, 0.21), (0.0, 0.008), (0, 360)),),
    "white": (_Region((0.955, 0.99), (0.0, 0.008), (0, 360)),),
    "grey": (_Region((0.50, 0.62), (0.0, 0.010), (0, 360)), _Region((0.64, 0.76), (0.0, 0.008), (0, 360), 0.7)),
    "beige": (_Region((0.80, 0.88), (0.038, 0.060), (70, 86)),),
    "brown": (_Region((0.34, 0.46), (0.060, 0.095), (45, 62)), _Region((0.30, 0.36), (0.045, 0.065), (45, 62), 0.4)),
    "red": (_Region((0.49, 0.58), (0.185, 0.225), (22, 29)), _Region((0.42, 0.48), (0.165, 0.18), (20, 27), 0.4)),
    "orange": (_Region((0.67, 0.76), (0.160, 0.185), (48, 61)),),
    "yellow": (_Region((0.86, 0.92), (0.140, 0.180), (95, 106)),),
    "green": (
        _Region((0.50, 0.66), (0.120, 0.170), (140, 156)),
        _Region((0.38, 0.46), (0.075, 0.105), (138, 156), 0.7),
        _Region((0.80, 0.86), (0.080, 0.120), (140, 158), 0.4),
    ),
    "blue": (
        _Region((0.50, 0.64), (0.130, 0.180), (248, 263)),
        _Region((0.72, 0.80), (0.080, 0.110), (238, 252), 0.7),
        _Region((0.47, 0.56), (0.085, 0.110), (248, 258), 0.5),
    ),
    "navy": (_Region((0.25, 0.30), (0.075, 0.110), (262, 273)),),
    "purple": (
        _Region((0.42, 0.58), (0.150, 0.200), (300, 315)),
        _Region((0.72, 0.78), (0.090, 0.120), (301, 311), 0.5),
    ),
    "pink": (_Region((0.78, 0.86), (0.075, 0.120), (352, 368)), _Region((0.66, 0.72), (0.190, 0.230), (350, 358), 0.6)),
}

_HARD_TO_TELL = (
    {"black", "navy"},
    {"white", "beige"},
    {"navy", "blue"},
    {"red", "orange"},
    {"red", "pink"},
    {"beige", "yellow"},
    {"beige", "pink"},
    {"brown", "black"},
    {"brown", "red"},
    {"brown", "orange"},
    {"grey", "beige"},
    {"purple", "blue"},
    {"purple", "pink"},
    {"brown", "purple"},
    {"black", "brown"},
    {"grey", "green"},
    {"grey", "white"},
    {"green", "blue"},
    {"orange", "yellow"},
    {"purple", "navy"},
)

COLOUR_NAMES: tuple[str, ...] = tuple(_REGIONS)


def sample_colour(name: str, rng: np.random.Generator) -> Rgb:
    """One colour that anyone would call by this name.

    Raises:
        KeyError: if the name is none of `COLOUR_NAMES`.
    """
    regions = _REGIONS[name]
    weights = np.array([region.weight for region in regions])
    region = regions[int(rng.choice(len(regions), p=weights / weights.sum()))]
    lightness, chroma, hue = (float(rng.uniform(*bounds)) for bounds in (region.lightness, region.chroma, region.hue))
    return oklch_to_rgb(lightness, chroma, hue)


def any_colour(rng: np.random.Generator) -> Rgb:
    """A colour of things, mostly muted."""
    chroma = float(rng.uniform(0.0, 0.06) if rng.random() < 0.55 else rng.uniform(0.06, 0.17))
    return oklch_to_rgb(float(rng.uniform(0.25, 0.92)), chroma, float(rng.uniform(0, 360)))


def sample_second_name(first: str, rng: np.random.Generator) -> str:
    """A colour name that stands out well against the first on one garment."""
    others = [name for name in COLOUR_NAMES if name != first and {name, first} not in _HARD_TO_TELL]
    return others[int(rng.integers(len(others)))]


def oklch_to_rgb(lightness: float, chroma: float, hue_deg: float) -> Rgb:
    """OKLCh to sRGB, clipped to what sRGB can show."""
    a = chroma * np.cos(np.radians(hue_deg))
    b = chroma * np.sin(np.radians(hue_deg))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.array(
        [
            4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
        ]
    ).clip(0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    return np.asarray(encoded * 255.0, dtype=np.float32)


def luminance(rgb: Rgb) -> float:
    """Perceived lightness of an sRGB colour, about 0 to 1."""
    return float(rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)) / 255.0
