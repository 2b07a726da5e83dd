"""How coats and jackets close: zip, one or two rows of buttons, a belt."""

import numpy as np

from models.rendering.outlines import box, ellipse, join, points, smooth
from models.rendering.palette import Rgb
from models.rendering.sewing import Profile, Seam, Sewn, Trim

_METAL = np.array([196, 194, 188], dtype=np.float32)
_BUTTONS = np.array([[30, 28, 27], [96, 62, 36], [226, 220, 206], [188, 160, 90]], dtype=np.float32)


def add_button(sewn: Sewn, x: float, y: float, radius: float, colour: Rgb) -> None:
    """A round button with a dark rim."""
    for size, shade in ((1.25, 0.45), (1.0, 1.0)):
        sewn.trims.append(Trim(ellipse(x, y, radius * size, radius * size, 12), "body", colour * shade, 0.0))


def add_closure(sewn: Sewn, value: str, depth: float, hem: float, profile: Profile, rng: np.random.Generator) -> None:
    """Sew the closure from the collar's depth to the hem and record where it shows; `open` is cut, not sewn."""
    if value == "open":
        return
    colour = _BUTTONS[int(rng.integers(len(_BUTTONS)))]
    if value == "zip":
        _add_zip(sewn, depth, hem)
    elif value == "single_breasted":
        sewn.seam(points((0.06, depth), (0.06, hem - 0.02)), "body", 0.02, 0.5)
        rows = np.linspace(depth + 0.08, min(hem - 0.14, 2.2), max(3, int((min(hem, 2.2) - depth) / 0.27)))
        for y in rows:
            add_button(sewn, 0.0, float(y), 0.042, colour)
        sewn.evidence["closure"] = [points(*((-0.08, float(y)) for y in rows))]
    elif value == "double_breasted":
        sewn.seam(points((0.05, depth), (0.24, depth + 0.12), (0.24, hem - 0.02)), "body", 0.024, 0.55)
        rows = np.linspace(depth + 0.10, max(depth + 0.3, min(hem - 0.18, 1.75)), 3 if hem - depth < 1.1 else 4)
        for y in rows:
            for x in (-0.17, 0.17):
                add_button(sewn, x, float(y), 0.045, colour)
        sewn.evidence["closure"] = [points(*((x, float(y)) for y in rows for x in (-0.1, 0.1)))]
    else:
        _add_belt(sewn, depth, hem, profile, rng)


def _add_zip(sewn: Sewn, depth: float, hem: float) -> None:
    top = min(depth, 0.2) if depth < 0.4 else depth
    for x in (-0.055, 0.055):
        sewn.seam(points((x, top), (x, hem - 0.02)), "body", 0.018, 0.5)
    sewn.trims.append(Trim(box(-0.026, top, 0.026, hem - 0.015), "body", _METAL * 0.3, 0.0))
    rows = np.arange(top + 0.01, hem - 0.03, 0.02)
    teeth = points(*((0.018 if row % 2 else -0.018, float(y)) for row, y in enumerate(rows)))
    sewn.seams.append(Seam(teeth, "front", 0.013, 1.0, colour=_METAL))
    sewn.trims.append(Trim(box(-0.03, top + 0.03, 0.03, top + 0.17), "front", _METAL * 0.9, 0.0))
    sewn.evidence["closure"] = [
        points(*((x, float(y)) for x in (-0.08, 0.08) for y in np.linspace(top + 0.1, hem - 0.1, 9)))
    ]


def _add_belt(sewn: Sewn, depth: float, hem: float, profile: Profile, rng: np.random.Generator) -> None:
    y = min(1.08, hem - 0.14)
    wide = float(profile.at(y)) + 0.015
    tall = 0.075
    sewn.seam(points((0.02, depth), (0.16, y), (0.2, hem - 0.02)), "body", 0.024, 0.55)
    strap = join(
        smooth([(-wide, y - tall), (0.0, y - tall + 0.02), (wide, y - tall)], 5),
        smooth([(wide, y + tall), (0.0, y + tall + 0.02), (-wide, y + tall)], 5),
    )
    sewn.add(strap, "front", light=-0.17, shadow=0.45, turn=np.pi / 2)
    sewn.seam(join(strap, strap[:1]), "front", 0.02, 0.6)
    if rng.random() < 0.5:
        for half, colour in ((0.10, _METAL * 0.85), (0.065, _METAL * 0.25)):
            sewn.trims.append(
                Trim(box(-half * 0.8 + 0.03, y - half + 0.01, half * 0.8 + 0.03, y + half + 0.01), "front", colour, 0.0)
            )
    else:
        sewn.add(ellipse(0.05, y + 0.01, 0.085, 0.09, 14), "front", light=-0.05, shadow=0.4)
        for tip in (0.02, 0.2):
            tail = points((0.02, y + 0.05), (0.09, y + 0.05), (tip + 0.09, y + 0.55), (tip - 0.01, y + 0.57))
            sewn.add(tail, "front", light=-0.12, shadow=0.4)
            sewn.seam(join(tail, tail[:1]), "front", 0.014, 0.5)
    sewn.evidence["closure"] = [points(*((x, y + 0.01) for x in (-0.3, -0.15, 0.1, 0.2, 0.3)), (0.1, y - 0.04))]
