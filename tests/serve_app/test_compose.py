"""What the composition asks of whom, and what it answers when somebody does not."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from models.errors import ImageTooLarge, TaggingError
from models.ontology import load_ontology
from models.types import Detection
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.errors import (
    DeadlineExceeded,
    DetectorUnavailable,
    ModelFailed,
    ModelUnavailable,
    Overloaded,
    ReplicaDied,
)
from serve_app.query import TagOptions
from tests.fakes import (
    DRESS,
    SECOND_DRESS,
    SKIRT,
    FakeClassify,
    FakeDetect,
    FakeMeter,
    facts,
    photo_bytes,
    reading,
    refusing,
)

DIED = ReplicaDied("a replica died")
OPTIONS = TagOptions(min_score=0.5)
PHOTO = reading(photo_bytes((72, 96)))  # exactly the portrait canvas of the fake bundle: canvas and photo pixels agree


class Bench:
    """A composer around fakes."""

    def __init__(self, threads: Executor, detect: FakeDetect, **limits: float) -> None:
        self.detect = detect
        self.classify = {name: FakeClassify(name) for name in load_ontology().category_names}
        self.meter = FakeMeter()
        args = TaggerArgs.model_validate(limits)
        self.composer = Composer(args, facts(), detect, self.classify, threads, self.meter)

    @property
    def called(self) -> dict[str, list[int]]:
        return {name: fake.num_crops for name, fake in self.classify.items() if fake.num_crops}


class Held(Executor):
    """Threads whose work waits until it is told to be done."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append((Future(), lambda: fn(*args, **kwargs)))
        return self.waiting[-1][0]

    async def work(self) -> int:
        """Do what waits, and let the callers go on; how much it was."""
        work, self.waiting = self.waiting, []
        for future, run in work:
            future.set_result(run())
        for _ in range(9):
            await asyncio.sleep(0)
        return len(work)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.parametrize(
    ("found", "called"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param([DRESS], {"dress": [1]}, id="one"),
        pytest.param([DRESS, SECOND_DRESS], {"dress": [2]}, id="two_of_a_category_in_one_call"),
        pytest.param([DRESS, SKIRT, SECOND_DRESS], {"dress": [2], "skirt": [1]}, id="one_call_per_category"),
    ],
)
async def test_each_category_found_is_called_once(
    threads: ThreadPoolExecutor, found: list[Detection], called: dict[str, list[int]]
) -> None:
    bench = Bench(threads, FakeDetect(found))
    photo = await bench.composer.tag(PHOTO, OPTIONS)
    assert bench.called == called
    assert len(bench.detect.canvases) == 1
    assert [garment.detection for garment in photo.garments] == sorted(found, key=lambda one: -one.score)
    assert all(garment.scores is not None for garment in photo.garments)


async def test_boxes_come_back_in_pixels_of_the_photo(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect([Detection((18.0, 24.0, 72.0, 120.0), 0.9, "dress")]))
    photo = await bench.composer.tag(reading(photo_bytes((720, 960))), OPTIONS)
    assert bench.detect.canvases[0].shape == (96, 96, 3)
    scale = 96 / 960
    (garment,) = photo.garments
    assert garment.detection.box == pytest.approx((18 / scale, 24 / scale, 720.0, 960.0))


@pytest.mark.parametrize(
    ("options", "left"),
    [
        pytest.param(TagOptions(min_score=0.75), ["dress", "dress"], id="min_score"),
        pytest.param(TagOptions(min_score=0.5, categories=frozenset({"skirt"})), ["skirt"], id="categories"),
        pytest.param(TagOptions(min_score=0.99), [], id="none_left"),
        pytest.param(TagOptions(min_score=0.5, is_largest_only=True), ["dress"], id="largest"),
        pytest.param(TagOptions(min_score=0.99, is_largest_only=True), [], id="largest_of_none"),
    ],
)
async def test_filters_save_the_classifiers_their_work(
    threads: ThreadPoolExecutor, options: TagOptions, left: list[str]
) -> None:
    bench = Bench(threads, FakeDetect([DRESS, SECOND_DRESS, SKIRT]))
    photo = await bench.composer.tag(PHOTO, options)
    assert [garment.detection.category for garment in photo.garments] == left
    assert set(bench.called) == set(left)


async def test_a_known_category_skips_the_detector(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect())
    photo = await bench.composer.tag(PHOTO, TagOptions(min_score=0.5, category="skirt"))
    assert not bench.detect.canvases
    assert bench.called == {"skirt": [1]}
    assert photo.garments[0].detection == Detection((0.0, 0.0, 72.0, 96.0), 1.0, "skirt")


async def test_only_the_best_garments_are_tagged(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect([SKIRT, DRESS, SECOND_DRESS]), max_garments=2)
    photo = await bench.composer.tag(PHOTO, OPTIONS)
    assert [garment.detection for garment in photo.garments] == [DRESS, SECOND_DRESS]


async def test_boxes_outside_the_photo_are_dropped(threads: ThreadPoolExecutor) -> None:
    outside = Detection((90.0, 10.0, 95.0, 40.0), 0.9, "dress")
    bench = Bench(threads, FakeDetect([outside, SKIRT]))
    photo = await bench.composer.tag(reading(photo_bytes((48, 96))), OPTIONS)
    assert [garment.detection.category for garment in photo.garments] == ["skirt"]


async def test_a_dead_replica_costs_one_retry(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect(errors=[DIED]))
    bench.classify["dress"].errors = [DIED]
    photo = await bench.composer.tag(PHOTO, OPTIONS)
    assert photo.garments[0].scores is not None
    assert bench.meter.counts["tagger_retries", "detect"] == 1
    assert bench.meter.counts["tagger_retries", "classify"] == 1


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        pytest.param([DIED, DIED], DetectorUnavailable, id="died_twice"),
        pytest.param([ModelUnavailable("no replica")], DetectorUnavailable, id="no_replica"),
        pytest.param([Overloaded("too much waits")], Overloaded, id="overloaded"),
        pytest.param([DeadlineExceeded("waited too long")], DetectorUnavailable, id="dropped_by_the_batcher"),
        pytest.param([ModelFailed("the model failed")], ModelFailed, id="model_raised"),
    ],
)
async def test_without_a_detector_there_is_no_answer(
    threads: ThreadPoolExecutor, errors: list[Exception], expected: type[TaggingError]
) -> None:
    bench = Bench(threads, FakeDetect(errors=errors))
    with pytest.raises(expected):
        await bench.composer.tag(PHOTO, OPTIONS)
    assert not bench.called


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([DIED, DIED], id="died_twice"),
        pytest.param([ModelUnavailable("no replica")], id="no_replica"),
        pytest.param([Overloaded("too much waits")], id="overloaded"),
        pytest.param([ModelFailed("the model failed")], id="model_raised"),
    ],
)
async def test_without_a_classifier_the_others_still_answer(
    threads: ThreadPoolExecutor, errors: list[Exception]
) -> None:
    bench = Bench(threads, FakeDetect([DRESS, SKIRT]))
    bench.classify["dress"].errors = errors
    photo = await bench.composer.tag(PHOTO, OPTIONS)
    assert [garment.scores is None for garment in photo.garments] == [True, False]
    assert bench.meter.counts["tagger_partial_answers", "dress"] == 1
    assert ("tagger_partial_answers", "skirt") not in bench.meter.counts


async def test_a_stuck_classifier_is_cancelled_and_stated(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect([DRESS, SKIRT]), classify_deadline_s=0.2)
    bench.classify["dress"].is_stuck = True
    photo = await bench.composer.tag(PHOTO, OPTIONS)
    assert [garment.scores is None for garment in photo.garments] == [True, False]
    assert bench.classify["dress"].num_cancelled == 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param({"detect_deadline_s": 0.2}, DetectorUnavailable, id="stage"),
        pytest.param(
            {"request_deadline_s": 0.2, "detect_deadline_s": 0.2, "classify_deadline_s": 0.2},
            DeadlineExceeded,
            id="request",
        ),
    ],
)
async def test_a_stuck_detector_is_cancelled_at_its_deadline(
    threads: ThreadPoolExecutor, limits: dict[str, float], expected: type[TaggingError]
) -> None:
    bench = Bench(threads, FakeDetect(), **limits)
    bench.detect.is_stuck = True
    with pytest.raises(expected):
        await bench.composer.tag(PHOTO, OPTIONS)
    assert bench.detect.num_cancelled == 1


async def test_a_caller_who_leaves_cancels_everything(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect([DRESS, SKIRT]))
    for fake in bench.classify.values():
        fake.is_stuck = True
    task = asyncio.create_task(bench.composer.tag(PHOTO, OPTIONS))
    async with asyncio.timeout(10):
        while len(bench.called) < 2:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [bench.classify[name].num_cancelled for name in ("dress", "skirt")] == [1, 1]


async def test_a_bad_photo_touches_no_model(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect(), max_image_pixels=1024)
    with pytest.raises(ImageTooLarge):
        await bench.composer.tag(PHOTO, OPTIONS)
    assert not bench.detect.canvases and not bench.called


async def test_a_category_that_nobody_answers_is_soon_not_waited_for(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect([DRESS, SKIRT]))
    bench.classify["dress"].errors = [ModelUnavailable("nobody")] * 5
    for _ in range(7):
        photo = await bench.composer.tag(PHOTO, OPTIONS)
        assert [garment.scores is None for garment in photo.garments] == [True, False]
    assert bench.called == {"dress": [1] * 5, "skirt": [1] * 7}
    assert bench.meter.counts["tagger_dropped", "circuit_open"] == 2


async def test_a_model_that_fails_on_photos_stays_asked(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect([DRESS]))
    bench.classify["dress"].errors = [ModelFailed("bad crop")] * 7
    for _ in range(8):
        photo = await bench.composer.tag(PHOTO, OPTIONS)
    assert photo.garments[0].scores is not None


async def test_photos_beyond_the_room_wait_and_are_answered(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, FakeDetect([DRESS]), max_decoded_pixels=72 * 96)
    bench.detect.is_stuck = True
    first = asyncio.create_task(bench.composer.tag(PHOTO, OPTIONS))
    while not bench.detect.canvases:
        await asyncio.sleep(0)
    second = asyncio.create_task(bench.composer.tag(PHOTO, OPTIONS))
    third = asyncio.create_task(bench.composer.tag(PHOTO, OPTIONS))
    with pytest.raises(TaggingError):
        await bench.composer.tag(refusing, OPTIONS)  # what is no photo needs no room
    assert len(bench.detect.canvases) == 1
    second.cancel()
    bench.detect.is_stuck = False
    first.cancel()
    assert len((await third).garments) == 1
    await asyncio.wait([first, second])


async def test_large_photos_leave_a_thread_to_small_ones() -> None:
    threads = Held()
    bench = Bench(threads, FakeDetect([]), num_decode_threads=2)
    large = reading(photo_bytes((1800, 1800)))
    async with asyncio.TaskGroup() as tasks:
        for photo in (large, large, PHOTO):
            tasks.create_task(bench.composer.tag(photo, OPTIONS))
        assert await threads.work() == 0  # they only begin
        assert await threads.work() == 3  # three are unpacked
        assert await threads.work() == 2  # one large and the small one are decoded
        assert len(bench.detect.canvases) == 2
        assert await threads.work() == 1  # the other large one
