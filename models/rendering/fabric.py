"""Cloth: a colour or two, a pattern, a texture, and how light falls on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.rendering import tiles
from models.rendering.palette import Rgb, luminance, sample_colour, sample_second_name

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Cloth:
    """What a garment is made of; lengths in body units, angles in radians."""

    base: Rgb
    base_name: str
    second: Rgb
    second_name: str
    pattern: str
    texture: str
    variant: int
    weave: int
    period: float
    texture_period: float
    turn: float
    block: str = "horizontal"
    split: tuple[float, float] = (0.0, 0.0)
    motif: tuple[float, float, float] = (0.0, 0.6, 0.4)
    gloss: float = 0.0


@dataclass(frozen=True)
class Grid:
    """Coordinates of the pixels of a window: body units, and the same turned along the grain of a part."""

    x: Field
    y: Field
    u: Field
    v: Field
    unit_px: float


def sample_cloth(
    rng: np.random.Generator, colour: str, pattern: str, texture: str, top_y: float, hem_y: float
) -> Cloth:
    """Cloth of a colour, pattern and texture for a garment between two heights."""
    second = sample_second_name(colour, rng)
    variants = {
        "striped": tiles.STRIPES,
        "checked": tiles.CHECKS,
        "dotted": tiles.DOTS,
        "floral": tiles.FLORALS,
        "graphic": tiles.MOTIFS,
    }
    period_by_pattern = {"striped": (0.14, 0.34), "checked": (0.18, 0.42), "dotted": (0.17, 0.34), "floral": (0.5, 0.9)}
    period_by_texture = {
        "knit": (0.15, 0.21),
        "denim": (0.5, 0.7),
        "leather": (0.9, 1.3),
        "lace": (0.42, 0.6),
        "quilted": (0.26, 0.40),
        "smooth": (1.0, 1.4),
    }
    weave = int(rng.integers({"knit": 3, "lace": 2, "quilted": 2}.get(texture, 1)))
    texture_period = float(rng.uniform(*period_by_texture[texture]))
    if texture == "knit" and weave == 2:
        texture_period *= 1.9
    turns = (0.0, np.pi / 2, np.pi / 2, np.pi / 4) if pattern == "striped" else (0.0, 0.0, np.pi / 4)
    middle = top_y + (hem_y - top_y) * float(rng.uniform(0.38, 0.6))
    return Cloth(
        base=sample_colour(colour, rng),
        base_name=colour,
        second=sample_colour(second, rng),
        second_name=second,
        pattern=pattern,
        texture=texture,
        variant=int(rng.integers(variants.get(pattern, 1))),
        weave=weave,
        period=float(rng.uniform(*period_by_pattern.get(pattern, (0.3, 0.3)))),
        texture_period=texture_period,
        turn=float(turns[int(rng.integers(len(turns)))]) + float(rng.normal(0, 0.03)),
        block=("horizontal", "vertical", "band", "diagonal")[int(rng.integers(4))],
        split=(middle, middle + 0.26 * (hem_y - top_y)),
        gloss={"leather": 1.0, "smooth": float(rng.uniform(0, 0.25)), "quilted": 0.15}.get(texture, 0.0),
    )


def pattern_weight(cloth: Cloth, grid: Grid) -> Field | None:
    """Weight of the second colour at each pixel; None for solid cloth."""
    if cloth.pattern == "solid":
        return None
    if cloth.pattern == "graphic":
        return _printed(cloth, grid)
    if cloth.pattern == "colour_block":
        distance = {
            "horizontal": grid.y - cloth.split[0],
            "vertical": grid.x,
            "band": np.minimum(grid.y - cloth.split[0] + 0.12, cloth.split[1] - grid.y),
            "diagonal": grid.y - cloth.split[0] + 0.8 * grid.x,
        }[cloth.block]
        return np.asarray(np.clip(distance * grid.unit_px + 0.5, 0.0, 1.0), dtype=np.float32)
    cos, sin = np.float32(np.cos(cloth.turn)), np.float32(np.sin(cloth.turn))
    return tiles.look_up(
        cloth.pattern,
        cloth.variant,
        grid.u * cos + grid.v * sin,
        grid.v * cos - grid.u * sin,
        cloth.period,
        grid.unit_px,
    )


def _printed(cloth: Cloth, grid: Grid) -> Field:
    picture = tiles.motif(cloth.variant)
    side = picture.shape[0]
    x, y, size = cloth.motif
    column = ((grid.x - x) / size + 0.5) * side
    row = ((grid.y - y) / size + 0.5) * side
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    values = picture[row.clip(0, side - 1).astype(np.int32), column.clip(0, side - 1).astype(np.int32)]
    return np.where(inside, values, np.float32(0.0))


def relief(cloth: Cloth, grid: Grid, folds: Field) -> tuple[Field | float, Field | None]:
    """Lightness that the texture adds (about -0.3 to 0.3), and how opaque it is (None: fully)."""
    period, px = cloth.texture_period, grid.unit_px
    if cloth.texture == "knit":
        return 0.17 * tiles.look_up("knit", cloth.weave, grid.u, grid.v, period, px), None
    if cloth.texture == "denim":
        return 0.13 * tiles.look_up("denim", 0, grid.u, grid.v, period, px) + 0.10 * folds, None
    if cloth.texture == "leather":
        gleam = np.clip((folds - 0.15) * 2.2, 0.0, 1.0) ** 2
        crease = np.exp(-(((folds + 0.25) / 0.07) ** 2))
        return 0.24 * gleam - 0.2 * crease - 0.05 + 0.02 * tiles.look_up(
            "grain", 0, grid.u, grid.v, period * 2, px
        ), None
    if cloth.texture == "lace":
        thread = tiles.look_up("lace", cloth.weave, grid.u, grid.v, period, px)
        return 0.34 * (thread - 0.7), 0.6 + 0.4 * thread
    if cloth.texture == "quilted":
        return 0.20 * tiles.look_up("quilted", cloth.weave, grid.u, grid.v, period, px), None
    return 0.012 * tiles.look_up("grain", 0, grid.u, grid.v, period * 2, px), None


def light_up(colour: Field, light: Field, brightness: float) -> Field:
    """Apply lightness to colours; dark cloth also gains and loses a little absolutely, or it would show no folds.

    Args:
        colour: (H, W, 3) or (3,) sRGB in 0 to 255.
        light: (H, W), 0 is unchanged, about -0.5 to 0.5.
        brightness: lightness of the cloth, 0 to 1.

    Returns:
        (H, W, 3) float32, unclipped.
    """
    absolute = np.float32(6.0 + 46.0 * max(0.0, 0.42 - brightness))
    light = light[..., None]
    return np.asarray(colour * (1 + np.float32(0.75) * light) + absolute * light, dtype=np.float32)


def brightness_of(cloth: Cloth) -> float:
    """Lightness of the base colour, 0 to 1."""
    return luminance(cloth.base)


def soft_noise(rng: np.random.Generator, hw: tuple[int, int], cells: tuple[int, int]) -> Field:
    """Smooth noise in about -1 to 1 with so many bumps down and across."""
    coarse = rng.normal(0, 0.55, (max(2, cells[0]), max(2, cells[1]))).astype(np.float32)
    return np.asarray(
        Image.fromarray(coarse).resize((hw[1], hw[0]), Image.Resampling.BICUBIC),
        dtype=np.float32,
    )
