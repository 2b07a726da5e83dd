"""Fakes of our own interfaces: models that compute nothing, callables that fail on demand, a meter that remembers."""

import asyncio
import io
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import ontology as ontology_module
from models.errors import ImageUnreadable
from models.ontology import Category, Ontology
from models.types import AttributeScore, AttributeScores, Detection
from serve_app.answer import Answerer
from serve_app.bundle_facts import BundleFacts
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.download import Downloader
from serve_app.metrics import Meter, Metric
from serve_app.naming import Names
from serve_app.service import TaggingService

load_ontology = cache(ontology_module.load_ontology)
DRESS = Detection((10.0, 10.0, 60.0, 90.0), 0.9, "dress")
SECOND_DRESS = Detection((5.0, 20.0, 40.0, 80.0), 0.8, "dress")
SKIRT = Detection((20.0, 50.0, 70.0, 95.0), 0.7, "skirt")


def facts(ontology: Ontology | None = None) -> BundleFacts:
    return BundleFacts("fake", "1.0.0", "0" * 64, ontology or load_ontology(), 96, 75, 0.05)


def scores_of(category: Category) -> AttributeScores:
    """The first value of every attribute at 0.9, the others sharing the rest."""
    scores = {}
    for attribute in category.attributes.values():
        rest = 0.1 / (len(attribute.values) - 1)
        scores[attribute.name] = tuple(
            AttributeScore(value, 0.9 if label == 0 else rest) for label, value in enumerate(attribute.values)
        )
    return scores


class FakeDetector:
    """Answers the same detections for every canvas, above the score; notes its batches."""

    def __init__(self, found: Sequence[Detection] = (DRESS,)) -> None:
        self.found = found
        self.batches: list[int] = []

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        self.batches.append(len(canvases))
        return [[detection for detection in self.found if detection.score >= min_score] for _ in canvases]


class FakeClassifier:
    """Answers the first value of every attribute; notes its batches."""

    def __init__(self, category: str, ontology: Ontology | None = None) -> None:
        self.category = (ontology or load_ontology()).categories[category]
        self.batches: list[int] = []

    def classify(self, crops: NDArray[np.uint8]) -> list[AttributeScores]:
        assert crops.dtype == np.uint8 and crops.ndim == 4
        self.batches.append(len(crops))
        return [scores_of(self.category) for _ in crops]


class GatedModel:
    """Runs batches only while its gate is open; for what happens while a model is busy."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []

    def run(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.entered.set()
        self.gate.wait(10)
        if any(item < 0 for item in items):
            raise ValueError("a negative item")
        return [item * 10 for item in items]


class FakeDetect:
    """The Detect callable: counts calls, fails in the order given, then answers."""

    def __init__(self, found: Sequence[Detection] = (DRESS,), errors: Sequence[Exception] = ()) -> None:
        self.found = found
        self.errors = list(errors)
        self.canvases: list[NDArray[np.uint8]] = []
        self.is_stuck = False
        self.num_cancelled = 0

    async def __call__(self, canvas: NDArray[np.uint8], min_score: float, budget_s: float) -> Sequence[Detection]:
        self.canvases.append(canvas)
        await self._fail_or_hang()
        return self.found

    async def _fail_or_hang(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if self.is_stuck:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.num_cancelled += 1
                raise


class FakeClassify(FakeDetect):
    """The Classify callable of a category."""

    def __init__(self, category: str, errors: Sequence[Exception] = ()) -> None:
        super().__init__(errors=errors)
        self.category = load_ontology().categories[category]
        self.num_crops: list[int] = []

    async def __call__(self, crops: NDArray[np.uint8], budget_s: float) -> Sequence[AttributeScores]:  # type: ignore[override]
        self.num_crops.append(len(crops))
        await self._fail_or_hang()
        return [scores_of(self.category) for _ in crops]


def tagging_service(threads: Executor, meter: Meter, **limits: Any) -> TaggingService:
    """The service around fakes that always answer: one dress in every photo."""
    args = TaggerArgs.model_validate(limits)
    classify = {name: FakeClassify(name) for name in load_ontology().category_names}
    composer = Composer(args, facts(), FakeDetect(), classify, threads, meter)
    answerer = Answerer(facts(), args.min_several_score, args.low_confidence_score, meter)

    names = Names.load("", load_ontology())

    async def is_alive() -> None:
        pass

    return TaggingService(
        args, facts(), composer, answerer, is_alive, Downloader((), args.max_image_bytes).fetch, meter, names
    )


class FakeMeter:
    """Remembers what was recorded, by metric name and tags."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.values: dict[str, list[float]] = {}

    def count(self, metric: Metric, amount: int = 1, **tags: str) -> None:
        assert set(tags) == set(metric.tag_keys)
        self.counts[(metric.name, *(tags[key] for key in metric.tag_keys))] += amount

    def set(self, metric: Metric, value: float, **tags: str) -> None:
        assert set(tags) == set(metric.tag_keys)
        self.values[metric.name] = [value]

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        assert set(tags) == set(metric.tag_keys)
        self.values.setdefault(metric.name, []).append(value)


def photo_bytes(
    size: tuple[int, int] = (80, 120), colour: tuple[int, int, int] = (180, 40, 45), kind: str = "PNG"
) -> bytes:
    """A one-coloured photo, (width, height) pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def reading(data: bytes, content_type: str | None = None) -> Callable[[], tuple[bytes, str | None]]:
    """A read_photo that gives these bytes."""
    return lambda: (data, content_type)


def refusing() -> tuple[bytes, str | None]:
    """A read_photo whose photo is broken."""
    raise ImageUnreadable("the picture is broken")
