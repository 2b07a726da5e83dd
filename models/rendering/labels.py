"""What can be seen of each garment: its box, its colours, and which attributes the photo shows."""

import numpy as np

from models.ontology import Ontology
from models.rendering.canvas import Canvas
from models.rendering.dresser import Garment, seen_share, spots_of
from models.types import NOT_VISIBLE, Box, LabelledGarment

_SEEN, _HIDDEN = 0.55, 0.2
"""An attribute is labelled from the first share of its evidence on, not visible up to the second."""
_MAIN_SHARE = 0.08
"""A second colour counts as a main one from this share of what one sees of the garment."""


def label(canvas: Canvas, garment: Garment, area_px: int, ontology: Ontology) -> LabelledGarment | None:
    """Label a garment as the finished photo shows it; None if hardly anything of it is left.

    Args:
        canvas: the finished photo.
        garment: one of its garments.
        area_px: its pixels before anything was laid over it.
        ontology: attributes and values it lacks are left out.
    """
    mask = canvas.owner == garment.owner
    seen_px = int(mask.sum())
    if seen_px < max(0.12 * area_px, 0.0025 * mask.size):
        return None
    ink_share = float(canvas.ink[mask].mean())
    found: dict[str, tuple[str, ...]] = {"colour": _colours(garment, ink_share), "texture": (garment.look["texture"],)}
    if _shows_pattern(garment, ink_share):
        found["pattern"] = (garment.look["pattern"],)
    for name in garment.look:
        if name not in ("pattern", "texture", "colour"):
            value = _judge(canvas, garment, name)
            if value is not None:
                found[name] = (value,)
    return LabelledGarment(garment.category, box_of(mask), _known(found, garment.category, ontology))


def box_of(mask: np.ndarray) -> Box:
    """The tight box of a mask; a row or column counts from two pixels on."""
    columns = np.flatnonzero(mask.sum(axis=0) > 1)
    rows = np.flatnonzero(mask.sum(axis=1) > 1)
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _colours(garment: Garment, ink_share: float) -> tuple[str, ...]:
    cloth = garment.cloth
    if cloth.pattern == "solid" or ink_share < _MAIN_SHARE:
        return (cloth.base_name,)
    if ink_share > 1 - _MAIN_SHARE:
        return (cloth.second_name,)
    return (cloth.base_name, cloth.second_name)


def _shows_pattern(garment: Garment, ink_share: float) -> bool:
    if garment.cloth.pattern == "graphic":
        return ink_share > 0.015
    if garment.cloth.pattern == "solid":
        return True
    return 0.05 < ink_share < 0.95


def _judge(canvas: Canvas, garment: Garment, name: str) -> str | None:
    alternatives = spots_of(garment, name)
    if not alternatives:
        return garment.look[name]
    share = max(seen_share(canvas, garment.owner, spots) for spots in alternatives)
    if share >= _SEEN:
        return garment.look[name]
    return NOT_VISIBLE if share <= _HIDDEN else None


def _known(found: dict[str, tuple[str, ...]], category: str, ontology: Ontology) -> dict[str, tuple[str, ...]]:
    attributes = ontology.categories[category].attributes
    return {
        name: found[name]
        for name, attribute in attributes.items()
        if name in found and all(value in attribute.values for value in found[name])
    }
