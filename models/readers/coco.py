"""COCO detection files, and instances with masks: parts give their attributes to the garment that they are on."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from models.errors import DatasetError
from models.readers.mapping import ForeignGarment, ForeignPhoto, LabelMapping
from models.types import Box

_LEAST_SHARE = 0.5  # of a part has to lie on the garment that it belongs to


@dataclass(frozen=True, slots=True)
class Instance:
    """One annotated thing, a garment or a part of one.

    Attributes:
        garment: in the words of the set, with its box.
        mask: run lengths as COCO keeps them; None where only boxes are annotated.
    """

    garment: ForeignGarment
    mask: Mapping[str, Any] | None = None


def read_coco(source: Path, images: Path | None, split: str | None, mapping: LabelMapping) -> Iterator[ForeignPhoto]:
    """Read a COCO file; `attributes` with `attribute_ids` are those of Fashionpedia.

    Categories and attributes are matched by name, never by id: ids have gaps and differ between drafts of a set.
    Boxes are [x, y, width, height] in pixels, or those of the mask where a file has none.
    """
    raw = json.loads(source.read_text(encoding="utf-8"))
    name_by_id = {entry["id"]: entry["name"] for entry in raw["categories"]}
    label_by_id = {entry["id"]: (str(entry["supercategory"]), entry["name"]) for entry in raw.get("attributes", [])}
    rows = defaultdict(list)
    for row in raw["annotations"]:
        if not row.get("iscrowd"):
            rows[row["image_id"]].append(row)
    category_field = mapping.options.get("category_field")
    for entry in raw["images"]:
        if split and entry["split"] != split:
            continue
        instances = []
        for row in rows[entry["id"]]:
            labels = [label_by_id[each] for each in row.get("attribute_ids", []) if each in label_by_id]
            weak = row.get(mapping.options.get("attribute_field"), {})
            labels += [(name, str(value)) for name, value in weak.items()]
            category = row[category_field] if category_field else name_by_id[row["category_id"]]
            mask = _mask(row, entry) if "parts" in mapping.options or "bbox" not in row else None
            box = _corners(row["bbox"] if "bbox" in row else _mask_box(mask), f"annotation {row['id']}")
            instances.append(Instance(ForeignGarment(category, labels, box), mask))
        path = (images or source.parent / "images") / entry["file_name"]
        garments = bind_parts(instances, mapping)
        yield ForeignPhoto(entry["file_name"], path, garments, _region(entry, instances, mapping))


def bind_parts(instances: Sequence[Instance], mapping: LabelMapping) -> list[ForeignGarment]:
    """The garments among the instances, each with the labels of the parts that lie on it.

    A part belongs to the garment of ours that holds the largest share of it; of equals, a collar under a coat, to the
    smaller one. A part that lies on none is dropped.
    """
    parts = mapping.options.get("parts", [])
    ours = [each for each in instances if each.garment.category not in parts]
    labels: dict[int, list[tuple[str, str]]] = defaultdict(list)
    bearers = [at for at, each in enumerate(ours) if each.garment.category in mapping.categories]
    for part in instances:
        if part.garment.category in parts and part.garment.labels and bearers:
            shares = _shares(part, [ours[at] for at in bearers])
            best = max(range(len(bearers)), key=lambda at: (round(shares[at], 2), -_area(ours[bearers[at]])))
            if shares[best] >= _LEAST_SHARE:
                labels[bearers[best]] += part.garment.labels
    return [
        ForeignGarment(each.garment.category, [*each.garment.labels, *labels[at]], each.garment.box)
        for at, each in enumerate(ours)
    ]


def _shares(part: Instance, garments: Sequence[Instance]) -> list[float]:
    """Share of the part that lies on each garment: by their masks, or by boxes where one has none."""
    from faster_coco_eval.core import mask as masks

    by_masks = part.mask is not None and all(each.mask is not None for each in garments)
    found, *where = [each.mask if by_masks else _xywh(each) for each in (part, *garments)]
    crowds = [1] * len(where)  # the share of the first, not of both together
    return [float(share) for share in masks.iou([found], where, crowds)[0]]


def _area(instance: Instance) -> float:
    from faster_coco_eval.core import mask as masks

    if instance.mask is not None:
        return float(masks.area(instance.mask))
    _, _, width, height = _xywh(instance)
    return width * height


def _xywh(instance: Instance) -> list[float]:
    assert instance.garment.box is not None
    x1, y1, x2, y2 = instance.garment.box
    return [x1, y1, x2 - x1, y2 - y1]


def _mask(row: Mapping[str, Any], image: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Polygons or run lengths, compressed or not, as compressed run lengths."""
    from faster_coco_eval.core import mask as masks

    if "segmentation" not in row:
        return None
    mask: Any = row["segmentation"]
    if isinstance(mask, list):
        mask = masks.merge(masks.frPyObjects(mask, image["height"], image["width"]))
    elif isinstance(mask["counts"], list):
        mask = masks.frPyObjects(mask, *mask["size"])
    return cast(Mapping[str, Any], mask)


def _mask_box(mask: Mapping[str, Any] | None) -> list[float]:
    from faster_coco_eval.core import mask as masks

    if mask is None:
        raise KeyError("bbox")
    return [float(side) for side in masks.toBbox(mask)]


def _corners(xywh: Sequence[float], where: str) -> Box:
    x, y, width, height = (float(value) for value in xywh)
    if width <= 0 or height <= 0:
        raise DatasetError(f"{where} has a box without area: {list(xywh)}")
    return (x, y, x + width, y + height)


def _region(entry: Mapping[str, Any], instances: Sequence[Instance], mapping: LabelMapping) -> Box | None:
    """What was annotated of a photo in which bystanders were not: the main person's height, all boxes' width."""
    if "figure_field" not in mapping.options or not instances:
        return None
    boxes = [each.garment.box for each in instances if each.garment.box]
    top, bottom = entry[mapping.options["figure_field"]]
    return (min(box[0] for box in boxes), float(top), max(box[2] for box in boxes), float(bottom))
