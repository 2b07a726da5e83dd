"""iMaterialist Fashion: labels of whole photos (2018), and masks of garments and their parts (2019 to 2021)."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.readers.coco import Instance, bind_parts
from models.readers.mapping import ForeignGarment, ForeignPhoto, LabelMapping


def read_imaterialist_labels(
    source: Path, images: Path | None, split: str | None, mapping: LabelMapping
) -> Iterator[ForeignPhoto]:
    """Read a JSON of 2018, whose labels are numbers, with the published table `*label_map_228.csv` beside it.

    Keys are `image_id` and `label_id`, or `imageId` and `labelId` as on Kaggle. A photo is taken if its labels name
    exactly one category of ours. Photos are `<image_id>.jpg`.
    """
    (table,) = source.parent.glob("*label_map_228.csv")
    with table.open(encoding="utf-8-sig", newline="") as lines:
        names = {row["labelId"]: (row["taskName"], row["labelName"]) for row in csv.DictReader(lines)}
    for row in json.loads(source.read_text(encoding="utf-8"))["annotations"]:
        file = f"{row.get('image_id', row.get('imageId'))}.jpg"
        labels = [names[str(label)] for label in row.get("label_id", row.get("labelId", ()))]
        meant = {mapping.categories[name].category: name for task, name in labels if _is_category(task, name, mapping)}
        if len(meant) == 1:
            garment = ForeignGarment(next(iter(meant.values())), labels)
            yield ForeignPhoto(file, (images or source.parent / "images") / file, [garment])


def _is_category(task: str, name: str, mapping: LabelMapping) -> bool:
    return task == "category" and name in mapping.categories


def read_imaterialist_masks(
    source: Path, images: Path | None, split: str | None, mapping: LabelMapping
) -> Iterator[ForeignPhoto]:
    """Read a `train.csv` of 2019 or later, one mask a row, with `label_descriptions.json` beside it.

    `ClassId` is a category, in 2019 with its attributes after underscores; later they stand in `AttributesIds`,
    separated by commas. Names are those of Fashionpedia.
    """
    descriptions = json.loads((source.parent / "label_descriptions.json").read_text(encoding="utf-8"))
    name_by_id = {str(entry["id"]): entry["name"] for entry in descriptions["categories"]}
    label_by_id = {str(entry["id"]): (entry["supercategory"], entry["name"]) for entry in descriptions["attributes"]}
    instances: dict[str, list[Instance]] = defaultdict(list)
    with source.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            category, *ids = row["ClassId"].split("_")
            ids += [each for each in (row.get("AttributesIds") or "").split(",") if each]
            labels = [label_by_id[each] for each in ids if each in label_by_id]
            mask = _mask(row["EncodedPixels"], int(row["Height"]), int(row["Width"]))
            garment = ForeignGarment(name_by_id[category], labels, _box(mask))
            instances[row["ImageId"]].append(Instance(garment, mask))
    for image, found in instances.items():
        file = image if image.endswith(".jpg") else f"{image}.jpg"
        yield ForeignPhoto(file, (images or source.parent / "train") / file, bind_parts(found, mapping))


def _mask(encoded: str, height: int, width: int) -> Mapping[str, Any]:
    """Pairs of a first pixel, counted from 1 down the columns, and a length, as COCO's run lengths."""
    from faster_coco_eval.core import mask as masks

    numbers = [int(number) for number in encoded.split()]
    counts, at = [], 0
    for first, length in sorted(zip(numbers[::2], numbers[1::2], strict=True)):
        counts += [first - 1 - at, length]
        at = first - 1 + length
    mask: Mapping[str, Any] = masks.frPyObjects(
        {"size": [height, width], "counts": [*counts, height * width - at]}, height, width
    )
    return mask


def _box(mask: Mapping[str, Any]) -> tuple[float, float, float, float]:
    from faster_coco_eval.core import mask as masks

    x, y, width, height = (float(side) for side in masks.toBbox(mask))
    return (x, y, x + width, y + height)
