"""What is wrong with data sets, before anybody trains a night on them; and photos that two of them share."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.crops import read_photo
from models.datasets import each_photo, read_facts
from models.errors import DatasetError
from models.ontology import Ontology

_HASH_SIDE = 16
_ALIKE_BITS = 10
"""Photos whose difference hashes differ in at most so many of 256 bits are taken for one."""


@dataclass
class SetCheck:
    """One set.

    Attributes:
        name: of its directory.
        problems: sentences, one for each thing that is wrong.
        photos: those without a problem, by file name.
        num_empty: photos without a garment.
        garments: number of garments by category.
        values: number of garments by category, attribute and value.
        hashes: (photos, 4) uint64 difference hashes.
    """

    name: str
    problems: list[str] = field(default_factory=list)
    photos: list[str] = field(default_factory=list)
    num_empty: int = 0
    garments: Counter[str] = field(default_factory=Counter)
    values: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, 4), np.uint64))


def check_set(directory: Path, ontology: Ontology, on_photo: Callable[[], None] | None = None) -> SetCheck:
    """Read every label and every photo of a set.

    Raises:
        DatasetError: if the directory holds no set at all.
    """
    check = SetCheck(directory.name)
    count = read_facts(directory).get("count")
    hashes, seen = [], Counter[Path]()
    for photo in each_photo(directory, ontology):
        if on_photo:
            on_photo()
        try:
            if isinstance(photo, DatasetError):
                raise photo
            hashes.append(difference_hash(read_photo(photo.path)))
        except DatasetError as exc:
            check.problems.append(exc.message)
            continue
        check.photos.append(photo.path.name)
        seen[photo.path] += 1
        check.num_empty += not photo.garments
        for garment in photo.garments:
            check.garments[garment.category] += 1
            for name, values in garment.attributes.items():
                check.values.setdefault((garment.category, name), Counter()).update(values)
    check.problems += [f"{path.name} is listed {times} times" for path, times in seen.items() if times > 1]
    if count is not None and count != len(check.photos) + len(check.problems):
        check.problems.append(f"the set was written with {count} photos; copy it anew")
    if hashes:
        check.hashes = np.stack(hashes)
    return check


def difference_hash(image: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Which of 256 neighbouring places is the brighter one: (4,) uint64; survives resizing and recompression."""
    small = Image.fromarray(image).convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX)
    grey = np.asarray(small).astype(np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).view(np.uint64)


def shared_photos(first: SetCheck, second: SetCheck) -> list[tuple[str, str]]:
    """Pairs of photos of two sets that look alike: a test on one of them is no test."""
    pairs = []
    for at, one in enumerate(first.hashes):
        bits = np.bitwise_count(second.hashes ^ one).sum(axis=1)
        pairs += [(first.photos[at], second.photos[int(found)]) for found in np.flatnonzero(bits <= _ALIKE_BITS)]
    return pairs
