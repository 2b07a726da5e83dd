"""One photo through the stages: decode, detect, crop, classify; pure asyncio, the deployments come in as callables.

One detector call per photo and one classifier call per category found. Every call has a deadline, and one that dies
with its replica is made once more. A category whose classifier cannot answer is a stated part of the answer; a detector
that cannot answer is an error.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.colours import COLOUR_ATTRIBUTE, ColourShare, garment_colours
from models.errors import TaggingError
from models.image_headers import read_header
from models.images import crop_square, decode_image, detector_canvas, letterbox
from models.types import AttributeScores, Box, Detection
from serve_app.breaker import Breaker, Outcome
from serve_app.bundle_facts import BundleFacts
from serve_app.config import TaggerArgs
from serve_app.errors import DeadlineExceeded, DetectorUnavailable, ModelFailed, ModelUnavailable, ReplicaDied
from serve_app.metrics import CROPS_PER_REQUEST, DETECTIONS, DROPPED, PARTIAL_ANSWERS, RETRIES, STAGE_DURATION, Meter
from serve_app.pixel_room import PixelRoom
from serve_app.query import TagOptions
from serve_app.tracing import span

_log = logging.getLogger("ray.serve")
_P = ParamSpec("_P")
_T = TypeVar("_T")
_MIN_SIDE_PX = 1.0
_LARGE_PIXELS = 3_000_000  # decoded in some 13 ms, ten times what a photo of 640 pixels takes
_Boxed = tuple[NDArray[np.uint8], float]
"""What `letterbox` gives: a canvas for the detector, and its scale."""


class Detect(Protocol):
    """Calls a detector; cancelling the call cancels the work."""

    async def __call__(self, canvas: NDArray[np.uint8], min_score: float, budget_s: float) -> Sequence[Detection]:
        """Detections in pixels of the canvas, (h, w, 3) uint8."""


class Classify(Protocol):
    """Calls the classifier of one category; cancelling the call cancels the work."""

    async def __call__(self, crops: NDArray[np.uint8], budget_s: float) -> Sequence[AttributeScores]:
        """Scores of each of (N, S, S, 3) uint8 crops, in order."""


@dataclass(frozen=True, slots=True)
class TaggedGarment:
    """A garment in pixels of the photo; `scores` is None where its classifier could not answer."""

    detection: Detection
    scores: AttributeScores | None
    colours: tuple[ColourShare, ...]


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds per stage and in all."""

    decode_s: float
    detect_s: float
    classify_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class TaggedPhoto:
    """Everything the stages found, best detections first."""

    image_hw: tuple[int, int]
    garments: tuple[TaggedGarment, ...]
    times: StageTimes


class Composer:
    """Composes detector and classifiers for one photo at a time, any number of them concurrently.

    Args:
        args: limits and deadlines.
        bundle: preprocessing and ontology.
        detect: the detector.
        classify_by_category: the classifier of each category.
        threads: decode and crop here, so that the event loop stays free.
        meter: records stages, garments, retries and partial answers.
    """

    def __init__(
        self,
        args: TaggerArgs,
        bundle: BundleFacts,
        detect: Detect,
        classify_by_category: Mapping[str, Classify],
        threads: Executor,
        meter: Meter,
    ) -> None:
        self._args = args
        self._bundle = bundle
        self._detect_call = detect
        self._classify_by_category = classify_by_category
        self._threads = threads
        self._meter = meter
        self._breaker_by_category = {category: Breaker() for category in classify_by_category}
        self._room = PixelRoom(args.max_decoded_pixels)
        # Large photos leave a thread to the small ones, which would wait behind them otherwise.
        self._large = asyncio.Semaphore(max(1, args.num_decode_threads - 1))

    async def tag(self, read_photo: Callable[[], tuple[bytes, str | None]], options: TagOptions) -> TaggedPhoto:
        """Find and classify the garments of a photo.

        Args:
            read_photo: gives the file and its declared type; called in a thread.
            options: what the caller wants.

        Raises:
            InputError: if the photo cannot be used.
            DeadlineExceeded: if the time ran out before garments were found.
            DetectorUnavailable: if no detector replica answers.
            Overloaded: if the detector has too much waiting.
            ModelFailed: if the detector raised.
        """
        begin = time.perf_counter()  # the clock of the loop may count whole milliseconds
        deadline = asyncio.get_running_loop().time() + self._args.request_deadline_s
        async with AsyncExitStack() as room:  # held until the answer is there
            try:
                async with asyncio.timeout_at(deadline):
                    data, content_type, num_pixels = await self._in_thread(self._unpack, read_photo)
                    await room.enter_async_context(self._room.taken(num_pixels))
                    async with self._large if num_pixels > _LARGE_PIXELS else nullcontext():
                        image, boxed = await self._in_thread(self._decode, data, content_type, options.category is None)
                    decoded = time.perf_counter()
                    found = await self._find(image, boxed, options, deadline)
            except TimeoutError as exc:
                raise DeadlineExceeded(f"no answer within {self._args.request_deadline_s:g} s") from exc
            detected = time.perf_counter()
            garments = await self._classify(image, found, deadline)
        end = time.perf_counter()
        times = StageTimes(decoded - begin, detected - decoded, end - detected, end - begin)
        self._record(times, garments)
        return TaggedPhoto((image.shape[0], image.shape[1]), garments, times)

    def _unpack(self, read_photo: Callable[[], tuple[bytes, str | None]]) -> tuple[bytes, str | None, int]:
        """The file, its declared type, and how many pixels it will have; 0 if there are more than are decoded."""
        data, content_type = read_photo()
        header = read_header(data, content_type)
        num_pixels = header.width * header.height
        return data, content_type, num_pixels if num_pixels <= self._args.max_image_pixels else 0

    def _decode(
        self, data: bytes, content_type: str | None, is_searched: bool
    ) -> tuple[NDArray[np.uint8], _Boxed | None]:
        """The photo, and its canvas if it is searched for garments; at once, since each way to a thread costs."""
        with span("decode"):
            image = decode_image(
                data,
                max_bytes=self._args.max_image_bytes,
                max_pixels=self._args.max_image_pixels,
                content_type=content_type,
            )
            if not is_searched:
                return image, None
            canvas_hw = detector_canvas((image.shape[0], image.shape[1]), self._bundle.detector_long_side_px)
            return image, letterbox(image, canvas_hw)

    async def _find(
        self, image: NDArray[np.uint8], boxed: _Boxed | None, options: TagOptions, deadline: float
    ) -> list[Detection]:
        """Detections in pixels of the photo, best first; the whole photo where the caller named its category."""
        height, width = image.shape[:2]
        if options.category is not None:
            return [Detection((0.0, 0.0, float(width), float(height)), 1.0, options.category)]
        assert boxed is not None
        canvas, scale = boxed
        on_canvas = await self._call_detector(canvas, options.min_score, deadline)
        found = [
            Detection(box, detection.score, detection.category)
            for detection in on_canvas
            if detection.score >= options.min_score
            and (options.categories is None or detection.category in options.categories)
            and (box := _to_photo(detection.box, scale, (height, width))) is not None
        ]
        found.sort(key=lambda detection: -detection.score)
        if options.is_largest_only:
            return sorted(found, key=lambda detection: -_area(detection.box))[:1]
        return found[: self._args.max_garments]

    async def _call_detector(self, canvas: NDArray[np.uint8], min_score: float, deadline: float) -> Sequence[Detection]:
        try:
            return await self._with_retry(
                "detect",
                min(deadline, asyncio.get_running_loop().time() + self._args.detect_deadline_s),
                lambda budget_s: self._detect_call(canvas, min_score, budget_s),
            )
        except ModelFailed:
            raise
        except ModelUnavailable as exc:
            raise DetectorUnavailable("the detector cannot answer now; try again", exc.detail) from exc
        except (TimeoutError, DeadlineExceeded) as exc:
            if asyncio.get_running_loop().time() >= deadline:
                raise TimeoutError from exc
            raise DetectorUnavailable(
                f"the detector did not answer within {self._args.detect_deadline_s:g} s; try again"
            ) from exc

    async def _classify(
        self, image: NDArray[np.uint8], found: Sequence[Detection], deadline: float
    ) -> tuple[TaggedGarment, ...]:
        """One call per category, all at once; colours are measured meanwhile."""
        if not found:
            return ()
        positions_by_category: dict[str, list[int]] = {}
        for position, detection in enumerate(found):
            positions_by_category.setdefault(detection.category, []).append(position)
        crops = await self._in_thread(self._crop, image, found)
        async with asyncio.TaskGroup() as tasks:
            colours = tasks.create_task(self._in_thread(self._measure_colours, image, found))
            answers = {
                category: tasks.create_task(self._call_classifier(category, crops[positions], deadline))
                for category, positions in positions_by_category.items()
            }
        scores: list[AttributeScores | None] = [None] * len(found)
        for category, positions in positions_by_category.items():
            for position, answer in zip(positions, answers[category].result() or (), strict=False):
                scores[position] = answer
        return tuple(
            TaggedGarment(detection, scores[position], colours.result()[position])
            for position, detection in enumerate(found)
        )

    async def _call_classifier(
        self, category: str, crops: NDArray[np.uint8], deadline: float
    ) -> Sequence[AttributeScores] | None:
        """Scores of the crops; None, with the reason in the log, if the classifier cannot answer."""
        breaker = self._breaker_by_category[category]
        if not breaker.allows():
            self._meter.count(DROPPED, reason="circuit_open")
            return None
        full_deadline = asyncio.get_running_loop().time() + self._args.classify_deadline_s
        outcome: Outcome = "unknown"
        try:
            answers = await self._with_retry(
                "classify",
                min(deadline, full_deadline),
                lambda budget_s: self._classify_by_category[category](crops, budget_s),
                category=category,
            )
            outcome = "answered"
        except (TaggingError, TimeoutError) as exc:
            _log.warning("the classifier of %s cannot answer: %r", category, exc)
            if isinstance(exc, ModelFailed):
                outcome = "answered"
            elif isinstance(exc, ModelUnavailable) or full_deadline <= deadline:
                outcome = "absent"
            return None
        finally:
            breaker.note(outcome)
        if len(answers) != len(crops):
            _log.error("the classifier of %s gave %d answers for %d crops", category, len(answers), len(crops))
            return None
        return answers

    async def _with_retry(
        self, stage: str, deadline: float, call: Callable[[float], Awaitable[_T]], **about: str
    ) -> _T:
        """Call within the deadline, once more if the replica dies; inference is idempotent."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(deadline):
            try:
                with span(stage, **about):
                    return await call(deadline - loop.time())
            except ReplicaDied as exc:
                _log.warning("a replica died in stage %s, calling another: %r", stage, exc)
                self._meter.count(RETRIES, stage=stage)
                with span(f"{stage} again", **about):
                    return await call(deadline - loop.time())

    def _crop(self, image: NDArray[np.uint8], found: Sequence[Detection]) -> NDArray[np.uint8]:
        """(N, S, S, 3) uint8."""
        size_px, pad_ratio = self._bundle.crop_size_px, self._bundle.crop_pad_ratio
        return np.stack([crop_square(image, detection.box, size_px, pad_ratio) for detection in found])

    def _measure_colours(self, image: NDArray[np.uint8], found: Sequence[Detection]) -> list[tuple[ColourShare, ...]]:
        measured = []
        for position, detection in enumerate(found):
            attribute = self._bundle.attributes_of(detection.category).get(COLOUR_ATTRIBUTE)
            others = [other.box for other in (*found[:position], *found[position + 1 :])]
            measured.append(garment_colours(image, detection.box, attribute.values, others) if attribute else ())
        return measured

    async def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        run = copy_context().run  # the trace goes along
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: run(work, *args, **kwargs))

    def _record(self, times: StageTimes, garments: Sequence[TaggedGarment]) -> None:
        for stage, duration_s in (
            ("decode", times.decode_s),
            ("detect", times.detect_s),
            ("classify", times.classify_s),
            ("total", times.total_s),
        ):
            self._meter.observe(STAGE_DURATION, duration_s, stage=stage)
        self._meter.observe(CROPS_PER_REQUEST, len(garments))
        for garment in garments:
            self._meter.count(DETECTIONS, category=garment.detection.category)
            if garment.scores is None:
                self._meter.count(PARTIAL_ANSWERS, category=garment.detection.category)


def _area(box: Box) -> float:
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1)


def _to_photo(box: Box, scale: float, image_hw: tuple[int, int]) -> Box | None:
    """Map a box from canvas to photo and clip it; None if nothing of it is in the photo."""
    height, width = image_hw
    x1, y1, x2, y2 = (side / scale for side in box)
    x1, x2 = max(0.0, x1), min(float(width), x2)
    y1, y2 = max(0.0, y1), min(float(height), y2)
    return (x1, y1, x2, y2) if x2 - x1 >= _MIN_SIDE_PX and y2 - y1 >= _MIN_SIDE_PX else None
