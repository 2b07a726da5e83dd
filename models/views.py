"""Photos as the detector trains on them: kept in memory, seen each time through another window.

A view moves the boxes with the pixels. It mirrors, zooms, shifts and shakes the light and its colour.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.boxes import Boxes, box_area, clip_boxes
from models.crops import read_photo
from models.images import CANVAS_MULTIPLE_PX, PADDING_GREY, detector_canvas, letterbox
from models.ontology import Ontology
from models.types import LabelledPhoto

Window = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in photo pixels; sides may lie outside the photo."""

_OVERSAMPLING = 1.3  # photos are kept this much finer than the canvas, so that zooming in costs little sharpness
_WHOLE_SHARE = 0.35  # of the views show the photo as serving does
_ZOOMS = (0.75, 1.8)
_TRIES = 8
_CLEARLY_SEEN, _BARELY_SEEN = 0.6, 0.08  # shares of a garment; one between the two is neither there nor not there
_SMALLEST_SIDE_PX = 4.0


@dataclass(frozen=True)
class View:
    """A canvas with its garments.

    Attributes:
        canvas: (H, W, 3) uint8.
        boxes: (N, 4) float32 canvas pixels.
        labels: (N,) int64 detector labels.
    """

    canvas: NDArray[np.uint8]
    boxes: Boxes
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class PhotoSet:
    """Photos reduced to little more than the canvas, with their boxes in the reduced pixels.

    Attributes:
        pixels: N uint8 (h, w, 3); a photo that is listed twice is kept once.
        boxes: N float32 (n, 4).
        labels: N int64 (n,).
        canvas_hws: N (height, width) of the canvas that each photo fills best.
    """

    pixels: Sequence[NDArray[np.uint8]]
    boxes: Sequence[Boxes]
    labels: Sequence[NDArray[np.int64]]
    canvas_hws: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.pixels)

    def plain_view(self, index: int) -> View:
        """The photo as serving letterboxes it."""
        canvas, scale = letterbox(self.pixels[index], self.canvas_hws[index])
        return View(canvas, self.boxes[index] * np.float32(scale), self.labels[index])

    def training_view(
        self, index: int, rng: np.random.Generator, light: float, long_side_px: int | None = None
    ) -> View:
        """The photo through a random window, perhaps mirrored, in other light.

        Args:
            index: which photo.
            rng: decides everything.
            light: largest change of brightness and contrast, as a share.
            long_side_px: of the canvas, to train on smaller ones at first; None for the full size.
        """
        canvas_hw = self.canvas_hws[index]
        if long_side_px is not None:
            canvas_hw = smaller_canvas(canvas_hw, long_side_px)
        pixels, boxes = self.pixels[index], self.boxes[index]
        if rng.random() < 0.5:
            pixels, boxes = mirrored(pixels, boxes)
        window = (0, 0, pixels.shape[1], pixels.shape[0])
        if rng.random() >= _WHOLE_SHARE:
            window = random_window(pixels.shape[:2], boxes, rng)
        canvas, seen = look_through(shaken_light(pixels, light, rng), boxes, window, canvas_hw)
        is_there = (seen[:, 2:] - seen[:, :2]).min(axis=1, initial=np.inf) >= _SMALLEST_SIDE_PX
        is_there &= _seen_shares(boxes, window) > _BARELY_SEEN
        return View(canvas, seen[is_there], self.labels[index][is_there])

    def batches(self, rng: np.random.Generator, batch: int) -> list[NDArray[np.int64]]:
        """A random order of all photos in batches of one canvas shape; the last of a shape is filled up from its first.

        Returns:
            Arrays of `batch` indices; how many there are does not depend on `rng`.
        """
        shapes: dict[tuple[int, int], list[int]] = {}
        for index in rng.permutation(len(self)):
            shapes.setdefault(self.canvas_hws[index], []).append(int(index))
        cut = [
            np.resize(np.array(indices), -(-len(indices) // batch) * batch).reshape(-1, batch)
            for indices in shapes.values()
        ]
        rows = np.concatenate(cut) if cut else np.zeros((0, batch), dtype=np.int64)
        return list(rng.permutation(rows))


def load_photos(
    photos: Sequence[LabelledPhoto],
    ontology: Ontology,
    long_side_px: int,
    num_threads: int = 2,
    on_photo: Callable[[int, int], None] | None = None,
) -> PhotoSet:
    """Decode and reduce photos; some 250 kB of memory each at a long side of 256.

    Args:
        photos: with their garments; a photo listed several times is seen as many times.
        ontology: gives the labels.
        long_side_px: of the canvas.
        num_threads: photos decoded at a time.
        on_photo: called with the number of photos done and their total.

    Raises:
        DatasetError: naming a photo that is unreadable.
    """
    paths = list(dict.fromkeys(photo.path for photo in photos))
    kept: dict[Path, tuple[NDArray[np.uint8], float]] = {}

    def reader(path: Path) -> tuple[NDArray[np.uint8], float]:
        return _reduced(read_photo(path), long_side_px)

    with ThreadPoolExecutor(num_threads) as pool:
        for path, reduced in zip(paths, pool.map(reader, paths), strict=True):
            kept[path] = reduced
            if on_photo:
                on_photo(len(kept), len(paths))
    boxes = [
        clip_boxes(
            np.array([garment.box for garment in photo.garments], dtype=np.float32).reshape(-1, 4)
            * np.float32(kept[photo.path][1]),
            (kept[photo.path][0].shape[0], kept[photo.path][0].shape[1]),
        )
        for photo in photos
    ]
    labels = [
        np.array([ontology.detector_label(garment.category) for garment in photo.garments], dtype=np.int64)
        for photo in photos
    ]
    pixels = [kept[photo.path][0] for photo in photos]
    canvas_hws = [detector_canvas((each.shape[0], each.shape[1]), long_side_px) for each in pixels]
    return PhotoSet(pixels, boxes, labels, canvas_hws)


def _reduced(image: NDArray[np.uint8], long_side_px: int) -> tuple[NDArray[np.uint8], float]:
    height, width = image.shape[:2]
    scale = long_side_px * _OVERSAMPLING / max(height, width)
    if scale >= 1:
        return image, 1.0
    return letterbox(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def smaller_canvas(canvas_hw: tuple[int, int], long_side_px: int) -> tuple[int, int]:
    """A canvas of about the same aspect with another long side; both sides stay multiples of 32."""
    scale = long_side_px / max(canvas_hw)
    height, width = (max(1, round(side * scale / CANVAS_MULTIPLE_PX)) * CANVAS_MULTIPLE_PX for side in canvas_hw)
    return height, width


def mirrored(pixels: NDArray[np.uint8], boxes: Boxes) -> tuple[NDArray[np.uint8], Boxes]:
    """Swap left and right of a photo and its (N, 4) boxes."""
    width = pixels.shape[1]
    turned = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    return pixels[:, ::-1], turned.astype(np.float32)


def shaken_light(pixels: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change contrast and brightness by up to a share, of all channels alike, and of each a third of that on its own.

    Lamps have a colour, and no category does.
    """
    contrasts, brightness = (rng.uniform(-share, share) + rng.uniform(-share, share, 3) / 3 for _ in range(2))
    levels = (np.arange(256)[:, None] - 128) * (1 + contrasts) + 128 + 255 * brightness / 2
    table: NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)
    return np.stack([table[:, channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def random_window(image_hw: tuple[int, int], boxes: Boxes, rng: np.random.Generator) -> Window:
    """Choose a window of the photo's aspect, smaller or larger than it, that cuts no garment in half.

    Returns:
        The window, or the whole photo if none was found.
    """
    height, width = image_hw
    for _ in range(_TRIES):
        zoom = np.exp(rng.uniform(*np.log(_ZOOMS)))
        window_width, window_height = max(1, round(width / zoom)), max(1, round(height / zoom))
        x = round(rng.uniform(*sorted((0, width - window_width))))
        y = round(rng.uniform(*sorted((0, height - window_height))))
        window = (x, y, x + window_width, y + window_height)
        shares = _seen_shares(boxes, window)
        if bool(((shares >= _CLEARLY_SEEN) | (shares <= _BARELY_SEEN)).all()):
            return window
    return (0, 0, width, height)


def _seen_shares(boxes: Boxes, window: Window) -> NDArray[np.float32]:
    x1, y1, x2, y2 = window
    low, high = np.array([x1, y1, x1, y1], dtype=np.float32), np.array([x2, y2, x2, y2], dtype=np.float32)
    shares: NDArray[np.float32] = (box_area(np.clip(boxes, low, high)) / np.maximum(box_area(boxes), 1e-6)).astype(
        np.float32
    )
    return shares


def look_through(
    pixels: NDArray[np.uint8],
    boxes: Boxes,
    window: Window,
    canvas_hw: tuple[int, int],
) -> tuple[NDArray[np.uint8], Boxes]:
    """Show what lies in a window of the photo, scaled to fit the canvas, grey where the photo ends.

    Returns:
        The canvas, (height, width, 3) uint8, and the boxes in canvas pixels, cut off at the window.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = window
    left, right, top, bottom = max(0, x1), min(width, x2), max(0, y1), min(height, y2)
    scale = min(canvas_hw[0] / (y2 - y1), canvas_hw[1] / (x2 - x1))
    at_x, at_y = min(canvas_hw[1] - 1, round((left - x1) * scale)), min(canvas_hw[0] - 1, round((top - y1) * scale))
    part_hw = (
        min(canvas_hw[0] - at_y, max(1, round((bottom - top) * scale))),
        min(canvas_hw[1] - at_x, max(1, round((right - left) * scale))),
    )
    part, part_scale = letterbox(pixels[top:bottom, left:right], part_hw)
    canvas = np.full((*canvas_hw, 3), PADDING_GREY, dtype=np.uint8)
    canvas[at_y : at_y + part_hw[0], at_x : at_x + part_hw[1]] = part
    moved = (boxes - np.array([left, top, left, top])) * part_scale + np.array([at_x, at_y, at_x, at_y])
    low, high = np.array([at_x, at_y] * 2), np.array([at_x + part_hw[1], at_y + part_hw[0]] * 2)
    return canvas, np.clip(moved, low, high).astype(np.float32)
