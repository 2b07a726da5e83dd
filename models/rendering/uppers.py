"""Tops, dresses and outerwear in body units."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.rendering import necklines
from models.rendering.closures import add_button, add_closure
from models.rendering.hems import finish_hem
from models.rendering.outlines import Points, join, mirror, points, smooth
from models.rendering.sewing import Folds, Profile, Sewn
from models.rendering.sleeves import Arm, Armhole, add_sleeves, prove_no_sleeves

Look = Mapping[str, str]
"""Attribute -> value of one garment (colour aside)."""

_TOP_HEM = {"cropped": (0.84, 0.98), "regular": (1.42, 1.58), "long": (1.84, 2.0)}
_COAT_HEM = {"short": (1.02, 1.16), "hip": (1.56, 1.78), "knee": (2.65, 2.90), "long": (3.40, 3.75)}
DRESS_HEM = {"mini": (2.26, 2.42), "knee": (2.80, 2.96), "midi": (3.30, 3.48), "maxi": (3.86, 4.0)}


@dataclass(frozen=True)
class Wearing:
    """How a garment is shown: on a figure or laid out, and where the arms are (right, left as if right)."""

    is_worn: bool
    arms: tuple[Arm, Arm]


def build_top(look: Look, wearing: Wearing, rng: np.random.Generator) -> Sewn:
    """A top of the look's neckline, sleeves and length."""
    hem = float(rng.uniform(*_TOP_HEM[look["length"]]))
    ease = float(rng.uniform(0, 1))
    chest, waist = 0.43 + 0.07 * ease, 0.385 + 0.13 * ease
    low = 0.52 + 0.05 * ease
    profile = Profile.of((0.3, chest), (0.6, chest), (1.05, waist), (1.6, low), (2.4, low + 0.10))
    sewn = Sewn(hem_y=hem)
    _trunk(sewn, look, wearing, profile, hem, rng, ease, hem_kind="straight", waves=0.0)
    sewn.motifs = [(0.0, min(0.62 + 0.05 * ease, hem - 0.32), 0.5)]
    if look["neckline"] == "shirt_collar":
        _placket(sewn, 0.2, hem, rng)
        sewn.motifs = [(float(rng.choice([-0.2, 0.2])), 0.62, 0.34)]
    return sewn


def build_dress(look: Look, wearing: Wearing, rng: np.random.Generator) -> Sewn:
    """A dress of the look's silhouette, neckline, sleeves, length and hem."""
    hem = float(rng.uniform(*DRESS_HEM[look["length"]]))
    silhouette = look["silhouette"]
    widen = float(rng.uniform(0.0, 1.0))
    folds: Folds | None = None
    waves = 0.0
    if silhouette == "sheath":
        profile = Profile.of(
            (0.3, 0.42), (0.6, 0.42), (1.05, 0.335), (1.6, 0.475), (1.9, 0.47), (hem, 0.40 + 0.03 * widen)
        )
    elif silhouette == "shift":
        profile = Profile.of((0.3, 0.49), (0.6, 0.50), (hem, 0.56 + 0.04 * widen))
    elif silhouette == "a_line":
        wide = 0.45 + (0.21 + 0.04 * widen) * (hem - 1.05) ** 0.75
        profile = Profile.of((0.3, 0.40), (0.6, 0.41), (1.05, 0.46), (hem, wide), (hem + 0.3, wide + 0.03))
    else:
        y = np.linspace(1.05, hem, 8)
        wide = (0.52 + 0.08 * widen) * (hem - 1.05) ** 0.5
        spread = 0.335 + wide * ((y - 1.05) / (hem - 1.05)) ** 0.82
        profile = Profile.of(
            (0.3, 0.415),
            (0.6, 0.415),
            (0.95, 0.345),
            *((float(a), float(b)) for a, b in zip(y, spread, strict=True)),
        )
        folds = Folds("drape", float(rng.integers(5, 9)), 0.22, 1.05, profile, float(rng.uniform(0, 6)))
        waves = 0.035
    sewn = Sewn(hem_y=hem)
    _trunk(
        sewn, look, wearing, profile, hem, rng, 0.25 if silhouette != "shift" else 0.9, look["hemline"], waves, folds
    )
    if silhouette == "fit_and_flare":
        waist = points(*((x * 0.34, 1.06 + 0.02 * (1 - x * x)) for x in np.linspace(-1, 1, 9)))
        sewn.seam(waist, "body", 0.03, 0.55)
    elif silhouette == "sheath":
        for sign in (-1.0, 1.0):
            sewn.seam(smooth([(0.2 * sign, 0.62), (0.16 * sign, 1.05), (0.21 * sign, 1.5)], 6), "body", 0.014, 0.35)
    if look["neckline"] == "shirt_collar":
        _placket(sewn, 0.2, min(hem, 1.9), rng)
    hips = [(s * float(profile.at(y)) * 0.8, y) for s in (-1, 1) for y in (0.95, 1.05, 1.2, 1.5, 1.75, 2.0)]
    sewn.evidence["silhouette"] = [points(*hips, (0.0, 1.05), (0.0, 1.6))]
    sewn.motifs = [(0.0, 0.68, 0.5)]
    return sewn


def build_outerwear(look: Look, wearing: Wearing, rng: np.random.Generator) -> Sewn:
    """A coat or jacket of the look's collar, sleeves, length and closure."""
    hem = float(rng.uniform(*_COAT_HEM[look["length"]]))
    ease = float(rng.uniform(0.35, 1.0))
    chest, low = 0.47 + 0.06 * ease, 0.53 + 0.06 * ease
    waist = 0.43 if look["closure"] == "belted" else 0.45 + 0.08 * ease
    profile = Profile.of((0.3, chest), (0.6, chest), (1.1, waist), (1.6, low), (4.0, low + 0.16))
    sewn = Sewn(hem_y=hem)
    _trunk(sewn, look, wearing, profile, hem, rng, ease, hem_kind="straight", waves=0.0)
    depth = _collar(sewn, look["collar"], wearing.is_worn, hem, rng)
    add_closure(sewn, look["closure"], depth, hem, profile, rng)
    if look["closure"] != "belted" and hem > 1.3:
        for sign in (-1.0, 1.0):
            y = min(1.45, hem - 0.25)
            flap = points((0.18 * sign, y), (0.38 * sign, y - 0.03), (0.38 * sign, y + 0.06), (0.18 * sign, y + 0.09))
            sewn.seam(join(flap, flap[:1]), "body", 0.016, 0.4)
    side = float(rng.choice([-1, 1]))
    sewn.motifs = [(0.27 * side, 0.68, 0.30), (-0.27 * side, 0.68, 0.30)]
    return sewn


def _collar(sewn: Sewn, value: str, is_worn: bool, hem: float, rng: np.random.Generator) -> float:
    """Sew the collar; returns where the front closes below it."""
    sewn.evidence.pop("neckline", None)
    if value == "notched_lapel":
        depth = min(float(rng.uniform(0.62, 0.85)), hem - 0.3)
        _inner_vee(sewn, depth)
        necklines.add_lapels(sewn, depth)
        return depth
    depth = 0.2
    if value == "shirt_collar":
        necklines.add_shirt_collar(sewn, depth, 1.1)
        sewn.evidence["collar"] = sewn.evidence.pop("neckline")
    elif value == "stand_collar":
        necklines.add_stand_collar(sewn, depth, rng)
    elif value == "hood":
        necklines.add_hood(sewn, depth, is_worn, rng)
    return depth


def _inner_vee(sewn: Sewn, depth: float) -> None:
    """The dark inside that shows between the lapels."""
    sewn.add(points((-0.14, 0.0), (0.14, 0.0), (0.13, 0.12), (0.0, depth), (-0.13, 0.12)), "front", light=-0.42)


def _trunk(
    sewn: Sewn,
    look: Look,
    wearing: Wearing,
    profile: Profile,
    hem: float,
    rng: np.random.Generator,
    ease: float,
    hem_kind: str,
    waves: float,
    folds: Folds | None = None,
) -> None:
    """The body of the garment with neckline, armholes, hem and sleeves."""
    is_coat = "collar" in look
    neck_value = look.get("neckline", "coat")
    if is_coat and look["collar"] == "collarless":
        neck_value = "round" if look["closure"] != "belted" and rng.random() < 0.5 else "v_neck"
    neck = necklines.cut_neck(neck_value, rng)
    is_bare = look["sleeve_length"] == "sleeveless"
    off = neck_value == "off_shoulder"
    tip_x = 0.475 + 0.04 * ease * (not is_bare)
    if is_bare:
        tip_x = max(neck.side[0] + 0.07, float(rng.uniform(0.36, 0.43)))
    tip = (tip_x, 0.10 if not is_bare else 0.09)
    under = (float(profile.at(0.55)), 0.50 + (0.06 * ease if not is_bare else 0.0))
    if off:
        tip = (0.46, 0.37)
    inward = 0.02 if is_bare else -0.02  # below a sleeve the body reaches a little further
    armhole = points(under) if off and is_bare else smooth([tip, (tip[0] - inward, (tip[1] + under[1]) / 2), under], 6)
    edge = finish_hem(sewn, hem_kind, profile, hem, rng, waves)
    corner = float(edge[0, 1])
    right = join(neck.edge[::-1], armhole, profile.side(under[1] + 0.03, max(corner, under[1] + 0.1)))
    left_corner = float(edge[-1, 1])
    left = join(neck.edge[::-1], armhole, profile.side(under[1] + 0.03, max(left_corner, under[1] + 0.1)))
    _open_or_whole(sewn, look, join(right, edge, mirror(left)), hem, profile, rng, folds)
    necklines_value = neck_value if not is_coat or look["collar"] == "collarless" else ""
    if necklines_value:
        necklines.finish_neck(sewn, necklines_value, neck, wearing.is_worn, is_bare, rng)
        if is_coat:
            sewn.evidence["collar"] = sewn.evidence.pop("neckline")
    elif not wearing.is_worn:
        sewn.add(join(neck.edge, mirror(neck.edge)[1:]), "back", light=-0.34)
    if is_bare:
        prove_no_sleeves(sewn, armhole[1:-1] if not off else points((0.40, 0.5), (0.42, 0.55)))
        if not off:
            sewn.seam(armhole, "body", 0.02, 0.4)
            sewn.seam(mirror(armhole), "body", 0.02, 0.4)
    else:
        hole = Armhole(neck.side if neck.side[0] < tip[0] else tip, tip, under)
        add_sleeves(sewn, look["sleeve_length"], look["sleeve_type"], wearing.arms, hole, ease, rng)


def _open_or_whole(
    sewn: Sewn, look: Look, outline: Points, hem: float, profile: Profile, rng: np.random.Generator, folds: Folds | None
) -> None:
    if look.get("closure") != "open":
        sewn.add(outline, "body", folds=folds, shadow=0.2)
        return
    gap = float(rng.uniform(0.10, 0.15))
    sway = float(rng.uniform(0.5, 1.3))
    low = min(0.75 * float(profile.at(hem)), gap + sway * 0.12 * (hem - 0.3))
    sewn.add(outline, "back", light=-0.40)
    right = outline[outline[:, 0] >= gap * 0.8]
    left = outline[outline[:, 0] <= -gap * 0.8]
    middle = smooth([(gap, 0.06), (gap * 1.05, 0.6), (low, hem - 0.01)], 8)
    sewn.add(join(middle[:1] * np.array([1.1, 0.0], dtype=np.float32), right, middle[::-1]), "body", shadow=0.3)
    other = mirror(middle)[::-1]
    sewn.add(join(other, left), "body", shadow=0.3)
    for line in (middle, other):
        sewn.seam(line, "body", 0.022, 0.4)
    sewn.evidence["closure"] = [
        join(
            middle[4::2] + np.array([0.06, 0.0], dtype=np.float32),
            other[4::2] - np.array([0.06, 0.0], dtype=np.float32),
        )
    ]


def _placket(sewn: Sewn, top: float, hem: float, rng: np.random.Generator) -> None:
    for x in (-0.05, 0.05):
        sewn.seam(points((x, top), (x, hem - 0.03)), "body", 0.013, 0.35)
    light = np.array([232, 228, 218] if rng.random() < 0.6 else [40, 38, 36], dtype=np.float32)
    for y in np.arange(top + 0.14, hem - 0.1, 0.27):
        add_button(sewn, 0.0, float(y), 0.024, light)
