"""Which garments a photo shows and what they look like: attribute values drawn evenly."""

from dataclasses import replace

import numpy as np

from models.ontology import Category
from models.rendering.fabric import Cloth, sample_cloth
from models.rendering.lowers import build_skirt, build_trousers
from models.rendering.palette import COLOUR_NAMES
from models.rendering.sewing import Sewn
from models.rendering.uppers import Wearing, build_dress, build_outerwear, build_top
from models.types import NONE, NOT_VISIBLE

CATEGORIES = ("top", "outerwear", "dress", "trousers", "skirt")
"""What the renderer can draw."""

_FAVOURED = {"solid": 2.5, "smooth": 1.5}
"""Values that shops show more often than others of the same attribute."""

_USUAL = {"denim": ("blue", "navy", "blue", "black", "white", "grey"), "leather": ("black", "brown", "beige", "red")}
"""Colours that cloth of a texture often has; all others occur as well."""


def sample_look(category: Category, rng: np.random.Generator, **fixed: str) -> dict[str, str]:
    """One value for every attribute, evenly, in combinations that can be sewn.

    Args:
        category: of the embedded ontology.
        rng: decides.
        fixed: attribute values that are given.
    """
    look: dict[str, str] = {}
    for name, attribute in category.attributes.items():
        values = [value for value in attribute.values if value not in (NOT_VISIBLE, NONE)]
        weights = np.array([_FAVOURED.get(value, 1.0) for value in values])
        look[name] = values[int(rng.choice(len(values), p=weights / weights.sum()))]
    look.update(fixed)
    if look.get("sleeve_length") == "sleeveless":
        look["sleeve_type"] = NONE
    elif look.get("neckline") == "off_shoulder" and look["sleeve_type"] == "raglan":
        look["sleeve_type"] = ("puff", "bell", "set_in")[int(rng.integers(3))]
    return look


def sew(category: str, look: dict[str, str], wearing: Wearing, rng: np.random.Generator) -> Sewn:
    """Build the garment of a look.

    Raises:
        KeyError: if the category cannot be drawn.
    """
    if category in ("trousers", "skirt"):
        return {"trousers": build_trousers, "skirt": build_skirt}[category](look, rng)
    return {"top": build_top, "dress": build_dress, "outerwear": build_outerwear}[category](look, wearing, rng)


def cloth_of(look: dict[str, str], sewn: Sewn, rng: np.random.Generator, avoid: set[str]) -> Cloth:
    """Cloth for a look, in a colour that the other garments of an outfit do not have."""
    names = [name for name in COLOUR_NAMES if name not in avoid] or list(COLOUR_NAMES)
    usual = [name for name in _USUAL.get(look["texture"], ()) if name in names]
    if usual and rng.random() < 0.4:
        names = usual
    colour = names[int(rng.integers(len(names)))]
    cloth = sample_cloth(rng, colour, look["pattern"], look["texture"], sewn.top_y, sewn.hem_y)
    if look["pattern"] == "graphic" and sewn.motifs:
        x, y, size = sewn.motifs[int(rng.integers(len(sewn.motifs)))]
        cloth = replace(cloth, motif=(x, y, size * float(rng.uniform(0.9, 1.15))))
    return cloth
