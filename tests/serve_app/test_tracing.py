"""One trace for each request, whichever replicas it goes through; the replicas share nothing but the arguments."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from models.ontology import load_ontology
from serve_app.answer import Answerer
from serve_app.api import make_asgi
from serve_app.classifier import ClassifierDeployment
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.detector import DetectorDeployment
from serve_app.handles import ClassifierHandle, DetectorHandle
from serve_app.naming import Names
from serve_app.service import TaggingService
from serve_app.tracing import Tracing, current_trace, span
from tests.collector import Collector
from tests.fakes import DRESS, SKIRT, FakeClassifier, FakeDetector, FakeMeter, facts, photo_bytes

TRACE_ID, CALLER_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE_ID}-{CALLER_ID}-01", f"00-{TRACE_ID}-{CALLER_ID}-00"


class FarAway:
    """A handle to a replica in another process: a call takes its arguments along, and no context."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica
        self.traces: list[str | None] = []

    def options(self, **options: str) -> "FarAway":
        return self

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Awaitable[Any]] = getattr(self._replica, name)

        def remote(*args: Any) -> Any:
            self.traces.append(args[-2])
            return asyncio.get_running_loop().create_task(method(*args), context=contextvars.Context())  # type: ignore[arg-type]

        return SimpleNamespace(remote=remote)


class Service:
    """Router, detector and classifiers, each tracing on its own."""

    def __init__(self, share: float, threads: ThreadPoolExecutor) -> None:
        self.exporter = InMemorySpanExporter()
        args, meter = TaggerArgs.model_validate({}), FakeMeter()

        def make(name: str) -> Tracing:
            return Tracing(share=share, deployment=name, exporter=self.exporter)

        def off_stage(category: str) -> ClassifierDeployment:
            load = partial(FakeClassifier, category)
            return ClassifierDeployment(load, 75, 8, 60.0, meter, partial(make, f"classifier-{category}"))

        detector = DetectorDeployment(
            lambda: FakeDetector([DRESS, SKIRT]), 96, 8, 60.0, meter, partial(make, "detector")
        )
        self.far = FarAway(detector)
        names = load_ontology().category_names
        classify = {name: ClassifierHandle(FarAway(off_stage(name))) for name in names}  # type: ignore[arg-type]
        detect = DetectorHandle(self.far)  # type: ignore[arg-type]
        composer = Composer(args, facts(), detect, classify, threads, meter)
        answerer = Answerer(facts(), 0.5, 0.5, meter)
        service = TaggingService(
            args, facts(), composer, answerer, detect.ping, _never, meter, Names.load("", load_ontology())
        )
        self.app = make_asgi(service, meter, tracing=make("router"))

    async def tag(self, trace: str | None = None, photo: bytes | None = None) -> httpx.Response:
        headers = {"traceparent": trace} if trace else {}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://tagger") as client:
            return await client.post("/v1/tag", content=photo or photo_bytes(), headers=headers)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """By name; a classifier's call and batch carry its category."""
        found = {}
        for each in self.exporter.get_finished_spans():
            deployment = str(each.resource.attributes["tagger.deployment"])
            about = (each.attributes or {}).get("category", "" if deployment == "router" else deployment)
            found[f"{each.name} {about}".strip()] = each
        return found


async def _never(*args: Any) -> Any:
    raise AssertionError("nothing is fetched here")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def test_a_request_is_one_trace_across_all_replicas(threads: ThreadPoolExecutor) -> None:
    service = Service(0.0, threads)
    assert (await service.tag(SAMPLED)).status_code == 200
    spans = service.spans
    assert set(spans) == {
        "POST /v1/tag",
        "decode",
        "detect",
        "batch detector",
        "classify dress",
        "batch classifier-dress",
        "classify skirt",
        "batch classifier-skirt",
        "assemble",
    }
    assert {f"{each.context.trace_id:032x}" for each in spans.values()} == {TRACE_ID}
    parents = {
        name: next((other for other, it in spans.items() if it.context.span_id == each.parent.span_id), "the caller")
        for name, each in spans.items()
        if each.parent
    }
    root = "POST /v1/tag"
    assert parents == {
        root: "the caller",
        **dict.fromkeys(("decode", "detect", "classify dress", "classify skirt", "assemble"), root),
        "batch detector": "detect",
        "batch classifier-dress": "classify dress",
        "batch classifier-skirt": "classify skirt",
    }
    told = dict(spans[root].attributes or {})
    assert told["http.response.status_code"] == 200 and told["tagger.request_id"]


async def test_two_requests_at_once_keep_their_traces_apart(threads: ThreadPoolExecutor) -> None:
    service = Service(1.0, threads)
    await asyncio.gather(*(service.tag() for _ in range(3)))
    by_trace: dict[int, list[str]] = {}
    for each in service.exporter.get_finished_spans():
        by_trace.setdefault(each.context.trace_id, []).append(each.name)
    assert len(by_trace) == 3 and len({tuple(sorted(names)) for names in by_trace.values()}) == 1


@pytest.mark.parametrize("trace", [None, UNSAMPLED], ids=["share_of_none", "caller_does_not_sample"])
async def test_what_is_not_sampled_costs_the_replicas_nothing(threads: ThreadPoolExecutor, trace: str | None) -> None:
    service = Service(0.0, threads)
    assert (await service.tag(trace)).status_code == 200
    assert service.spans == {} and service.far.traces == [None]


@pytest.mark.parametrize("trace", ["nonsense", f"00-{'0' * 32}-{CALLER_ID}-01", "x" * 5000])
async def test_a_broken_traceparent_begins_a_trace_of_its_own(threads: ThreadPoolExecutor, trace: str) -> None:
    service = Service(1.0, threads)
    assert (await service.tag(trace)).status_code == 200
    assert service.spans["POST /v1/tag"].parent is None


async def test_a_refused_photo_has_a_trace_that_says_so(threads: ThreadPoolExecutor) -> None:
    service = Service(1.0, threads)
    assert (await service.tag(photo=b"no picture")).status_code == 422
    assert not any("detect" in name for name in service.spans)
    assert (service.spans["POST /v1/tag"].attributes or {})["http.response.status_code"] == 422


def test_without_tracing_there_is_nothing_to_hand_on() -> None:
    with Tracing().request("POST /v1/tag", SAMPLED), span("decode"):
        assert current_trace() is None


def test_spans_arrive_at_a_collector() -> None:
    with Collector() as collector:
        tracing = Tracing(collector.endpoint, 0.0, "router")
        with tracing.request("POST /v1/tag", SAMPLED), span("decode"):
            pass
        tracing.close()
        inner, root = collector.spans(TRACE_ID, 2, limit_s=30)
    assert (inner.name, root.name, inner.parent_id, root.parent_id) == (
        "decode",
        "POST /v1/tag",
        root.span_id,
        CALLER_ID,
    )
    assert root.deployment == "router"


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://collector/v1/traces", "http://collector", ""])
def test_an_address_that_no_collector_has_is_refused_at_once(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="trace_endpoint"):
        TaggerArgs.model_validate({"trace_endpoint": endpoint})
