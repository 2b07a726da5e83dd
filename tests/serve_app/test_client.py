import asyncio
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.client import AsyncTaggerClient, RetryPolicy, TaggerClient, TaggerClientError, TagQuery
from serve_app.schemas import TagResponse

ROOT = Path(__file__).parents[2]
JPEG = b"\xff\xd8\xff\xe0 and so on"
ANSWER: dict[str, Any] = {
    "request_id": "r-1",
    "bundle": "demo@1.0.0",
    "image": {"width": 800, "height": 1200},
    "garments": [
        {
            "category": "dress",
            "score": 0.97,
            "box": [10.0, 20.5, 300.0, 900.0],
            "status": "ok",
            "attributes": {"neckline": [{"value": "v_neck", "score": 0.91}]},
            "colours": [{"name": "red", "hex": "#b3282d", "share": 0.81}],
        }
    ],
    "tags": ["dress", "red", "v neck"],
    "timing_ms": {"decode": 3.1, "detect": 41.0, "classify": 22.7, "total": 69.4},
}
Reply = httpx.Response | Exception


def error(status: int, code: str, headers: dict[str, str] | None = None) -> httpx.Response:
    body = {"error": {"code": code, "message": f"about {code}", "request_id": "r-9"}}
    return httpx.Response(status, json=body, headers=headers)


def ok() -> httpx.Response:
    return httpx.Response(200, json=ANSWER)


class Service:
    """Gives the replies of a script in turn and remembers requests and waits; both clients can be pointed at it."""

    def __init__(self, *script: Reply, is_async: bool = False) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.is_async = is_async

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.script.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)  # one use each

    def tag(self, photo: str | Path | bytes, retry: RetryPolicy | None = None, **query: Any) -> TagResponse:
        policy = retry or RetryPolicy(jitter=lambda: 0.0)
        transport = httpx.MockTransport(self.answer)
        if not self.is_async:
            with TaggerClient(
                "http://shop/tagger", transport=transport, retry=policy, sleep=self.waits.append
            ) as client:
                return client.tag(photo, **query)

        async def asked() -> TagResponse:
            async def sleep(seconds: float) -> None:
                self.waits.append(seconds)

            async with AsyncTaggerClient(
                "http://shop/tagger", transport=transport, retry=policy, sleep=sleep
            ) as client:
                return await client.tag(photo, **query)

        return asyncio.run(asked())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def service(request: pytest.FixtureRequest) -> Callable[..., Service]:
    return lambda *script: Service(*script, is_async=request.param)


def test_answer_is_typed(service: Callable[..., Service]) -> None:
    answer = service(ok()).tag(JPEG)
    assert answer.garments[0].box == (10.0, 20.5, 300.0, 900.0)
    assert answer.garments[0].attributes["neckline"][0].value == "v_neck"


def test_field_of_a_newer_service_is_no_error(service: Callable[..., Service]) -> None:
    newer = httpx.Response(200, json={**ANSWER, "season": "autumn"})
    assert service(newer).tag(JPEG).request_id == "r-1"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        pytest.param(JPEG, "image/jpeg", id="jpeg"),
        pytest.param(b"\x89PNG\r\n\x1a\n...", "image/png", id="png"),
        pytest.param(b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp", id="webp"),
        pytest.param(b"GIF89a", "application/octet-stream", id="left_to_the_service"),
        pytest.param(b"", "application/octet-stream", id="empty"),
    ],
)
def test_photo_goes_as_it_is_with_its_type(
    service: Callable[..., Service], tmp_path: Path, content: bytes, content_type: str
) -> None:
    path = tmp_path / "misleading.txt"
    path.write_bytes(content)
    stub = service(ok(), ok())
    stub.tag(content)
    stub.tag(str(path))
    for request in stub.requests:
        assert (request.method, request.url.path) == ("POST", "/tagger/v1/tag")
        assert request.headers["content-type"] == content_type
        assert request.content == content


def test_query_is_written_as_the_interface_wants_it(service: Callable[..., Service]) -> None:
    stub = service(ok())
    query: TagQuery = {
        "min_score": 0.3,
        "top_k": 2,
        "attributes": ["colour", "neckline"],
        "include": ("probabilities",),
    }
    stub.tag(JPEG, **query)
    assert dict(stub.requests[0].url.params) == {
        "min_score": "0.3",
        "top_k": "2",
        "attributes": "colour,neckline",
        "include": "probabilities",
    }


def test_refusal_is_a_typed_error_and_asked_only_once(service: Callable[..., Service]) -> None:
    stub = service(error(422, "image_unreadable"))
    with pytest.raises(TaggerClientError) as caught:
        stub.tag(b"broken")
    exc = caught.value
    assert (exc.status, exc.code, exc.message, exc.request_id) == (
        422,
        "image_unreadable",
        "about image_unreadable",
        "r-9",
    )
    assert stub.waits == []


@pytest.mark.parametrize(
    ("failure", "wait_s"),
    [
        pytest.param(error(503, "overloaded", {"retry-after": "7"}), 7.0, id="seconds"),
        pytest.param(error(429, "rate_limited", {"retry-after": "0.5"}), 0.5, id="fraction"),
        pytest.param(error(429, "rate_limited", {"retry-after": "86400"}), 30.0, id="capped"),
        pytest.param(error(429, "rate_limited", {"retry-after": formatdate(0)}), 0.0, id="date_in_the_past"),
        pytest.param(error(503, "overloaded", {"retry-after": "soon"}), 0.0, id="nonsense"),
        pytest.param(error(503, "overloaded", {"retry-after": "-3"}), 0.0, id="negative"),
        pytest.param(error(503, "overloaded", {"retry-after": "nan"}), 0.0, id="not_a_number"),
        pytest.param(httpx.Response(503, text="<h1>upstream</h1>"), 0.0, id="proxy_page"),
        pytest.param(httpx.ConnectError("refused"), 0.0, id="refused"),
        pytest.param(httpx.ReadError("reset"), 0.0, id="reset"),
        pytest.param(httpx.RemoteProtocolError("server left"), 0.0, id="left_without_answer"),
        pytest.param(httpx.ConnectTimeout("slow"), 0.0, id="connect_timeout"),
    ],
)
def test_busy_or_broken_is_asked_again_after_what_the_service_asks_for(
    service: Callable[..., Service], failure: Reply, wait_s: float
) -> None:
    stub = service(failure, ok())
    assert stub.tag(JPEG).request_id == "r-1"
    assert stub.waits == [wait_s]
    assert [request.content for request in stub.requests] == [JPEG, JPEG]


def test_waits_double_with_a_random_share(service: Callable[..., Service]) -> None:
    shares = iter([0.5, 1.0, 0.25])
    stub = service(*[error(503, "overloaded")] * 3, ok())
    stub.tag(JPEG, RetryPolicy(first_wait_s=1.0, jitter=lambda: next(shares)))
    assert stub.waits == [0.5, 2.0, 1.0]


@pytest.mark.parametrize(
    ("failure", "code", "status", "num_requests"),
    [
        pytest.param(error(503, "overloaded"), "overloaded", 503, 3, id="stays_busy"),
        pytest.param(httpx.ConnectError("refused"), "unreachable", None, 3, id="stays_unreachable"),
        pytest.param(httpx.ReadTimeout("slow"), "timeout", None, 1, id="slow_answer_is_not_doubled"),
        pytest.param(error(504, "deadline_exceeded"), "deadline_exceeded", 504, 1, id="deadline"),
        pytest.param(httpx.Response(200, text="<html>"), "unexpected_answer", 200, 1, id="not_our_service"),
        pytest.param(httpx.Response(404, text="nginx"), "unexpected_answer", 404, 1, id="not_our_error"),
        pytest.param(httpx.Response(302, headers={"location": "/login"}), "unexpected_answer", 302, 1, id="redirect"),
    ],
)
def test_giving_up_says_why(
    service: Callable[..., Service], failure: Reply, code: str, status: int | None, num_requests: int
) -> None:
    stub = service(*[failure] * 3)
    with pytest.raises(TaggerClientError) as caught:
        stub.tag(JPEG, RetryPolicy(retries=2, jitter=lambda: 0.0))
    assert (caught.value.code, caught.value.status) == (code, status)
    assert len(stub.requests) == num_requests


def test_missing_file_is_a_typed_error_and_asks_nothing(service: Callable[..., Service], tmp_path: Path) -> None:
    stub = service()
    with pytest.raises(TaggerClientError) as caught:
        stub.tag(tmp_path / "gone.jpg")
    assert caught.value.code == "file_unreadable"
    assert stub.requests == []


def test_error_survives_pickling() -> None:
    exc = pickle.loads(pickle.dumps(TaggerClientError("busy", "why", "overloaded", 503, "r-9")))
    assert (exc.message, exc.detail, exc.code, exc.status, exc.request_id) == ("busy", "why", "overloaded", 503, "r-9")


def test_key_goes_along_as_bearer_token() -> None:
    stub = Service(httpx.Response(200, json={"name": "garments", "version": "1.0", "categories": {}}))
    with TaggerClient("http://shop", api_key="s3cret", transport=httpx.MockTransport(stub.answer)) as client:
        assert client.ontology().name == "garments"
    assert stub.requests[0].headers["authorization"] == "Bearer s3cret"


def _echo(request: httpx.Request) -> httpx.Response:
    """Answers with the photo's number as request id; refuses number 3."""
    number = request.content.decode()
    return (
        error(422, "image_unreadable") if number == "3" else httpx.Response(200, json=ANSWER | {"request_id": number})
    )


def _summary(outcome: TagResponse | TaggerClientError) -> str:
    return outcome.code if isinstance(outcome, TaggerClientError) else outcome.request_id


EXPECTED = ["0", "1", "2", "image_unreadable", "4", "5", "6", "7", "8", "9"]


class Taken:
    """Photos that count how many were taken."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.count):
            self.taken += 1
            yield str(number).encode()


def test_many_keeps_the_order_and_stops_for_no_failure() -> None:
    with TaggerClient(transport=httpx.MockTransport(_echo)) as client:
        assert [_summary(outcome) for outcome in client.tag_many(Taken(10), concurrency=3)] == EXPECTED
        assert list(client.tag_many([])) == []


async def test_async_many_keeps_the_order_and_stops_for_no_failure() -> None:
    async with AsyncTaggerClient(transport=httpx.MockTransport(_echo)) as client:
        assert [_summary(outcome) async for outcome in client.tag_many(Taken(10), concurrency=3)] == EXPECTED
        assert [outcome async for outcome in client.tag_many([])] == []


def test_many_runs_at_most_so_many_at_a_time_and_reads_little_ahead() -> None:
    lock, now, most = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=10)

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with suppress(threading.BrokenBarrierError):
            both.wait()  # passes only with two at a time
        with lock:
            now -= 1
        return ok()

    photos = Taken(100)
    with TaggerClient(transport=httpx.MockTransport(answer)) as client:
        outcomes = client.tag_many(photos, concurrency=2)
        next(outcomes)
        assert photos.taken == 4
        both.abort()  # those that are still under way have nobody to wait for
        outcomes.close()  # type: ignore[attr-defined]
    assert most == 2


async def test_async_many_runs_at_most_so_many_at_a_time_and_cancels_the_rest() -> None:
    now = most = num_cancelled = 0
    first, never = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal now, most, num_cancelled
        now += 1
        most = max(most, now)
        try:
            if request.content == b"0":
                await first.wait()
            else:
                first.set()
                await never.wait()
            return ok()
        except asyncio.CancelledError:
            num_cancelled += 1
            raise
        finally:
            now -= 1

    photos = Taken(100)
    async with AsyncTaggerClient(transport=httpx.MockTransport(answer)) as client:
        outcomes = client.tag_many(photos, concurrency=2)
        await anext(outcomes)
        assert photos.taken == 4
        await outcomes.aclose()  # type: ignore[attr-defined]
    assert (most, now, num_cancelled > 0) == (2, 0, True)


def test_client_loads_neither_torch_nor_ray() -> None:
    program = "import sys, serve_app.client; print({'torch', 'ray', 'starlette'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "set()"


def _batch(request: httpx.Request) -> httpx.Response:
    """Answers every part with its number; refuses number 1 of those it got."""
    assert request.url.path == "/v1/tag/batch" and request.url.params["top_k"] == "2"
    num_parts = request.content.count(b'name="images"')
    refusal = {"code": "image_unreadable", "message": "m", "request_id": "r.1"}
    results = [
        {"index": index, "id": str(index)} | ({"error": refusal} if index == 1 else {"result": ANSWER})
        for index in range(num_parts)
    ]
    return httpx.Response(200, json={"request_id": "r", "results": results})


async def test_a_batch_is_one_request_with_an_outcome_for_every_photo(tmp_path: Path) -> None:
    photos = [b"0", tmp_path / "gone.jpg", b"2", b"3"]
    expected = ["r-1", "file_unreadable", "image_unreadable", "r-1"]
    with TaggerClient(transport=httpx.MockTransport(_batch)) as client:
        assert [_summary(outcome) for outcome in client.tag_batch(photos, top_k=2)] == expected
        assert client.tag_batch([]) == []
    async with AsyncTaggerClient(transport=httpx.MockTransport(_batch)) as asking:
        assert [_summary(outcome) for outcome in await asking.tag_batch(photos, top_k=2)] == expected
