"""Necklines of tops and dresses and collars of coats: the cut-out, and what is sewn on it."""

from dataclasses import dataclass

import numpy as np

from models.rendering.outlines import Points, join, mirror, points, smooth
from models.rendering.sewing import Sewn


@dataclass(frozen=True)
class Neck:
    """The right half of a neckline from the neck side down to the middle of the front."""

    edge: Points  # first point: at the shoulder line; last point: x = 0

    @property
    def side(self) -> tuple[float, float]:
        """Where it meets the shoulder."""
        return float(self.edge[0, 0]), float(self.edge[0, 1])

    @property
    def depth(self) -> float:
        """Its lowest point."""
        return float(self.edge[-1, 1])


def cut_neck(value: str, rng: np.random.Generator) -> Neck:
    """The cut-out for a value of neckline; body units."""
    r = rng.uniform
    if value == "round":
        w, d = float(r(0.21, 0.27)), float(r(0.24, 0.33))
        turn = np.linspace(0, np.pi / 2, 12)
        return Neck(np.stack([w * np.cos(turn), 0.01 + d * np.sin(turn)], axis=1).astype(np.float32))
    if value == "v_neck":
        w, d = float(r(0.19, 0.25)), float(r(0.5, 0.75))
        return Neck(points((w, 0.01), (w * 0.52, d * 0.5), (0.0, d)))
    if value == "square":
        w, d = float(r(0.25, 0.31)), float(r(0.33, 0.46))
        return Neck(points((w, 0.02), (w, d), (0.0, d)))
    if value == "boat":
        w, d = float(r(0.36, 0.40)), float(r(0.05, 0.08))
        return Neck(smooth([(w, 0.07), (w * 0.6, 0.06 + d * 0.75), (0.0, 0.06 + d)], 6))
    if value == "off_shoulder":
        return Neck(smooth([(0.46, 0.36), (0.25, 0.40), (0.0, float(r(0.40, 0.44)))], 6))
    if value == "high_neck":
        return Neck(smooth([(0.17, 0.0), (0.09, 0.07), (0.0, 0.09)], 6))
    return Neck(
        smooth([(0.18, 0.0), (0.10, 0.12), (0.0, float(r(0.16, 0.24)))], 6)
    )  # shirt_collar and collars of coats


def finish_neck(sewn: Sewn, value: str, neck: Neck, is_worn: bool, is_bare: bool, rng: np.random.Generator) -> None:
    """Sew the edge or the collar of a top or dress and record where the neckline shows."""
    whole = join(neck.edge, mirror(neck.edge)[1:])
    if not is_worn and value not in ("off_shoulder", "high_neck"):
        rise = 0.05 if value != "boat" else 0.03
        back = smooth([neck.side, (neck.side[0] * 0.5, neck.side[1] + rise), (0.0, neck.side[1] + rise + 0.01)], 6)
        sewn.add(join(whole, mirror(back), back), "back", light=-0.34)
        tag = points((-0.05, back[-1, 1]), (0.05, back[-1, 1]), (0.05, back[-1, 1] + 0.06), (-0.05, back[-1, 1] + 0.06))
        if value in ("round", "v_neck", "square"):
            sewn.seam(join(tag, tag[:1]), "back", 0.02, 0.35)
    if value == "high_neck":
        _add_roll_neck(sewn, rng)
        return
    if value == "shirt_collar":
        add_shirt_collar(sewn, neck.depth, 1.0)
        return
    inset = whole + np.array([0.0, 0.045], dtype=np.float32)
    inset[:, 0] *= 1.0 + 0.05 / max(neck.side[0], 0.1)
    if value != "off_shoulder" or rng.random() < 0.6:
        sewn.stitch(inset, "front")
    if value == "off_shoulder" and (is_bare or rng.random() < 0.4):
        _add_frill(sewn, rng)
    sewn.seam(whole, "front", 0.016, 0.35)
    away = np.array([0.0, neck.depth * 0.35 - 0.1], dtype=np.float32)
    direction = whole - away
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-3)
    sewn.evidence["neckline"] = [(whole + 0.05 * direction)[1:-1].astype(np.float32)]


def _add_roll_neck(sewn: Sewn, rng: np.random.Generator) -> None:
    top, wide = -float(rng.uniform(0.20, 0.28)), float(rng.uniform(0.165, 0.19))
    outline = join(
        smooth([(-wide, top), (0.0, top - 0.02), (wide, top)], 4),
        smooth(
            [(wide + 0.01, -0.05), (wide + 0.02, 0.03), (0.0, 0.12), (-wide - 0.02, 0.03), (-wide - 0.01, -0.05)], 4
        ),
    )
    sewn.add(outline, "front", is_ribbed=True, shadow=0.3, light=0.02)
    for y in (top * 0.45, 0.04):
        sewn.seam(smooth([(-wide, y), (0.0, y + 0.06), (wide, y)], 5), "front", 0.018, 0.45)
    sewn.evidence["neckline"] = [points(*((x, y) for x in (-0.09, 0.0, 0.09) for y in (top + 0.05, top * 0.6, -0.04)))]


def _add_frill(sewn: Sewn, rng: np.random.Generator) -> None:
    share = np.linspace(1, -1, 61, dtype=np.float32)
    depth = float(rng.uniform(0.20, 0.28))
    low = 0.40 + depth + 0.025 * np.cos(share * np.pi * 7) - 0.02 * share**2
    edge = np.stack([share * 0.56, low], axis=1).astype(np.float32)
    outline = join(smooth([(-0.5, 0.35), (-0.25, 0.40), (0.0, 0.41), (0.25, 0.40), (0.5, 0.35)], 4), edge)
    sewn.add(outline, "front", shadow=0.25)
    for k in np.linspace(-0.85, 0.85, 9):
        sewn.seam(points((k * 0.48, 0.42), (k * 0.54, 0.38 + depth)), "front", 0.014, 0.25)


def add_shirt_collar(sewn: Sewn, depth: float, size: float) -> None:
    """Two pointed wings that meet at the middle of the neck, with a band behind."""
    band = join(
        smooth([(-0.19, -0.02), (0.0, -0.09), (0.19, -0.02)], 5),
        smooth([(0.19, 0.06), (0.0, 0.02), (-0.19, 0.06)], 5),
    )
    sewn.add(band, "back", light=-0.25)
    wing = points((0.165, -0.10), (0.25, 0.05), (0.27 * size, 0.31 * size), (0.02, depth), (0.06, depth * 0.4))
    for outline in (wing, mirror(wing)):
        sewn.add(outline, "front", light=0.06, shadow=0.4, turn=0.4)
        sewn.seam(join(outline, outline[:1]), "front", 0.018, 0.42)
    inner = points((0.16, 0.08), (0.21, 0.2 * size), (0.14, 0.2), (0.2, 0.02))
    sewn.evidence["neckline"] = [join(inner, mirror(inner))]


def add_lapels(sewn: Sewn, depth: float) -> None:
    """Collar and lapels with a notch, folded outwards along the edge of the front."""
    lapel = points((0.10, 0.10), (0.30, 0.20), (0.235, 0.265), (0.345, 0.29), (0.26, depth * 0.62), (0.015, depth))
    collar = points((0.15, -0.09), (0.25, 0.02), (0.33, 0.16), (0.27, 0.245), (0.12, 0.13), (0.10, 0.02))
    for outline, light in ((lapel, 0.07), (collar, 0.02)):
        for part in (outline, mirror(outline)):
            sewn.add(part, "front", light=light, shadow=0.4, turn=0.5)
            sewn.seam(join(part, part[:1]), "front", 0.02, 0.5)
    inner = points((0.2, 0.05), (0.27, 0.13), (0.25, 0.21), (0.28, 0.32), (0.2, depth * 0.6), (0.1, depth * 0.75))
    sewn.evidence["collar"] = [join(inner, mirror(inner))]


def add_stand_collar(sewn: Sewn, depth: float, rng: np.random.Generator) -> None:
    """A band that stands around the neck."""
    top = -float(rng.uniform(0.17, 0.22))
    half = points((0.015, top + 0.04), (0.17, top), (0.20, -0.02), (0.24, 0.07), (0.015, depth))
    sewn.add(
        join(smooth([(-0.17, top), (0.0, top - 0.05), (0.17, top)], 5), points((0.1, depth), (-0.1, depth))),
        "back",
        light=-0.25,
    )
    for outline in (half, mirror(half)):
        sewn.add(outline, "front", light=0.05, shadow=0.3, is_ribbed=True)
        sewn.seam(join(outline, outline[:1]), "front", 0.018, 0.42)
    inner = points((0.09, top + 0.07), (0.13, -0.03), (0.1, 0.05), (0.06, 0.0))
    sewn.evidence["collar"] = [join(inner, mirror(inner))]


def add_hood(sewn: Sewn, depth: float, is_worn: bool, rng: np.random.Generator) -> None:
    """A hood: behind the neck on a figure, spread above the shoulders when laid flat."""
    tall, wide = float(rng.uniform(0.50, 0.62)), float(rng.uniform(0.33, 0.38))
    if is_worn and rng.random() < 0.5:
        inner = _raise_hood(sewn, depth)
    elif is_worn:
        right = smooth([(0.0, -0.50), (0.26, -0.42), (0.40, -0.16), (0.42, 0.14)], 5)
        sewn.add(join(right, mirror(right)), "back", light=-0.08)
        fold = points((0.13, -0.16), (0.36, -0.16), (0.43, 0.06), (0.32, 0.24), (0.03, depth), (0.10, 0.08))
        for outline in (fold, mirror(fold)):
            smooth_outline = smooth(outline, 4, closed=True)
            sewn.add(smooth_outline, "front", light=0.06, shadow=0.4)
            sewn.seam(smooth_outline, "front", 0.02, 0.45)
        inner = points((0.22, -0.06), (0.33, 0.0), (0.33, 0.12), (0.24, 0.18), (0.2, 0.08))
    else:
        shell = smooth(
            [
                (0.26, 0.10),
                (wide, -tall * 0.35),
                (wide * 0.85, -tall * 0.85),
                (0.0, -tall - 0.08),
                (-wide * 0.85, -tall * 0.85),
                (-wide, -tall * 0.35),
                (-0.26, 0.10),
            ],
            6,
        )
        hole = smooth(
            [
                (0.02, depth),
                (wide * 0.62, -0.1),
                (wide * 0.6, -tall * 0.62),
                (0.0, -tall * 0.82),
                (-wide * 0.6, -tall * 0.62),
                (-wide * 0.62, -0.1),
                (-0.02, depth),
            ],
            6,
        )
        sewn.add(join(shell, points((0.0, depth))), "front", light=0.03, shadow=0.3)
        sewn.add(hole, "front", light=-0.36)
        sewn.seam(hole, "front", 0.03, 0.4)
        inner = points(
            (wide * 0.83, -0.12),
            (wide * 0.78, -tall * 0.5),
            (wide * 0.5, -tall * 0.84),
            (0.1, -tall * 0.95),
            (0.26, 0.03),
        )
    for x in (-0.07, 0.07):
        sewn.seam(points((x, depth * 0.7), (x * 1.2, depth + 0.32)), "front", 0.028, 0.5)
    sewn.evidence["collar"] = [join(inner, mirror(inner))]


def _raise_hood(sewn: Sewn, depth: float) -> Points:
    """The hood drawn over the head, open for the face; returns where it shows on the right."""
    outer = smooth([(0.0, -1.0), (0.24, -0.9), (0.34, -0.55), (0.32, -0.1), (0.24, 0.14), (0.02, depth + 0.04)], 6)
    face = smooth([(0.02, depth), (0.13, 0.0), (0.19, -0.25), (0.19, -0.55), (0.12, -0.74), (0.0, -0.79)], 6)
    half = join(outer, face)
    for outline in (half, mirror(half)):
        sewn.add(outline, "front", light=0.03, shadow=0.35)
    sewn.seam(join(face, mirror(face)), "front", 0.03, 0.5)
    return points((0.25, -0.1), (0.26, -0.4), (0.23, -0.7), (0.1, -0.88), (0.2, 0.06))
