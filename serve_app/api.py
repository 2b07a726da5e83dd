"""The HTTP interface as an ASGI application around any service object; knows Starlette, not Ray.

One handler answers every TaggingError, one the paths and methods that do not exist, and a last resort the rest: each
error on every path is the same JSON, without a traceback.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import TaggingError
from serve_app.batch import Batch
from serve_app.errors import (
    INTERNAL_MESSAGE,
    RETRY_AFTER_S_BY_CODE,
    STATUS_BY_CODE,
    KeyMissing,
    MethodNotAllowed,
    NotFound,
    ServiceError,
    public_code,
)
from serve_app.guard import Guard
from serve_app.metrics import REQUESTS, Meter
from serve_app.schemas import (
    BatchResponse,
    BundleResponse,
    ErrorBody,
    ErrorResponse,
    FeedbackResponse,
    HealthResponse,
    OntologyResponse,
    TagResponse,
)
from serve_app.tracing import TraceRequests, Tracing

_log = logging.getLogger("ray.serve")
REQUEST_ID = re.compile(r"[!-~]{1,128}")
REQUEST_ID_HEADER = "x-request-id"
_NDJSON = "application/x-ndjson"
_NO_STORE = {"cache-control": "no-store"}


class Service(Protocol):
    """What the interface answers with."""

    async def tag(self, request: Request, request_id: str) -> TagResponse:
        """Tag the photo in a request; raises TaggingError."""

    async def open_batch(self, request: Request, request_id: str) -> Batch:
        """Receive the photos of a batch; raises TaggingError. The caller closes it."""

    async def take_feedback(self, request: Request) -> None:
        """Keep a correction; raises TaggingError."""

    def ontology(self) -> OntologyResponse:
        """Say what can be answered."""

    def bundle(self) -> BundleResponse:
        """Say what answers."""

    async def check_ready(self) -> None:
        """Raise TaggingError unless a photo could be tagged now."""


def make_asgi(
    service: Service,
    meter: Meter,
    pages: Sequence[BaseRoute] = (),
    *,
    guard: Guard | None = None,
    echoes_request_id: bool = True,
    tracing: Tracing | None = None,
) -> Starlette:
    """Build the application.

    Args:
        service: answers the requests.
        meter: counts the outcomes of POST /v1/tag, and batches that were refused as a whole.
        pages: further routes, such as the page at `/`.
        guard: asks for API keys; None lets everybody in.
        echoes_request_id: write the request id into the response headers; not under Ray, whose proxy does.
        tracing: makes spans of requests; None for none.
    """
    endpoints = _Endpoints(service, meter)
    app = Starlette(
        routes=[
            Route("/v1/tag", endpoints.tag, methods=["POST"]),
            Route("/v1/tag/batch", endpoints.tag_batch, methods=["POST"]),
            Route("/v1/feedback", endpoints.feedback, methods=["POST"]),
            Route("/v1/ontology", endpoints.ontology, methods=["GET"]),
            Route("/v1/bundle", endpoints.bundle, methods=["GET"]),
            Route("/healthz", endpoints.healthz, methods=["GET"]),
            Route("/readyz", endpoints.readyz, methods=["GET"]),
            *pages,
        ],
        middleware=[
            Middleware(_Boundary, guard=guard, echoes_request_id=echoes_request_id),
            *([Middleware(TraceRequests, tracing=tracing)] if tracing else []),
        ],
        exception_handlers={TaggingError: _answer_tagging_error, HTTPException: _answer_http_exception},
    )
    app.router.redirect_slashes = False  # a redirected POST loses its body with many clients
    return app


class _Endpoints:
    def __init__(self, service: Service, meter: Meter) -> None:
        self._service = service
        self._meter = meter

    async def tag(self, request: Request) -> Response:
        outcome = "internal"
        try:
            response = await self._service.tag(request, request_id_of(request))
            outcome = response.outcome
            return _json(response)
        except TaggingError as exc:
            outcome = public_code(exc)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"  # the caller hung up
            raise
        finally:
            self._meter.count(REQUESTS, outcome=outcome)

    async def tag_batch(self, request: Request) -> Response:
        request_id = request_id_of(request)
        try:
            batch = await self._service.open_batch(request, request_id)
        except TaggingError as exc:
            self._meter.count(REQUESTS, outcome=public_code(exc))
            raise
        accepted = {kind.split(";")[0].strip().lower() for kind in request.headers.get("accept", "").split(",")}
        if _NDJSON in accepted:
            return _BatchStream(batch)
        try:
            results = [result async for result in batch.results()]
        finally:
            batch.close()
        return _json(BatchResponse(request_id=request_id, results=sorted(results, key=lambda result: result.index)))

    async def feedback(self, request: Request) -> Response:
        await self._service.take_feedback(request)
        return _json(FeedbackResponse(request_id=request_id_of(request), status="recorded"))

    async def ontology(self, request: Request) -> Response:
        return _json(self._service.ontology())

    async def bundle(self, request: Request) -> Response:
        return _json(self._service.bundle())

    async def healthz(self, request: Request) -> Response:
        return _json(HealthResponse(status="ok"), headers=_NO_STORE)

    async def readyz(self, request: Request) -> Response:
        await self._service.check_ready()
        return _json(HealthResponse(status="ready"), headers=_NO_STORE)


class _BatchStream(StreamingResponse):
    """A result a line, as they come."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        lines = (f"{result.model_dump_json(exclude_none=True)}\n" async for result in batch.results())
        super().__init__(lines, media_type=_NDJSON, headers=_NO_STORE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._batch.close()


class _Boundary:
    """Gives every request its id, asks for its key, and answers what nothing else answered."""

    def __init__(self, app: ASGIApp, guard: Guard | None, echoes_request_id: bool) -> None:
        self._app = app
        self._guard = guard
        self._echoes_request_id = echoes_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        has_started = False

        async def send_noting(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                answer_headers = MutableHeaders(scope=message)
                answer_headers.setdefault("x-content-type-options", "nosniff")
                if self._echoes_request_id:
                    answer_headers[REQUEST_ID_HEADER] = request_id
                if self._guard:
                    self._guard.count(state, message["status"])
            await send(message)

        try:
            if self._guard:
                path = scope["path"].removeprefix(scope.get("root_path", ""))
                self._guard.admit(path, headers.get("authorization", ""), state)
            await self._app(scope, receive, send_noting)
        except TaggingError as exc:  # of the guard; those of the endpoints were answered inside
            await _tagging_error_response(exc, request_id)(scope, receive, send_noting)
        except Exception:  # the last resort: nothing may leave the service but our own JSON
            _log.exception("request %s failed", request_id)
            if has_started:
                raise
            await error_response("internal", INTERNAL_MESSAGE, request_id)(scope, receive, send_noting)


def request_id_of(request: Request) -> str:
    """The id that the request came with or was given."""
    return str(request.state.request_id)


def error_response(code: str, message: str, request_id: str, headers: dict[str, str] | None = None) -> Response:
    """The one form of every error; the status follows from the code."""
    headers = {**_NO_STORE, **(headers or {})}
    if code in RETRY_AFTER_S_BY_CODE:
        headers.setdefault("retry-after", str(RETRY_AFTER_S_BY_CODE[code]))
    if code == KeyMissing.code:
        headers["www-authenticate"] = "Bearer"
    body = ErrorResponse(error=ErrorBody(code=code, message=message, request_id=request_id))
    return _json(body, STATUS_BY_CODE[code], headers)


async def _answer_tagging_error(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, TaggingError):
        raise exc
    return _tagging_error_response(exc, request_id_of(request))


def _tagging_error_response(exc: TaggingError, request_id: str) -> Response:
    code = public_code(exc)
    if STATUS_BY_CODE[code] >= 500:
        _log.error("request %s: %s: %r", request_id, code, exc)
    retry_after_s = exc.retry_after_s if isinstance(exc, ServiceError) else None
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return error_response(code, INTERNAL_MESSAGE if code == "internal" else exc.message, request_id, headers)


async def _answer_http_exception(request: Request, exc: Exception) -> Response:
    """Paths and methods that do not exist; Starlette raises nothing else by itself."""
    if not isinstance(exc, HTTPException):
        raise exc
    request_id = request_id_of(request)
    if exc.status_code == 404:
        return error_response(NotFound.code, "no such path; POST /v1/tag tags a photo", request_id)
    if exc.status_code == 405:
        allowed = dict(exc.headers or {})
        return error_response(MethodNotAllowed.code, "this path does not take that method", request_id, allowed)
    _log.error("request %s: unexpected HTTP exception %d", request_id, exc.status_code)
    return error_response("internal", INTERNAL_MESSAGE, request_id)


def _json(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    # None stands only where a caller did not ask for something
    content = body.model_dump_json(exclude_none=True)
    return Response(content, status, headers, media_type="application/json")
