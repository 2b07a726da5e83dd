"""DeepFashion's category-and-attribute prediction, coarse and fine, and DeepFashion2."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from models.readers.mapping import ForeignGarment, ForeignPhoto, LabelMapping
from models.readers.tables import rows_of
from models.types import Box

_KINDS = {"1": "texture", "2": "fabric", "3": "shape", "4": "part", "5": "style"}


def read_deepfashion(
    source: Path, images: Path | None, split: str | None, mapping: LabelMapping
) -> Iterator[ForeignPhoto]:
    """Read the coarse lists of a DeepFashion folder: 50 categories, 1,000 attributes, one box a photo.

    Lists begin with a count and the names of their columns. Of the attributes' 1, -1 and 0 only the 1 is taken: most of
    the -1 were never asked, and 0 is unknown. Files are relative to the folder.
    """
    lists = source / "Anno_coarse"
    wanted = {row[0] for row in rows_of(source / "Eval" / "list_eval_partition.txt", 2) if split in (None, row[1])}
    names = _named(lists / "list_category_cloth.txt")
    attributes = [(_KINDS[kind], name) for name, kind in _named(lists / "list_attr_cloth.txt")]
    category_by_file = {row[0]: names[int(row[1]) - 1][0] for row in rows_of(lists / "list_category_img.txt", 2)}
    box_by_file = {row[0]: _inclusive(row[1:5]) for row in rows_of(lists / "list_bbox.txt", 2) if row[0] in wanted}
    for file, *flags in rows_of(lists / "list_attr_img.txt", 2):
        if file in wanted:
            labels = [label for label, flag in zip(attributes, flags, strict=True) if flag == "1"]
            garment = ForeignGarment(category_by_file[file], labels, box_by_file[file])
            yield ForeignPhoto(file, (images or source) / file, [garment])


def read_deepfashion_fine(
    source: Path, images: Path | None, split: str | None, mapping: LabelMapping
) -> Iterator[ForeignPhoto]:
    """Read the fine lists of a DeepFashion folder, whose line n in every file of a split is photo n.

    The 26 columns of the attributes have no heading: they stand in the order in which the mapping lists them.
    """
    lists = source / "Anno_fine"
    columns = [(group, value) for group, values in mapping.attributes.items() for value in values]
    names = _named(source / "Anno_coarse" / "list_category_cloth.txt")
    for part in [split] if split else ["train", "val", "test"]:
        suffixes = ("", "_attr", "_bbox", "_cate")
        rows = zip(*(rows_of(lists / f"{part}{suffix}.txt") for suffix in suffixes), strict=True)
        for (file,), flags, corners, (label,) in rows:
            labels = [column for column, flag in zip(columns, flags, strict=True) if flag == "1"]
            garment = ForeignGarment(names[int(label) - 1][0], labels, _inclusive(corners))
            yield ForeignPhoto(file, (images or source) / file, [garment])


def _named(path: Path) -> list[tuple[str, str]]:
    """Names with their kinds; names hold spaces."""
    return [(" ".join(row[:-1]), row[-1]) for row in rows_of(path, 2)]


def _inclusive(corners: Sequence[str]) -> Box:
    """Zero-padded corners, both within the box."""
    x1, y1, x2, y2 = (float(corner) for corner in corners)
    return (x1, y1, x2 + 1, y2 + 1)


def read_deepfashion2(
    source: Path, images: Path | None, split: str | None, mapping: LabelMapping
) -> Iterator[ForeignPhoto]:
    """Read a DeepFashion2 folder: `<split>/annos/*.json` with `item1`, `item2`, ... for `<split>/image/*.jpg`."""
    parts = [source / split] if split else [each.parent for each in sorted(source.glob("*/annos"))]
    for path in chain.from_iterable(sorted((part / "annos").glob("*.json")) for part in parts):
        record = json.loads(path.read_text(encoding="utf-8"))
        garments = []
        for key, item in record.items():
            if key.startswith("item"):
                x1, y1, x2, y2 = (float(side) for side in item["bounding_box"])
                garments.append(ForeignGarment(item["category_name"], box=(x1, y1, x2, y2)))
        part = path.parent.parent
        file = f"{part.name}/image/{path.stem}.jpg"
        yield ForeignPhoto(file, (images or part / "image") / f"{path.stem}.jpg", garments)
