"""Curves and placements: from body units to pixels of the photo.

Body units: the shoulder line lies at y = 0, y grows downwards, x = 0 is the middle; waist 1.05, hip 1.6, knee 2.85,
ankle 3.9. Flat-lay garments are drawn in the same units, so lengths mean the same with and without a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""(N, 2) x, y."""

CROTCH_Y, ANKLE_Y = 1.88, 3.9


def points(*xy: tuple[float, float]) -> Points:
    """Points from pairs."""
    return np.array(xy, dtype=np.float32).reshape(-1, 2)


def smooth(control: Sequence[tuple[float, float]] | Points, steps: int = 6, closed: bool = False) -> Points:
    """A Catmull-Rom curve through all control points, ends included."""
    knots = np.asarray(control, dtype=np.float32)
    if len(knots) < 3:
        return knots
    padded = np.vstack([knots[-1:], knots, knots[:2]]) if closed else np.vstack([knots[:1], knots, knots[-1:]])
    t = np.linspace(0.0, 1.0, steps, endpoint=False, dtype=np.float32)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    spans = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    curve = spans.reshape(-1, 2)
    return curve if closed else np.vstack([curve, knots[-1:]])


def mirror(curve: Points) -> Points:
    """The same curve on the other side of x = 0, in reverse order so that outlines close."""
    return (curve * np.array([-1.0, 1.0], dtype=np.float32))[::-1]


def join(*curves: Points) -> Points:
    """One outline out of several curves."""
    return np.vstack(curves).astype(np.float32)


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 24) -> Points:
    """An ellipse as a closed outline."""
    angle = np.linspace(0.0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1).astype(np.float32)


def box(x1: float, y1: float, x2: float, y2: float) -> Points:
    """A rectangle as an outline."""
    return points((x1, y1), (x2, y1), (x2, y2), (x1, y2))


def edges(axis: Points, half_widths: NDArray[np.float32]) -> tuple[Points, Points]:
    """Both edges of a band around an axis: left and right of its direction."""
    direction = np.gradient(axis, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
    normal = np.stack([direction[:, 1], -direction[:, 0]], axis=1)
    offset = normal * half_widths[:, None]
    return (axis + offset).astype(np.float32), (axis - offset).astype(np.float32)


def band(axis: Points, half_widths: NDArray[np.float32]) -> Points:
    """A closed band around an axis."""
    left, right = edges(axis, half_widths)
    return join(left, right[::-1])


def along(axis: Points, share: NDArray[np.float32] | float) -> Points:
    """Points at shares (0 to 1) of the length of an axis."""
    steps = np.linalg.norm(np.diff(axis, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(steps)]) / max(float(steps.sum()), 1e-6)
    share = np.atleast_1d(np.asarray(share, dtype=np.float32))
    return np.stack([np.interp(share, at, axis[:, 0]), np.interp(share, at, axis[:, 1])], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Placement:
    """Where body units lie in the photo: scaled by `scale_px`, mirrored, turned by `angle` (radians), then moved."""

    scale_px: float
    x: float
    y: float
    angle: float = 0.0
    is_mirrored: bool = False

    @property
    def matrix(self) -> NDArray[np.float32]:
        """(2, 3) from body units to pixels."""
        cos, sin = np.cos(self.angle) * self.scale_px, np.sin(self.angle) * self.scale_px
        flip = -1.0 if self.is_mirrored else 1.0
        return np.array([[cos * flip, -sin, self.x], [sin * flip, cos, self.y]], dtype=np.float32)

    @property
    def inverse(self) -> NDArray[np.float32]:
        """(2, 3) from pixels to body units."""
        matrix = self.matrix.astype(np.float64)
        linear = np.linalg.inv(matrix[:, :2])
        return np.hstack([linear, -(linear @ matrix[:, 2:])]).astype(np.float32)

    def to_px(self, curve: Points) -> Points:
        """Body units to pixels."""
        matrix = self.matrix
        return (curve @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
