"""What a garment consists of before it is painted: pieces of cloth, seams, trims, and where each attribute shows."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.rendering.outlines import Points
from models.rendering.palette import Rgb

Stage = Literal["back", "body", "sleeve", "front"]
"""When a piece is painted: behind the wearer, on the trunk, after the arms, on top of all."""

STAGES: tuple[Stage, ...] = ("back", "body", "sleeve", "front")


@dataclass(frozen=True)
class Profile:
    """Half width of a garment at each height."""

    y: NDArray[np.float32]
    half_width: NDArray[np.float32]

    @classmethod
    def of(cls, *knots: tuple[float, float]) -> "Profile":
        """From (y, half width) pairs, top to bottom."""
        array = np.array(knots, dtype=np.float32)
        return cls(array[:, 0], array[:, 1])

    def at(self, y: float | NDArray[np.float32]) -> NDArray[np.float32]:
        """Half width at one or more heights."""
        return np.asarray(np.interp(y, self.y, self.half_width), dtype=np.float32)

    def side(self, top: float, bottom: float, count: int = 14) -> Points:
        """The right edge from top to bottom."""
        y = np.linspace(top, bottom, count, dtype=np.float32)
        return np.stack([self.at(y), y], axis=1)


@dataclass(frozen=True)
class Folds:
    """Vertical folds that begin at `top_y` and grow downwards; `profile` spreads them over the width."""

    kind: Literal["drape", "pleat"]
    count: float
    strength: float
    top_y: float
    profile: Profile
    phase: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A piece of cloth with its grain: `turn` radians against the body, around `origin`."""

    outline: Points
    stage: Stage
    turn: float = 0.0
    origin: tuple[float, float] = (0.0, 0.0)
    light: float = 0.0
    folds: Folds | None = None
    is_ribbed: bool = False
    shadow: float = 0.0


@dataclass(frozen=True)
class Seam:
    """A line on the garment; `is_stitch` lines show as contrasting thread on denim; `colour` None follows the cloth."""

    line: Points
    stage: Stage
    width: float = 0.014
    strength: float = 0.42
    is_stitch: bool = False
    colour: Rgb | None = None


@dataclass(frozen=True)
class Trim:
    """A small part of another material: button, zip, buckle, label."""

    outline: Points
    stage: Stage
    colour: Rgb
    shade: float = 0.3


@dataclass
class Sewn:
    """A whole garment in body units.

    `evidence` maps an attribute to alternatives; an attribute can be judged if the points of any one are seen.
    """

    pieces: list[Piece] = field(default_factory=list)
    seams: list[Seam] = field(default_factory=list)
    trims: list[Trim] = field(default_factory=list)
    evidence: dict[str, list[Points]] = field(default_factory=dict)
    top_y: float = 0.0
    hem_y: float = 1.6
    motifs: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, outline: Points, stage: Stage, **kwargs: object) -> None:
        """Append a piece."""
        self.pieces.append(Piece(outline, stage, **kwargs))  # type: ignore[arg-type]

    def seam(self, line: Points, stage: Stage, width: float = 0.014, strength: float = 0.42) -> None:
        """Append a plain seam."""
        self.seams.append(Seam(line, stage, width, strength))

    def stitch(self, line: Points, stage: Stage) -> None:
        """Append a line of stitches."""
        self.seams.append(Seam(line, stage, 0.016, 0.3, is_stitch=True))
