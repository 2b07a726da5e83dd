"""Turns photos of a foreign set into our dataset form: boxes where there were none, all inside their photo."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.boxes import clip_boxes
from models.colours import COLOUR_ATTRIBUTE, garment_colours
from models.crops import read_photo
from models.datasets import write_dataset
from models.errors import DatasetError
from models.foreground import foreground_box
from models.ontology import Category, Ontology
from models.readers import LabelMapping, SourceGarment, SourcePhoto
from models.types import Box, LabelledGarment, LabelledPhoto

_LEAST_SIDE_PX = 2.0
_PLAIN_SHARE = 0.6  # of a garment's pixels, from which one colour names it


def convert(
    photos: Sequence[SourcePhoto],
    mapping: LabelMapping,
    directory: Path,
    ontology: Ontology,
    facts: Mapping[str, Any],
    on_photo: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write a set, copying its photos.

    Args:
        photos: from `read_labels`.
        mapping: says where a garment without a box is (`box`: foreground or frame), and by how much photos were
            squeezed (`height_ratio`); where photos show garments that nobody labelled, `complete: false`; and where
            colours are to be measured that nobody labelled, `colours: pixels`.
        directory: of the set.
        ontology: goes into its facts.
        facts: more facts, such as `source`.
        on_photo: called with the number of photos done and their total.

    Returns:
        One line for each photo or garment that had to be left out.
    """
    left_out: list[str] = []

    def converted() -> Iterator[tuple[LabelledPhoto, tuple[int, int]]]:
        (directory / "images").mkdir(parents=True, exist_ok=True)
        for done, photo in enumerate(photos, start=1):
            try:
                image = read_photo(photo.path)
            except DatasetError as exc:
                left_out.append(exc.message)
                continue
            target = directory / "images" / photo.file.removeprefix("images/").replace("/", "-")
            image = _copied(photo.path, image, target, mapping.options.get("height_ratio"))
            ratio = np.float32(mapping.options.get("height_ratio", 1))
            image_hw = (image.shape[0], image.shape[1])
            garments = []
            boxes = [_box(each, image, mapping.options.get("box", "foreground"), ratio) for each in photo.garments]
            for at, (garment, box) in enumerate(zip(photo.garments, boxes, strict=True)):
                if box is None:
                    left_out.append(f"{photo.file}: the box {garment.box} of {garment.category} lies outside the photo")
                else:
                    attributes = dict(garment.attributes)
                    if mapping.options.get("colours") == "pixels" and COLOUR_ATTRIBUTE not in attributes:
                        others = [other for other in boxes[:at] + boxes[at + 1 :] if other is not None]
                        attributes |= _plain_colour(image, box, others, ontology.categories[garment.category])
                    garments.append(LabelledGarment(garment.category, box, attributes))
            yield LabelledPhoto(target, tuple(garments), _inside(photo.region, image_hw, ratio)), image_hw
            if on_photo:
                on_photo(done, len(photos))

    write_dataset(directory, converted(), ontology, {"complete": mapping.options.get("complete", True), **facts})
    return left_out


def _copied(path: Path, image: NDArray[np.uint8], target: Path, height_ratio: float | None) -> NDArray[np.uint8]:
    """The photo as it is, or stretched to its true height."""
    if height_ratio is None:
        target.write_bytes(path.read_bytes())
        return image
    height, width = image.shape[:2]
    stretched = Image.fromarray(image).resize((width, round(height * height_ratio)), Image.Resampling.LANCZOS)
    stretched.save(target, "JPEG", quality=95)
    return np.asarray(stretched)


def _box(garment: SourceGarment, image: NDArray[np.uint8], where: str, ratio: np.float32) -> Box | None:
    height, width = image.shape[:2]
    if garment.box is not None:
        return _inside(garment.box, (height, width), ratio)
    return foreground_box(image) if where == "foreground" else (0.0, 0.0, float(width), float(height))


def _plain_colour(
    image: NDArray[np.uint8], box: Box, others: Sequence[Box], category: Category
) -> dict[str, tuple[str, ...]]:
    """The measured colour of a garment of one colour; nothing for grey, which is how white in the shade measures."""
    if COLOUR_ATTRIBUTE not in category.attributes:
        return {}
    colours = garment_colours(image, box, category.attributes[COLOUR_ATTRIBUTE].values, others)
    is_plain = bool(colours) and colours[0].share >= _PLAIN_SHARE and colours[0].name != "grey"
    return {COLOUR_ATTRIBUTE: (colours[0].name,)} if is_plain else {}


def _inside(box: Box | None, image_hw: tuple[int, int], ratio: np.float32) -> Box | None:
    """The part of a box of the squeezed photo that lies in the photo; None if hardly any does."""
    if box is None:
        return None
    stretched = np.array([box], dtype=np.float32) * np.array([1, ratio, 1, ratio], dtype=np.float32)
    x1, y1, x2, y2 = (float(side) for side in clip_boxes(stretched, image_hw)[0])
    return (x1, y1, x2, y2) if min(x2 - x1, y2 - y1) >= _LEAST_SIDE_PX else None
