"""Spans of a request across replicas, sent to a collector by OTLP; nothing is made or sent unless it is switched on.

The router begins a trace or takes up the caller's (W3C `traceparent`); the trace goes with every call to a replica as
an argument. Code in between asks for a `span` and need not know whether anybody traces.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATHS = ("/v1/tag", "/v1/tag/batch")  # a closed set, as names of spans have to be
_W3C = TraceContextTextMapPropagator()
_active: ContextVar[Tracer | None] = ContextVar("tagger_tracer", default=None)


class Tracing:
    """The tracer of one replica; make it there, since it holds a thread.

    Args:
        endpoint: of an OTLP collector over HTTP, such as http://collector:4318/v1/traces; None traces nothing.
        share: of the requests without a trace of their own that are traced.
        deployment: names the part of the service in every span.
        exporter: replaces the collector, for tests; spans then come as they end.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        share: float = 0.01,
        deployment: str = "",
        exporter: SpanExporter | None = None,
    ) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        if exporter is None and endpoint is None:
            return
        resource = Resource.create({"service.name": "fashion-tagger", "tagger.deployment": deployment})
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(share)))
        if exporter is not None:
            self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            # Its queue is bounded: spans are dropped, and requests never wait, when the collector does not keep up.
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("fashion-tagger")

    @contextmanager
    def request(self, name: str, trace: str | None) -> Iterator[None]:
        """Around a request that came from outside: its spans continue `trace`, a traceparent, or begin one."""
        if self._tracer is None:
            yield
            return
        context = _W3C.extract({"traceparent": trace} if trace else {})
        with self._tracer.start_as_current_span(name, context=context, kind=SpanKind.SERVER) as began:
            # of a request that is not sampled nothing further is asked
            token = _active.set(self._tracer if began.is_recording() else None)
            try:
                yield
            finally:
                _active.reset(token)

    @contextmanager
    def call(self, name: str, trace: str | None) -> Iterator[None]:
        """Around a call from another replica; without a trace there is nothing to continue."""
        if trace is None:
            yield
            return
        with self.request(name, trace):
            yield

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


@contextmanager
def span(name: str, **attributes: str | int | float) -> Iterator[None]:
    """A part of the request, if it is traced."""
    tracer = _active.get()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name, attributes=attributes):
        yield


def current_trace() -> str | None:
    """The traceparent to hand to another replica; None if the request is not traced."""
    if _active.get() is None:
        return None
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent")


class TraceRequests:
    """Middleware that spans every request to tag photos."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"] not in _PATHS:
            await self._app(scope, receive, send)
            return

        async def send_noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                get_current_span().set_attribute("http.response.status_code", status)
                if status >= 500:
                    get_current_span().set_status(Status(StatusCode.ERROR))
            await send(message)

        name = f"{scope['method']} {scope['path']}"
        with self._tracing.request(name, Headers(scope=scope).get("traceparent")):
            get_current_span().set_attribute("tagger.request_id", scope.get("state", {}).get("request_id", ""))
            await self._app(scope, receive, send_noting)
