"""Sleeves: length, and how they are cut and set in; they follow the arms."""

from dataclasses import dataclass

import numpy as np

from models.rendering.outlines import Points, along, edges, join, points, smooth
from models.rendering.sewing import Folds, Profile, Sewn

_SHARE = {"short": (0.26, 0.36), "three_quarter": (0.60, 0.70), "long": (0.96, 1.0)}


@dataclass(frozen=True)
class Arm:
    """The right arm (x > 0) from shoulder over elbow to wrist, angles in radians against straight down."""

    upper: float
    lower: float
    length: float = 1.0

    @property
    def axis(self) -> Points:
        """(3, 2) joints."""
        start = np.array([0.40, 0.24])
        elbow = start + 0.80 * self.length * np.array([np.sin(self.upper), np.cos(self.upper)])
        wrist = elbow + 0.74 * self.length * np.array([np.sin(self.lower), np.cos(self.lower)])
        return np.stack([start, elbow, wrist]).astype(np.float32)


@dataclass(frozen=True)
class Armhole:
    """Where the sleeve meets the body: neck side, shoulder tip, underarm."""

    neck: tuple[float, float]
    tip: tuple[float, float]
    underarm: tuple[float, float]


def add_sleeves(
    sewn: Sewn, length: str, cut: str, arms: tuple[Arm, Arm], hole: Armhole, ease: float, rng: np.random.Generator
) -> None:
    """Add both sleeves and what shows their length and type.

    Args:
        sewn: the garment.
        length: value of sleeve_length other than sleeveless.
        cut: value of sleeve_type other than none.
        arms: right arm, and the left one as if it were right (it is mirrored).
        hole: armhole on the right.
        ease: how loose, 0 to 1.
        rng: decides details.
    """
    share = float(rng.uniform(*_SHARE[length]))
    state = int(rng.integers(1 << 30))
    for sign, arm in zip((1.0, -1.0), arms, strict=True):
        _add_sleeve(sewn, cut, share, arm, hole, ease, sign, np.random.default_rng(state))


def _widths(cut: str, t: np.ndarray, share: float, ease: float, rng: np.random.Generator) -> np.ndarray:
    """Half widths at shares t (0 to 1) of the sleeve's own length."""
    loose = 0.035 * ease
    plain = 0.155 + loose - (0.055 - 0.01 * ease) * t * min(1.0, share * 1.3)
    if cut == "puff":
        size = float(rng.uniform(0.13, 0.18))
        reach = 1.0 if share < 0.5 or rng.random() < 0.3 else 0.52
        bump = np.maximum(np.sin(np.pi * np.clip(t / reach, 0, 1)), 0.0) ** 0.75
        base = plain - 0.035 * np.clip(t / reach, 0, 1)
        return np.asarray(base + size * bump)
    if cut == "bell":
        start = 0.15 if share < 0.5 else 0.5
        flare = np.clip((t - start) / (1 - start), 0, 1)
        return np.asarray(plain - 0.02 + float(rng.uniform(0.19, 0.25)) * flare**1.15)
    return np.asarray(plain)


def _add_sleeve(
    sewn: Sewn, cut: str, share: float, arm: Arm, hole: Armhole, ease: float, sign: float, rng: np.random.Generator
) -> None:
    flip = np.array([sign, 1.0], dtype=np.float32)
    elbow_softened = smooth(arm.axis, 8)
    t = np.linspace(0.0, 1.0, 25, dtype=np.float32)
    axis = along(elbow_softened, t * share)
    widths = _widths(cut, t, share, ease, rng).astype(np.float32)
    outer, inner = edges(axis, widths)
    is_puff = cut == "puff"
    first_outer, first_inner = (3, 9) if share < 0.5 else (2, 7)
    cap = points(hole.tip, (hole.tip[0] + 0.045, hole.tip[1] + (0.0 if is_puff else 0.06)))
    if is_puff:
        cap = points(hole.tip, (hole.tip[0] + 0.06, hole.tip[1] - 0.05))
    # the armpit stays where the body has it, so the inner edge starts from there
    underarm = points(hole.underarm)
    below = inner[first_inner:][inner[first_inner:, 1] > hole.underarm[1] - 0.10]
    below = below if len(below) else inner[-2:]
    line = _armhole_line(cut, hole)
    rounded = outer[first_outer:-1]
    rounded = rounded[rounded[:, 1] > hole.tip[1] - (0.10 if is_puff else -0.03)]
    upper_edge = smooth(join(cap, rounded[::2], outer[-1:]), 3)
    outline = join(upper_edge, below[::-1], underarm, line[::-1])
    turn = float(np.arctan2(axis[-1, 0] - axis[0, 0], axis[-1, 1] - axis[0, 1]))
    across = (axis[-1] - axis[-3]) / max(float(np.linalg.norm(axis[-1] - axis[-3])), 1e-6)
    folds = _sleeve_folds(cut, axis)
    sewn.add(
        outline * flip,
        "sleeve",
        turn=-turn * sign,
        origin=(float(hole.tip[0] * sign), float(hole.tip[1])),
        light=0.02,
        folds=folds,
        shadow=0.14,
    )
    _sew(sewn, cut, hole, flip, t, axis, outer, inner, across)
    _prove(sewn, cut, hole, flip, axis, share)


def _armhole_line(cut: str, hole: Armhole) -> Points:
    """The seam between sleeve and body, from the top to the underarm."""
    middle = (hole.tip[1] + hole.underarm[1]) / 2
    if cut == "raglan":
        return smooth([hole.neck, (hole.tip[0] - 0.13, middle), hole.underarm], 8)
    return smooth([hole.tip, (hole.tip[0] - 0.045, middle), hole.underarm], 8)


def _sleeve_folds(cut: str, axis: Points) -> Folds | None:
    if cut not in ("puff", "bell"):
        return None
    low, high = float(axis[0, 1]), float(axis[-1, 1])
    reach = Profile.of((low - 1, 0.7), (high + 1, 0.7))
    return Folds("drape", 9.0, 0.16, low - 0.6 if cut == "puff" else low, reach)


def _sew(
    sewn: Sewn,
    cut: str,
    hole: Armhole,
    flip: Points,
    t: Points,
    axis: Points,
    outer: Points,
    inner: Points,
    across: Points,
) -> None:
    line = _armhole_line(cut, hole)
    width, strength = (0.026, 0.55) if cut == "raglan" else (0.02, 0.45)
    sewn.seam(line * flip, "sleeve", width, strength)
    if cut == "puff":
        for k in np.linspace(0.1, 0.9, 6):
            at = line[int(k * (len(line) - 1))]
            sewn.seam(np.stack([at, at + np.array([0.10, 0.02])]).astype(np.float32) * flip, "sleeve", 0.014, 0.35)
    back = across * (0.05 if cut != "puff" else 0.07)
    cuff = np.stack([outer[-1] - back, inner[-1] - back]).astype(np.float32)
    sewn.stitch(cuff * flip, "sleeve")
    if cut == "puff":
        sewn.seam(cuff * flip, "sleeve", 0.02, 0.5)


def _prove(sewn: Sewn, cut: str, hole: Armhole, flip: Points, axis: Points, share: float) -> None:
    whole = along(axis, np.linspace(0.45, 0.96, 14).astype(np.float32)) * flip
    upper = along(axis, np.linspace(0.2, 0.7, 12).astype(np.float32)) * flip
    sewn.evidence.setdefault("sleeve_length", []).append(whole)
    shows = whole if cut == "bell" else upper
    sewn.evidence.setdefault("sleeve_type", []).append(shows)


def prove_no_sleeves(sewn: Sewn, edge: Points) -> None:
    """Record that a bare armhole shows that there are no sleeves."""
    right = edge - np.array([0.06, 0.0], dtype=np.float32)
    left = right * np.array([-1.0, 1.0], dtype=np.float32)
    for name in ("sleeve_length", "sleeve_type"):
        sewn.evidence[name] = [right, left]
