"""Corrections that the service kept: JSON lines, one correction each, in a file or a folder of them."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from models.image_headers import PHOTO_SUFFIXES
from models.readers.mapping import ForeignGarment, ForeignPhoto, LabelMapping
from models.types import Box

_CATEGORY = "category"  # the attribute under which a wrong category is corrected


def read_feedback(
    source: Path, images: Path | None, split: str | None, mapping: LabelMapping
) -> Iterator[ForeignPhoto]:
    """Read corrections; of two for the same attribute of a garment the later one counts.

    A photo is the file that its correction names, or the one called like the request (`/` in it written as `-`), below
    `images`. Only the corrected garments are known, so the part of the photo around them is all that is annotated.
    """
    folder = images or source.parent / "images"
    photos: dict[str, dict[Box, dict[str, Any]]] = defaultdict(dict)
    for record in sorted(_records(source), key=lambda record: str(record["time"])):
        x1, y1, x2, y2 = (float(side) for side in record["box"])
        garment = photos[_file(record, folder)].setdefault((x1, y1, x2, y2), {_CATEGORY: [record["category"]]})
        garment[record["attribute"]] = record["values"]
    for file, garments in photos.items():
        found = [
            ForeignGarment(str(said.pop(_CATEGORY)[0]), (), box, {name: tuple(values) for name, values in said.items()})
            for box, said in garments.items()
        ]
        corners = list(zip(*garments, strict=True))
        region = (min(corners[0]), min(corners[1]), max(corners[2]), max(corners[3]))
        yield ForeignPhoto(file, folder / file, found, region)


def _records(source: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(source.glob("*.jsonl")) if source.is_dir() else [source]:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # what a crash cut short was never confirmed


def _file(record: dict[str, Any], folder: Path) -> str:
    if record.get("photo"):
        path = PurePosixPath(record["photo"])
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{path} leads out of the folder of photos")
        return str(path)
    name = str(record["request_id"]).replace("/", "-")
    return next(
        (f"{name}{suffix}" for suffix in PHOTO_SUFFIXES if (folder / f"{name}{suffix}").exists()), f"{name}.jpg"
    )
