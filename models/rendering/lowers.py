"""Trousers and skirts in body units."""

from collections.abc import Mapping

import numpy as np

from models.rendering.hems import finish_hem
from models.rendering.outlines import CROTCH_Y, Points, box, ellipse, join, mirror, points, smooth
from models.rendering.sewing import Folds, Piece, Profile, Seam, Sewn, Trim

_LEG_HEM = {"shorts": (2.15, 2.38), "knee": (2.76, 2.95), "cropped": (3.32, 3.50), "full": (3.88, 4.0)}
_SKIRT_HEM = {"mini": (2.08, 2.30), "knee": (2.76, 2.95), "midi": (3.30, 3.48), "maxi": (3.86, 4.0)}
_RISE_Y = {"high": (0.98, 1.06), "mid": (1.25, 1.32), "low": (1.50, 1.56)}
_METAL = np.array([190, 178, 150], dtype=np.float32)


def build_trousers(look: Mapping[str, str], rng: np.random.Generator) -> Sewn:
    """Trousers of the look's length, leg shape and rise."""
    top = float(rng.uniform(*_RISE_Y[look["rise"]]))
    hem = float(rng.uniform(*_LEG_HEM[look["length"]]))
    shape = look["leg_shape"]
    trunk = Profile.of((0.9, 0.36), (1.05, 0.355), (1.3, 0.425), (1.6, 0.49), (1.9, 0.49))
    right, axis = _leg(shape, trunk, top, hem, rng)
    sewn = Sewn(top_y=top, hem_y=hem)
    outline = join(right, mirror(right))
    folds = None
    if shape in ("wide", "flared"):
        folds = Folds(
            "drape",
            float(rng.integers(4, 7)),
            0.12,
            CROTCH_Y - 0.2,
            Profile.of((0, 0.6), (5, 0.6)),
            float(rng.uniform(0, 6)),
        )
    sewn.add(outline, "body", folds=folds, shadow=0.22)
    _sew_trunk(sewn, trunk, top, rng)
    hem_right = right[(right[:, 1] > hem - 0.02)]
    wide = float(hem_right[:, 0].max() - hem_right[:, 0].min())
    middle = float(hem_right[:, 0].mean())
    for sign in (-1.0, 1.0):
        x = middle * sign
        sewn.stitch(points((x - wide / 2 + 0.01, hem - 0.07), (x + wide / 2 - 0.01, hem - 0.07)), "body")
        if shape in ("straight", "wide") and rng.random() < 0.5:
            sewn.seam(points((0.25 * sign, CROTCH_Y), (x, hem - 0.08)), "body", 0.014, 0.22)
    rows = np.linspace(0.25, 0.95, 12)[:, None]
    right_leg = (axis[0] + (axis[1] - axis[0]) * rows).astype(np.float32)
    flip = np.array([-1.0, 1.0], dtype=np.float32)
    sewn.evidence["leg_shape"] = [right_leg, right_leg * flip]
    ends = points(*((middle + wide * k, hem - 0.07) for k in (-0.22, 0.0, 0.22)))
    sewn.evidence["length"] = [ends, ends * flip]
    half = float(trunk.at(top))
    sewn.evidence["rise"] = [points(*((x * half, top + 0.06) for x in (-0.8, -0.5, -0.2, 0.2, 0.5, 0.8)))]
    sewn.motifs = [(float(rng.choice([-0.25, 0.25])), min(2.25, hem - 0.24), 0.40)]
    return sewn


def _leg(shape: str, trunk: Profile, top: float, hem: float, rng: np.random.Generator) -> tuple[Points, Points]:
    """Outline of the right half from the waist's middle round the leg to the crotch, and the leg's axis."""
    t = np.linspace(0.0, 1.0, 13)
    y = CROTCH_Y - 0.02 + (hem - CROTCH_Y + 0.02) * t
    long = (hem - CROTCH_Y) / 2.1
    if shape == "skinny":
        half = 0.232 - 0.135 * (t * long) ** 0.75
        out = 0.49
    elif shape == "straight":
        half = 0.243 - 0.045 * t * long
        out = 0.49
    elif shape == "wide":
        half = 0.262 + (0.05 + 0.10 * long) * t
        out = 0.51
    else:
        start = 0.45 if long > 0.5 else 0.05
        fitted = 0.235 - 0.115 * np.minimum(t, start) * long * 1.8
        half = fitted + (0.19 if long > 0.35 else 0.16) * np.clip((t - start) / (1 - start), 0, 1) ** 1.1
        out = 0.485
    centre = 0.247 + 0.02 * t * long
    if shape in ("wide", "flared"):
        centre = np.maximum(centre, half + 0.012 + 0.045 * t)
    side = trunk.side(top, 1.62, 8)
    side[:, 0] += (out - 0.49) * np.linspace(0, 1, 8)
    outer = np.stack([centre + half, y], axis=1)[1:]
    inner = np.stack([centre - half, y], axis=1)[1:]
    inner[:, 0] = np.maximum(inner[:, 0], 0.008 + 0.04 * t[1:])
    outer_curve = smooth(join(side.astype(np.float32), outer.astype(np.float32)), 3)
    outline = join(
        points((0.0, top + 0.03)), outer_curve, inner[::-1].astype(np.float32), points((0.0, CROTCH_Y + 0.03))
    )
    axis = points((float(centre[0]), CROTCH_Y), (float(centre[-1]), hem))
    return outline, axis


def _sew_trunk(sewn: Sewn, trunk: Profile, top: float, rng: np.random.Generator) -> None:
    """Waistband, loops, fly, button, pockets; the fly reaches from waist to crotch, so its length tells the rise."""
    half = float(trunk.at(top))
    bottom = top + 0.10
    low = float(trunk.at(bottom))
    strap = join(
        smooth([(-half, top), (0.0, top + 0.03), (half, top)], 4),
        smooth([(low, bottom), (0.0, bottom + 0.03), (-low, bottom)], 4),
    )
    sewn.add(strap, "body", light=0.04, turn=np.pi / 2)
    sewn.seam(smooth([(-low, bottom), (0.0, bottom + 0.03), (low, bottom)], 4), "body", 0.02, 0.5)
    for x in (-0.7, -0.35, 0.35, 0.7):
        sewn.seams.append(Seam(points((x * half, top), (x * half, bottom + 0.02)), "body", 0.03, 0.35))
    sewn.seam(points((0.0, bottom), (0.0, CROTCH_Y + 0.02)), "body", 0.018, 0.5)
    fly = CROTCH_Y - 0.10
    sewn.stitch(smooth([(0.075, bottom + 0.02), (0.075, fly - 0.12), (0.0, fly)], 5), "body")
    for size, colour in ((0.034, _METAL * 0.5), (0.026, _METAL)):
        sewn.trims.append(Trim(ellipse(0.0, top + 0.075, size, size, 10), "body", colour, 0.0))
    for sign in (-1.0, 1.0):
        x = low * sign
        sewn.stitch(
            smooth([(x * 0.62, bottom + 0.02), (x * 0.72, bottom + 0.14), (x * 1.08, bottom + 0.22)], 4), "body"
        )
        sewn.seam(points((0.0, CROTCH_Y + 0.01), (0.10 * sign, CROTCH_Y + 0.06)), "body", 0.016, 0.3)


def build_skirt(look: Mapping[str, str], rng: np.random.Generator) -> Sewn:
    """A skirt of the look's silhouette, length and hem."""
    hem = float(rng.uniform(*_SKIRT_HEM[look["length"]]))
    top = float(rng.uniform(1.0, 1.14))
    silhouette = look["silhouette"]
    widen = float(rng.uniform(0, 1))
    waves, folds = 0.0, None
    waist = 0.36
    if silhouette == "pencil":
        profile = Profile.of((top, waist), (1.6, 0.485), (1.9, 0.48), (max(hem, 1.95), 0.41 - 0.02 * widen))
    elif silhouette == "a_line":
        wide = 0.44 + (0.165 + 0.04 * widen) * (hem - 1.05) ** 0.75
        profile = Profile.of((top, waist), (1.3, 0.45), (hem, wide), (hem + 0.3, wide + 0.03))
    else:
        long = hem - 1.05
        is_flared = silhouette == "flared"
        reach = (0.53 + 0.08 * widen) * long**0.45 if is_flared else (0.35 + 0.05 * widen) * long**0.55
        share = np.linspace(0, 1, 8)
        spread = waist + reach * share**0.85
        profile = Profile.of(*((top + float(a) * (hem - top), float(b)) for a, b in zip(share, spread, strict=True)))
        if is_flared:
            folds = Folds("drape", float(rng.integers(4, 7)), 0.30, top, profile, float(rng.uniform(0, 6)))
            waves = 0.055
        else:
            folds = Folds("pleat", float(rng.integers(6, 10)), 0.36, top + 0.08, profile)
    sewn = Sewn(top_y=top, hem_y=hem)
    edge = finish_hem(sewn, look["hemline"], profile, hem, rng, waves)
    right = profile.side(top, float(edge[0, 1]))
    left = profile.side(top, float(edge[-1, 1]))
    outline = join(smooth([(-waist, top), (0.0, top + 0.03), (waist, top)], 4), right, edge, mirror(left))
    sewn.pieces.insert(0, Piece(outline, "body", folds=folds, shadow=0.22))
    strap = join(box(-waist, top, waist, top + 0.10))
    sewn.add(strap, "body", light=0.05, turn=np.pi / 2)
    sewn.seam(smooth([(-waist, top + 0.10), (0.0, top + 0.12), (waist, top + 0.10)], 4), "body", 0.02, 0.5)
    if silhouette == "pencil":
        for sign in (-1.0, 1.0):
            sewn.seam(points((0.17 * sign, top + 0.1), (0.2 * sign, top + 0.45)), "body", 0.014, 0.35)
    low_y = min(hem - 0.15, 2.6)
    shape = [(s * float(profile.at(y)) * 0.8, float(y)) for s in (-1, 1) for y in np.linspace(top + 0.3, low_y, 5)]
    sewn.evidence["silhouette"] = [points(*shape)]
    sewn.motifs = [(float(rng.choice([-0.12, 0.12])), min(1.75, hem - 0.35), 0.46)]
    return sewn
