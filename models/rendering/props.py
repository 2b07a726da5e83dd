"""Backgrounds and other things in the photo that are no garments."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.rendering.canvas import Canvas
from models.rendering.fabric import soft_noise
from models.rendering.outlines import Placement, Points, band, box, ellipse, join, mirror, points, smooth
from models.rendering.palette import Rgb, oklch_to_rgb

PROPS = ("box", "ball", "bag", "shoe", "hat", "plant", "chair", "book", "lamp", "frame")
COVERS = ("bag", "plant", "hat", "book", "cushion", "box")


def any_colour(rng: np.random.Generator) -> Rgb:
    """A colour of things, mostly muted."""
    chroma = float(rng.uniform(0.0, 0.06) if rng.random() < 0.55 else rng.uniform(0.06, 0.17))
    return oklch_to_rgb(float(rng.uniform(0.25, 0.92)), chroma, float(rng.uniform(0, 360)))


def draw_background(rng: np.random.Generator, image_hw: tuple[int, int], floor_y: float | None) -> Canvas:
    """Plain, gradient, wall and floor, boards or a soft blur of colours."""
    height, width = image_hw
    kind = rng.choice(5, p=[0.28, 0.22, 0.22, 0.13, 0.15])
    light = oklch_to_rgb(float(rng.uniform(0.72, 0.98)), float(rng.uniform(0, 0.03)), float(rng.uniform(0, 360)))
    if rng.random() < 0.3:
        light = oklch_to_rgb(float(rng.uniform(0.92, 1.0)), float(rng.uniform(0, 0.01)), 80.0)
    first = light if rng.random() < 0.68 else any_colour(rng)
    row = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    column = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    rgb: NDArray[np.float32] = np.broadcast_to(first, (height, width, 3)).astype(np.float32)
    if kind == 1:
        slope = rng.uniform(-1, 1, 2)
        rgb = rgb * (1 + np.float32(0.2 * slope[0]) * (row - 0.5) + np.float32(0.2 * slope[1]) * (column - 0.5))
    elif kind == 2:
        other = any_colour(rng) * np.float32(0.5) + first * np.float32(0.5)
        edge = int((floor_y if floor_y is not None else float(rng.uniform(0.55, 0.85))) * height)
        rgb[edge:] = other
        rgb[edge:] *= 1 + 0.12 * (row[edge:] - 0.7)
        rgb[max(0, edge - 5) : edge] *= 0.9
    elif kind == 3:
        boards = int(rng.integers(5, 12))
        line = (column if rng.random() < 0.5 else row) * boards
        tone = rng.normal(0, 0.035, boards + 1).astype(np.float32)
        rgb = rgb * (1 + tone[line.astype(int)]) * np.where((line % 1.0) < 0.03, np.float32(0.75), np.float32(1.0))
    elif kind == 4:
        small = np.stack([soft_noise(rng, (height // 4, width // 4), (5, 4)) for _ in range(3)], axis=-1)
        small = small.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
        padded = np.zeros((height, width, 3), dtype=np.float32)
        padded[: small.shape[0], : small.shape[1]] = small
        rgb = rgb + 26 * padded
    grain = soft_noise(rng, (height, width), (int(rng.integers(3, 14)), int(rng.integers(3, 14))))
    rgb = rgb * (1 + np.float32(rng.uniform(0.0, 0.035)) * grain[..., None])
    return Canvas(rgb.clip(0, 255))


def soften(canvas: Canvas, factor: int) -> None:
    """Blur what is drawn so far, as if it lay out of focus."""
    image = Image.fromarray(canvas.rgb.clip(0, 255).astype(np.uint8))
    small = image.reduce(factor)
    canvas.rgb[:] = np.asarray(small.resize(image.size, Image.Resampling.BILINEAR), dtype=np.float32)


def draw_prop(canvas: Canvas, kind: str, centre: tuple[float, float], size_px: float, rng: np.random.Generator) -> None:
    """Draw one thing about `size_px` tall around a point; it hides what lies below."""
    placement = Placement(size_px, centre[0], centre[1], float(rng.normal(0, 0.12)), bool(rng.random() < 0.5))
    colour = any_colour(rng)
    darker = colour * np.float32(0.72)

    def fill(outline: Points, tone: Rgb, shade: float = 0.3) -> None:
        canvas.fill(placement.to_px(outline), tone, shade)

    hull = ellipse(0, 0, 0.5, 0.5)
    canvas.cast_shadow(placement.to_px(hull * np.float32(0.9)), (0.03 * size_px, 0.06 * size_px), 0.22, 0.1 * size_px)
    if kind == "ball":
        fill(ellipse(0, 0, 0.5, 0.5, 32), colour, 0.5)
    elif kind == "bag":
        handle = smooth([(-0.22, -0.12), (-0.2, -0.45), (0.0, -0.56), (0.2, -0.45), (0.22, -0.12)], 6)
        canvas.stroke((placement.to_px(handle),), darker, 0.06 * size_px, 1.0)
        body = smooth(
            [(-0.46, -0.22), (0.46, -0.22), (0.54, 0.42), (0.46, 0.5), (-0.46, 0.5), (-0.54, 0.42)], 5, closed=True
        )
        fill(body, colour, 0.45)
        fill(smooth([(-0.44, -0.2), (0.44, -0.2), (0.4, 0.08), (0.0, 0.2), (-0.4, 0.08)], 4, closed=True), darker, 0.3)
        fill(ellipse(0, 0.16, 0.04, 0.04, 10), np.array([210, 180, 90], dtype=np.float32), 0.2)
    elif kind == "shoe":
        fill(
            smooth(
                [(-0.5, 0.1), (-0.46, -0.2), (-0.22, -0.22), (-0.08, -0.02), (0.34, 0.06), (0.5, 0.2), (-0.5, 0.22)],
                5,
                closed=True,
            ),
            colour,
            0.4,
        )
        fill(box(-0.52, 0.18, 0.52, 0.27), darker * np.float32(0.7), 0.1)
        for x in (-0.12, -0.02, 0.08):
            canvas.stroke(
                (placement.to_px(points((x, -0.06), (x + 0.08, 0.06))),),
                np.array([240, 240, 240], dtype=np.float32),
                max(1, 0.03 * size_px),
                0.9,
            )
    elif kind == "hat":
        fill(ellipse(0, 0.16, 0.56, 0.2, 28), darker, 0.35)
        fill(
            smooth(
                [(-0.32, 0.14), (-0.28, -0.3), (0.0, -0.4), (0.28, -0.3), (0.32, 0.14), (0.0, 0.22)], 5, closed=True
            ),
            colour,
            0.4,
        )
        fill(
            smooth([(-0.33, 0.02), (0.0, 0.1), (0.33, 0.02), (0.33, 0.12), (0.0, 0.21), (-0.33, 0.12)], 4, closed=True),
            darker * np.float32(0.55),
            0.1,
        )
    elif kind == "plant":
        pot = points((-0.24, 0.14), (0.24, 0.14), (0.18, 0.5), (-0.18, 0.5))
        for turn in np.linspace(-1.25, 1.25, 9) + rng.normal(0, 0.08, 9):
            tip = (0.62 * np.sin(turn), 0.12 - 0.66 * np.cos(turn))
            axis = smooth([(0.0, 0.15), (tip[0] * 0.6, tip[1] * 0.7 - 0.02), (float(tip[0]), float(tip[1]))], 5)
            widths = (0.10 * np.sin(np.linspace(0.25, np.pi, len(axis)))).astype(np.float32)
            leaf = oklch_to_rgb(float(rng.uniform(0.35, 0.55)), 0.09, float(rng.uniform(125, 150)))
            fill(band(axis, widths), leaf, 0.3)
        fill(pot, colour, 0.35)
    elif kind == "chair":
        for x in (-0.34, 0.34):
            fill(box(x - 0.035, -0.5, x + 0.035, 0.5), darker, 0.2)
        fill(smooth([(-0.38, -0.5), (0.38, -0.5), (0.36, -0.12), (-0.36, -0.12)], 3, closed=True), colour, 0.35)
        fill(box(-0.4, 0.04, 0.4, 0.16), colour, 0.3)
    elif kind == "book":
        fill(box(-0.38, -0.5, 0.38, 0.5), colour, 0.12)
        fill(box(-0.26, -0.36, 0.26, -0.14), darker, 0.0)
        fill(box(-0.38, -0.5, -0.31, 0.5), darker, 0.1)
    elif kind == "lamp":
        fill(box(-0.02, -0.1, 0.02, 0.46), darker, 0.1)
        fill(points((-0.15, -0.5), (0.15, -0.5), (0.3, -0.08), (-0.3, -0.08)), colour, 0.3)
        fill(ellipse(0, 0.47, 0.2, 0.05), darker, 0.2)
    elif kind == "frame":
        fill(box(-0.4, -0.5, 0.4, 0.5), darker * np.float32(0.6), 0.1)
        fill(box(-0.34, -0.44, 0.34, 0.44), np.array([238, 236, 230], dtype=np.float32), 0.05)
        fill(ellipse(0.02, 0.0, 0.2, 0.24), colour, 0.2)
    elif kind == "cushion":
        half = smooth([(0.0, -0.42), (0.46, -0.48), (0.42, 0.0), (0.48, 0.46), (0.0, 0.42)], 6)
        fill(join(half, mirror(half)), colour, 0.6)
    else:
        fill(box(-0.5, -0.38, 0.5, 0.46), colour, 0.25)
        canvas.stroke((placement.to_px(points((-0.5, -0.1), (0.5, -0.1))),), None, max(1, 0.02 * size_px), 0.4)
        fill(box(-0.5, -0.46, 0.5, -0.34), darker, 0.1)


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
