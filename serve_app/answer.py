"""What was found -> what is answered: values chosen by score, the flat tags, the response body. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from models.colours import COLOUR_ATTRIBUTE, ColourShare
from models.ontology import Attribute
from models.types import AttributeScore, AttributeScores
from serve_app.bundle_facts import BundleFacts
from serve_app.compose import TaggedGarment, TaggedPhoto
from serve_app.metrics import LOW_CONFIDENCE, TAGS, Meter
from serve_app.naming import NamedScore, Naming
from serve_app.query import TagOptions
from serve_app.schemas import Colour, Garment, ImageSize, TagResponse, Timing, Value

_Answered = tuple[Attribute, Sequence[AttributeScore], Sequence[NamedScore]]
"""An attribute with its scores, best first, by the ontology's names and by those of the answer."""
_Scored = TypeVar("_Scored", AttributeScore, NamedScore)


class Answerer:
    """Turns tagged photos into responses.

    Args:
        bundle: ontology, thresholds and name.
        min_several_score: threshold of several-valued attributes that the bundle gives none for.
        low_confidence_score: best values of single attributes below it are counted as unsure, and need review if the
            bundle gives no calibrated confidence.
        meter: records the values answered.
    """

    def __init__(
        self, bundle: BundleFacts, min_several_score: float, low_confidence_score: float, meter: Meter
    ) -> None:
        self._bundle = bundle
        self._min_several_score = min_several_score
        self._low_confidence_score = low_confidence_score
        self._meter = meter

    def response(self, photo: TaggedPhoto, options: TagOptions, request_id: str) -> TagResponse:
        """The body of a 200; counts what it answers."""
        tags: dict[str, None] = {}
        garments = []
        for garment in photo.garments:
            answered = self._answered(garment, options)
            garments.append(self._garment(garment, answered, options))
            tags.update(dict.fromkeys(self._tags(garment, answered, options)))
        height, width = photo.image_hw
        times = photo.times
        return TagResponse(
            request_id=request_id,
            bundle=self._bundle.label,
            image=ImageSize(width=width, height=height),
            garments=garments,
            tags=list(tags),
            timing_ms=Timing(
                decode=_ms(times.decode_s),
                detect=_ms(times.detect_s),
                classify=_ms(times.classify_s),
                total=_ms(times.total_s),
            ),
        )

    def _garment(self, garment: TaggedGarment, answered: Sequence[_Answered], options: TagOptions) -> Garment:
        category, naming = garment.detection.category, options.naming
        x1, y1, x2, y2 = (round(side, 2) for side in garment.detection.box)
        chosen, probabilities, unsure = {}, {}, []
        for attribute, _, named in answered:
            name = naming.attribute(attribute.name)
            chosen[name] = _values(self._chosen(category, attribute, named, options.top_k), naming)
            if options.has_probabilities:  # some sixty objects a garment
                probabilities[name] = _values(named, naming)
            if self._needs_review(category, attribute, named):
                unsure.append(name)
        return Garment(
            category=naming.category(category),
            label=naming.category_label(category) if naming.has_labels else None,
            score=round(garment.detection.score, 4),
            box=(x1, y1, x2, y2),
            status="classifier_unavailable" if garment.scores is None else "ok",
            attributes=chosen,
            needs_review=unsure,
            probabilities=probabilities if options.has_probabilities else None,
            colours=_colours(garment.colours, naming),
        )

    def _tags(self, garment: TaggedGarment, answered: Sequence[_Answered], options: TagOptions) -> list[str]:
        """Category and the values that hold, in words; counts the values by the ontology's names."""
        category, naming = garment.detection.category, options.naming
        words = [naming.category_label(category)]
        for attribute, scores, named in answered:
            for score in self._chosen(category, attribute, scores, top_k=None):
                self._meter.count(TAGS, attribute=attribute.name, value=score.value)
            for value in self._chosen(category, attribute, named, top_k=None):
                if value.is_tag and value.name is not None:
                    words.append(value.label)
            if attribute.is_single and scores and scores[0].score < self._low_confidence_score:
                self._meter.count(LOW_CONFIDENCE, category=category, attribute=attribute.name)
        return words

    def _answered(self, garment: TaggedGarment, options: TagOptions) -> list[_Answered]:
        """Attributes that were classified and asked for, in the order of the ontology."""
        scores: AttributeScores | Mapping[str, tuple[AttributeScore, ...]] = garment.scores or {}
        return [
            (attribute, scores[name], options.naming.named(attribute, scores[name]))
            for name, attribute in self._bundle.attributes_of(garment.detection.category).items()
            if name in scores and (options.attributes is None or name in options.attributes)
        ]

    def _chosen(
        self, category: str, attribute: Attribute, scores: Sequence[_Scored], top_k: int | None
    ) -> Sequence[_Scored]:
        """The best `top_k`; without it the best of a single attribute, all above the threshold of several."""
        if top_k is not None:
            return scores[:top_k]
        if attribute.is_single:
            return scores[:1]
        threshold = self._bundle.threshold(category, attribute.name, self._min_several_score)
        return [score for score in scores if score.score >= threshold]

    def _needs_review(self, category: str, attribute: Attribute, scores: Sequence[NamedScore]) -> bool:
        """Whether the best value stays below the bundle's confidence; of several: whether none is seen."""
        default = self._low_confidence_score if attribute.is_single else self._min_several_score
        confidence = self._bundle.threshold(category, attribute.name, default)
        return not scores or scores[0].score < confidence


def _values(scores: Sequence[NamedScore], naming: Naming) -> list[Value]:
    return [
        Value(
            value=score.name,
            label=score.label if naming.has_labels else None,
            score=round(score.score, 4),
        )
        for score in scores
        if score.name is not None
    ]


def _colours(measured: Sequence[ColourShare], naming: Naming) -> list[Colour]:
    """Colours of one name are one: the shares add up, the largest gives the hex value."""
    found: dict[str, Colour] = {}
    for colour in measured:
        name = naming.value(COLOUR_ATTRIBUTE, colour.name)
        if name is None:
            continue
        share = round(min(1.0, colour.share + (found[name].share if name in found else 0.0)), 3)
        hex_value = found[name].hex if name in found else colour.hex
        label = naming.value_label(COLOUR_ATTRIBUTE, colour.name) if naming.has_labels else None
        found[name] = Colour(name=name, label=label, hex=hex_value, share=share)
    return sorted(found.values(), key=lambda colour: -colour.share)


def _ms(duration_s: float) -> float:
    return round(duration_s * 1000, 2)
