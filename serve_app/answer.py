"""What was found -> what is answered: values chosen by score, the flat tags, the response body. Pure functions."""

from collections.abc import Mapping, Sequence

from models.ontology import Attribute
from models.types import NONE, NOT_VISIBLE, AttributeScore, AttributeScores
from serve_app.bundle_facts import BundleFacts
from serve_app.compose import TaggedGarment, TaggedPhoto
from serve_app.metrics import LOW_CONFIDENCE, TAGS, Meter
from serve_app.query import TagOptions
from serve_app.schemas import Colour, Garment, ImageSize, TagResponse, Timing, Value

_UNTAGGED = (NONE, NOT_VISIBLE)


class Answerer:
    """Turns tagged photos into responses.

    Args:
        bundle: ontology, thresholds and name.
        min_several_score: threshold of several-valued attributes that the bundle gives none for.
        low_confidence_score: best values of single attributes below it are counted as unsure.
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
            garments.append(self._garment(garment, options))
            tags.update(dict.fromkeys(self._tags(garment, options)))
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

    def _garment(self, garment: TaggedGarment, options: TagOptions) -> Garment:
        category = garment.detection.category
        x1, y1, x2, y2 = (round(side, 2) for side in garment.detection.box)
        chosen, probabilities = {}, {}
        for attribute, scores in self._answered(garment, options):
            chosen[attribute.name] = _values(self._chosen(category, attribute, scores, options.top_k))
            probabilities[attribute.name] = _values(scores)
        return Garment(
            category=category,
            score=round(garment.detection.score, 4),
            box=(x1, y1, x2, y2),
            status="classifier_unavailable" if garment.scores is None else "ok",
            attributes=chosen,
            probabilities=probabilities if options.has_probabilities else None,
            colours=[Colour(name=colour.name, hex=colour.hex, share=colour.share) for colour in garment.colours],
        )

    def _tags(self, garment: TaggedGarment, options: TagOptions) -> list[str]:
        """Category and the values that hold, in words; counts them."""
        category = garment.detection.category
        words = [_word(category)]
        for attribute, scores in self._answered(garment, options):
            for score in self._chosen(category, attribute, scores, top_k=None):
                self._meter.count(TAGS, attribute=attribute.name, value=score.value)
                if score.value not in _UNTAGGED:
                    words.append(_word(score.value))
            if attribute.is_single and scores and scores[0].score < self._low_confidence_score:
                self._meter.count(LOW_CONFIDENCE, category=category, attribute=attribute.name)
        return words

    def _answered(
        self, garment: TaggedGarment, options: TagOptions
    ) -> list[tuple[Attribute, Sequence[AttributeScore]]]:
        """Attributes that were classified and asked for, in the order of the ontology."""
        scores: AttributeScores | Mapping[str, tuple[AttributeScore, ...]] = garment.scores or {}
        return [
            (attribute, scores[name])
            for name, attribute in self._bundle.attributes_of(garment.detection.category).items()
            if name in scores and (options.attributes is None or name in options.attributes)
        ]

    def _chosen(
        self, category: str, attribute: Attribute, scores: Sequence[AttributeScore], top_k: int | None
    ) -> Sequence[AttributeScore]:
        """The best `top_k`; without it the best of a single attribute, all above the threshold of several."""
        if top_k is not None:
            return scores[:top_k]
        if attribute.is_single:
            return scores[:1]
        threshold = self._bundle.threshold(category, attribute.name, self._min_several_score)
        return [score for score in scores if score.score >= threshold]


def _values(scores: Sequence[AttributeScore]) -> list[Value]:
    return [Value(value=score.value, score=round(score.score, 4)) for score in scores]


def _word(name: str) -> str:
    return name.replace("_", " ")


def _ms(duration_s: float) -> float:
    return round(duration_s * 1000, 2)
