"""Batches over ASGI, with fake models: an outcome for every photo, limits, and room for single photos."""

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.types import Detection
from serve_app.errors import ImageUrlRefused
from tests.fakes import DRESS, FakeDetect, photo_bytes
from tests.serve_app.test_api import Bench

PHOTO = photo_bytes((72, 96))
SLOW = photo_bytes((72, 96), (10, 20, 240))
BASE64 = base64.b64encode(PHOTO).decode()
NDJSON = {"accept": "application/x-ndjson, application/json"}


class SlowBlue(FakeDetect):
    """Answers blue photos only when told to; counts how many calls run at a time."""

    def __init__(self) -> None:
        super().__init__([DRESS])
        self.go = asyncio.Event()
        self.num_running = self.most_running = 0

    async def __call__(self, canvas: NDArray[np.uint8], min_score: float, budget_s: float) -> Sequence[Detection]:
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        try:
            if canvas[canvas.shape[0] // 2, canvas.shape[1] // 2, 2] > 200:
                await self.go.wait()
            await asyncio.sleep(0)
            return await super().__call__(canvas, min_score, budget_s)
        finally:
            self.num_running -= 1


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def _slow_bench(threads: ThreadPoolExecutor, **limits: Any) -> tuple[Bench, SlowBlue]:
    detect = SlowBlue()
    return Bench(threads, detect=detect, **limits), detect


def _files(*photos: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{index}.png", photo)) for index, photo in enumerate(photos)]


def _outcomes(body: dict[str, Any]) -> list[str]:
    return [result["error"]["code"] if "error" in result else "ok" for result in body["results"]]


async def test_every_photo_of_a_form_has_its_own_outcome(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads)
    files = [*_files(PHOTO, b"no picture"), ("images", ("", PHOTO[:-40])), ("images", ("same.png", PHOTO))]
    response = await bench.client.post("/v1/tag/batch", files=files, params={"attributes": "neckline"})
    assert response.status_code == 200
    body = response.json()
    assert _outcomes(body) == ["ok", "image_unreadable", "image_truncated", "ok"]
    assert [(result["index"], result["id"]) for result in body["results"]] == [
        (0, "0.png"),
        (1, "1.png"),
        (2, "2"),
        (3, "same.png"),
    ]
    assert body["results"][3]["result"]["request_id"] == f"{body['request_id']}.3"
    assert list(body["results"][0]["result"]["garments"][0]["attributes"]) == ["neckline"]
    assert body["results"][1]["error"]["request_id"] == f"{body['request_id']}.1"
    assert bench.meter.counts["tagger_requests", "ok"] == 2
    assert bench.meter.counts["tagger_requests", "image_truncated"] == 1


async def test_every_image_of_a_json_body_has_its_own_outcome(threads: ThreadPoolExecutor) -> None:
    async def fetch(url: str, deadline_s: float) -> tuple[bytes, str | None]:
        if "evil" in url:
            raise ImageUrlRefused("no")
        return PHOTO, "image/png"

    images = [
        {"id": "a", "base64": BASE64},
        {"id": "a", "url": "https://cdn.example/a.png"},
        {"url": "https://evil.test/a.png"},
        {"base64": "no base64!"},
        {"id": "neither"},
        {"base64": BASE64, "url": "https://cdn.example/a.png"},
    ]
    body = (await Bench(threads, fetch).client.post("/v1/tag/batch", json={"images": images})).json()
    assert _outcomes(body) == ["ok", "ok", "image_url_refused", "bad_request", "bad_request", "bad_request"]
    assert [result["id"] for result in body["results"]] == ["a", "a", "2", "3", "neither", "5"]


async def test_results_stream_as_they_finish(threads: ThreadPoolExecutor) -> None:
    bench, detect = _slow_bench(threads)

    class Watch:
        def count(self, *args: Any, **tags: str) -> None:
            bench_count(*args, **tags)
            if bench.meter.counts["tagger_requests", "ok"] == 2:
                detect.go.set()

    bench_count, bench.meter.count = bench.meter.count, Watch().count  # type: ignore[method-assign]
    response = await bench.client.post("/v1/tag/batch", files=_files(SLOW, PHOTO, PHOTO), headers=NDJSON)
    assert response.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert sorted(line["index"] for line in lines) == [0, 1, 2]
    assert lines[-1]["index"] == 0


async def test_a_batch_takes_few_places_and_single_photos_wait_for_none(threads: ThreadPoolExecutor) -> None:
    bench, detect = _slow_bench(threads, batch_concurrency=2)
    batches = [
        asyncio.create_task(bench.client.post("/v1/tag/batch", files=_files(*[SLOW] * count))) for count in (6, 3)
    ]
    while detect.num_running < 2:
        await asyncio.sleep(0)
    assert (await bench.client.post("/v1/tag", content=PHOTO)).status_code == 200
    detect.go.set()
    assert [_outcomes((await batch).json()) for batch in batches] == [["ok"] * 6, ["ok"] * 3]
    assert detect.most_running == 3  # two of the batches, one alone


@pytest.mark.parametrize(
    ("limits", "photos", "expected", "says"),
    [
        pytest.param(
            {"max_batch_pixels": 15_000}, [PHOTO] * 3, ["ok", "ok", "image_too_large"], "15000 pixels", id="pixels"
        ),
        pytest.param(
            {"max_batch_bytes": 1024},
            [photo_bytes((64, 64)), PHOTO + bytes(900)],
            ["ok", "image_too_large"],
            "1024",
            id="b",
        ),
    ],
)
async def test_photos_share_the_limits_of_the_batch(
    threads: ThreadPoolExecutor, limits: dict[str, Any], photos: list[bytes], expected: list[str], says: str
) -> None:
    bench = Bench(threads, batch_concurrency=1, **limits)
    body = (await bench.client.post("/v1/tag/batch", files=_files(*photos))).json()
    assert _outcomes(body) == expected
    assert says in body["results"][-1]["error"]["message"]


async def test_what_is_late_is_an_error_of_its_own(threads: ThreadPoolExecutor) -> None:
    bench, _ = _slow_bench(threads, batch_deadline_s=0.2)
    response = await bench.client.post("/v1/tag/batch", files=_files(SLOW))
    assert (response.status_code, _outcomes(response.json())) == (200, ["deadline_exceeded"])


async def test_a_bug_at_one_photo_costs_the_others_nothing_and_shows_nothing(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, batch_concurrency=1)
    bench.detect.errors = [ZeroDivisionError("secret")]
    response = await bench.client.post("/v1/tag/batch", files=_files(PHOTO, PHOTO))
    assert _outcomes(response.json()) == ["internal", "ok"]
    assert "secret" not in response.text


async def test_open_batches_are_bounded_and_leaving_frees_everything(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads)
    bench.detect.is_stuck = True
    for headers in ({}, NDJSON):
        open_batches = [
            asyncio.create_task(bench.client.post("/v1/tag/batch", files=_files(PHOTO), headers=headers))
            for _ in range(4)
        ]
        while len(bench.detect.canvases) < 4:
            await asyncio.sleep(0)
        response = await bench.client.post("/v1/tag/batch", files=_files(PHOTO))
        assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
        for task in open_batches:
            task.cancel()
        await asyncio.gather(*open_batches, return_exceptions=True)
        while bench.detect.num_cancelled < 4:
            await asyncio.sleep(0)
        bench.detect.canvases.clear()
        bench.detect.num_cancelled = 0
    bench.detect.is_stuck = False
    assert _outcomes((await bench.client.post("/v1/tag/batch", files=_files(PHOTO))).json()) == ["ok"]


@pytest.mark.parametrize(
    ("arguments", "status", "code", "says"),
    [
        pytest.param({"json": {"images": []}}, 400, "bad_request", "images", id="none"),
        pytest.param({"json": {"images": [{"base64": BASE64}] * 65}}, 400, "bad_request", "64", id="65"),
        pytest.param({"files": _files(*[b"x"] * 65)}, 400, "bad_request", "more than 64", id="65_parts"),
        pytest.param({"json": {"images": [{"base64": BASE64, "name": "a"}]}}, 400, "bad_request", "name", id="unknown"),
        pytest.param({"json": {"images": [{"id": 1, "base64": BASE64}]}}, 400, "bad_request", "id", id="id_no_text"),
        pytest.param({"json": {"image": {"base64": BASE64}}}, 400, "bad_request", "images", id="single_form"),
        pytest.param({"files": {"image": ("a", PHOTO)}}, 400, "bad_request", "named images", id="other_part"),
        pytest.param({"content": PHOTO}, 415, "image_type_unsupported", "multipart/form-data", id="raw"),
        pytest.param({"files": _files(bytes(2 * 2**20))}, 413, "image_too_large", "1048576 bytes", id="too_large"),
        pytest.param(
            {"files": _files(PHOTO), "params": {"topk": 1}}, 400, "bad_request", "'topk'", id="unknown_parameter"
        ),
    ],
)
async def test_batches_that_cannot_be_read_are_refused_as_a_whole(
    threads: ThreadPoolExecutor, arguments: dict[str, Any], status: int, code: str, says: str
) -> None:
    bench = Bench(threads, max_batch_bytes=2**20)
    response = await bench.client.post("/v1/tag/batch", **arguments)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert says in response.json()["error"]["message"]
    assert bench.num_model_calls == 0
    assert bench.meter.counts["tagger_requests", code] == 1
