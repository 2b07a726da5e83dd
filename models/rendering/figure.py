"""A simple figure to wear the garments: legs, trunk, arms, head and hair."""

from dataclasses import dataclass

import numpy as np

from models.rendering.canvas import Canvas
from models.rendering.outlines import ANKLE_Y, Placement, Points, along, band, ellipse, join, mirror, points, smooth
from models.rendering.palette import Rgb
from models.rendering.sleeves import Arm

_SKINS = np.array(
    [[246, 218, 200], [236, 198, 172], [222, 178, 146], [190, 140, 106], [150, 102, 74], [112, 74, 54], [82, 54, 42]],
    dtype=np.float32,
)
_HAIRS = np.array(
    [[28, 24, 22], [52, 36, 28], [88, 58, 38], [140, 98, 58], [204, 168, 110], [150, 146, 142], [136, 62, 34]],
    dtype=np.float32,
)
_SHOES = np.array(
    [[34, 32, 32], [238, 236, 232], [120, 84, 56], [170, 40, 44], [60, 74, 120], [205, 180, 150]], dtype=np.float32
)


@dataclass(frozen=True)
class Figure:
    """Who wears the garments; arms are (right, left as if right)."""

    skin: Rgb
    hair: Rgb
    hair_style: str
    shoes: Rgb
    arms: tuple[Arm, Arm]
    stance: float


def sample_figure(rng: np.random.Generator) -> Figure:
    """A random figure."""
    if rng.random() < 0.3:
        hip = Arm(float(rng.uniform(0.5, 0.68)), float(rng.uniform(-0.65, -0.45)))
        arms = (hip, hip if rng.random() < 0.4 else _hanging(rng))
    else:
        first = _hanging(rng)
        arms = (first, first if rng.random() < 0.5 else _hanging(rng))
    jitter = rng.uniform(0.95, 1.05, 3).astype(np.float32)
    return Figure(
        skin=_SKINS[int(rng.integers(len(_SKINS)))] * jitter,
        hair=_HAIRS[int(rng.integers(len(_HAIRS)))],
        hair_style=("long", "short", "bun", "bob", "bald")[int(rng.choice(5, p=[0.3, 0.3, 0.17, 0.17, 0.06]))],
        shoes=_SHOES[int(rng.integers(len(_SHOES)))],
        arms=arms,
        stance=float(rng.uniform(0.0, 0.05)),
    )


def _hanging(rng: np.random.Generator) -> Arm:
    upper = float(rng.uniform(0.16, 0.42))
    return Arm(upper, upper - float(rng.uniform(0.0, 0.25)))


def draw_body(canvas: Canvas, figure: Figure, placement: Placement) -> None:
    """Hair behind, legs, trunk, neck and head."""
    if figure.hair_style == "long":
        back = smooth([(-0.26, -0.5), (-0.33, 0.1), (-0.24, 0.42), (0.24, 0.42), (0.33, 0.1), (0.26, -0.5)], 5)
        canvas.fill(placement.to_px(back), figure.hair * np.float32(0.8), 0.3)
    elif figure.hair_style == "bun":
        canvas.fill(placement.to_px(ellipse(0, -0.86, 0.13, 0.12)), figure.hair, 0.3)
    for sign in (-1.0, 1.0):
        flip = np.array([sign, 1.0], dtype=np.float32)
        axis = points(
            (0.235, 1.7),
            (0.24, 2.2),
            (0.24 + figure.stance, 2.85),
            (0.245 + figure.stance, 3.2),
            (0.245 + figure.stance, ANKLE_Y),
        )
        widths = np.array([0.225, 0.20, 0.128, 0.135, 0.075], dtype=np.float32)
        leg = smooth(band(axis, widths), 4, closed=True)
        canvas.fill(placement.to_px(leg * flip), figure.skin, 0.3)
        shoe = smooth([(0.15, 3.88), (0.33, 3.88), (0.38, 4.12), (0.30, 4.2), (0.17, 4.17)], 4, closed=True)
        canvas.fill(placement.to_px((shoe + np.array([figure.stance, 0], dtype=np.float32)) * flip), figure.shoes, 0.35)
    half = smooth(
        [
            (0.10, -0.25),
            (0.11, -0.04),
            (0.26, 0.04),
            (0.44, 0.12),
            (0.45, 0.35),
            (0.38, 0.6),
            (0.33, 1.05),
            (0.45, 1.5),
            (0.46, 1.8),
            (0.2, 1.95),
        ],
        4,
    )
    canvas.fill(placement.to_px(join(half, mirror(half))), figure.skin, 0.28)
    canvas.stroke((placement.to_px(points((0.0, 1.19), (0.005, 1.23))),), None, 0.03 * placement.scale_px, 0.4)
    for sign in (-1.0, 1.0):
        bone = smooth([(0.04 * sign, 0.07), (0.16 * sign, 0.035), (0.30 * sign, 0.05)], 4)
        canvas.stroke((placement.to_px(bone),), None, max(0.8, 0.014 * placement.scale_px), 0.12)
    draw_arms(canvas, figure, placement, 0.0)
    _draw_head(canvas, figure, placement)


def _draw_head(canvas: Canvas, figure: Figure, placement: Placement) -> None:
    neck = smooth([(-0.11, -0.3), (-0.115, 0.02), (0.0, 0.10), (0.115, 0.02), (0.11, -0.3)], 4)
    canvas.fill(placement.to_px(neck), figure.skin * np.float32(0.86), 0.2)
    face = smooth(
        [
            (0.0, -0.82),
            (0.19, -0.74),
            (0.215, -0.48),
            (0.14, -0.24),
            (0.0, -0.17),
            (-0.14, -0.24),
            (-0.215, -0.48),
            (-0.19, -0.74),
        ],
        5,
        closed=True,
    )
    canvas.fill(placement.to_px(face), figure.skin, 0.28)
    for sign in (-1.0, 1.0):
        canvas.fill(placement.to_px(ellipse(0.085 * sign, -0.49, 0.03, 0.016, 10)), figure.skin * np.float32(0.25), 0.0)
        brow = points((0.045 * sign, -0.555), (0.125 * sign, -0.56))
        canvas.stroke((placement.to_px(brow),), figure.hair, max(0.8, 0.018 * placement.scale_px), 0.7)
    canvas.stroke(
        (placement.to_px(points((0.0, -0.47), (0.015, -0.38), (-0.01, -0.375))),),
        None,
        max(0.7, 0.012 * placement.scale_px),
        0.2,
    )
    lips = figure.skin * np.array([0.82, 0.55, 0.55], dtype=np.float32)
    canvas.fill(placement.to_px(ellipse(0.0, -0.295, 0.055, 0.018, 12)), lips, 0.0)
    if figure.hair_style == "bald":
        return
    low = {"short": -0.55, "bun": -0.58, "bob": -0.22, "long": -0.30}[figure.hair_style]
    cap = smooth(
        [
            (0.235, low),
            (0.26, -0.62),
            (0.17, -0.84),
            (0.0, -0.89),
            (-0.17, -0.84),
            (-0.26, -0.62),
            (-0.235, low),
            (-0.17, -0.60),
            (-0.06, -0.70),
            (0.08, -0.72),
            (0.18, -0.60),
        ],
        5,
        closed=True,
    )
    canvas.fill(placement.to_px(cap), figure.hair, 0.3)


def draw_arms(canvas: Canvas, figure: Figure, placement: Placement, from_share: float = 0.3) -> None:
    """Both arms with hands; what hangs in front of the trunk begins below the armpit, so it hides no armhole."""
    for sign, arm in zip((1.0, -1.0), figure.arms, strict=True):
        outline = arm_outline(arm, from_share)
        flip = np.array([sign, 1.0], dtype=np.float32)
        canvas.fill(placement.to_px(outline * flip), figure.skin, 0.32)
    draw_hands(canvas, figure, placement)


def draw_hands(canvas: Canvas, figure: Figure, placement: Placement) -> None:
    """Both hands alone, for when a coat lies over the arms."""
    for sign, arm in zip((1.0, -1.0), figure.arms, strict=True):
        flip = np.array([sign, 1.0], dtype=np.float32)
        _, elbow, wrist = arm.axis
        direction = (wrist - elbow) / np.linalg.norm(wrist - elbow)
        centre = wrist + direction * 0.10
        turn = np.arctan2(direction[0], direction[1])
        hand = ellipse(0, 0, 0.065, 0.125, 16)
        cos, sin = np.cos(turn), np.sin(turn)
        turned = np.stack([hand[:, 0] * cos + hand[:, 1] * sin, hand[:, 1] * cos - hand[:, 0] * sin], axis=1) + centre
        canvas.fill(placement.to_px(turned.astype(np.float32) * flip), figure.skin, 0.3)


def arm_outline(arm: Arm, from_share: float) -> Points:
    """The right arm without the hand, from a share of its length on."""
    share = np.linspace(from_share, 1.0, 17, dtype=np.float32)
    axis = along(smooth(arm.axis, 8), share)
    widths = np.interp(share, [0, 0.05, 0.15, 0.5, 1], [0.05, 0.085, 0.10, 0.08, 0.055]).astype(np.float32)
    return band(axis, widths)
