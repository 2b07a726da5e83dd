"""What the model replicas do with the calls of many photos, without Ray."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import BundleError
from models.ontology import load_ontology
from models.types import AttributeScore, AttributeScores, Detection
from serve_app.classifier import ClassifierDeployment
from serve_app.detector import DetectorDeployment
from serve_app.errors import ModelFailed, ModelUnavailable
from serve_app.other_bundles import ModelSource
from tests.fakes import DRESS, SKIRT, FakeClassifier, FakeDetector, FakeMeter

BUDGET_S = 30.0
SIZE_PX = 75


def _canvas() -> NDArray[np.uint8]:
    canvas = np.zeros((96, 96, 3), dtype=np.uint8)
    canvas.flags.writeable = False  # as arrays from other processes are
    return canvas


def _crops(*levels: int) -> NDArray[np.uint8]:
    crops = np.stack([np.full((SIZE_PX, SIZE_PX, 3), level, dtype=np.uint8) for level in levels])
    crops.flags.writeable = False
    return crops


class LevelClassifier:
    """Answers the grey level of each crop as a score, so that results can be told apart."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def classify(self, crops: NDArray[np.uint8]) -> Sequence[AttributeScores]:
        assert crops.flags.writeable
        self.batches.append(len(crops))
        return [{"grey": (AttributeScore("level", float(crop[0, 0, 0]) / 255),)} for crop in crops]


def _levels(answers: Sequence[AttributeScores]) -> list[int]:
    return [round(answer["grey"][0].score * 255) for answer in answers]


async def test_each_photo_keeps_its_own_score_limit() -> None:
    model = FakeDetector([DRESS, SKIRT])  # scores 0.9 and 0.7
    replica = DetectorDeployment(lambda: model, 96, 8, 60.0, FakeMeter())
    answers = await asyncio.gather(*(replica.detect(_canvas(), min_score, BUDGET_S) for min_score in (0.95, 0.8, 0.5)))
    assert answers == [(), (DRESS,), (DRESS, SKIRT)]


async def test_the_detector_is_warm_in_every_canvas_shape_before_it_is_ready() -> None:
    shapes: list[tuple[int, ...]] = []

    class Noting(FakeDetector):
        def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
            shapes.extend(canvas.shape for canvas in canvases)
            return super().detect(canvases, min_score)

    DetectorDeployment(Noting, 128, 8, 60.0, FakeMeter())
    assert len(shapes) == len(set(shapes)) == 3


async def test_crops_of_several_photos_go_back_to_their_own() -> None:
    model = LevelClassifier()
    replica = ClassifierDeployment(lambda: model, SIZE_PX, 4, 60.0, FakeMeter())
    answers = await asyncio.gather(
        replica.classify(_crops(1, 2), BUDGET_S),
        replica.classify(_crops(3), BUDGET_S),
        replica.classify(_crops(4, 5, 6), BUDGET_S),
    )
    assert [_levels(answer) for answer in answers] == [[1, 2], [3], [4, 5, 6]]


async def test_a_photo_with_more_garments_than_a_batch_takes_several_passes() -> None:
    model = LevelClassifier()
    replica = ClassifierDeployment(lambda: model, SIZE_PX, 4, 60.0, FakeMeter())
    assert _levels(await replica.classify(_crops(*range(10)), BUDGET_S)) == list(range(10))
    assert model.batches == [1, 4, 4, 2]  # the first is the warm-up


async def test_crops_of_a_wrong_shape_fail_alone() -> None:
    replica = ClassifierDeployment(lambda: FakeClassifier("dress"), SIZE_PX, 8, 60.0, FakeMeter())
    small = np.zeros((1, 10, 10, 3), dtype=np.uint8)
    good, bad = await asyncio.gather(
        replica.classify(_crops(1), BUDGET_S), replica.classify(small[..., :2, 0], BUDGET_S), return_exceptions=True
    )
    assert isinstance(bad, ModelFailed)
    assert not isinstance(good, BaseException)
    assert set(good[0]) == set(load_ontology().categories["dress"].attributes)


async def test_a_replica_answers_pings_and_is_healthy() -> None:
    detector = DetectorDeployment(FakeDetector, 96, 8, 60.0, FakeMeter())
    await detector.ping()
    await detector.check_health()
    detector.__del__()
    with pytest.raises(RuntimeError):
        await detector.check_health()


def _versions(load: Callable[[str], FakeDetector]) -> DetectorDeployment:
    """A replica started for bundle `a`, which finds a dress."""
    source = ModelSource("a", "shop@1", load)
    return DetectorDeployment(lambda: FakeDetector([DRESS]), 96, 8, 60.0, FakeMeter(), source=source)


async def test_a_replica_answers_for_the_bundle_that_is_asked_for() -> None:
    loaded: list[str] = []

    def load(bundle: str) -> FakeDetector:
        loaded.append(bundle)
        return FakeDetector([SKIRT])

    replica = _versions(load)
    answers = await asyncio.gather(
        *(replica.detect(_canvas(), 0.5, BUDGET_S, None, bundle) for bundle in ("a", "b", None, "b", "a", "b"))
    )
    assert answers == [(DRESS,), (SKIRT,), (DRESS,), (SKIRT,), (DRESS,), (SKIRT,)]
    assert loaded == ["b"], "once for all who wait, and never its own again"
    await replica.ping("c")
    await replica.ping("b")
    assert loaded == ["b", "c", "b"], "there is room for one besides its own"


async def test_a_bundle_that_does_not_load_fails_its_callers_only_and_is_tried_again() -> None:
    errors = [BundleError("the bundle is damaged")]

    def load(bundle: str) -> FakeDetector:
        if errors:
            raise errors.pop()
        return FakeDetector([SKIRT])

    replica = _versions(load)
    refused, own = await asyncio.gather(
        replica.ping("b"), replica.detect(_canvas(), 0.5, BUDGET_S, None, "a"), return_exceptions=True
    )
    assert isinstance(refused, ModelUnavailable) and own == (DRESS,)
    assert await replica.detect(_canvas(), 0.5, BUDGET_S, None, "b") == (SKIRT,)


async def test_a_caller_who_leaves_does_not_stop_the_loading_for_others() -> None:
    go_on = threading.Event()

    def load(bundle: str) -> FakeDetector:
        assert go_on.wait(30)
        return FakeDetector([SKIRT])

    replica = _versions(load)
    leaving = asyncio.create_task(replica.ping("b"))
    staying = asyncio.create_task(replica.detect(_canvas(), 0.5, BUDGET_S, None, "b"))
    await asyncio.sleep(0)
    leaving.cancel()
    go_on.set()
    assert await staying == (SKIRT,)


async def test_a_replica_says_again_and_again_which_bundle_it_was_started_for() -> None:
    meter = FakeMeter()
    source = ModelSource("a", "shop@1", lambda bundle: FakeDetector())
    replica = DetectorDeployment(FakeDetector, 96, 8, 60.0, meter, source=source)
    await replica.check_health()
    assert meter.values.pop("tagger_bundle") == [1]
    await replica.check_health()
    assert meter.values["tagger_bundle"] == [1], "the gauge of a process that says nothing vanishes"
