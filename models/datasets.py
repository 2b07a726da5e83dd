"""The dataset form on disk: photos in `images/`, labels in `annotations.jsonl`, facts in `dataset.json`.

One line of annotations a photo:

    {"file": "images/000000.jpg", "width": 384, "height": 512, "garments":
        [{"category": "dress", "box": [x1, y1, x2, y2], "attributes": {"colour": ["red"], "neckline": ["v_neck"]}}]}

An attribute that is absent is unlabelled, which is not a negative. A photo without garments is a label too. Where only
a part of a photo was labelled, "region" is its box.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import DatasetError
from models.ontology import Category, Ontology
from models.types import Box, LabelledGarment, LabelledPhoto

FORMAT = 1
FACTS_NAME = "dataset.json"
ANNOTATIONS_NAME = "annotations.jsonl"


def read_dataset(directory: Path, ontology: Ontology) -> list[LabelledPhoto]:
    """Read the labels of a set; the photos themselves are only checked to be there.

    Args:
        directory: holds `dataset.json`, `annotations.jsonl` and the photos.
        ontology: every label has to be known to it.

    Raises:
        DatasetError: naming file and line, if anything is missing or unknown.
    """
    photos = []
    for photo in each_photo(directory, ontology):
        if isinstance(photo, DatasetError):
            raise photo
        photos.append(photo)
    return photos


def repeat_rare(photos: Sequence[LabelledPhoto], common_share: float, seed: int = 0) -> list[LabelledPhoto]:
    """List photos of rare categories several times: repeat factor sampling of LVIS (Gupta et al. 2019).

    A category that a share f of the photos shows is repeated max(1, sqrt(common_share / f)) times on average; a photo
    goes by the rarest it shows.

    Args:
        photos: one set.
        common_share: categories that at least this share of the photos show are not repeated; 0 repeats none.
        seed: decides which photos are taken once more for what is left of a factor.
    """
    rng = np.random.default_rng(seed)
    shown = [{garment.category for garment in photo.garments} for photo in photos]
    counts = Counter(category for categories in shown for category in categories)
    repeated: list[LabelledPhoto] = []
    for photo, categories in zip(photos, shown, strict=True):
        rarest = min((counts[category] for category in categories), default=len(photos)) / len(photos)
        factor = max(1.0, math.sqrt(common_share / rarest))
        repeated += [photo] * int(factor + rng.random())
    return repeated


def each_photo(directory: Path, ontology: Ontology) -> Iterator[LabelledPhoto | DatasetError]:
    """Read a set line by line; a line that cannot be used comes as the error that says why.

    Raises:
        DatasetError: if the directory holds no set.
    """
    facts = read_facts(directory)
    if facts.get("format") != FORMAT:
        raise DatasetError(f"{FACTS_NAME} line 1: format {facts.get('format')!r} is not {FORMAT}; make the set anew")
    path = directory / ANNOTATIONS_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{ANNOTATIONS_NAME} of {directory.name} cannot be read as text", f"{path}: {exc}") from exc
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _read_line(line, f"{ANNOTATIONS_NAME} line {number}", directory, ontology)
            except DatasetError as exc:
                yield exc


def read_facts(directory: Path) -> dict[str, Any]:
    """What `dataset.json` says: format, ontology, source, count and what the writer added.

    Raises:
        DatasetError: if it is missing or no JSON object.
    """
    path = directory / FACTS_NAME
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DatasetError(f"{directory.name} is no dataset: {FACTS_NAME} cannot be read", f"{path}: {exc}") from exc
    except ValueError as exc:
        raise DatasetError(f"{FACTS_NAME} of {directory.name} is no JSON: {exc}", str(path)) from exc
    if not isinstance(facts, dict):
        raise DatasetError(f"{FACTS_NAME} of {directory.name} holds no JSON object", str(path))
    return facts


def write_dataset(
    directory: Path,
    photos: Iterable[tuple[LabelledPhoto, tuple[int, int]]],
    ontology: Ontology,
    facts: Mapping[str, Any],
) -> None:
    """Write labels and facts of photos that lie below the directory; facts last, so a torn set is no set.

    Args:
        directory: the set's directory.
        photos: each with its (height, width) in pixels; `path` below `directory`.
        ontology: goes into the facts.
        facts: more facts, such as `source` and `seed`.

    Raises:
        DatasetError: if a photo lies outside the directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FACTS_NAME).unlink(missing_ok=True)
    count = 0
    with (directory / ANNOTATIONS_NAME).open("w", encoding="utf-8") as stream:
        for photo, image_hw in photos:
            stream.write(json.dumps(_line_of(directory, photo, image_hw)) + "\n")
            count += 1
    everything = {"format": FORMAT, "ontology": ontology.to_dict(), **facts, "count": count}
    (directory / FACTS_NAME).write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


def _line_of(directory: Path, photo: LabelledPhoto, image_hw: tuple[int, int]) -> dict[str, Any]:
    if not photo.path.is_relative_to(directory):
        raise DatasetError(f"photo {photo.path.name} does not lie in the directory of the set", str(photo.path))
    return {
        "file": photo.path.relative_to(directory).as_posix(),
        "width": image_hw[1],
        "height": image_hw[0],
        "garments": [
            {
                "category": garment.category,
                "box": [round(float(side), 2) for side in garment.box],
                "attributes": {name: list(values) for name, values in garment.attributes.items()},
            }
            for garment in photo.garments
        ],
        **({"region": [round(float(side), 2) for side in photo.region]} if photo.region else {}),
    }


def _read_line(line: str, where: str, directory: Path, ontology: Ontology) -> LabelledPhoto:
    try:
        entry = json.loads(line)
    except ValueError as exc:
        raise DatasetError(f"{where}: no JSON: {exc}", str(directory)) from exc
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise DatasetError(f"{where}: needs an object with file, width, height and garments", str(directory))
    path = directory / entry["file"]
    if ".." in Path(entry["file"]).parts or not path.is_file():
        raise DatasetError(f"{where}: there is no photo {entry['file']}", str(path))
    garments = entry.get("garments")
    if not isinstance(garments, list):
        raise DatasetError(f"{where}: garments needs to be a list", str(directory))
    region = _read_box(entry["region"], where, entry) if "region" in entry else None
    return LabelledPhoto(path, tuple(_read_garment(garment, where, entry, ontology) for garment in garments), region)


def _read_garment(garment: object, where: str, entry: Mapping[str, Any], ontology: Ontology) -> LabelledGarment:
    if not isinstance(garment, dict):
        raise DatasetError(f"{where}: a garment needs to be an object")
    category = ontology.categories.get(str(garment.get("category")))
    if category is None:
        raise DatasetError(f"{where}: unknown category {garment.get('category')!r}")
    attributes = garment.get("attributes", {})
    if not isinstance(attributes, dict):
        raise DatasetError(f"{where}: attributes of {category.name} need to be an object")
    return LabelledGarment(
        category.name,
        _read_box(garment.get("box"), where, entry),
        {name: _read_values(category, name, values, where) for name, values in attributes.items()},
    )


def _read_box(box: object, where: str, entry: Mapping[str, Any]) -> Box:
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)):
        raise DatasetError(f"{where}: box needs four numbers [x1, y1, x2, y2], got {box!r}")
    width, height = entry.get("width"), entry.get("height")
    if not (isinstance(width, int) and isinstance(height, int)):
        raise DatasetError(f"{where}: width and height need to be whole numbers of pixels")
    x1, y1, x2, y2 = (float(side) for side in box)
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise DatasetError(f"{where}: box {box} needs x1 < x2 and y1 < y2 inside {width} x {height}")
    return (x1, y1, x2, y2)


def _read_values(category: Category, name: str, values: object, where: str) -> tuple[str, ...]:
    attribute = category.attributes.get(name)
    if attribute is None:
        raise DatasetError(f"{where}: unknown attribute {category.name}.{name}")
    if not isinstance(values, list) or not values:
        raise DatasetError(f"{where}: {category.name}.{name} needs a list of values, got {values!r}")
    for value in values:
        if value not in attribute.values:
            raise DatasetError(f"{where}: unknown value {value!r} of {category.name}.{name}")
    if attribute.is_single and len(values) != 1:
        raise DatasetError(f"{where}: {category.name}.{name} takes one value, got {values!r}")
    return tuple(values)
