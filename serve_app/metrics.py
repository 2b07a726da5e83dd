"""Every metric of the service, declared once, and the meters that record them.

Ray exports them with the prefix `ray_`, counters with `_total`, and adds `deployment`, `replica` and `application`
itself. Tag values come from closed sets: stages, outcomes, and the names in the ontology.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

_LATENCY_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """Name, help and tags of a metric; `boundaries` are the bucket bounds of a histogram."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    description: str
    tag_keys: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()

    @property
    def exported_name(self) -> str:
        """Name on the metrics page; a histogram has `_bucket`, `_sum` and `_count` behind it."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


REQUESTS = Metric(
    "counter", "tagger_requests", "Requests by outcome: ok, partial, cancelled, or the error code.", ("outcome",)
)
STAGE_DURATION = Metric(
    "histogram", "tagger_stage_duration_seconds", "Time a request spends in a stage.", ("stage",), _LATENCY_S
)
KEY_REQUESTS = Metric(
    "counter", "tagger_key_requests", "Requests to /v1/ by name of the API key and HTTP status.", ("key", "status")
)
DETECTIONS = Metric("counter", "tagger_detections", "Garments found.", ("category",))
CROPS_PER_REQUEST = Metric(
    "histogram", "tagger_crops_per_request", "Garments tagged per photo.", (), (0.5, 1.5, 2.5, 3.5, 5.5, 10.5, 20.5)
)
TAGS = Metric("counter", "tagger_tags", "Attribute values answered.", ("attribute", "value"))
LOW_CONFIDENCE = Metric(
    "counter", "tagger_low_confidence", "Best values below the low-confidence score.", ("category", "attribute")
)
FEEDBACK = Metric("counter", "tagger_feedback", "Corrections taken.", ("category", "attribute"))
RETRIES = Metric("counter", "tagger_retries", "Calls repeated because a replica died.", ("stage",))
PARTIAL_ANSWERS = Metric(
    "counter", "tagger_partial_answers", "Garments answered without their attributes.", ("category",)
)
BATCH_SIZE = Metric(
    "histogram", "tagger_batch_size", "Photos or crops a model took at once.", (), (1, 2, 4, 8, 12, 16, 24, 32, 64)
)
DROPPED = Metric(
    "counter",
    "tagger_dropped",
    "Calls dropped before they reached a model: cancelled, expired, or circuit_open where nobody had answered before.",
    ("reason",),
)

BUNDLE = Metric(
    "gauge", "tagger_bundle", "1 for the bundle, name@version, that a replica was started for.", ("bundle",)
)

ROUTER_METRICS = (
    REQUESTS,
    STAGE_DURATION,
    DETECTIONS,
    CROPS_PER_REQUEST,
    TAGS,
    LOW_CONFIDENCE,
    FEEDBACK,
    RETRIES,
    PARTIAL_ANSWERS,
    KEY_REQUESTS,
    DROPPED,
    BUNDLE,
)
MODEL_METRICS = (BATCH_SIZE, DROPPED, BUNDLE)
ALL_METRICS = tuple(dict.fromkeys(ROUTER_METRICS + MODEL_METRICS))


class Meter(Protocol):
    """Records values; each method is cheap and never raises on a declared metric."""

    def set(self, metric: Metric, value: float, **tags: str) -> None:
        """Set a gauge."""

    def count(self, metric: Metric, amount: int = 1, **tags: str) -> None:
        """Add to a counter."""

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        """Add a value to a histogram."""


class NullMeter:
    """Records nothing."""

    def set(self, metric: Metric, value: float, **tags: str) -> None:
        """Do nothing."""

    def count(self, metric: Metric, amount: int = 1, **tags: str) -> None:
        """Do nothing."""

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        """Do nothing."""


class RayMeter:
    """Records through Ray; make one per replica, inside it, since Ray reads the replica's name then."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        from ray.serve import metrics as ray_metrics  # here, so that declarations can be read without Ray

        self._recorders: dict[str, Any] = {}
        for metric in metrics:
            tag_keys: Any = metric.tag_keys  # Ray annotates a tuple of exactly one
            if metric.kind == "counter":
                recorder: Any = ray_metrics.Counter(metric.name, metric.description, tag_keys)
            elif metric.kind == "gauge":
                recorder = ray_metrics.Gauge(metric.name, metric.description, tag_keys)
            else:
                recorder = ray_metrics.Histogram(metric.name, metric.description, list(metric.boundaries), tag_keys)
            self._recorders[metric.name] = recorder

    def count(self, metric: Metric, amount: int = 1, **tags: str) -> None:
        """Add to a counter."""
        if amount > 0:
            self._recorders[metric.name].inc(amount, tags=tags)

    def set(self, metric: Metric, value: float, **tags: str) -> None:
        """Set a gauge."""
        self._recorders[metric.name].set(value, tags=tags)

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        """Add a value to a histogram."""
        self._recorders[metric.name].observe(value, tags=tags)
