"""The middleware of Serve's proxy: headers that never arrive, answers in our form, a second router when one dies."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from serve_app.edge import Edge
from serve_app.pace import Pace
from tests.fakes import FakeMeter

Router = Callable[[Scope, bytes], Response | None]


class Proxy:
    """Serve's proxy: reads the body, answers what the router does; None is one that died before it answered."""

    def __init__(self, *routers: Router) -> None:
        self.routers = list(routers)
        self.seen: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.seen.append(({name.decode(): value.decode("latin-1") for name, value in scope["headers"]}, body))
        response = self.routers.pop(0)(scope, body)
        if response is not None:
            await response(scope, receive, send)


def _good(scope: Scope, body: bytes) -> Response:
    return JSONResponse({"num_bytes": len(body)})


def _dies(scope: Scope, body: bytes) -> None:
    return None


def _says(status: int) -> Router:
    return lambda scope, body: PlainTextResponse("Request dropped: secret numbers", status)


def _post(proxy: Proxy, path: str = "/v1/tag", kept_bytes: int = 1000, **arguments: Any) -> Coroutine[Any, Any, Any]:
    client = httpx.AsyncClient(transport=httpx.ASGITransport(Edge(proxy, kept_bytes)), base_url="http://tagger")
    return client.post(path, **arguments)


@pytest.mark.parametrize(
    "name",
    [
        "x-request-timeout-seconds",
        "X-Request-Disconnect-Disabled",
        "x_session_id",
        "serve_multiplexed_model_id",
        "Serve-Multiplexed-Model-Id",
    ],
)
async def test_headers_that_steer_serve_never_arrive(name: str) -> None:
    proxy = Proxy(_good)
    await _post(proxy, headers={name: "never", "x-kept": "1"})
    (headers, _), *_ = proxy.seen
    assert "never" not in headers.values() and headers["x-kept"] == "1"


@pytest.mark.parametrize("given", [b"\xff\xfe", b"a b", b"x" * 200])
async def test_a_request_id_that_serve_could_not_decode_is_replaced(given: bytes) -> None:
    proxy = Proxy(_good)
    await _post(proxy, headers=[(b"x-request-id", given), (b"x-request-id", given)])
    (headers, _), *_ = proxy.seen
    assert len(headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("serves", "status", "code"),
    [
        pytest.param(503, 503, "overloaded", id="queue_full"),
        pytest.param(404, 503, "overloaded", id="no_application_yet"),
        pytest.param(408, 504, "deadline_exceeded", id="time_limit"),
    ],
)
async def test_what_serve_says_is_said_in_our_form(serves: int, status: int, code: str) -> None:
    response = await _post(Proxy(_says(serves)), headers={"x-request-id": "mine"})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"] == "mine"
    assert ("retry-after" in response.headers) is (status == 503)
    assert "secret" not in response.text


async def test_a_path_that_is_none_is_not_found_without_asking_serve() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    proxy = Proxy()
    await Edge(proxy)({"type": "http", "method": "OPTIONS", "path": "*", "headers": []}, receive, send)
    assert sent[0]["status"] == 404 and b"not_found" in sent[1]["body"] and not proxy.seen


async def test_answers_of_a_router_pass_untouched() -> None:
    refusal = JSONResponse({"error": {"code": "overloaded"}}, 503, {"retry-after": "7"})
    response = await _post(Proxy(lambda scope, body: refusal))
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")


async def test_another_router_is_asked_with_the_whole_body_when_one_dies() -> None:
    async def body() -> Any:
        for _ in range(4):
            yield b"x" * 100

    proxy = Proxy(_dies, _dies, _good)
    response = await _post(proxy, content=body())
    assert response.json() == {"num_bytes": 400}
    assert [len(body) for _, body in proxy.seen] == [400, 400, 400]
    assert len({headers["x-request-id"] for headers, _ in proxy.seen}) == 1


@pytest.mark.parametrize(
    ("path", "size", "tries"),
    [
        pytest.param("/v1/tag", 100, 3, id="all_die"),
        pytest.param("/v1/tag", 1001, 1, id="body_too_large_to_keep"),
        pytest.param("/v1/feedback", 100, 1, id="not_to_be_done_twice"),
    ],
)
async def test_a_lost_request_is_said_to_be_lost(path: str, size: int, tries: int) -> None:
    proxy = Proxy(*[_dies] * tries)
    response = await _post(proxy, path, content=b"x" * size)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    assert "died" in response.json()["error"]["message"]
    assert len(proxy.seen) == tries


async def test_room_for_bodies_is_given_back() -> None:
    edge = Edge(Proxy(*[_good] * 5, _dies, _good), kept_bytes=150)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://tagger") as client:
        for _ in range(6):
            assert (await client.post("/v1/tag", content=b"x" * 100)).status_code == 200


async def test_what_is_asked_once_takes_no_room_from_photos() -> None:
    is_there, is_over = asyncio.Event(), asyncio.Event()

    class Waiting(Proxy):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await super().__call__(scope, receive, send)
            if scope["path"] == "/v1/jobs":
                is_there.set()
                await is_over.wait()

    edge = Edge(Waiting(_good, _dies, _good), kept_bytes=150)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://tagger") as client:
        job = asyncio.create_task(client.post("/v1/jobs", content=b"x" * 100))
        await is_there.wait()
        assert (await client.post("/v1/tag", content=b"x" * 100)).status_code == 200
        is_over.set()
        assert (await job).status_code == 200


async def test_a_caller_who_left_is_not_asked_for_again() -> None:
    tries = 0

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal tries
        tries += 1
        while (await receive())["type"] != "http.disconnect":
            pass

    messages: list[Message] = [{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/tag", "headers": [], "method": "POST"}
    await Edge(proxy)(scope, receive, send)
    assert tries == 1 and sent == []


async def test_websockets_are_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await Edge(Proxy())({"type": "websocket", "path": "/", "headers": []}, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_serves_own_paths_are_left_alone() -> None:
    proxy = Proxy(lambda scope, body: PlainTextResponse("success", 503))
    response = await _post(proxy, "/-/healthz")
    assert (response.status_code, response.text) == (503, "success")


def test_retry_after_follows_the_queue() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    assert pace.retry_after_s() == 1
    for _ in range(30):
        pace.enter()
    for _ in range(10):  # one a second
        now += 1
        pace.leave(is_finished=True)
    assert pace.wait_s() == pytest.approx(21)
    assert pace.retry_after_s() == 21
    now += 60
    assert pace.wait_s() is None


def test_a_service_that_never_refuses_does_not_keep_all_it_ever_finished() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    for _ in range(1000):
        now += 1
        pace.enter()
        pace.leave(is_finished=True)
    assert len(pace._finished) <= 11


def test_refusals_are_no_pace() -> None:
    pace = Pace(lambda: 0.0)
    pace.enter()
    pace.leave(is_finished=False)
    assert pace.num_inside == 0 and pace.wait_s() is None


def test_a_burst_after_quiet_tells_nothing_of_the_pace_before_it() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    for _ in range(10):  # one caller, answered at once
        pace.enter()
        now += 0.01
        pace.leave(is_finished=True)
        now += 0.99
    for _ in range(20):
        pace.enter()
    assert pace.wait_s() is None
    now += 2
    for _ in range(4):
        pace.leave(is_finished=True)
    assert pace.wait_s() == pytest.approx(17 * 2 / 4)


def test_the_pace_of_the_last_queue_is_remembered_for_a_minute() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    for _ in range(30):
        pace.enter()
    for _ in range(30):  # ten a second
        now += 0.1
        pace.leave(is_finished=True)
    now += 50
    pace.enter()
    assert pace.wait_s() == pytest.approx(2 / 10)
    pace.leave(is_finished=False)
    now += 10
    pace.enter()
    assert pace.wait_s() is None


async def test_a_photo_whose_turn_would_come_too_late_is_refused_before_a_router_hears_of_it() -> None:
    now = 0.0
    pace, meter, proxy = Pace(lambda: now), FakeMeter(), Proxy(_good)
    for _ in range(34):
        pace.enter()
    for _ in range(2):
        pace.leave(is_finished=True)
    now = 4.0  # two photos in four seconds, 32 inside: one more would wait 66 s
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(Edge(proxy, meter=meter, pace=pace)), base_url="http://tagger"
    )
    refused = await client.post("/v1/tag", content=b"x", headers={"x-request-id": "mine"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert (refused.headers["retry-after"], refused.headers["x-request-id"]) == ("60", "mine")
    assert meter.counts == {("tagger_requests", "overloaded"): 1} and not proxy.seen
    pace.leave(is_finished=False)  # 31 inside, which are no queue
    assert (await client.post("/v1/tag", content=b"x")).status_code == 200


def test_serve_puts_it_outermost_into_every_proxy() -> None:
    from ray.serve._private.http_util import _apply_middlewares, configure_http_middlewares
    from ray.serve.config import HTTPOptions

    middlewares = configure_http_middlewares(HTTPOptions()).middlewares
    assert isinstance(_apply_middlewares(Proxy(), middlewares), Edge)
