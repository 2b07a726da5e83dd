"""The lower edge of tops, coats, dresses and skirts: straight, asymmetric, ruffled, slit."""

import numpy as np
from numpy.typing import NDArray

from models.rendering.outlines import Points, join, mirror, points
from models.rendering.sewing import Folds, Profile, Sewn


def hem_edge(kind: str, profile: Profile, y: float, rng: np.random.Generator, waves: float) -> Points:
    """The lower edge from its right corner to its left one; for `ruffled` the edge that the flounce hangs from.

    Args:
        kind: value of the attribute hemline.
        profile: width of the garment.
        y: height of the lowest part of the edge.
        rng: decides details.
        waves: how much a wide skirt's edge undulates, 0 for none.
    """
    share = np.linspace(1.0, -1.0, 41)
    half = float(profile.at(y))
    heights: NDArray[np.float64]
    if kind == "asymmetric":
        drop = float(rng.uniform(0.45, 0.65))
        heights = y - drop * (share + 1) / 2 if rng.random() < 0.6 else y - drop * (1 - np.abs(share)) ** 1.3 * 1.1
    else:
        heights = y - 0.045 * share**2
        if waves:
            heights = heights + waves * np.sin(share * np.pi * float(rng.uniform(3.0, 4.5)) + float(rng.uniform(0, 6)))
    edge = np.stack([share * np.interp(heights, profile.y, profile.half_width), heights], axis=1).astype(np.float32)
    if kind == "asymmetric" and rng.random() < 0.5:
        edge = mirror(edge)
    if kind == "slit":
        edge = _cut_slit(edge, half, y, rng)
    return edge


def _cut_slit(edge: Points, half: float, y: float, rng: np.random.Generator) -> Points:
    at = float(rng.choice([-1.0, 1.0])) * half * float(rng.uniform(0.35, 0.55))
    gap, depth = float(rng.uniform(0.09, 0.13)), float(rng.uniform(0.5, 0.75))
    keep_right, keep_left = edge[edge[:, 0] > at + gap], edge[edge[:, 0] < at - gap]
    notch = points(
        (at + gap, y),
        (at + gap * 0.55, y - depth * 0.6),
        (at, y - depth),
        (at - gap * 0.55, y - depth * 0.6),
        (at - gap, y),
    )
    return join(keep_right, notch, keep_left)


def add_flounce(sewn: Sewn, profile: Profile, y: float, height: float, rng: np.random.Generator) -> None:
    """Hang a ruffle from y - height to y below the garment."""
    top, share = y - height, np.linspace(1.0, -1.0, 81, dtype=np.float32)
    count = float(rng.integers(6, 10))
    wide = float(profile.at(top)) * float(rng.uniform(1.14, 1.24)) + 0.03
    lower = y - 0.03 * share**2 + 0.035 * np.cos(share * np.pi * count)
    edge = np.stack([share * wide, lower], axis=1).astype(np.float32)
    narrow = float(profile.at(top)) + 0.01
    outline = join(points((-narrow, top - 0.02), (narrow, top - 0.02)), edge)
    spread = Profile.of((top, narrow), (y, wide))
    sewn.add(outline, "body", folds=Folds("drape", count * 2, 0.34, top - 0.25, spread, np.pi / 2), shadow=0.25)
    sewn.seam(points((-narrow, top), (narrow, top)), "body", 0.022, 0.45)


def hem_points(edge: Points, y_up: float = 0.06) -> Points:
    """Points on the cloth just above an edge."""
    inner = edge[:: max(1, len(edge) // 16)].copy()
    inner[:, 0] *= 0.93
    inner[:, 1] -= y_up
    return inner


def finish_hem(sewn: Sewn, kind: str, profile: Profile, y: float, rng: np.random.Generator, waves: float) -> Points:
    """Make the lower edge, add a flounce where it belongs, record evidence; returns the edge of the main piece."""
    if kind == "ruffled":
        height = float(rng.uniform(0.24, 0.36))
        edge = hem_edge("straight", profile, y - height + 0.03, rng, 0.0)
        add_flounce(sewn, profile, y, height, rng)
        low = hem_points(edge + np.array([0, height - 0.05], dtype=np.float32))
        sewn.evidence["hemline"] = [join(low, hem_points(edge))]
    else:
        edge = hem_edge(kind, profile, y, rng, waves)
        low = hem_points(edge)
        sewn.evidence["hemline"] = [low]
        if kind != "slit" and not waves:
            sewn.stitch(edge - np.array([0, 0.06], dtype=np.float32), "body")
    sewn.evidence["length"] = [low]
    return edge
