"""The whole interface over ASGI, with fake models: bodies in every form, every error, one JSON for all of them."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

from models.ontology import load_ontology
from models.vocabulary import Vocabulary, load_languages
from serve_app.admission import Admission
from serve_app.answer import Answerer
from serve_app.api import make_asgi
from serve_app.bundle_facts import BundleFacts
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.download import Downloader, Fetch
from serve_app.errors import ModelFailed, ModelUnavailable, Overloaded, ReplicaDied
from serve_app.naming import Names
from serve_app.pace import Pace
from serve_app.service import TaggingService
from tests.bad_requests import BAD_REQUESTS, BadRequestCase
from tests.fakes import DRESS, FakeClassify, FakeDetect, FakeMeter, facts, photo_bytes

PHOTO = photo_bytes((72, 96))
NAMES = Names(load_languages(), {"shop": Vocabulary("shop", {"dress": "Kleider"}, {"neckline": "Neck"})})
PNG = {"content-type": "image/png"}


class Bench:
    """The application around fakes, and its client."""

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        fetch: Fetch | None = None,
        detect: FakeDetect | None = None,
        bundle: BundleFacts | None = None,
        **limits: Any,
    ) -> None:
        self.meter = FakeMeter()
        self.detect = detect or FakeDetect([DRESS])
        self.classify = {name: FakeClassify(name) for name in load_ontology().category_names}
        self.ping_error: Exception | None = None
        self.fetched: list[tuple[str, float]] = []
        args = TaggerArgs.model_validate(limits)
        bundle = bundle or facts()
        composer = Composer(args, bundle, self.detect, self.classify, threads, self.meter)
        answerer = Answerer(bundle, args.min_several_score, args.low_confidence_score, self.meter)
        self.service = TaggingService(
            args, bundle, composer, answerer, self._ping, fetch or self._fetch, self.meter, NAMES
        )
        transport = httpx.ASGITransport(make_asgi(self.service, self.meter))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://tagger")

    async def _fetch(self, url: str, deadline_s: float) -> tuple[bytes, str | None]:
        self.fetched.append((url, deadline_s))
        return PHOTO, "image/png"

    async def _ping(self) -> None:
        if self.ping_error:
            raise self.ping_error

    @property
    def num_model_calls(self) -> int:
        return len(self.detect.canvases) + sum(len(fake.num_crops) for fake in self.classify.values())


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ThreadPoolExecutor(2) as threads:
        yield Bench(threads)


@pytest.fixture
def closed_bench() -> Iterator[Bench]:
    """As delivered: no photo is fetched by its address."""
    with ThreadPoolExecutor(2) as threads:
        yield Bench(threads, Downloader((), 1024).fetch)


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param({"content": PHOTO, "headers": PNG}, id="raw"),
        pytest.param({"content": PHOTO}, id="raw_undeclared"),
        pytest.param({"content": PHOTO, "headers": {"content-type": "application/octet-stream"}}, id="raw_octets"),
        pytest.param({"files": {"image": ("photo.png", PHOTO, "image/png")}}, id="multipart"),
        pytest.param({"files": {"image": ("", PHOTO)}}, id="multipart_without_filename"),
        pytest.param({"json": {"image": {"base64": base64.b64encode(PHOTO).decode()}}}, id="json"),
        pytest.param({"json": {"image": {"url": "https://cdn.example/a.png"}}}, id="json_url"),
    ],
)
async def test_every_form_of_body_is_the_same_photo(bench: Bench, request_of: dict[str, Any]) -> None:
    response = await bench.client.post("/v1/tag", **request_of)
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"request_id", "bundle", "image", "garments", "tags", "timing_ms"}
    assert body["image"] == {"width": 72, "height": 96}
    assert body["bundle"] == "fake@1.0.0"
    assert body["request_id"] == response.headers["x-request-id"]
    (garment,) = body["garments"]
    assert set(garment) == {"category", "score", "box", "status", "attributes", "needs_review", "colours"}
    assert (garment["category"], garment["status"], garment["box"]) == ("dress", "ok", [10.0, 10.0, 60.0, 90.0])
    assert garment["attributes"]["neckline"] == [{"value": "round", "score": 0.9}]
    assert garment["colours"] == [{"name": "red", "hex": "#b4282d", "share": 1.0}]
    assert body["tags"][:2] == ["dress", "black"]
    assert bench.meter.counts["tagger_requests", "ok"] == 1


async def test_fetching_a_photo_has_what_is_left_of_the_upload_s_time(bench: Bench) -> None:
    await bench.client.post("/v1/tag", json={"image": {"url": "https://cdn.example/a.png"}})
    ((url, deadline_s),) = bench.fetched
    assert url == "https://cdn.example/a.png"
    assert 0 < deadline_s < TaggerArgs().upload_deadline_s


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in BAD_REQUESTS])
async def test_bad_requests_have_their_own_code_and_touch_no_model(closed_bench: Bench, case: BadRequestCase) -> None:
    bench = closed_bench
    response = await bench.client.request(case.method, case.path, **case.arguments)
    assert (response.status_code, response.json()["error"]["code"]) == (case.status, case.code)
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"code", "message", "request_id"}
    assert case.says in response.json()["error"]["message"]
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]
    assert bench.num_model_calls == 0


@pytest.mark.parametrize(
    ("limits", "query", "num_garments"),
    [
        pytest.param({}, {}, 0, id="the_bundle_s"),
        pytest.param({"min_score": 0.85}, {}, 1, id="the_service_s"),
        pytest.param({"min_score": 0.85}, {"min_score": 0.92}, 0, id="the_caller_s"),
    ],
)
async def test_a_garment_needs_the_score_that_was_said_last(
    limits: dict[str, float], query: dict[str, float], num_garments: int
) -> None:
    with ThreadPoolExecutor(2) as threads:
        bench = Bench(threads, bundle=replace(facts(), min_score=0.95), **limits)
        body = (await bench.client.post("/v1/tag", content=PHOTO, params=query)).json()
    assert len(body["garments"]) == num_garments  # the dress has 0.9


async def test_query_parameters_reach_the_answer(bench: Bench) -> None:
    query = {"category": "skirt", "attributes": "hemline", "top_k": 2, "include": "probabilities"}
    garment = (await bench.client.post("/v1/tag", content=PHOTO, params=query)).json()["garments"][0]
    assert garment["box"] == [0.0, 0.0, 72.0, 96.0]
    assert [value["value"] for value in garment["attributes"]["hemline"]] == ["straight", "asymmetric"]
    assert len(garment["probabilities"]["hemline"]) == 5
    assert not bench.detect.canvases


async def test_answers_come_in_a_language_and_in_a_shop_s_own_names(bench: Bench) -> None:
    query = {"lang": "de", "profile": "shop", "attributes": "neckline"}
    body = (await bench.client.post("/v1/tag", content=PHOTO, params=query)).json()
    (garment,) = body["garments"]
    assert (garment["category"], garment["label"]) == ("Kleider", "Kleider")
    assert garment["attributes"] == {"Neck": [{"value": "round", "label": "Rundhalsausschnitt", "score": 0.9}]}
    assert garment["colours"][0]["label"] == "rot"
    assert body["tags"] == ["Kleider", "Rundhalsausschnitt"]


async def test_a_partial_answer_is_a_200_that_says_so(bench: Bench) -> None:
    bench.classify["dress"].errors = [ModelFailed("the model failed", "ValueError: secret")]
    response = await bench.client.post("/v1/tag", content=PHOTO)
    assert response.status_code == 200
    assert response.json()["garments"][0]["status"] == "classifier_unavailable"
    assert response.json()["tags"] == ["dress"]
    assert bench.meter.counts["tagger_requests", "partial"] == 1


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(Overloaded("too much waits"), 503, "overloaded", id="overloaded"),
        pytest.param(ModelFailed("m", "ValueError: secret"), 500, "internal", id="model"),
        pytest.param(ZeroDivisionError("secret"), 500, "internal", id="bug"),
    ],
)
async def test_our_failures_keep_their_details(bench: Bench, error: Exception, status: int, code: str) -> None:
    bench.detect.errors = [error]
    response = await bench.client.post("/v1/tag", content=PHOTO)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in response.headers) == (status == 503)
    assert "secret" not in response.text and "Traceback" not in response.text
    assert bench.meter.counts["tagger_requests", code] == 1


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        pytest.param("shop-42/a", True, id="usual"),
        pytest.param("x" * 129, False, id="too_long"),
        pytest.param("a b", False, id="with_a_space"),
    ],
)
async def test_request_ids_of_callers_are_kept_if_harmless(bench: Bench, given: str, is_kept: bool) -> None:
    body = (await bench.client.post("/v1/tag", content=PHOTO, headers={"x-request-id": given})).json()
    assert (body["request_id"] == given) == is_kept


async def test_ontology_bundle_and_health(bench: Bench) -> None:
    ontology = (await bench.client.get("/v1/ontology")).json()
    assert {key: ontology[key] for key in ("name", "version", "categories")} == load_ontology().to_dict()
    assert set(ontology["languages"]) == {"en", "de", "fr"}
    for labels in (*ontology["languages"].values(), ontology["profiles"]["shop"]):
        for category, entry in ontology["categories"].items():
            assert labels["categories"][category]
            for attribute, question in entry["attributes"].items():
                assert labels["attributes"][attribute]
                assert all(labels["values"][attribute][value] for value in question["values"])
    assert ontology["languages"]["de"]["values"]["neckline"]["v_neck"] == "V-Ausschnitt"
    bundle = (await bench.client.get("/v1/bundle")).json()
    assert (bundle["name"], bundle["version"], bundle["categories"]) == ("fake", "1.0.0", list(ontology["categories"]))
    assert (await bench.client.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(TimeoutError(), id="silent"),
        pytest.param(ReplicaDied("a replica died"), id="died"),
        pytest.param(ModelUnavailable("no replica"), id="no_replica"),
    ],
)
async def test_readiness_follows_the_detector(bench: Bench, error: Exception) -> None:
    bench.ping_error = error
    response = await bench.client.get("/readyz")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "detector_unavailable")
    bench.ping_error = None
    assert (await bench.client.get("/readyz")).json() == {"status": "ready"}


async def test_a_body_that_never_ends_is_given_up() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield PHOTO[:10]
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as threads:
        bench = Bench(threads, upload_deadline_s=0.1)
        response = await bench.client.post("/v1/tag", content=body())
    assert (response.status_code, response.json()["error"]["code"]) == (408, "upload_timeout")
    assert bench.num_model_calls == 0


async def test_a_body_without_a_length_is_counted(bench: Bench) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield bytes(2**20)

    response = await bench.client.post("/v1/tag", content=body())
    assert (response.status_code, response.json()["error"]["code"]) == (413, "image_too_large")
    assert sent == 21


async def test_exif_orientation_turns_the_answer_upright(bench: Bench) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 72), (180, 40, 45)).save(buffer, "JPEG", exif=exif)
    body = (await bench.client.post("/v1/tag", content=buffer.getvalue())).json()
    assert body["image"] == {"width": 72, "height": 96}


async def test_answers_are_json_without_surprises(bench: Bench) -> None:
    text = (await bench.client.post("/v1/tag", content=PHOTO)).text
    assert "null" not in text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the answer"))


async def test_a_caller_who_hangs_up_is_counted_as_such(bench: Bench) -> None:
    bench.detect.is_stuck = True
    asking = asyncio.create_task(bench.client.post("/v1/tag", content=PHOTO))
    while not bench.detect.canvases:
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert bench.meter.counts == {("tagger_requests", "cancelled"): 1}


async def test_a_queue_too_long_for_the_deadline_refuses_before_it_reads_a_body(bench: Bench) -> None:
    now = 0.0
    pace = Pace(lambda: now)
    bench.service._admission = Admission(10.0, pace)
    for _ in range(10):
        pace.enter()
    pace.leave(is_finished=True)
    now = 5.0  # one photo in five seconds, nine inside: the tenth would wait 50 s
    refused = await bench.client.post("/v1/tag", content=_never_read())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "45"
    assert bench.meter.counts == {("tagger_requests", "overloaded"): 1}


async def _never_read() -> AsyncIterator[bytes]:
    pytest.fail("the body was read")
    yield b""
