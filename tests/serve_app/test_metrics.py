"""Every metric follows the conventions that alerts and dashboards count on."""

import re

import pytest

from serve_app.metrics import ALL_METRICS, Metric

_ADDED_BY_RAY = {"deployment", "replica", "application"}


@pytest.mark.parametrize("metric", ALL_METRICS, ids=lambda metric: metric.name)
def test_metrics_are_named_and_bounded(metric: Metric) -> None:
    assert re.fullmatch(r"tagger(_[a-z]+)+", metric.name)
    assert not metric.name.endswith("_total")
    assert metric.description.endswith(".")
    assert not _ADDED_BY_RAY & set(metric.tag_keys)
    assert (metric.kind == "histogram") == bool(metric.boundaries)
    assert list(metric.boundaries) == sorted(set(metric.boundaries))
    assert all(boundary > 0 for boundary in metric.boundaries)


def test_names_are_unique() -> None:
    assert len({metric.name for metric in ALL_METRICS}) == len(ALL_METRICS)
