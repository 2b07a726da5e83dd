"""Readers of public and hand-written data sets, one for each format, into photos labelled in our words.

A reader says what an annotation file says; what it means to us is data, see `mapping`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import DatasetError
from models.ontology import Ontology
from models.readers.coco import read_coco
from models.readers.deepfashion import read_deepfashion, read_deepfashion2, read_deepfashion_fine
from models.readers.feedback import read_feedback
from models.readers.imaterialist import read_imaterialist_labels, read_imaterialist_masks
from models.readers.mapping import ForeignPhoto, LabelMapping, Values, check_values, load_mapping
from models.readers.tables import read_csv, read_fashionai, read_records
from models.types import Box

__all__ = ["READERS", "LabelMapping", "SourceGarment", "SourcePhoto", "load_mapping", "read_labels"]

Reader = Callable[[Path, Path | None, str | None, LabelMapping], Iterator[ForeignPhoto]]

READERS: dict[str, Reader] = {
    "coco": read_coco,
    "csv": read_csv,
    "deepfashion": read_deepfashion,
    "deepfashion-fine": read_deepfashion_fine,
    "deepfashion2": read_deepfashion2,
    "fashionai": read_fashionai,
    "feedback": read_feedback,
    "imaterialist-labels": read_imaterialist_labels,
    "imaterialist-masks": read_imaterialist_masks,
    "records": read_records,
}
_EXHAUSTIVE = ("coco", "deepfashion2", "imaterialist-masks")  # every garment is annotated: others are background


@dataclass(frozen=True, slots=True)
class SourceGarment:
    """A garment in our words; its box in pixels of the source's file, None if the set has no boxes."""

    category: str
    box: Box | None = None
    attributes: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourcePhoto:
    """A photo of a foreign set in our words, its pixels not yet read; see `ForeignPhoto`."""

    file: str
    path: Path
    garments: tuple[SourceGarment, ...]
    region: Box | None = None


def read_labels(
    source: Path, mapping: LabelMapping, ontology: Ontology, images: Path | None = None, split: str | None = None
) -> list[SourcePhoto]:
    """Read the labels of a data set.

    Args:
        source: the annotation file, or the folder of a set that has several.
        mapping: from `load_mapping`.
        ontology: whose categories and values the result uses.
        images: the folder of the photos, if they do not lie where the set has them.
        split: only photos of this part, in sets that tell.

    Raises:
        DatasetError: if the source is not in the mapping's format, or says what cannot be.
    """
    if mapping.format not in READERS:
        raise DatasetError(f"there is no format {mapping.format}; known: {', '.join(READERS)}")
    try:
        photos = list(READERS[mapping.format](source, images, split, mapping))
    except OSError as exc:
        name = Path(str(exc.filename)).name
        raise DatasetError(f"{name} of {source.name} cannot be read: {exc.strerror}", str(exc)) from exc
    except KeyError as exc:
        raise DatasetError(f"{source.name} is not as {mapping.format} has it: {exc} is missing") from exc
    except (ValueError, TypeError, AttributeError, IndexError) as exc:
        raise DatasetError(f"{source.name} is not as {mapping.format} has it: {exc}") from exc
    return [each for photo in photos if (each := _in_our_words(photo, mapping, ontology)) is not None]


def _in_our_words(photo: ForeignPhoto, mapping: LabelMapping, ontology: Ontology) -> SourcePhoto | None:
    """None for a photo whose garment nobody named, or named in a way that the mapping does not know."""
    garments = []
    for foreign in photo.garments:
        entry = mapping.categories.get(foreign.category)
        if entry is None:
            if mapping.format in _EXHAUSTIVE:
                continue
            if mapping.format == "csv" and foreign.category:
                raise DatasetError(f"label {foreign.category!r} of {photo.file} is not in the mapping")
            return None
        if entry.category is not None:
            category = ontology.categories[entry.category]
            written = {name: values for name, values in foreign.written.items() if name in category.attributes}
            for name, values in written.items():
                check_values(category, name, values, photo.file)
            attributes = {**mapping.attributes_of(foreign, category), **written}
            garments.append(SourceGarment(category.name, foreign.box, attributes))
    return SourcePhoto(photo.file, photo.path, tuple(garments), photo.region)
