"""A collector of traces on loopback: takes OTLP over HTTP and remembers the spans."""

import http.server
import threading
from dataclasses import dataclass
from types import TracebackType

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """A span that arrived; ids in hex."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    deployment: str


class Collector:
    """Listens while its context lasts."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._spans: list[Seen] = []
        take = self._take

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def spans(self, trace_id: str, count: int, limit_s: float) -> list[Seen]:
        """The spans of a trace once there are so many; fails if they do not come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self._of(trace_id)) >= count, limit_s), self._of(trace_id)
            return self._of(trace_id)

    def _of(self, trace_id: str) -> list[Seen]:
        return [span for span in self._spans if span.trace_id == trace_id]

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            for resource in request.resource_spans:
                told = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                        self._spans.append(Seen(span.name, *ids, told["tagger.deployment"]))
            self._arrived.notify_all()

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
