"""What the metrics pages of a running service say: rates, quantiles and states between two readings."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from models.errors import TaggingError
from serve_app.deployments import APPLICATION
from serve_app.metrics import BATCH_SIZE, REQUESTS, STAGE_DURATION, TAGS

_CALLS = "ray_serve_deployment_request_counter_total"
_CALL_MS = "ray_serve_deployment_processing_latency_ms_bucket"
_CALL_ERRORS = "ray_serve_deployment_error_counter_total"
_WAITING = "ray_serve_deployment_queued_queries"
_RUNNING = "ray_serve_replica_processing_queries"
_HEALTHY = "ray_serve_deployment_replica_healthy"
_WANTED = "ray_serve_autoscaling_target_replicas"
_STATUS = "ray_serve_deployment_status"
_STATUS_NAMES = ("unknown", "failed", "unhealthy", "updating", "upscaling", "downscaling", "healthy")
_STAGE_BUCKETS, _BATCH_BUCKETS = f"{STAGE_DURATION.exported_name}_bucket", f"{BATCH_SIZE.exported_name}_bucket"
_NAMES = (
    REQUESTS.exported_name,
    TAGS.exported_name,
    _STAGE_BUCKETS,
    _BATCH_BUCKETS,
    _CALLS,
    _CALL_MS,
    _CALL_ERRORS,
    _WAITING,
    _RUNNING,
    _HEALTHY,
    _WANTED,
    _STATUS,
)
# A page has a megabyte, most of it not ours; parsing the lines that are wanted takes a twentieth of the time.
_WANTED_LINE = re.compile(rf"^(?:{'|'.join(_NAMES)})\{{.*$", re.MULTILINE)
_QUANTILES = (0.5, 0.95, 0.99)

Series = tuple[str, tuple[tuple[str, str], ...]]
Buckets = Mapping[float, float]
"""Upper edge -> count of values up to it."""


class MetricsError(TaggingError):
    """The page cannot be read, or is no metrics page of a tagging service."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The samples of all pages at one moment; `at_s` is a monotonic time."""

    at_s: float
    values: Mapping[Series, float]

    @classmethod
    def of(cls, pages: Iterable[str], at_s: float | None = None) -> "Reading":
        """Parse pages in Prometheus's text format.

        Raises:
            MetricsError: if no page has a metric of the service.
        """
        values: dict[Series, float] = defaultdict(float)
        for page in pages:
            text = "\n".join(_WANTED_LINE.findall(page)) + "\n"
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    values[sample.name, tuple(sorted(sample.labels.items()))] += sample.value
        if not values:
            raise MetricsError("no metrics of a tagging service there; `serve` prints the address of its metrics")
        return cls(time.monotonic() if at_s is None else at_s, dict(values))

    def by_deployment(self, name: str, combine: Callable[[list[float]], float]) -> dict[str, float]:
        """The series of a metric of each deployment, made one."""
        found: dict[str, list[float]] = defaultdict(list)
        for (own, labels), value in self.values.items():
            if own == name and _is_ours(labels):
                found[dict(labels).get("deployment", "")].append(value)
        return {deployment: combine(values) for deployment, values in found.items()}

    def since(self, before: "Reading", name: str, *label_names: str) -> dict[tuple[str, ...], float]:
        """Increase of a counter since a reading before, for each combination of labels; restarts count from zero."""
        found: dict[tuple[str, ...], float] = defaultdict(float)
        for series, value in self.values.items():
            if series[0] == name and _is_ours(series[1]):
                labels, old = dict(series[1]), before.values.get(series, 0.0)
                found[tuple(labels.get(key, "") for key in label_names)] += value - old if value >= old else value
        return dict(found)


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A deployment between two readings.

    Args:
        name: of the deployment; `status` is Serve's word for it.
        running: healthy replicas; `wanted` is what the autoscaler aims at.
        calls_per_s: of all its replicas; `failed_per_s` among them.
        call_ms: p50, p95 and p99 of a call, its wait for a batch included; None where nothing was called.
        waiting: calls that no replica has taken; `ongoing` are those that one has.
        batch: upper edge of the bucket of the median batch; None for what does not batch, or did not.
    """

    name: str
    status: str
    running: int
    wanted: int
    calls_per_s: float
    failed_per_s: float
    call_ms: tuple[float, ...] | None
    waiting: int
    ongoing: int
    batch: float | None


@dataclass(frozen=True, slots=True)
class ServiceView:
    """The service between two readings; rates are per second, times in seconds, tags as (attribute, value)."""

    elapsed_s: float
    outcomes_per_s: Mapping[str, float]
    stage_s: Mapping[str, tuple[float, ...]]
    deployments: Sequence[DeploymentView]
    tags: Sequence[tuple[str, str, float]]

    @property
    def requests_per_s(self) -> float:
        """All of them, answered or not."""
        return sum(self.outcomes_per_s.values())


def view(before: Reading, now: Reading, num_tags: int = 12) -> ServiceView:
    """What happened between two readings; `num_tags` commonest (attribute, value, count)."""
    elapsed_s = max(1e-3, now.at_s - before.at_s)
    outcomes = now.since(before, REQUESTS.exported_name, "outcome")
    stages = _by_first(now.since(before, _STAGE_BUCKETS, "stage", "le"))
    tags = now.since(before, TAGS.exported_name, "attribute", "value")
    commonest = sorted(((attribute, value, count) for (attribute, value), count in tags.items()), key=lambda t: -t[2])
    return ServiceView(
        elapsed_s,
        {code: count / elapsed_s for (code,), count in sorted(outcomes.items()) if count},
        {stage: times for stage, buckets in stages.items() if (times := quantiles(buckets)) is not None},
        _deployments(before, now, elapsed_s),
        [each for each in commonest[:num_tags] if each[2]],
    )


def quantiles(buckets: Buckets) -> tuple[float, ...] | None:
    """p50, p95 and p99 by linear interpolation inside the bucket, as Prometheus does; None of no values.

    A value beyond the last finite edge is given as that edge.
    """
    edges = sorted(buckets)
    if not edges or not buckets[edges[-1]]:
        return None
    found = []
    for quantile in _QUANTILES:
        rank = quantile * buckets[edges[-1]]
        place = next(index for index, edge in enumerate(edges) if buckets[edge] >= rank)
        below, lower = (buckets[edges[place - 1]], edges[place - 1]) if place else (0.0, 0.0)
        if edges[place] == float("inf"):
            found.append(lower)
        else:
            found.append(lower + (edges[place] - lower) * (rank - below) / (buckets[edges[place]] - below))
    return tuple(found)


def _deployments(before: Reading, now: Reading, elapsed_s: float) -> list[DeploymentView]:
    calls = _by_name(now.since(before, _CALLS, "deployment"))
    failed = _by_name(now.since(before, _CALL_ERRORS, "deployment"))
    times = _by_first(now.since(before, _CALL_MS, "deployment", "le"))
    batches = _by_first(now.since(before, _BATCH_BUCKETS, "deployment", "le"))
    # a controller that began anew may report beside the one before for some seconds, so its gauges are not added up
    states = {name: now.by_deployment(name, max) for name in (_STATUS, _WANTED)}
    states |= {name: now.by_deployment(name, sum) for name in (_HEALTHY, _WAITING, _RUNNING)}
    return [
        DeploymentView(
            name,
            _STATUS_NAMES[int(states[_STATUS].get(name, 0))],
            int(states[_HEALTHY].get(name, 0)),
            int(states[_WANTED].get(name, 0)),
            calls.get(name, 0.0) / elapsed_s,
            failed.get(name, 0.0) / elapsed_s,
            quantiles(times.get(name, {})),
            int(states[_WAITING].get(name, 0)),
            int(states[_RUNNING].get(name, 0)),
            _median_edge(batches.get(name, {})),
        )
        for name in sorted(states[_STATUS], key=lambda name: (name.startswith("classifier-"), name != "router", name))
    ]


def _is_ours(labels: tuple[tuple[str, str], ...]) -> bool:
    return dict(labels).get("application", APPLICATION) == APPLICATION


def _by_name(counts: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    return {key[0]: count for key, count in counts.items()}


def _by_first(counts: Mapping[tuple[str, ...], float]) -> dict[str, dict[float, float]]:
    """Buckets for each value of the first label."""
    found: dict[str, dict[float, float]] = defaultdict(dict)
    for (first, edge), count in counts.items():
        found[first][float(edge)] = count
    return found


def _median_edge(buckets: Buckets) -> float | None:
    """Batches are whole numbers, between which nothing can be interpolated."""
    edges = sorted(buckets)
    if not edges or not buckets[edges[-1]]:
        return None
    return next(edge for edge in edges if buckets[edge] >= buckets[edges[-1]] / 2)
