"""Corrections: checked, kept so that they outlive a crash, and read back as a training set."""

import asyncio
import json
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.converting import convert
from models.datasets import read_dataset
from models.ontology import load_ontology
from models.readers import load_mapping, read_labels
from serve_app.client import AsyncTaggerClient
from serve_app.errors import FeedbackUnavailable
from serve_app.feedback import FeedbackTaker
from tests.fakes import FakeMeter, facts, photo_bytes
from tests.serve_app.test_api import Bench

ROOT = Path(__file__).parents[2]
BODY: dict[str, Any] = {
    "request_id": "r-1",
    "garment": {"category": "dress", "box": [10.0, 10, 60.5, 90]},
    "attribute": "neckline",
    "values": ["v_neck"],
    "photo": "spring/1.png",
}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


async def test_a_correction_is_kept_and_counted(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    bench = Bench(threads, feedback=str(tmp_path / "kept"))
    assert (await bench.client.get("/v1/ontology")).json()["takes_feedback"] is True
    response = await bench.client.post("/v1/feedback", json=BODY)
    assert response.json() == {"request_id": response.headers["x-request-id"], "status": "recorded"}
    colours = BODY | {"attribute": "colour", "values": ["red", "white"], "photo": None}
    assert (await bench.client.post("/v1/feedback", json=colours)).status_code == 200
    category = BODY | {"attribute": "category", "values": ["skirt"]}
    assert (await bench.client.post("/v1/feedback", json=category)).status_code == 200
    first, second, third = _lines(tmp_path / "kept")
    assert first.pop("time")
    assert first == {
        "bundle": "fake@1.0.0",
        "request_id": "r-1",
        "photo": "spring/1.png",
        "category": "dress",
        "box": [10.0, 10.0, 60.5, 90.0],
        "attribute": "neckline",
        "values": ["v_neck"],
    }
    assert (second["values"], third["attribute"]) == (["red", "white"], "category")
    assert bench.meter.counts["tagger_feedback", "dress", "neckline"] == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"garment": {"category": "hat", "box": [0, 0, 1, 1]}}, "known: top", id="category"),
        pytest.param({"attribute": "closure"}, "'closure'", id="attribute_of_another_category"),
        pytest.param({"values": ["deep"]}, "known: round", id="value"),
        pytest.param({"values": ["round", "v_neck"]}, "takes one value", id="two_of_a_single_choice"),
        pytest.param({"attribute": "colour", "values": ["red", "red"]}, "twice", id="twice"),
        pytest.param({"attribute": "category", "values": ["hat"]}, "'hat'", id="corrected_category"),
        pytest.param({"values": []}, "values", id="no_value"),
        pytest.param({"values": "v_neck"}, "values", id="value_as_text"),
        pytest.param({"garment": {"category": "dress", "box": [9, 0, 1, 1]}}, "x1 < x2", id="box"),
        pytest.param({"garment": {"category": "dress", "box": [0, 0, 1]}}, "box", id="three_sides"),
        pytest.param({"garment": {"category": "dress", "box": [0, 0, "1", 1]}}, "box", id="side_as_text"),
        pytest.param({"garment": {"category": "dress", "box": [0, 0, 1e9, 1]}}, "box", id="huge_box"),
        pytest.param({"garment": 0}, "garment", id="garment_by_number"),
        pytest.param({"request_id": "a b"}, "request_id", id="request_id"),
        pytest.param({"photo": "../../etc/passwd"}, "relative path", id="photo_outside"),
        pytest.param({"photo": "/etc/passwd"}, "relative path", id="photo_at_the_root"),
        pytest.param({"photo": "a\n.jpg"}, "relative path", id="photo_with_a_line_break"),
        pytest.param({"comment": "why?"}, "comment", id="unknown_field"),
        pytest.param({"photo": "a" * 20_000}, "at most 16384 bytes", id="long"),
    ],
)
async def test_what_does_not_fit_is_refused_and_not_kept(
    threads: ThreadPoolExecutor, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    response = await Bench(threads, feedback=str(tmp_path)).client.post("/v1/feedback", json=BODY | change)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_request")
    assert says in response.json()["error"]["message"]
    assert _lines(tmp_path) == []


async def test_without_a_folder_there_is_no_feedback(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads)
    assert (await bench.client.get("/v1/ontology")).json()["takes_feedback"] is False
    response = await bench.client.post("/v1/feedback", json=BODY)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_other_types_are_refused(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    bench = Bench(threads, feedback=str(tmp_path))
    for headers in ({"content-type": "text/plain"}, {"content-type": "application/json", "content-encoding": "gzip"}):
        response = await bench.client.post("/v1/feedback", content=json.dumps(BODY), headers=headers)
        assert response.status_code == 400


async def test_many_at_a_time_are_whole_lines(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    bench = Bench(threads, feedback=str(tmp_path))
    bodies = [BODY | {"request_id": f"r-{number}"} for number in range(40)]
    responses = await asyncio.gather(*(bench.client.post("/v1/feedback", json=body) for body in bodies))
    assert {response.status_code for response in responses} == {200}
    assert {line["request_id"] for line in _lines(tmp_path)} == {body["request_id"] for body in bodies}


def _taker(folder: Path, **limits: int) -> FeedbackTaker:
    return FeedbackTaker(folder, facts(), 20.0, FakeMeter(), **limits)


async def test_a_folder_that_cannot_be_written_is_said_without_its_name(
    threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    response = await Bench(threads, feedback=str(tmp_path / "file")).client.post("/v1/feedback", json=BODY)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "feedback_unavailable")
    assert response.headers["retry-after"]
    assert str(tmp_path) not in response.text


def test_the_store_is_bounded(tmp_path: Path) -> None:
    taker = _taker(tmp_path, max_file_bytes=20)
    taker._append(tmp_path, {"a": 1})
    with pytest.raises(FeedbackUnavailable, match="full"):
        taker._append(tmp_path, {"long": "x" * 20})
    assert _lines(tmp_path) == [{"a": 1}]


def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path: Path) -> None:
    taker = _taker(tmp_path)
    taker._append(tmp_path, {"a": 1})
    (path,) = tmp_path.glob("*.jsonl")
    with path.open("a") as stream:
        stream.write('{"torn": ')
    taker._append(tmp_path, {"b": 2})
    assert path.read_text() == '{"a":1}\n{"torn": \n{"b":2}\n'


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path) -> None:
    taker = _taker(tmp_path)
    taker._append(tmp_path, {"a": 1})
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12, limits[1]))
    try:
        with pytest.raises(FeedbackUnavailable):
            taker._append(tmp_path, {"too": "long for what is left"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert _lines(tmp_path) == [{"a": 1}]


async def test_corrections_become_a_training_set(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    bench, ontology = Bench(threads, feedback=str(tmp_path / "kept")), load_ontology()
    photos = tmp_path / "photos"
    (photos / "spring").mkdir(parents=True)
    (photos / "spring" / "1.png").write_bytes(photo_bytes((72, 96)))
    (photos / "shop-1.png").write_bytes(photo_bytes((72, 96)))
    corrections = [
        BODY | {"values": ["round"]},
        BODY,
        BODY | {"attribute": "colour", "values": ["red", "white"]},
        BODY | {"request_id": "shop/1", "photo": None, "attribute": "category", "values": ["skirt"]},
        BODY | {"request_id": "shop/1", "photo": None, "attribute": "length", "values": ["midi"]},
        BODY | {"photo": "gone.png"},
    ]
    for correction in corrections:
        assert (await bench.client.post("/v1/feedback", json=correction)).status_code == 200
    (tmp_path / "kept" / "torn.jsonl").write_text('{"time": ')
    mapping = load_mapping(ROOT / "models" / "mappings" / "feedback.yaml", ontology)
    found = read_labels(tmp_path / "kept", mapping, ontology, photos)
    left_out = convert(found, mapping, tmp_path / "set", ontology, {"source": "feedback"})
    assert len(left_out) == 1 and "gone.png" in left_out[0]
    first, second = sorted(read_dataset(tmp_path / "set", ontology), key=lambda photo: photo.garments[0].category)
    assert first.garments[0].box == (10.0, 10.0, 60.5, 90.0)
    assert first.garments[0].attributes == {"neckline": ("v_neck",), "colour": ("red", "white")}
    assert (second.garments[0].category, second.garments[0].attributes) == ("skirt", {"length": ("midi",)})


async def test_the_client_corrects_an_answer(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    bench = Bench(threads, feedback=str(tmp_path))
    transport = bench.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    async with AsyncTaggerClient("http://tagger", transport=transport) as client:
        answer = await client.tag(photo_bytes((72, 96)))
        await client.feedback(answer.request_id, answer.garments[0], "neckline", ["square"], photo="a.png")
    (line,) = _lines(tmp_path)
    assert (line["request_id"], line["values"], line["box"]) == (
        answer.request_id,
        ["square"],
        [10.0, 10.0, 60.0, 90.0],
    )
