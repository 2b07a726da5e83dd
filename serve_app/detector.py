"""The detector deployment: batches canvases of many requests into one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.images import PADDING_GREY, detector_canvas
from models.types import Detection
from serve_app.batching import Batcher
from serve_app.replica import ModelReplica, end_replica

_SHAPES_HW = ((1, 1), (4, 3), (3, 4))  # one photo for each canvas there is


class DetectorModel(Protocol):
    """What `models.detector.Detector` does."""

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        """Detections of each (h, w, 3) uint8 canvas, in its pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    pixels: NDArray[np.uint8]
    min_score: float


class DetectorDeployment(ModelReplica[DetectorModel]):
    """One replica of the detector; batches are of canvases of one shape."""

    def _warm_batcher(self, size_px: int) -> Batcher[_Canvas, tuple[Detection, ...]]:
        for image_hw in _SHAPES_HW:
            canvas_hw = detector_canvas(image_hw, size_px)
            probe = _Canvas(np.full((*canvas_hw, 3), PADDING_GREY, dtype=np.uint8), 0.5)
            self._run([probe])
        return Batcher(
            self._run,
            self._max_batch,
            kind_of=lambda canvas: canvas.pixels.shape,
            probe=probe,
            meter=self._meter,
            give_up=end_replica,
            turn=self._turn,
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
            found: tuple[Detection, ...] = await self._batcher.submit(_Canvas(canvas, min_score), budget_s)
        return found

    def _run(self, batch: list[_Canvas]) -> list[tuple[Detection, ...]]:
        """One pass at the lowest score anybody asked for; each keeps its own."""
        lowest = min(canvas.min_score for canvas in batch)
        found = self._model.detect([canvas.pixels for canvas in batch], lowest)
        return [
            tuple(detection for detection in detections if detection.score >= canvas.min_score)
            for canvas, detections in zip(batch, found, strict=True)
        ]
