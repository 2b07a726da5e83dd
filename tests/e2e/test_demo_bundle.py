"""The shipped bundle behind real HTTP: answers do not depend on company in a batch, nor on how a photo is stored."""

import asyncio
import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from models.boxes import box_iou
from models.ontology import load_ontology
from models.rendering.render import render_photo
from serve_app.config import TaggerArgs
from tests.e2e.conftest import Cluster
from tests.e2e.scrape import Scrape, wait_for

pytestmark = pytest.mark.cluster

NUM_PHOTOS = 64
SURE = 0.45
"""Detections above it are compared: asked for from 0.3, so that rounding cannot push one over the edge."""
QUERY = {"min_score": "0.3", "include": "probabilities"}
ROUNDING = 0.08
"""Of scores computed with eight bits of mantissa; another batch size takes another order of sums.

A box that moves by half a pixel moves its crop, and of two values that are nearly level one may gain 0.1 by it. So
values are compared by the mean, of some 40: to it such a pair adds 0.005.
"""


@pytest.fixture(scope="module")
def demo(cluster: Cluster) -> Iterator[httpx.Client]:
    """The application of the demo bundle beside the painted one, on the same Ray instance."""
    from ray import serve

    from serve_app.app import bind_bundle

    args = TaggerArgs(num_threads=1, request_deadline_s=120, detect_deadline_s=120, classify_deadline_s=120)

    def options_of(name: str) -> dict[str, Any]:
        return {"num_replicas": 1, "max_ongoing_requests": 128, "ray_actor_options": {"num_cpus": 0.01}}

    serve.run(bind_bundle(args, options_of), name="demo", route_prefix="/demo")
    with httpx.Client(base_url=f"{cluster.service.url}/demo", timeout=180) as client:
        yield client
    serve.delete("demo")


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_encoded(_drawn(index), "JPEG", quality=92) for index in range(NUM_PHOTOS)]


def _drawn(index: int) -> Image.Image:
    return Image.fromarray(render_photo(7, load_ontology(), index)[0])


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _garments(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    garments: list[dict[str, Any]] = response.json()["garments"]
    return garments


def _assert_same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Every sure garment of one answer is in the other, with the same scores within rounding."""
    for garment in (each for each in ours if each["score"] >= SURE):
        twins = [each for each in theirs if each["category"] == garment["category"]]
        ious = [_iou(garment["box"], twin["box"]) for twin in twins]
        assert ious and max(ious) > 0.9, f"no twin of {garment['category']} at {garment['box']}"
        twin = twins[int(np.argmax(ious))]
        assert twin["score"] == pytest.approx(garment["score"], abs=ROUNDING)
        assert _mean_difference(_probabilities(twin), _probabilities(garment)) < ROUNDING / 2


def _iou(box: list[float], other: list[float]) -> float:
    return float(box_iou(np.array([box], dtype=np.float32), np.array([other], dtype=np.float32))[0, 0])


def _probabilities(garment: dict[str, Any]) -> dict[str, float]:
    return {
        f"{name}={answer['value']}": answer["score"]
        for name, answers in garment["probabilities"].items()
        for answer in answers
    }


def _mean_difference(scores: dict[str, float], others: dict[str, float]) -> float:
    assert scores.keys() == others.keys()
    return float(np.mean([abs(score - others[name]) for name, score in scores.items()]))


def test_64_concurrent_requests_share_batches_and_answer_as_if_alone(
    cluster: Cluster, demo: httpx.Client, photos: list[bytes]
) -> None:
    alone = [_garments(demo.post("/v1/tag", content=photo, params=QUERY)) for photo in photos]
    assert sum(len(garments) for garments in alone) >= NUM_PHOTOS // 2
    url = cluster.service.metrics_url

    def sizes(scrape: Scrape) -> dict[str, tuple[float, float]]:
        """(batches, batches of one) by deployment."""
        return {
            name: (
                scrape.value("ray_tagger_batch_size_count", application="demo", deployment=name),
                scrape.value("ray_tagger_batch_size_bucket", application="demo", deployment=name, le="1.0"),
            )
            for name in ("detector", "classifier-top")
        }

    def photos_detected(scrape: Scrape) -> float:
        return scrape.value("ray_tagger_stage_duration_seconds_count", application="demo", stage="detect")

    before = wait_for(url, lambda scrape: photos_detected(scrape) >= NUM_PHOTOS)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=demo.base_url, timeout=180) as client:
            return list(await asyncio.gather(*(client.post("v1/tag", content=photo, params=QUERY) for photo in photos)))

    together = [_garments(response) for response in asyncio.run(ask())]
    for ours, theirs in zip(together, alone, strict=True):
        _assert_same(ours, theirs)
        _assert_same(theirs, ours)
    after = wait_for(url, lambda scrape: photos_detected(scrape) >= photos_detected(before) + NUM_PHOTOS)
    for name, (batches, alone_batches) in sizes(after).items():
        grown, grown_alone = batches - sizes(before)[name][0], alone_batches - sizes(before)[name][1]
        assert grown > grown_alone, f"{name} never got a batch larger than one"


def _exif_rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    return _encoded(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def _grey_16_bit(image: Image.Image) -> bytes:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return _encoded(Image.fromarray(grey), "PNG")


def _alpha(image: Image.Image) -> bytes:
    return _encoded(image.convert("RGBA"), "PNG")


def _cmyk(image: Image.Image) -> bytes:
    return _encoded(image.convert("CMYK"), "JPEG", quality=100, subsampling=0)


def _decoded(data: bytes) -> Image.Image:
    """What the compression left: a level of a pixel more or less turns scores that are nearly even."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def _plain(image: Image.Image) -> Image.Image:
    return image


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _few_colours(image: Image.Image) -> Image.Image:
    return image.quantize(64).convert("RGB")


@pytest.mark.parametrize(
    ("stored", "twin"),
    [
        pytest.param(_exif_rotated, _plain, id="exif_rotated"),
        pytest.param(_grey_16_bit, _grey, id="16_bit"),
        pytest.param(lambda image: _encoded(image.convert("L"), "PNG"), _grey, id="greyscale"),
        pytest.param(lambda image: _encoded(image.quantize(64), "PNG"), _few_colours, id="palette"),
        pytest.param(_alpha, _plain, id="alpha"),
        pytest.param(_cmyk, lambda image: _decoded(_cmyk(image)), id="cmyk"),
    ],
)
def test_a_photo_is_answered_like_its_plain_twin(
    demo: httpx.Client, stored: Callable[[Image.Image], bytes], twin: Callable[[Image.Image], Image.Image]
) -> None:
    seen = 0
    for index in range(3):
        image = _drawn(index)
        plain = _garments(demo.post("/v1/tag", content=_encoded(twin(image), "PNG"), params=QUERY))
        odd = _garments(demo.post("/v1/tag", content=stored(image), params=QUERY))
        _assert_same(plain, odd)
        _assert_same(odd, plain)
        seen += len(plain)
    assert seen
