"""Labelled garments cut out of their photos once and kept in memory, to be cropped anew each time they are trained on.

A region holds a garment with enough of its surroundings that a shaken box, padded, still lies inside it. So the crop
made from the region by `crop_square` is the one that would have been made from the photo, at a fraction of the cost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import DatasetError, InputError
from models.images import crop_square, decode_image
from models.ontology import Attribute, Category, Ontology
from models.types import Box, LabelledGarment, LabelledPhoto

UNLABELLED = -100
"""The label of a single-choice attribute that nobody answered; fills the whole row of a several-choice one."""

Labels = NDArray[np.int64] | NDArray[np.float32]
_OVERSAMPLING = 1.15  # a region is kept this much finer than the crop, so that shaking the box costs no sharpness


def encode_labels(attribute: Attribute, garments: Sequence[LabelledGarment]) -> Labels:
    """Turn the answers to one attribute into an array, UNLABELLED where a garment has none.

    Returns:
        (n,) int64 labels for a single choice; (n, values) float32 of 0 and 1 for several.

    Raises:
        DatasetError: if a value is unknown, or a single choice has several.
    """
    answers = [garment.attributes.get(attribute.name, ()) for garment in garments]
    try:
        rows = [[attribute.label_by_value[value] for value in answer] for answer in answers]
    except KeyError as exc:
        raise DatasetError(f"{attribute.name} has no value {exc.args[0]!r}; correct the label or the ontology") from exc
    if attribute.is_single:
        if any(len(row) > 1 for row in rows):
            raise DatasetError(f"{attribute.name} takes one value, a garment has several; keep one")
        return np.array([row[0] if row else UNLABELLED for row in rows], dtype=np.int64)
    several = np.full((len(rows), len(attribute.values)), UNLABELLED, dtype=np.float32)
    for target, row in zip(several, rows, strict=True):
        if row:
            target[:] = 0
            target[row] = 1
    return several


def shaken_box(box: Box, share: float, rng: np.random.Generator) -> Box:
    """Move each side of a box by up to a share of its width or height, as a detector's box would lie."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    left, top, right, bottom = rng.uniform(-share, share, 4)
    return x1 + left * width, y1 + top * height, x2 + right * width, y2 + bottom * height


@dataclass(frozen=True)
class CropSet:
    """Garments of several categories, with their regions and encoded labels.

    Attributes:
        categories: those whose garments are here, in ontology order.
        category_rows: (N,) int64, the position of each garment's category in `categories`.
        label_rows: (N,) int64, the garment's row in the labels of its category.
        regions: N uint8 (h, w, 3).
        boxes: N boxes in pixels of their region.
        labels: by category and attribute, see `encode_labels`.
    """

    categories: tuple[Category, ...]
    category_rows: NDArray[np.int64]
    label_rows: NDArray[np.int64]
    regions: Sequence[NDArray[np.uint8]]
    boxes: Sequence[Box]
    labels: Mapping[str, Mapping[str, Labels]]

    def __len__(self) -> int:
        return len(self.regions)

    def counts(self) -> dict[str, int]:
        """Number of garments by category."""
        counts = np.bincount(self.category_rows, minlength=len(self.categories))
        return {category.name: int(count) for category, count in zip(self.categories, counts, strict=True)}

    def crop(self, index: int, size_px: int, pad_ratio: float) -> NDArray[np.uint8]:
        """The crop as serving would make it from the true box: (size_px, size_px, 3) uint8."""
        return crop_square(self.regions[index], self.boxes[index], size_px, pad_ratio)

    def rows_by_category(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """For each category present, the positions in `indices` of its garments."""
        present = self.category_rows[indices]
        return {self.categories[row].name: np.flatnonzero(present == row) for row in np.unique(present)}

    def labels_of(self, category: str, indices: NDArray[np.int64]) -> dict[str, Labels]:
        """Labels by attribute of garments that all belong to the category."""
        rows = self.label_rows[indices]
        return {name: labels[rows] for name, labels in self.labels[category].items()}

    def mixed_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """A random order in which every stretch holds the categories in their overall proportions."""
        places = np.empty(len(self))
        for row in np.unique(self.category_rows):
            members = np.flatnonzero(self.category_rows == row)
            places[members] = (rng.permutation(len(members)) + rng.uniform(size=len(members))) / len(members)
        return np.argsort(places, kind="stable")


def cut_crops(
    photos: Sequence[LabelledPhoto],
    ontology: Ontology,
    *,
    size_px: int,
    context_ratio: float,
    categories: Sequence[str] | None = None,
    num_threads: int = 2,
    on_photo: Callable[[int, int], None] | None = None,
) -> CropSet:
    """Read every photo once and keep the regions of its garments.

    Args:
        photos: with their labelled garments.
        ontology: gives the labels.
        size_px: largest side at which crops will be asked for.
        context_ratio: share of the box kept around it on each side; the padding plus what the box may be shaken.
        categories: keep only these; None for all.
        num_threads: photos decoded at a time.
        on_photo: called with the number of photos done and their total.

    Raises:
        DatasetError: naming the photo that is unreadable, or the category that has no garment.
    """
    wanted = tuple(categories or ontology.category_names)
    kept: list[tuple[LabelledGarment, NDArray[np.uint8], Box]] = []
    with ThreadPoolExecutor(num_threads) as pool:
        cut = pool.map(lambda photo: list(_cut_photo(photo, wanted, size_px, context_ratio)), photos)
        for done, regions in enumerate(cut, start=1):
            kept.extend(regions)
            if on_photo:
                on_photo(done, len(photos))
    category_rows = np.array([wanted.index(garment.category) for garment, _, _ in kept], dtype=np.int64)
    label_rows = np.zeros(len(kept), dtype=np.int64)
    labels: dict[str, dict[str, Labels]] = {}
    for row, name in enumerate(wanted):
        members = np.flatnonzero(category_rows == row)
        label_rows[members] = np.arange(len(members))
        garments = [kept[member][0] for member in members]
        attributes = ontology.categories[name].attributes
        labels[name] = {attribute.name: encode_labels(attribute, garments) for attribute in attributes.values()}
    return CropSet(
        tuple(ontology.categories[name] for name in wanted),
        category_rows,
        label_rows,
        [region for _, region, _ in kept],
        [box for _, _, box in kept],
        labels,
    )


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Decode a photo of a data set as serving would; (H, W, 3) uint8.

    Raises:
        DatasetError: naming the file.
    """
    try:
        return decode_image(path.read_bytes())
    except (OSError, InputError) as exc:
        raise DatasetError(f"{path.name} cannot be read; restore or remove it", f"{path}: {exc}") from exc


def _cut_photo(
    photo: LabelledPhoto, wanted: Sequence[str], size_px: int, context_ratio: float
) -> Iterator[tuple[LabelledGarment, NDArray[np.uint8], Box]]:
    garments = [garment for garment in photo.garments if garment.category in wanted]
    if not garments:
        return
    image = read_photo(photo.path)
    for garment in garments:
        x1, y1, x2, y2 = garment.box
        around_x, around_y = (x2 - x1) * context_ratio, (y2 - y1) * context_ratio
        left, top = max(0, int(x1 - around_x)), max(0, int(y1 - around_y))
        region = image[top : int(y2 + around_y) + 1, left : int(x2 + around_x) + 1]
        if not region.size:
            raise DatasetError(f"{photo.path.name}: the box {garment.box} lies outside the photo; correct it")
        scale = min(1.0, size_px * _OVERSAMPLING / max(x2 - x1, y2 - y1))
        region, (scale_x, scale_y) = _scaled(region, scale)
        box = ((x1 - left) * scale_x, (y1 - top) * scale_y, (x2 - left) * scale_x, (y2 - top) * scale_y)
        yield garment, region, box


def _scaled(region: NDArray[np.uint8], scale: float) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    height, width = region.shape[:2]
    target_hw = max(1, round(height * scale)), max(1, round(width * scale))
    if target_hw == (height, width):
        return region.copy(), (1.0, 1.0)
    small = Image.fromarray(np.ascontiguousarray(region)).resize(
        (target_hw[1], target_hw[0]), Image.Resampling.BILINEAR, reducing_gap=2.0
    )
    return np.asarray(small, dtype=np.uint8), (target_hw[1] / width, target_hw[0] / height)
