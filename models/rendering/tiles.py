"""Small repeating pictures of patterns and weaves, drawn once per process when first asked for."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Field = NDArray[np.float32]
_SIDE = 256
STRIPES, CHECKS, DOTS, FLORALS, MOTIFS = 4, 3, 3, 6, 8
"""How many variants of each pattern there are."""


def look_up(kind: str, variant: int, u: Field, v: Field, period: float, unit_px: float) -> Field:
    """Values of a tile that repeats every `period` units, at coordinates in those units.

    Args:
        kind: name of a tile, such as "striped" or "knit".
        variant: which of its variants.
        u: (H, W) or broadcastable coordinates across the weave.
        v: the same along the weave.
        period: length of one repeat.
        unit_px: pixels in one unit; the tile shrinks so that one pixel is about one cell.

    Returns:
        (H, W) float32: weight of the second colour (0 to 1), or lightness (-1 to 1) for a weave.
    """
    side = _SIDE
    while side > 16 and side > 1.4 * period * unit_px:
        side //= 2
    tile = _tile(kind, variant, side)
    column = (u * (side / period) + side * 4096).astype(np.int32) & (side - 1)
    row = (v * (side / period) + side * 4096).astype(np.int32) & (side - 1)
    return np.asarray(tile[row, column], dtype=np.float32)


@cache
def _tile(kind: str, variant: int, side: int) -> Field:
    if side < _SIDE:
        larger = _tile(kind, variant, side * 2)
        return np.ascontiguousarray(larger.reshape(side, 2, side, 2).mean(axis=(1, 3), dtype=np.float32))
    makers = {
        "striped": _stripes,
        "checked": _checks,
        "dotted": _dots,
        "floral": _flowers,
        "knit": _knit,
        "denim": _twill,
        "grain": _grain,
        "lace": _lace,
        "quilted": _quilt,
    }
    return np.ascontiguousarray(makers[kind](variant), dtype=np.float32)


def _axes() -> tuple[Field, Field]:
    ramp = ((np.arange(_SIDE) + 0.5) / _SIDE).astype(np.float32)
    return ramp[None, :], ramp[:, None]


def _stripes(variant: int) -> Field:
    across, _ = _axes()
    inside = (
        across < 0.5,
        across < 0.34,
        (across < 0.26) | ((across > 0.4) & (across < 0.52)),
        (across < 0.42) | ((across > 0.66) & (across < 0.74)),
    )[variant]
    return np.broadcast_to(inside, (_SIDE, _SIDE)).astype(np.float32)


def _checks(variant: int) -> Field:
    across, down = _axes()
    if variant == 0:
        return np.asarray((across < 0.5) ^ (down < 0.5), dtype=np.float32)
    if variant == 1:
        return np.asarray((across < 0.2) | (down < 0.2), dtype=np.float32)
    thin = ((across > 0.62) & (across < 0.70)) | ((down > 0.62) & (down < 0.70))
    return np.asarray((across < 0.3) | (down < 0.3) | thin, dtype=np.float32)


def _dots(variant: int) -> Field:
    radius = (0.20, 0.24, 0.28)[variant]
    across, down = _axes()
    spot = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        dx = np.abs(across - x)
        dy = np.abs(down - y)
        spot += np.minimum(dx, 1 - dx) ** 2 + np.minimum(dy, 1 - dy) ** 2 < (radius * 0.85) ** 2
    return spot.clip(0.0, 1.0)


def _wrapped(image: Image.Image, shape: list[tuple[float, float]], fill: int) -> None:
    draw = ImageDraw.Draw(image)
    side = image.width
    for dx in (-side, 0, side):
        for dy in (-side, 0, side):
            draw.polygon([(x + dx, y + dy) for x, y in shape], fill=fill)


def _disc(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> list[tuple[float, float]]:
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    px, py = rx * np.cos(angle), ry * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return [(float(x + a * cos - b * sin), float(y + a * sin + b * cos)) for a, b in zip(px, py, strict=True)]


def _flowers(variant: int) -> Field:
    rng = np.random.default_rng(100 + variant)
    side = _SIDE * 2
    image = Image.new("L", (side, side))
    spots = [(0.22, 0.25), (0.72, 0.2), (0.45, 0.58), (0.9, 0.62), (0.15, 0.82), (0.65, 0.9)]
    for x, y in spots[: 4 + variant % 3]:
        cx, cy = (x + rng.uniform(-0.05, 0.05)) * side, (y + rng.uniform(-0.05, 0.05)) * side
        size = rng.uniform(0.115, 0.16) * side
        for turn in rng.uniform(0, 6.3, 2):
            tip = (cx + 1.5 * size * np.cos(turn), cy + 1.5 * size * np.sin(turn))
            _wrapped(image, _disc(tip[0], tip[1], size * 0.5, size * 0.2, float(turn)), 235)
        petals = 5 + variant % 2
        for petal in range(petals):
            turn = petal * 2 * np.pi / petals + variant
            px, py = cx + 0.58 * size * np.cos(turn), cy + 0.58 * size * np.sin(turn)
            _wrapped(image, _disc(px, py, size * 0.52, size * 0.33, turn), 255)
        _wrapped(image, _disc(cx, cy, size * 0.24, size * 0.24), 0)
    return np.asarray(image.reduce(2), dtype=np.float32) / 255.0


def _knit(variant: int) -> Field:
    across, down = _axes()
    if variant == 0:  # rows of V stitches, 2 x 2 in a tile
        x, y = (across * 2) % 1.0, (down * 2) % 1.0
        slant = (y + np.abs(x - 0.5) * 1.2) % 1.0
        groove = np.exp(-(((np.abs(x - 0.5) - 0.5) / 0.10) ** 2)) + 0.7 * np.exp(-(((x - 0.5) / 0.07) ** 2))
        return np.asarray(0.75 * np.sin(2 * np.pi * slant) - 0.9 * groove + 0.2, dtype=np.float32)
    if variant == 1:  # ribs, 2 in a tile
        rib = np.cos(4 * np.pi * across)
        return np.asarray(0.95 * rib - 0.25 + 0.25 * np.sin(16 * np.pi * down) * (rib > 0), dtype=np.float32)
    strand = 0.5 + 0.19 * np.sin(2 * np.pi * down)  # a cable between two ribs
    other = 0.5 - 0.19 * np.sin(2 * np.pi * down)
    cable = np.maximum(np.exp(-(((across - strand) / 0.10) ** 2)), np.exp(-(((across - other) / 0.10) ** 2)))
    side_rib = np.exp(-(((np.minimum(across, 1 - across)) / 0.06) ** 2))
    return np.asarray(1.5 * np.maximum(cable, side_rib) - 0.75 + 0.15 * np.sin(16 * np.pi * down), dtype=np.float32)


def _twill(variant: int) -> Field:
    across, down = _axes()
    rng = np.random.default_rng(3 + variant)
    slub = rng.normal(0, 1, (16, _SIDE)).astype(np.float32).repeat(_SIDE // 16, axis=0)
    line = np.sin(2 * np.pi * (across * 12 + down * 12))
    return np.asarray(0.6 * line + 0.42 * slub, dtype=np.float32)


def _grain(variant: int) -> Field:
    rng = np.random.default_rng(7 + variant)
    return rng.normal(0, 1, (_SIDE, _SIDE)).astype(np.float32)


def _lace(variant: int) -> Field:
    """1 where there is thread, 0 where there is a hole."""
    side = _SIDE * 2
    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    step = side // 12
    for at in range(-side, 2 * side, step):
        draw.line([(at, 0), (at + side, side)], fill=255, width=8)
        draw.line([(at, side), (at + side, 0)], fill=255, width=8)
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        cx, cy, size = x * side, y * side, 0.21 * side
        petals = 6 if variant else 5
        _wrapped(image, _disc(cx, cy, size * 1.05, size * 1.05), 0)
        for petal in range(petals):
            turn = petal * 2 * np.pi / petals
            px, py = cx + 0.62 * size * np.cos(turn), cy + 0.62 * size * np.sin(turn)
            _wrapped(image, _disc(px, py, size * 0.44, size * 0.29, turn), 255)
            _wrapped(image, _disc(px, py, size * 0.22, size * 0.11, turn), 0)
        _wrapped(image, _disc(cx, cy, size * 0.24, size * 0.24), 255)
    return np.asarray(image.reduce(2), dtype=np.float32) / 255.0


def _quilt(variant: int) -> Field:
    across, down = _axes()
    if variant == 0:  # diamonds
        a, b = (across + down) % 1.0, (across - down) % 1.0
        away = np.minimum(np.minimum(a, 1 - a), np.minimum(b, 1 - b)) * 2
    else:  # channels
        away = np.broadcast_to(np.minimum(down, 1 - down) * 2, (_SIDE, _SIDE))
    pillow = 1 - np.exp(-away / 0.22)
    slope = 0.35 * np.cos(2 * np.pi * down) if variant else 0.0
    return np.asarray(1.5 * pillow - 1.05 - 1.0 * np.exp(-((away / 0.06) ** 2)) + slope, dtype=np.float32)


@cache
def motif(variant: int) -> Field:
    """A printed picture, (128, 128): weight of the second colour; it does not repeat."""
    side = 256
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    star = [
        (128 + r * np.sin(k * np.pi / 5), 128 - r * np.cos(k * np.pi / 5))
        for k, r in zip(range(10), [122, 52] * 5, strict=True)
    ]
    if variant == 0:
        draw.polygon(star, fill=255)
    elif variant == 1:
        draw.ellipse((8, 8, 248, 248), fill=255)
        draw.ellipse((52, 52, 204, 204), fill=0)
        draw.polygon([(128 + (x - 128) * 0.5, 128 + (y - 128) * 0.5) for x, y in star], fill=255)
    elif variant == 2:  # heart
        draw.ellipse((14, 26, 136, 148), fill=255)
        draw.ellipse((120, 26, 242, 148), fill=255)
        draw.polygon([(24, 118), (232, 118), (128, 244)], fill=255)
    elif variant == 3:  # lines of letters
        for row, widths in enumerate(((60, 40, 70), (50, 76, 44), (84, 36, 52))):
            x = 20
            for width in widths:
                draw.rounded_rectangle((x, 22 + row * 78, x + width, 80 + row * 78), 12, fill=255)
                draw.rectangle((x + 14, 40 + row * 78, x + width - 14, 60 + row * 78), fill=0)
                x += width + 14
    elif variant == 4:  # mountain and sun in a frame
        draw.rounded_rectangle((6, 6, 250, 250), 20, fill=255)
        draw.polygon([(20, 220), (100, 90), (150, 170), (180, 130), (236, 220)], fill=0)
        draw.ellipse((160, 40, 212, 92), fill=0)
    elif variant == 5:  # cat's head
        draw.ellipse((30, 60, 226, 236), fill=255)
        draw.polygon([(40, 110), (44, 10), (120, 70)], fill=255)
        draw.polygon([(216, 110), (212, 10), (136, 70)], fill=255)
        for x in (92, 164):
            draw.ellipse((x - 16, 118, x + 16, 158), fill=0)
        draw.polygon([(112, 176), (144, 176), (128, 196)], fill=0)
    elif variant == 6:  # bolt
        draw.ellipse((6, 6, 250, 250), fill=255)
        draw.polygon([(150, 30), (70, 145), (122, 145), (100, 226), (186, 105), (134, 105)], fill=0)
    else:  # sun with rays
        draw.ellipse((72, 72, 184, 184), fill=255)
        for k in range(12):
            turn = k * np.pi / 6
            cos, sin = np.cos(turn), np.sin(turn)
            draw.line([(128 + 70 * cos, 128 + 70 * sin), (128 + 120 * cos, 128 + 120 * sin)], fill=255, width=18)
    return np.asarray(image.reduce(2), dtype=np.float32) / 255.0
