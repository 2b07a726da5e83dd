"""What a photo is taken in front of."""

import numpy as np
from numpy.typing import NDArray

from models.rendering.canvas import Canvas
from models.rendering.fabric import soft_noise
from models.rendering.palette import any_colour, oklch_to_rgb


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
