"""Lays things over parts of garments, so that some attributes cannot be seen: props, scarves, hair."""

import numpy as np

from models.rendering import props
from models.rendering.dresser import seen_share, spots_of
from models.rendering.outlines import Placement, Points, band, box, points, smooth
from models.rendering.palette import any_colour
from models.rendering.scene import Scene

_HIDEABLE = {
    "top": ("neckline", "sleeve_length", "sleeve_length", "length"),
    "outerwear": ("collar", "sleeve_length", "length", "closure", "closure"),
    "dress": ("neckline", "sleeve_length", "length", "silhouette"),
    "trousers": ("length", "leg_shape"),
    "skirt": ("hemline", "silhouette", "silhouette"),
}
"""Attributes that are hidden on purpose; others vanish below other garments and at the border of the photo."""


def hide_parts(scene: Scene, is_worn: bool) -> None:
    """Lay things over parts of some garments, each over what shows one attribute."""
    rng = scene.rng
    for garment in scene.garments:
        if rng.random() > (0.24 if is_worn else 0.32) * (0.6 if garment.category in ("skirt", "top") else 1.0):
            continue
        targets = [name for name in _HIDEABLE[garment.category] if name in garment.look]
        name = targets[int(rng.integers(len(targets)))]
        if name in ("neckline", "collar") and is_worn and rng.random() < 0.7:
            _cover_neck(scene, garment.placement)
            continue
        for spots in spots_of(garment, name):
            if seen_share(scene.canvas, garment.owner, spots) > 0.2:
                _cover(scene, spots, garment.placement.scale_px)


def _cover(scene: Scene, spots: Points, scale_px: float) -> None:
    rng = scene.rng
    low, high = spots.min(axis=0), spots.max(axis=0)
    size = high - low + 0.12 * scale_px
    centre = (float((low[0] + high[0]) / 2), float((low[1] + high[1]) / 2))
    long, wide = float(size.max()), float(size.min())
    if long > 1.9 * wide or long > 1.1 * scale_px:
        pad = 0.06 * scale_px
        outline = box(float(low[0] - pad), float(low[1] - pad), float(high[0] + pad), float(high[1] + 1.5 * pad))
        rounded = smooth(
            np.repeat(outline, 2, axis=0) + rng.normal(0, 0.03 * scale_px, (8, 2)).astype(np.float32), 4, closed=True
        )
        scene.canvas.cast_shadow(rounded, (2, 4), 0.3, 8)
        colour = any_colour(rng)
        scene.canvas.fill(rounded, colour, 0.5)
        for share in rng.uniform(0.15, 0.85, 2):
            y = float(low[1] + share * (high[1] - low[1]))
            scene.canvas.stroke((points((float(low[0]), y), (float(high[0]), y)),), colour * np.float32(0.8), 2.0, 0.8)
        return
    kind = props.COVERS[int(rng.integers(len(props.COVERS)))]
    props.draw_prop(scene.canvas, kind, centre, long * 1.35 + 0.1 * scale_px, rng)


def _cover_neck(scene: Scene, placement: Placement) -> None:
    """A scarf around the neck, or hair that falls over it."""
    rng = scene.rng
    if rng.random() < 0.5:
        colour = any_colour(rng)
        loop = smooth(
            [(-0.24, -0.2), (0.24, -0.2), (0.42, 0.10), (0.26, 0.48), (0.0, 0.60), (-0.26, 0.48), (-0.42, 0.10)],
            5,
            closed=True,
        )
        tail = points((0.02, 0.3), (0.3, 0.3), (0.34, 1.05), (0.06, 1.05))
        for outline in (tail, loop):
            scene.canvas.cast_shadow(placement.to_px(outline), (2, 3), 0.3, 5)
            scene.canvas.fill(placement.to_px(outline), colour, 0.6)
        for x in (-0.25, -0.1, 0.08, 0.22):
            fold = smooth([(x, -0.12), (x * 1.3, 0.15), (x * 0.7, 0.5)], 4)
            scene.canvas.stroke(
                (placement.to_px(fold),), colour * np.float32(0.7), max(1.0, 0.03 * placement.scale_px), 0.6
            )
        return
    hair = np.array([[30, 26, 24], [70, 46, 30], [150, 106, 60], [120, 60, 34]], dtype=np.float32)[int(rng.integers(4))]
    for sign in (-1.0, 1.0):
        axis = smooth([(0.2 * sign, -0.72), (0.24 * sign, -0.3), (0.17 * sign, 0.15), (0.19 * sign, 0.75)], 6)
        widths = np.interp(np.linspace(0, 1, len(axis)), [0, 0.35, 0.8, 1], [0.05, 0.10, 0.20, 0.08]).astype(np.float32)
        scene.canvas.fill(placement.to_px(band(axis, widths)), hair, 0.4)
