"""Things in the photo that are no garments."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.rendering.canvas import Canvas
from models.rendering.outlines import Placement, Points, band, box, ellipse, join, mirror, points, smooth
from models.rendering.palette import Rgb, any_colour, oklch_to_rgb

PROPS = ("box", "ball", "bag", "shoe", "hat", "plant", "chair", "book", "lamp", "frame")
COVERS = ("bag", "plant", "hat", "book", "cushion", "box")


@dataclass(frozen=True)
class _Brush:
    """Draws one thing: outlines are in its own units, one unit tall around the origin."""

    canvas: Canvas
    placement: Placement
    colour: Rgb
    rng: np.random.Generator

    @property
    def darker(self) -> Rgb:
        return self.colour * np.float32(0.72)

    def fill(self, outline: Points, tone: Rgb, shade: float = 0.3) -> None:
        self.canvas.fill(self.placement.to_px(outline), tone, shade)

    def stroke(self, line: Points, tone: Rgb | None, width_px: float, opacity: float) -> None:
        self.canvas.stroke((self.placement.to_px(line),), tone, width_px, opacity)

    @property
    def size_px(self) -> float:
        return self.placement.scale_px


def draw_prop(canvas: Canvas, kind: str, centre: tuple[float, float], size_px: float, rng: np.random.Generator) -> None:
    """Draw one thing about `size_px` tall around a point; it hides what lies below.

    Raises:
        KeyError: if the kind is none of `PROPS` and `COVERS`.
    """
    placement = Placement(size_px, centre[0], centre[1], float(rng.normal(0, 0.12)), bool(rng.random() < 0.5))
    brush = _Brush(canvas, placement, any_colour(rng), rng)
    hull = ellipse(0, 0, 0.5, 0.5) * np.float32(0.9)
    canvas.cast_shadow(placement.to_px(hull), (0.03 * size_px, 0.06 * size_px), 0.22, 0.1 * size_px)
    _DRAW[kind](brush)


def _draw_ball(brush: _Brush) -> None:
    brush.fill(ellipse(0, 0, 0.5, 0.5, 32), brush.colour, 0.5)


def _draw_bag(brush: _Brush) -> None:
    handle = smooth([(-0.22, -0.12), (-0.2, -0.45), (0.0, -0.56), (0.2, -0.45), (0.22, -0.12)], 6)
    brush.stroke(handle, brush.darker, 0.06 * brush.size_px, 1.0)
    body = smooth(
        [(-0.46, -0.22), (0.46, -0.22), (0.54, 0.42), (0.46, 0.5), (-0.46, 0.5), (-0.54, 0.42)], 5, closed=True
    )
    brush.fill(body, brush.colour, 0.45)
    brush.fill(
        smooth([(-0.44, -0.2), (0.44, -0.2), (0.4, 0.08), (0.0, 0.2), (-0.4, 0.08)], 4, closed=True), brush.darker, 0.3
    )
    brush.fill(ellipse(0, 0.16, 0.04, 0.04, 10), np.array([210, 180, 90], dtype=np.float32), 0.2)


def _draw_shoe(brush: _Brush) -> None:
    brush.fill(
        smooth(
            [(-0.5, 0.1), (-0.46, -0.2), (-0.22, -0.22), (-0.08, -0.02), (0.34, 0.06), (0.5, 0.2), (-0.5, 0.22)],
            5,
            closed=True,
        ),
        brush.colour,
        0.4,
    )
    brush.fill(box(-0.52, 0.18, 0.52, 0.27), brush.darker * np.float32(0.7), 0.1)
    for x in (-0.12, -0.02, 0.08):
        brush.stroke(
            points((x, -0.06), (x + 0.08, 0.06)),
            np.array([240, 240, 240], dtype=np.float32),
            max(1, 0.03 * brush.size_px),
            0.9,
        )


def _draw_hat(brush: _Brush) -> None:
    brush.fill(ellipse(0, 0.16, 0.56, 0.2, 28), brush.darker, 0.35)
    brush.fill(
        smooth([(-0.32, 0.14), (-0.28, -0.3), (0.0, -0.4), (0.28, -0.3), (0.32, 0.14), (0.0, 0.22)], 5, closed=True),
        brush.colour,
        0.4,
    )
    brush.fill(
        smooth([(-0.33, 0.02), (0.0, 0.1), (0.33, 0.02), (0.33, 0.12), (0.0, 0.21), (-0.33, 0.12)], 4, closed=True),
        brush.darker * np.float32(0.55),
        0.1,
    )


def _draw_plant(brush: _Brush) -> None:
    pot = points((-0.24, 0.14), (0.24, 0.14), (0.18, 0.5), (-0.18, 0.5))
    for turn in np.linspace(-1.25, 1.25, 9) + brush.rng.normal(0, 0.08, 9):
        tip = (0.62 * np.sin(turn), 0.12 - 0.66 * np.cos(turn))
        axis = smooth([(0.0, 0.15), (tip[0] * 0.6, tip[1] * 0.7 - 0.02), (float(tip[0]), float(tip[1]))], 5)
        widths = (0.10 * np.sin(np.linspace(0.25, np.pi, len(axis)))).astype(np.float32)
        leaf = oklch_to_rgb(float(brush.rng.uniform(0.35, 0.55)), 0.09, float(brush.rng.uniform(125, 150)))
        brush.fill(band(axis, widths), leaf, 0.3)
    brush.fill(pot, brush.colour, 0.35)


def _draw_chair(brush: _Brush) -> None:
    for x in (-0.34, 0.34):
        brush.fill(box(x - 0.035, -0.5, x + 0.035, 0.5), brush.darker, 0.2)
    brush.fill(smooth([(-0.38, -0.5), (0.38, -0.5), (0.36, -0.12), (-0.36, -0.12)], 3, closed=True), brush.colour, 0.35)
    brush.fill(box(-0.4, 0.04, 0.4, 0.16), brush.colour, 0.3)


def _draw_book(brush: _Brush) -> None:
    brush.fill(box(-0.38, -0.5, 0.38, 0.5), brush.colour, 0.12)
    brush.fill(box(-0.26, -0.36, 0.26, -0.14), brush.darker, 0.0)
    brush.fill(box(-0.38, -0.5, -0.31, 0.5), brush.darker, 0.1)


def _draw_lamp(brush: _Brush) -> None:
    brush.fill(box(-0.02, -0.1, 0.02, 0.46), brush.darker, 0.1)
    brush.fill(points((-0.15, -0.5), (0.15, -0.5), (0.3, -0.08), (-0.3, -0.08)), brush.colour, 0.3)
    brush.fill(ellipse(0, 0.47, 0.2, 0.05), brush.darker, 0.2)


def _draw_frame(brush: _Brush) -> None:
    brush.fill(box(-0.4, -0.5, 0.4, 0.5), brush.darker * np.float32(0.6), 0.1)
    brush.fill(box(-0.34, -0.44, 0.34, 0.44), np.array([238, 236, 230], dtype=np.float32), 0.05)
    brush.fill(ellipse(0.02, 0.0, 0.2, 0.24), brush.colour, 0.2)


def _draw_cushion(brush: _Brush) -> None:
    half = smooth([(0.0, -0.42), (0.46, -0.48), (0.42, 0.0), (0.48, 0.46), (0.0, 0.42)], 6)
    brush.fill(join(half, mirror(half)), brush.colour, 0.6)


def _draw_box(brush: _Brush) -> None:
    brush.fill(box(-0.5, -0.38, 0.5, 0.46), brush.colour, 0.25)
    brush.stroke(points((-0.5, -0.1), (0.5, -0.1)), None, max(1, 0.02 * brush.size_px), 0.4)
    brush.fill(box(-0.5, -0.46, 0.5, -0.34), brush.darker, 0.1)


_DRAW: dict[str, Callable[[_Brush], None]] = {
    "ball": _draw_ball,
    "bag": _draw_bag,
    "shoe": _draw_shoe,
    "hat": _draw_hat,
    "plant": _draw_plant,
    "chair": _draw_chair,
    "book": _draw_book,
    "lamp": _draw_lamp,
    "frame": _draw_frame,
    "cushion": _draw_cushion,
    "box": _draw_box,
}


def draw_hanger(canvas: Canvas, placement: Placement) -> None:
    """A hanger under the shoulders of a garment."""
    wood = np.array([150, 112, 74], dtype=np.float32)
    bar = join(
        smooth([(-0.44, 0.14), (-0.2, 0.04), (0.0, -0.02), (0.2, 0.04), (0.44, 0.14)], 5),
        smooth([(0.43, 0.19), (0.2, 0.10), (0.0, 0.05), (-0.2, 0.10), (-0.43, 0.19)], 5),
    )
    canvas.fill(placement.to_px(bar), wood, 0.3)
    hook = smooth([(0.0, 0.0), (0.0, -0.22), (0.07, -0.30), (0.06, -0.40), (-0.02, -0.43), (-0.08, -0.37)], 5)
    canvas.stroke(
        (placement.to_px(hook),), np.array([130, 130, 132], dtype=np.float32), max(1.2, 0.025 * placement.scale_px), 1.0
    )
