"""Arranges garments in a photo: worn by a figure, laid out flat, on hangers."""

from dataclasses import dataclass, field

import numpy as np

from models.ontology import Ontology
from models.rendering import props
from models.rendering.canvas import Canvas
from models.rendering.dresser import Garment, paint
from models.rendering.figure import draw_arms, draw_body, draw_hands, sample_figure
from models.rendering.looks import cloth_of, sample_look, sew
from models.rendering.outlines import Placement
from models.rendering.sleeves import Arm
from models.rendering.uppers import Wearing

_WORN_SHARES = {"top": 0.13, "outerwear": 0.26, "dress": 0.27, "trousers": 0.16, "skirt": 0.18}
_LAID_SHARES = {"top": 0.17, "outerwear": 0.24, "dress": 0.22, "trousers": 0.20, "skirt": 0.17}


@dataclass
class Scene:
    """A photo in the making with its garments, and how many pixels each had when it was painted.

    `open_share` is the share of figures that certainly wear open outerwear over something: in the street many do, of
    evenly drawn looks few.
    """

    canvas: Canvas
    ontology: Ontology  # the embedded one
    known: tuple[str, ...]  # categories that may be drawn
    rng: np.random.Generator
    open_share: float = 0.0
    garments: list[Garment] = field(default_factory=list)
    area_px: dict[int, int] = field(default_factory=dict)

    def make(self, category: str, wearing: Wearing, placement: Placement | None = None, **fixed: str) -> Garment:
        """Decide and sew one more garment."""
        look = sample_look(self.ontology.categories[category], self.rng, **fixed)
        sewn = sew(category, look, wearing, self.rng)
        cloth = cloth_of(look, sewn, self.rng, {garment.cloth.base_name for garment in self.garments})
        owner = len(self.garments) + 1
        crumple = float(self.rng.uniform(0.7, 1.5))
        garment = Garment(category, look, sewn, cloth, placement or Placement(1, 0, 0), owner, crumple)
        self.garments.append(garment)
        return garment

    def measure(self, garment: Garment) -> None:
        """Remember how much of a garment is in the photo before anything hides it."""
        self.area_px[garment.owner] = int((self.canvas.owner == garment.owner).sum())


def pick(shares: dict[str, float], known: tuple[str, ...], rng: np.random.Generator) -> str:
    """A category by its share among the known ones."""
    names = [name for name in shares if name in known]
    weights = np.array([shares[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def scatter_props(scene: Scene, count: int, share: tuple[float, float] = (0.12, 0.3)) -> None:
    """Put things around the edges of the photo."""
    height, width = scene.canvas.image_hw
    rng = scene.rng
    for _ in range(count):
        kind = props.PROPS[int(rng.integers(len(props.PROPS)))]
        x = float(rng.choice([rng.uniform(-0.02, 0.2), rng.uniform(0.8, 1.02)])) * width
        props.draw_prop(
            scene.canvas, kind, (x, float(rng.uniform(0.1, 1.0)) * height), float(rng.uniform(*share)) * height, rng
        )


def arrange_nothing(scene: Scene) -> None:
    """Only clutter."""
    height, width = scene.canvas.image_hw
    for _ in range(int(scene.rng.integers(1, 6))):
        kind = props.PROPS[int(scene.rng.integers(len(props.PROPS)))]
        centre = (float(scene.rng.uniform(0.1, 0.9)) * width, float(scene.rng.uniform(0.1, 0.9)) * height)
        props.draw_prop(scene.canvas, kind, centre, float(scene.rng.uniform(0.15, 0.55)) * height, scene.rng)


def arrange_figure(scene: Scene) -> None:
    """An outfit on a figure."""
    rng = scene.rng
    figure = sample_figure(rng)
    is_open = bool(scene.open_share) and "outerwear" in scene.known and rng.random() < scene.open_share
    main = "outerwear" if is_open else pick(_WORN_SHARES, scene.known, rng)
    placement = _frame(scene, main)
    wearing = Wearing(True, figure.arms)
    under, lower, outer = _dress_up(scene, main, wearing, placement, {"closure": "open"} if is_open else {})
    canvas = scene.canvas
    is_vest = outer is not None and outer.look.get("sleeve_length") == "sleeveless"
    for garment in (outer, under):
        if garment is not None:
            paint(canvas, garment, ("back",), rng)
    draw_body(canvas, figure, placement)
    is_tucked = bool(under is not None and lower is not None and under.category == "top" and rng.random() < 0.16)
    order = (under, lower) if is_tucked else (lower, under)
    for garment in order:
        if garment is not None:
            paint(canvas, garment, ("body",), rng)
            scene.measure(garment)
    if is_vest and outer is not None:
        paint(canvas, outer, ("body",), rng)
    draw_arms(canvas, figure, placement)
    if under is not None:
        paint(canvas, under, ("sleeve", "front"), rng)
        scene.measure(under)
    if outer is not None:
        paint(canvas, outer, ("front",) if is_vest else ("body", "sleeve", "front"), rng)
        if outer.look["sleeve_length"] == "long":
            draw_hands(canvas, figure, placement)
        scene.measure(outer)


def _dress_up(
    scene: Scene, main: str, wearing: Wearing, placement: Placement, fixed_outer: dict[str, str]
) -> tuple[Garment | None, Garment | None, Garment | None]:
    """Choose the outfit around the main garment: (top or dress, trousers or skirt, outerwear)."""
    rng, known = scene.rng, scene.known
    under = lower = outer = None
    if main == "dress":
        under = scene.make("dress", wearing, placement)
        if "outerwear" in known and rng.random() < 0.10:
            outer = scene.make("outerwear", wearing, placement, closure="open")
        return under, None, outer
    if main == "outerwear":
        outer = scene.make("outerwear", wearing, placement, **fixed_outer)
        if outer.look["closure"] == "open" and "dress" in known and rng.random() < 0.35:
            return scene.make("dress", wearing, placement), None, outer
    legs = [name for name in ("trousers", "skirt") if name in known]
    if main in legs:
        lower = scene.make(main, wearing, placement)
    elif legs and (outer is None or outer.look["length"] in ("short", "hip") or outer.look["closure"] == "open"):
        lower = scene.make(legs[int(rng.integers(len(legs)))], wearing, placement)
    if "top" in known and (outer is None or outer.look["closure"] == "open"):
        fixed = _top_over(lower, rng)
        under = scene.make("top", wearing, placement, **fixed)
        if outer is None and "outerwear" in known and rng.random() < 0.06:
            outer = scene.make("outerwear", wearing, placement, closure="open")
    return under, lower, outer


def _top_over(lower: Garment | None, rng: np.random.Generator) -> dict[str, str]:
    """Which top goes with trousers or a skirt: short ones show the waist, long ones would hide short trousers."""
    if lower is None:
        return {}
    if lower.category == "trousers" and rng.random() < 0.68:
        return {"length": "cropped"}
    if lower.look["length"] in ("shorts", "mini"):
        return {"length": "regular" if rng.random() < 0.6 else "cropped"}
    return {"length": "long" if rng.random() < 0.55 else "regular"}


def _frame(scene: Scene, main: str) -> Placement:
    """Where the figure stands: whole, without head, upper or lower half."""
    height, width = scene.canvas.image_hw
    rng = scene.rng
    roll = rng.random()
    top, bottom = float(rng.uniform(-1.25, -0.95)), float(rng.uniform(4.25, 4.5))
    if roll < 0.2:
        top = float(rng.uniform(-0.5, -0.25))
    elif roll < 0.34 and main in ("trousers", "skirt"):
        top = float(rng.uniform(0.35, 0.85))
    elif roll < 0.36 and main in ("top", "outerwear", "dress"):
        bottom = float(rng.uniform(1.75, 2.9))
    scale = min(height / (bottom - top), width / 1.6)
    x = width * (0.5 + float(rng.uniform(-0.5, 0.5)) * max(0.0, 1 - 2.0 * scale / width) * 0.8)
    return Placement(scale, x, -top * scale, float(rng.normal(0, 0.025)))


def arrange_flat(scene: Scene) -> None:
    """One to three garments laid out, hung, or standing as if worn by a ghost."""
    rng = scene.rng
    height, width = scene.canvas.image_hw
    count = int(rng.choice([1, 2, 3], p=[0.66, 0.25, 0.09]))
    if count == 1:
        cells = [(0.0, 0.0, 1.0, 1.0)]
    elif count == 2 and width < height * 0.9 and rng.random() < 0.45:
        cells = [(0.0, 0.0, 1.0, 0.52), (0.0, 0.48, 1.0, 1.0)]
    elif count == 2:
        cells = [(0.0, 0.0, 0.52, 1.0), (0.48, 0.0, 1.0, 1.0)]
    else:
        cells = [(0.0, 0.0, 0.5, 0.55), (0.5, 0.02, 1.0, 0.52), (0.15, 0.5, 0.85, 1.0)]
    has_hanger = rng.random() < 0.25
    for x1, y1, x2, y2 in cells:
        upper = float(rng.uniform(0.12, 0.85))
        arm = Arm(upper, upper + float(rng.normal(-0.05, 0.16)))
        if has_hanger:
            arm = Arm(0.2, 0.1)
        wearing = Wearing(False, (arm, arm))
        garment = scene.make(pick(_LAID_SHARES, scene.known, rng), wearing)
        cell = (x1 * width, y1 * height, x2 * width, y2 * height)
        placement = _fit(garment, cell, 0.05 if not has_hanger else 0.015, count == 1, rng)
        garment = Garment(
            garment.category,
            garment.look,
            garment.sewn,
            garment.cloth,
            placement,
            garment.owner,
            garment.crumple * 1.15,
        )
        scene.garments[-1] = garment
        if has_hanger and garment.category in ("top", "dress", "outerwear") and garment.look.get("collar") != "hood":
            props.draw_hanger(scene.canvas, placement)
        for piece in garment.sewn.pieces[:3]:
            if piece.stage == "body":
                offset = (0.04 * placement.scale_px, 0.05 * placement.scale_px)
                scene.canvas.cast_shadow(placement.to_px(piece.outline), offset, 0.28, 0.1 * placement.scale_px)
        paint(scene.canvas, garment, ("back", "body", "sleeve", "front"), rng)
        scene.measure(garment)


def _fit(
    garment: Garment, cell: tuple[float, float, float, float], tilt: float, may_crop: bool, rng: np.random.Generator
) -> Placement:
    outline = np.vstack([piece.outline for piece in garment.sewn.pieces])
    low, high = outline.min(axis=0), outline.max(axis=0)
    x1, y1, x2, y2 = cell
    scale = min((x2 - x1) / (high[0] - low[0]), (y2 - y1) / (high[1] - low[1])) * float(rng.uniform(0.66, 0.96))
    shift_x, shift_y = rng.uniform(-0.5, 0.5, 2)
    if may_crop and rng.random() < 0.14:
        scale *= float(rng.uniform(1.15, 1.6))
        shift_x, shift_y = rng.uniform(-0.9, 0.9), rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.0)
    free_x, free_y = abs(x2 - x1 - scale * (high[0] - low[0])), abs(y2 - y1 - scale * (high[1] - low[1]))
    centre = (low + high) / 2 * scale
    x = (x1 + x2) / 2 - centre[0] + shift_x * free_x * 0.6
    y = (y1 + y2) / 2 - centre[1] + shift_y * free_y * 0.6
    return Placement(float(scale), float(x), float(y), float(rng.normal(0, tilt)))
