"""The detector deployment: batches canvases of many requests into one model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.images import PADDING_GREY, detector_canvas
from models.types import Detection
from serve_app.batching import Batcher
from serve_app.metrics import BUNDLE, MODEL_METRICS, Meter, RayMeter
from serve_app.other_bundles import ModelSource, OtherBundles
from serve_app.tracing import Tracing

_SHAPES_HW = ((1, 1), (4, 3), (3, 4))  # one photo for each canvas there is


class DetectorModel(Protocol):
    """What `models.detector.Detector` does."""

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        """Detections of each (h, w, 3) uint8 canvas, in its pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    pixels: NDArray[np.uint8]
    min_score: float


class DetectorDeployment:
    """One replica of the detector.

    Args:
        load_model: loads the model; called once, here in the replica.
        long_side_px: of the canvases to warm up with.
        max_batch: canvases that the model takes at once.
        stall_limit_s: a batch that computes longer marks the replica unhealthy.
        meter: records batches; None for Ray's.
        make_tracing: makes what traces calls; called once, here in the replica.
        source: the bundle that the model is of, and what loads another's.
    """

    def __init__(
        self,
        load_model: Callable[[], DetectorModel],
        long_side_px: int,
        max_batch: int,
        stall_limit_s: float,
        meter: Meter | None = None,
        make_tracing: Callable[[], Tracing] = Tracing,
        source: ModelSource[DetectorModel] | None = None,
    ) -> None:
        self._model = load_model()
        self._stall_limit_s = stall_limit_s
        self._tracing = make_tracing()
        meter = meter or RayMeter(MODEL_METRICS)

        def of_other(bundle: str) -> DetectorDeployment:
            assert source is not None
            load = partial(source.load, bundle)
            return DetectorDeployment(load, long_side_px, max_batch, stall_limit_s, meter, make_tracing)

        self._others = OtherBundles(source.bundle if source else "", of_other)
        self._source, self._meter = source, meter
        for image_hw in _SHAPES_HW:
            canvas_hw = detector_canvas(image_hw, long_side_px)
            probe = _Canvas(np.full((*canvas_hw, 3), PADDING_GREY, dtype=np.uint8), 0.5)
            self._run([probe])
        self._batcher: Batcher[_Canvas, tuple[Detection, ...]] = Batcher(
            self._run,
            max_batch,
            kind_of=lambda canvas: canvas.pixels.shape,
            probe=probe,
            meter=meter,
        )

    async def detect(
        self,
        canvas: NDArray[np.uint8],
        min_score: float,
        budget_s: float,
        trace: str | None = None,
        bundle: str | None = None,
    ) -> tuple[Detection, ...]:
        """Find the garments on a canvas.

        Args:
            canvas: (h, w, 3) uint8.
            min_score: detections below it are dropped.
            budget_s: seconds that are left for it to begin.
            trace: traceparent of the request, if it is traced.
            bundle: address of the bundle that has to answer; None for the replica's own.

        Raises:
            DeadlineExceeded: if the budget ends first.
            ModelFailed: if the model raised.
            ModelUnavailable: if the bundle is another than the replica's, and cannot be loaded.
        """
        other = await self._others.get(bundle)
        if other is not None:
            return await other.detect(canvas, min_score, budget_s, trace)
        with self._tracing.call("batch", trace):
            return await self._batcher.submit(_Canvas(canvas, min_score), budget_s)

    async def ping(self, bundle: str | None = None) -> None:
        """Answer, to show that the replica takes calls, once it can answer for the bundle."""
        await self._others.get(bundle)

    async def check_health(self) -> None:
        """Raise if the model thread hangs, or fails on what any model can answer."""
        await self._batcher.check_alive(self._stall_limit_s)
        if self._source:
            self._meter.set(BUNDLE, 1, bundle=self._source.label)  # a gauge that is not renewed vanishes after 20 s

    def __del__(self) -> None:
        if hasattr(self, "_batcher"):  # absent where loading failed
            self._batcher.abandon()
            self._tracing.close()

    def _run(self, batch: list[_Canvas]) -> list[tuple[Detection, ...]]:
        """One pass at the lowest score anybody asked for; each keeps its own."""
        lowest = min(canvas.min_score for canvas in batch)
        found = self._model.detect([canvas.pixels for canvas in batch], lowest)
        return [
            tuple(detection for detection in detections if detection.score >= canvas.min_score)
            for canvas, detections in zip(batch, found, strict=True)
        ]
