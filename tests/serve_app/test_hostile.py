"""A few hundred hostile requests against the whole interface in this process: never our fault, always our own body.

`make chaos` sends ten thousand and more to a running service.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from serve_app.api import make_asgi
from serve_app.edge import Edge
from serve_app.openapi import openapi_routes
from serve_app.schemas import ErrorResponse
from serve_app.web import web_routes
from tests.chaos.corpus import Hostile, corpus
from tests.fakes import FakeMeter, tagging_service

_COUNT = 400


async def test_no_hostile_request_is_our_fault() -> None:
    meter = FakeMeter()
    with ThreadPoolExecutor(1) as threads:
        app = Edge(make_asgi(tagging_service(threads, meter), meter, [*web_routes(), *openapi_routes()]))
        statuses: Counter[int] = Counter()
        for hostile in corpus(_COUNT):
            status, headers, body = await _ask(app, hostile)
            statuses[status] += 1
            assert status < 500, hostile
            assert b"Traceback" not in body and b"/site-packages/" not in body, hostile
            assert headers[b"x-content-type-options"] == b"nosniff"
            if status >= 400 and hostile.method != "HEAD":
                ErrorResponse.model_validate_json(body)
    assert len(statuses) >= 6 and statuses[200] < _COUNT / 2, statuses
    assert meter.counts["tagger_requests", "internal"] == 0


def test_the_corpus_is_the_same_for_the_same_seed_and_has_all_families() -> None:
    first, second, other = list(corpus(60)), list(corpus(60)), list(corpus(60, seed=8))
    assert first == second != other
    assert {hostile.family for hostile in first} == {
        "mutated",
        "bomb",
        "polyglot",
        "json",
        "query",
        "multipart",
        "path",
        "header",
    }


async def _ask(app: ASGIApp, hostile: Hostile) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request as the server would hand it over; the path is decoded as uvicorn does."""
    path, _, query = hostile.path.partition(b"?")
    headers = [(name.lower(), value) for name, value in hostile.headers]
    if hostile.content_type is not None:
        headers.append((b"content-type", hostile.content_type))
    scope: dict[str, Any] = {
        "type": "http",
        "method": hostile.method,
        "path": _unquoted(path),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [*headers, (b"content-length", b"%d" % len(hostile.body))],
    }
    messages: list[Message] = [{"type": "http.request", "body": hostile.body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


def _unquoted(path: bytes) -> str:
    return unquote(path.decode("ascii"))
