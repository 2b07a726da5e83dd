import pytest

from serve_app.readings import MetricsError, Reading, quantiles, view

INF = float("inf")


def page(**scale: float) -> str:
    """A metrics page after so many requests (`n`), with other series around ours."""
    n = scale["n"]
    own = 'application="tagger",replica="a"'
    lines = [
        "# HELP ray_tagger_requests_total Requests by outcome",
        "# TYPE ray_tagger_requests_total counter",
        f'ray_tagger_requests_total{{{own},outcome="ok"}} {n}',
        f'ray_tagger_requests_total{{{own},outcome="overloaded"}} {n / 10}',
        f'ray_tagger_requests_total{{application="other",outcome="ok"}} {50 * n}',
        f'ray_tagger_stage_duration_seconds_bucket{{{own},stage="total",le="0.1"}} {n / 2}',
        f'ray_tagger_stage_duration_seconds_bucket{{{own},stage="total",le="0.2"}} {n}',
        f'ray_tagger_stage_duration_seconds_bucket{{{own},stage="total",le="+Inf"}} {n}',
        f'ray_tagger_tags_total{{{own},attribute="colour",value="red"}} {3 * n}',
        f'ray_tagger_tags_total{{{own},attribute="fit",value="loose"}} {n}',
        f'ray_serve_deployment_request_counter_total{{{own},deployment="detector",route="/"}} {n}',
        f'ray_serve_deployment_status{{{own},deployment="detector"}} 6',
        f'ray_serve_deployment_status{{{own},deployment="classifier-dress"}} 4',
        f'ray_serve_deployment_status{{{own},deployment="router"}} 2',
        'ray_serve_deployment_replica_healthy{application="tagger",deployment="classifier-dress",replica="b"} 1',
        'ray_serve_deployment_replica_healthy{application="tagger",deployment="classifier-dress",replica="c"} 0',
        f'ray_serve_autoscaling_target_replicas{{{own},deployment="classifier-dress"}} 2',
        'ray_serve_deployment_queued_queries{application="tagger",deployment="detector",handle="x"} 3',
        'ray_serve_deployment_queued_queries{application="tagger",deployment="detector",handle="y"} 4',
        f'ray_tagger_batch_size_bucket{{{own},deployment="detector",le="1.0"}} {n / 4}',
        f'ray_tagger_batch_size_bucket{{{own},deployment="detector",le="4.0"}} {n}',
        f'ray_tagger_batch_size_bucket{{{own},deployment="detector",le="+Inf"}} {n}',
        "ray_node_mem_used 1e9",
    ]
    return "\n".join(lines) + "\n"


def test_rates_are_what_came_between_two_readings() -> None:
    seen = view(Reading.of([page(n=100)], 0.0), Reading.of([page(n=300)], 10.0))
    assert seen.outcomes_per_s == {"ok": 20.0, "overloaded": 2.0}
    assert seen.requests_per_s == pytest.approx(22)
    assert seen.tags == [("colour", "red", 600), ("fit", "loose", 200)]
    assert seen.stage_s["total"] == pytest.approx((0.1, 0.19, 0.198))


def test_deployments_say_how_they_are() -> None:
    seen = view(Reading.of([page(n=100)], 0.0), Reading.of([page(n=300)], 10.0))
    router, detector, dress = seen.deployments
    assert (router.name, router.status, detector.name, dress.name) == (
        "router",
        "unhealthy",
        "detector",
        "classifier-dress",
    )
    assert (detector.calls_per_s, detector.waiting, detector.batch) == (20.0, 7, 4.0)
    assert (dress.status, dress.running, dress.wanted) == ("upscaling", 1, 2)
    assert dress.call_ms is None and dress.batch is None


def test_pages_of_several_nodes_are_one_service() -> None:
    elsewhere = page(n=30).replace('replica="a"', 'replica="z"')
    seen = view(Reading.of([page(n=0)], 0.0), Reading.of([page(n=10), elsewhere], 1.0))
    assert seen.outcomes_per_s["ok"] == 40, "a replica that was not there before counts from zero"


def test_a_replica_that_began_anew_counts_from_zero() -> None:
    seen = view(Reading.of([page(n=1000)], 0.0), Reading.of([page(n=40)], 10.0))
    assert seen.outcomes_per_s["ok"] == 4.0


def test_an_idle_service_has_a_view_too() -> None:
    reading = Reading.of([page(n=7)], 0.0)
    seen = view(reading, reading)
    assert (seen.outcomes_per_s, seen.stage_s, seen.tags) == ({}, {}, [])
    assert [each.calls_per_s for each in seen.deployments] == [0, 0, 0]


@pytest.mark.parametrize("text", ["", "<html>a page</html>", "ray_node_mem_used 1e9\n"], ids=["none", "html", "ray"])
def test_what_is_no_page_of_ours_is_said(text: str) -> None:
    with pytest.raises(MetricsError, match="no metrics of a tagging service"):
        Reading.of([text])


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        pytest.param({}, None, id="no_buckets"),
        pytest.param({1.0: 0, INF: 0}, None, id="no_values"),
        pytest.param({1.0: 100, INF: 100}, (0.5, 0.95, 0.99), id="one_bucket"),
        pytest.param({1.0: 0, 2.0: 0, INF: 5}, (2.0, 2.0, 2.0), id="beyond_the_last_edge"),
        pytest.param({1.0: 50, 3.0: 100, INF: 100}, (1.0, 2.8, 2.96), id="two_buckets"),
    ],
)
def test_quantiles_are_those_of_prometheus(buckets: dict[float, float], expected: tuple[float, ...] | None) -> None:
    assert quantiles(buckets) == (None if expected is None else pytest.approx(expected))
