"""Paints sewn garments of a cloth into the photo."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.rendering.canvas import Canvas, Window, bulge
from models.rendering.fabric import Cloth, Field, Grid, brightness_of, light_up, pattern_weight, relief, soft_noise
from models.rendering.outlines import Placement, Points
from models.rendering.sewing import Folds, Piece, Sewn, Stage

_THREADS = np.array([[214, 150, 70], [225, 205, 165], [235, 232, 225]], dtype=np.float32)


@dataclass(frozen=True)
class Garment:
    """A garment ready to be painted; `owner` is its number in the canvas, 1 and up."""

    category: str
    look: dict[str, str]
    sewn: Sewn
    cloth: Cloth
    placement: Placement
    owner: int
    crumple: float = 1.0


def paint(canvas: Canvas, garment: Garment, stages: tuple[Stage, ...], rng: np.random.Generator) -> None:
    """Paint the given stages of a garment, in order."""
    scale = garment.placement.scale_px
    for stage in stages:
        for piece in garment.sewn.pieces:
            if piece.stage == stage:
                _paint_piece(canvas, garment, piece, rng)
        for seam in garment.sewn.seams:
            if seam.stage != stage:
                continue
            line = garment.placement.to_px(seam.line)
            if seam.colour is not None:
                canvas.stroke((line,), seam.colour, max(0.7, seam.width * scale), seam.strength, garment.owner)
            elif seam.is_stitch and garment.cloth.texture == "denim":
                canvas.stroke((line,), _thread(garment.cloth), max(0.8, 0.017 * scale), 0.85, garment.owner)
            else:
                canvas.stroke(
                    (line,), _seam_colour(garment.cloth), max(0.7, seam.width * scale), seam.strength, garment.owner
                )
        for trim in garment.sewn.trims:
            if trim.stage == stage:
                canvas.fill(garment.placement.to_px(trim.outline), trim.colour, trim.shade, owner=garment.owner)


def _thread(cloth: Cloth) -> Field:
    if brightness_of(cloth) > 0.6:
        return cloth.base * np.float32(0.62)
    return np.asarray(_THREADS[int(cloth.texture_period * 1000) % len(_THREADS)])


def _seam_colour(cloth: Cloth) -> Field | None:
    """Seams darken; on near-black cloth they have to be lighter to be seen."""
    return cloth.base + np.float32(52.0) if brightness_of(cloth) < 0.16 else None


def _paint_piece(canvas: Canvas, garment: Garment, piece: Piece, rng: np.random.Generator) -> None:
    placement = garment.placement
    outline = placement.to_px(piece.outline)
    window = canvas.cover(outline)
    if window is None:
        return
    if piece.shadow:
        canvas.cast_shadow(
            outline, (0.02 * placement.scale_px, 0.035 * placement.scale_px), piece.shadow, 0.07 * placement.scale_px
        )
    cloth = garment.cloth
    if piece.is_ribbed and cloth.texture in ("knit", "smooth"):
        cloth = replace(cloth, texture="knit", weave=1, texture_period=0.12)
    grid = _grid(window, placement, piece)
    hw = window.coverage.shape
    tall, wide = hw[0] / placement.scale_px, hw[1] / placement.scale_px
    noise = soft_noise(rng, (hw[0], hw[1]), (int(tall * 2.0) + 2, int(wide * 4.5) + 2))
    grid = replace(grid, u=grid.u + 0.02 * noise, v=grid.v + 0.012 * noise)
    light = bulge(window.coverage, 0.34) + _fold_light(cloth, garment.crumple) * noise + np.float32(piece.light)
    if piece.folds is not None:
        light = light + _falls(piece.folds, grid, noise)
    weave, opacity = relief(cloth, grid, noise)
    light = light + weave
    if cloth.gloss and cloth.texture != "leather":
        light = light + np.float32(0.22 * cloth.gloss) * np.exp(-(((noise - 0.5) / 0.25) ** 2))
    if piece.light > -0.3:  # shade may play around the colour but not turn it into its darker neighbour
        light = light - np.float32(min(0.0, float(light.mean()) + 0.05))
    weight = pattern_weight(cloth, grid) if piece.light > -0.3 else None
    if weight is None:
        colour = np.broadcast_to(cloth.base, (hw[0], hw[1], 3))
        second = None
    else:
        colour = cloth.base + (cloth.second - cloth.base) * weight[..., None]
        second = weight > 0.5
    darkest = -0.5 if piece.light < -0.3 else -0.36
    painted = light_up(colour, np.clip(light, darkest, 0.42), brightness_of(cloth))
    if cloth.texture == "leather":  # what shines on leather is the lamp, so it is white
        painted += (np.clip((noise - 0.42) * 3.2, 0.0, 1.0) * np.float32(44.0))[..., None]
    painted = painted.clip(0, 255)
    canvas.blend(window, painted, 1.0 if opacity is None else opacity, owner=garment.owner)
    if second is not None:
        where = window.slices
        canvas.ink[where][second & (window.coverage > 127)] = 1


def _fold_light(cloth: Cloth, crumple: float) -> np.float32:
    softness = {"leather": 0.06, "denim": 0.08, "quilted": 0.06, "knit": 0.055, "lace": 0.05, "smooth": 0.10}
    return np.float32(softness[cloth.texture] * crumple)


def _grid(window: Window, placement: Placement, piece: Piece) -> Grid:
    height, width = window.coverage.shape
    column = (np.arange(width, dtype=np.float32) + np.float32(window.x + 0.5))[None, :]
    row = (np.arange(height, dtype=np.float32) + np.float32(window.y + 0.5))[:, None]
    inverse = placement.inverse
    x = inverse[0, 0] * column + inverse[0, 1] * row + inverse[0, 2]
    y = inverse[1, 0] * column + inverse[1, 1] * row + inverse[1, 2]
    if piece.turn == 0.0:
        return Grid(x, y, x, y, placement.scale_px)
    cos, sin = np.float32(np.cos(piece.turn)), np.float32(np.sin(piece.turn))
    dx, dy = x - np.float32(piece.origin[0]), y - np.float32(piece.origin[1])
    return Grid(x, y, dx * cos + dy * sin, dy * cos - dx * sin, placement.scale_px)


def _falls(folds: Folds, grid: Grid, noise: Field) -> Field:
    """Light of vertical folds; pleats are sharp on one side."""
    heights = grid.y[:, :1]  # turned by a few degrees at most: one width a row is near enough
    across = grid.x / folds.profile.at(heights)
    grown = np.clip((grid.y - folds.top_y) / 0.9, 0.0, 1.0)
    if folds.kind == "pleat":
        saw = (across * folds.count + np.float32(16.0)) % 1.0
        light = (saw - 0.5) * 0.9 - 0.9 * np.exp(-((saw / 0.14) ** 2))
        return np.asarray(folds.strength * light * np.clip(grown * 3, 0.5, 1.0), dtype=np.float32)
    wave = np.sin(across * np.float32(np.pi * folds.count) + np.float32(folds.phase) + 0.8 * noise)
    return np.asarray(folds.strength * 0.8 * wave * grown - 0.04 * grown, dtype=np.float32)


def seen_share(canvas: Canvas, owner: int, spots: NDArray[np.float32]) -> float:
    """Share of points (pixels) inside the photo at which the garment is what one sees."""
    height, width = canvas.image_hw
    column, row = np.floor(spots[:, 0]).astype(int), np.floor(spots[:, 1]).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return float((canvas.owner[row[inside], column[inside]] == owner).sum() / max(1, len(spots)))


def spots_of(garment: Garment, name: str) -> list[Points]:
    """Alternatives of where an attribute shows, in pixels."""
    return [garment.placement.to_px(spots) for spots in garment.sewn.evidence.get(name, [])]
