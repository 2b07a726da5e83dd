"""Short photos reach a router by one call; everything else, and everybody who is slow, by Serve's stream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

import serve_app.edge
from models.errors import TaggingError
from serve_app.edge import Edge
from serve_app.errors import ModelFailed, ModelUnavailable, Overloaded, ReplicaDied
from serve_app.one_call import WholeAnswer, WholeRequest, answer_whole


class Routers:
    """Raise what they are told to, one after the other, then answer."""

    def __init__(self, *errors: TaggingError) -> None:
        self.errors = list(errors)
        self.seen: list[WholeRequest] = []

    async def __call__(self, request: WholeRequest) -> WholeAnswer:
        self.seen.append(request)
        if self.errors:
            raise self.errors.pop(0)
        return WholeAnswer(201, [(b"content-type", b"application/json")], b'"one call"')


class Stream:
    """Serve's proxy."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.was_asked = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.was_asked.set()
        try:
            self.bodies.append(await Request(scope, receive).body())
        except ClientDisconnect:
            return
        await JSONResponse("stream")(scope, receive, send)


def _client(stream: Stream, routers: Routers, **arguments: Any) -> httpx.AsyncClient:
    edge = Edge(stream, ask_router=routers, **arguments)
    return httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://tagger")


async def _talk(edge: Edge, num_bytes: int, says: Sequence[bytes | asyncio.Event]) -> int:
    """Say the parts of a body of so many bytes, waiting for events between them; hang up then.

    Returns:
        Number of messages answered.
    """
    left, num_left, num_sent = list(says), num_bytes, 0

    async def receive() -> Message:
        nonlocal num_left
        while left and isinstance(left[0], asyncio.Event):
            await left[0].wait()
            left.pop(0)
        if not left:
            return {"type": "http.disconnect"}
        part = left.pop(0)
        assert isinstance(part, bytes)
        num_left -= len(part)
        return {"type": "http.request", "body": part, "more_body": num_left > 0}

    async def send(message: Message) -> None:
        nonlocal num_sent
        num_sent += 1

    headers = [(b"content-length", str(num_bytes).encode())]
    await edge({"type": "http", "path": "/v1/tag", "headers": headers, "method": "POST"}, receive, send)
    return num_sent


async def test_a_short_photo_goes_by_one_call() -> None:
    stream, routers = Stream(), Routers()
    headers = {"x-request-id": "mine", "x-request-timeout-seconds": "-1"}
    response = await _client(stream, routers).post("/v1/tag?top_k=2", content=b"photo", headers=headers)
    assert (response.status_code, response.json(), response.headers["x-request-id"]) == (201, "one call", "mine")
    (request,) = routers.seen
    assert (request.request_id, request.body, request.scope["query_string"]) == ("mine", b"photo", b"top_k=2")
    assert b"-1" not in dict(request.scope["headers"]).values()
    assert not stream.bodies


async def test_another_router_is_called_when_one_dies() -> None:
    routers = Routers(ReplicaDied("died"), ReplicaDied("died"))
    response = await _client(Stream(), routers).post("/v1/tag", content=b"photo")
    assert response.json() == "one call" and [request.body for request in routers.seen] == [b"photo"] * 3


@pytest.mark.parametrize(
    ("errors", "calls", "says"),
    [
        pytest.param([ReplicaDied("secret")] * 3, 3, "died", id="all_die"),
        pytest.param([Overloaded("secret")], 1, "too much", id="full"),
        pytest.param([ModelFailed("secret")], 1, "too much", id="broken"),
    ],
)
async def test_what_keeps_routers_from_answering_is_said_in_our_form(
    errors: list[TaggingError], calls: int, says: str
) -> None:
    routers = Routers(*errors)
    response = await _client(Stream(), routers).post("/v1/tag", content=b"photo")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    assert says in response.json()["error"]["message"] and "secret" not in response.text
    assert len(routers.seen) == calls and "retry-after" in response.headers


async def test_where_no_router_can_be_called_the_stream_says_why() -> None:
    stream, routers = Stream(), Routers(ModelUnavailable("secret"))
    response = await _client(stream, routers).post("/v1/tag", content=b"photo")
    assert response.json() == "stream" and stream.bodies == [b"photo"] and len(routers.seen) == 1


async def test_a_length_that_hides_behind_zeros_is_long_all_the_same() -> None:
    stream, routers = Stream(), Routers()
    content = b"x" * 10_000_000
    headers = {"content-length": "0" * 17 + "10000000"}
    await _client(stream, routers).post("/v1/tag", content=content, headers=headers)
    assert stream.bodies == [content] and not routers.seen


async def _chunks() -> AsyncIterator[bytes]:
    yield b"ph"
    yield b"oto"


@pytest.mark.parametrize(
    ("path", "content", "kept_bytes"),
    [
        pytest.param("/v1/tag", b"x" * (2**20 + 1), 2**28, id="long"),
        pytest.param("/v1/tag", b"x" * 100, 99, id="no_room"),
        pytest.param("/v1/tag", b"", 2**28, id="empty"),
        pytest.param("/v1/tag/batch", b"photo", 2**28, id="no_single_photo"),
        pytest.param("/v1/feedback", b"photo", 2**28, id="not_to_be_done_twice"),
    ],
)
async def test_everything_else_goes_by_the_stream(path: str, content: bytes, kept_bytes: int) -> None:
    stream, routers = Stream(), Routers()
    response = await _client(stream, routers, kept_bytes=kept_bytes).post(path, content=content)
    assert response.json() == "stream" and stream.bodies == [content] and not routers.seen


async def test_a_body_that_does_not_say_its_length_goes_by_the_stream() -> None:
    stream, routers = Stream(), Routers()
    assert (await _client(stream, routers).post("/v1/tag", content=_chunks())).json() == "stream"
    assert stream.bodies == [b"photo"] and not routers.seen


async def test_a_body_that_is_late_goes_by_the_stream_with_what_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_app.edge, "_SHORT_S", 0.01)
    stream, routers = Stream(), Routers()
    await _talk(Edge(stream, ask_router=routers), 5, [b"ph", stream.was_asked, b"oto"])
    assert stream.bodies == [b"photo"] and not routers.seen


async def test_room_for_bodies_is_given_back() -> None:
    async with _client(Stream(), Routers(), kept_bytes=150) as client:
        assert [(await client.post("/v1/tag", content=b"x" * 100)).json() for _ in range(5)] == ["one call"] * 5


async def test_a_caller_who_hangs_up_ends_the_call() -> None:
    is_asked, is_cancelled = asyncio.Event(), asyncio.Event()

    async def ask(request: WholeRequest) -> WholeAnswer:
        is_asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            is_cancelled.set()
            raise
        raise AssertionError

    assert await _talk(Edge(Stream(), ask_router=ask), 5, [b"photo", is_asked]) == 0
    assert is_cancelled.is_set()


async def test_a_caller_who_hangs_up_within_the_body_reaches_nobody() -> None:
    stream, routers = Stream(), Routers()
    assert await _talk(Edge(stream, ask_router=routers), 5, [b"ph"]) == 0
    assert not routers.seen


def _request(body: bytes = b"photo") -> WholeRequest:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"x-a", b"1")],
        "state": {"is": "the proxy's"},
    }
    return WholeRequest.of("mine", scope, body)


async def test_an_application_answers_a_whole_request() -> None:
    async def echo(request: Request) -> Response:
        assert "state" not in _request().scope
        return StreamingResponse(iter([await request.body(), b"!"]), 202, {"x-b": request.headers["x-a"]})

    answer = await answer_whole(Starlette(routes=[Route("/", echo, methods=["POST"])]), _request())
    assert (answer.status, answer.body, dict(answer.headers)[b"x-b"]) == (202, b"photo!", b"1")


async def test_cancelling_reaches_the_application() -> None:
    is_inside, is_cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        is_inside.set()
        try:
            await receive()
        except asyncio.CancelledError:
            is_cancelled.set()
            raise

    task = asyncio.create_task(answer_whole(app, _request()))
    await is_inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_cancelled.is_set()
