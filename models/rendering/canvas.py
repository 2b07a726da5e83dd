"""The photo while it is drawn: colours, and for every pixel which garment and which of its colours one sees."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from models.rendering.outlines import Points

Field = NDArray[np.float32]


@dataclass
class Window:
    """A rectangle of the photo with the coverage of a shape in it."""

    x: int
    y: int
    coverage: NDArray[np.uint8]  # (h, w) 0 to 255

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where it lies in the photo."""
        height, width = self.coverage.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


@dataclass
class Canvas:
    """A photo of `image_hw` pixels in the making."""

    rgb: NDArray[np.float32]  # (H, W, 3) 0 to 255
    owner: NDArray[np.uint8] = field(init=False)  # (H, W) 0: no garment
    ink: NDArray[np.uint8] = field(init=False)  # (H, W) 1: the second colour of the owner

    def __post_init__(self) -> None:
        self.owner = np.zeros(self.rgb.shape[:2], dtype=np.uint8)
        self.ink = np.zeros(self.rgb.shape[:2], dtype=np.uint8)

    @property
    def image_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def cover(self, outline: Points, lines: tuple[Points, ...] = (), width_px: float = 0.0) -> Window | None:
        """Coverage of a closed outline (and of lines inside its bounds); None if it lies outside the photo."""
        height, width = self.image_hw
        margin = 1 + int(width_px)
        x1, y1 = np.floor(outline.min(axis=0)).astype(int) - margin
        x2, y2 = np.ceil(outline.max(axis=0)).astype(int) + margin
        x1, y1, x2, y2 = max(0, int(x1)), max(0, int(y1)), min(width, int(x2)), min(height, int(y2))
        if x2 - x1 < 2 or y2 - y1 < 2:
            return None
        image = Image.new("L", ((x2 - x1) * 2, (y2 - y1) * 2))
        draw = ImageDraw.Draw(image)
        origin = np.array([x1, y1], dtype=np.float32)
        if lines:
            for line in lines:
                draw.line(
                    ((line - origin) * 2).ravel().tolist(), fill=255, width=max(1, round(width_px * 2)), joint="curve"
                )
        else:
            draw.polygon(((outline - origin) * 2).ravel().tolist(), fill=255)
        return Window(x1, y1, np.asarray(image.reduce(2)))

    def blend(self, window: Window, colour: Field, opacity: Field | float = 1.0, owner: int | None = 0) -> None:
        """Lay a colour over the window: (3,) or (h, w, 3); `owner` None keeps who owns the pixels."""
        where = window.slices
        alpha = (window.coverage.astype(np.float32) * (opacity / np.float32(255.0)))[..., None]
        under = self.rgb[where]
        under += (colour - under) * alpha
        if owner is not None:
            inside = window.coverage > 127
            self.owner[where][inside] = owner
            self.ink[where][inside] = 0

    def fill(self, outline: Points, colour: Field, shade: float = 0.16, owner: int | None = 0) -> None:
        """Paint a rounded-looking shape without texture: skin, hair, props."""
        window = self.cover(outline)
        if window is None:
            return
        if shade <= 0:
            self.blend(window, colour, owner=owner)
            return
        light = bulge(window.coverage, shade)
        self.blend(window, colour * (1 + light[..., None]), owner=owner)

    def stroke(
        self,
        lines: tuple[Points, ...],
        colour: Field | None,
        width_px: float,
        opacity: float = 0.6,
        only_on: int | None = None,
    ) -> None:
        """Draw lines; without a colour they darken what lies below; `only_on` keeps them on one owner's pixels."""
        lines = tuple(line for line in lines if len(line) > 1)
        if not lines:
            return
        window = self.cover(np.vstack(lines), lines, width_px)
        if window is None:
            return
        if only_on is not None:
            window.coverage = window.coverage * (self.owner[window.slices] == only_on)
        if width_px < 1.0:
            opacity *= max(0.4, width_px)
        if colour is None:
            where = window.slices
            self.rgb[where] *= 1 - window.coverage[..., None].astype(np.float32) * np.float32(opacity / 255.0)
        else:
            self.blend(window, colour, opacity, owner=None)

    def cast_shadow(self, outline: Points, offset: tuple[float, float], strength: float, blur_px: float) -> None:
        """Darken the surroundings of a shape, before it is painted."""
        reach = blur_px * 2
        moved = outline + np.array(offset, dtype=np.float32)
        step = 4
        height, width = self.image_hw
        x1, y1 = (np.floor((moved.min(axis=0) - reach) / step).astype(int) * step).clip(0)
        x2, y2 = np.ceil(moved.max(axis=0) + reach).astype(int)
        x2, y2 = min(width, int(x2)), min(height, int(y2))
        if x2 - x1 < step or y2 - y1 < step:
            return
        small = Image.new("L", ((x2 - x1) // step, (y2 - y1) // step))
        ImageDraw.Draw(small).polygon(((moved - np.array([x1, y1])) / step).ravel().tolist(), fill=255)
        small = small.filter(ImageFilter.BoxBlur(max(1.0, float(blur_px) / step)))
        soft = np.asarray(small.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR), dtype=np.float32)
        self.rgb[y1:y2, x1:x2] *= 1 - soft[..., None] * np.float32(strength / 255.0)


def bulge(coverage: NDArray[np.uint8], strength: float, light_x: float = -0.6) -> Field:
    """Light on a shape as if it were round: darker at its edges, a little brighter towards the light."""
    height, width = coverage.shape
    step = 4 if min(height, width) < 48 else 8
    small = Image.fromarray(coverage).resize((max(2, width // step), max(2, height // step)), Image.Resampling.BOX)
    soft = np.asarray(small.filter(ImageFilter.BoxBlur(1)), dtype=np.float32) / 255.0
    padded = np.pad(soft, 1)
    slope = (padded[1:-1, 2:] - padded[1:-1, :-2]) * light_x * -0.5 + (padded[2:, 1:-1] - padded[:-2, 1:-1]) * 0.25
    light = (np.minimum(soft, 0.95) - 0.95) * 1.2 + slope
    image = Image.fromarray((light * np.float32(strength)).astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
