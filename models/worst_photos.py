"""Which photos a bundle got most wrong, and what about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.attribute_report import Answer
from models.ontology import Ontology
from models.types import Box, Detection, LabelledPhoto


@dataclass(frozen=True, slots=True)
class PhotoErrors:
    """What is wrong with the answer to one photo.

    Attributes:
        number: of the photo.
        file: its name.
        weight: garments missed, and the scores of all that was wrongly said.
        notes: box and lines of each garment, labelled or found, that went wrong.
    """

    number: int
    file: str
    weight: float
    notes: tuple[tuple[Box, tuple[str, ...]], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        notes = [{"box": list(box), "lines": list(lines)} for box, lines in self.notes]
        return {"number": self.number, "file": self.file, "weight": self.weight, "notes": notes}


def photo_errors(
    number: int,
    photo: LabelledPhoto,
    sure: Sequence[Detection],
    pairs: Sequence[tuple[int, int]],
    answers: Sequence[Answer],
    ontology: Ontology,
) -> PhotoErrors:
    """Collect the errors of one photo.

    Args:
        number: of the photo.
        photo: with its labels.
        sure: detections that the service would answer.
        pairs: (index in `sure`, index in the garments) of those that are right.
        answers: to its garments, on true boxes.
        ontology: of both.
    """
    matched_found, matched_true = {found for found, _ in pairs}, {at for _, at in pairs}
    weight, notes = 0.0, []
    for at, detection in enumerate(sure):
        if at not in matched_found:
            weight += detection.score
            notes.append((detection.box, (f"{detection.category} {detection.score:.2f}: not labelled",)))
    for at, answer in enumerate(answers):
        lines = [] if at in matched_true else [f"{answer.garment.category}: not found"]
        weight += at not in matched_true
        for name, values in answer.garment.attributes.items():
            best = answer.scores[name][0]
            is_single = ontology.categories[answer.garment.category].attributes[name].is_single
            if best.value not in values:
                weight += best.score / 2 if is_single else 0.0
                lines.append(f"{name}: {best.value} {best.score:.2f}, is {', '.join(values)}")
        if lines:
            title = () if at not in matched_true else (answer.garment.category,)
            notes.append((answer.garment.box, (*title, *lines)))
    return PhotoErrors(number, photo.path.name, round(weight, 4), tuple(notes))
