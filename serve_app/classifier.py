"""The classifier deployment of one category: batches the crops of many requests into one model."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.images import PADDING_GREY
from models.types import AttributeScores
from serve_app.batching import Batcher
from serve_app.metrics import BUNDLE, MODEL_METRICS, Meter, RayMeter
from serve_app.other_bundles import ModelSource, OtherBundles
from serve_app.tracing import Tracing


class ClassifierModel(Protocol):
    """What `models.classifier.Classifier` does."""

    def classify(self, crops: NDArray[np.uint8]) -> Sequence[AttributeScores]:
        """Scores of each of (N, S, S, 3) uint8 crops."""


class ClassifierDeployment:
    """One replica of the classifier of a category.

    Args:
        load_model: loads the model; called once, here in the replica.
        size_px: side of the crops.
        max_batch: crops that the model takes at once.
        stall_limit_s: a batch that computes longer marks the replica unhealthy.
        meter: records batches; None for Ray's.
        make_tracing: makes what traces calls; called once, here in the replica.
        source: the bundle that the model is of, and what loads another's.
    """

    def __init__(
        self,
        load_model: Callable[[], ClassifierModel],
        size_px: int,
        max_batch: int,
        stall_limit_s: float,
        meter: Meter | None = None,
        make_tracing: Callable[[], Tracing] = Tracing,
        source: ModelSource[ClassifierModel] | None = None,
    ) -> None:
        self._model = load_model()
        self._max_batch = max_batch
        self._stall_limit_s = stall_limit_s
        self._tracing = make_tracing()
        meter = meter or RayMeter(MODEL_METRICS)

        def of_other(bundle: str) -> ClassifierDeployment:
            assert source is not None
            load = partial(source.load, bundle)
            return ClassifierDeployment(load, size_px, max_batch, stall_limit_s, meter, make_tracing)

        self._others = OtherBundles(source.bundle if source else "", of_other)
        self._source, self._meter = source, meter
        probe = np.full((1, size_px, size_px, 3), PADDING_GREY, dtype=np.uint8)
        self._run([probe])
        self._batcher: Batcher[NDArray[np.uint8], tuple[AttributeScores, ...]] = Batcher(
            self._run, max_batch, size_of=len, probe=probe, meter=meter
        )

    async def classify(
        self, crops: NDArray[np.uint8], budget_s: float, trace: str | None = None, bundle: str | None = None
    ) -> tuple[AttributeScores, ...]:
        """Answer the attributes of the crops of one photo.

        Args:
            crops: (N, S, S, 3) uint8, N >= 1.
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
            return await other.classify(crops, budget_s, trace)
        with self._tracing.call("batch", trace):
            return await self._batcher.submit(crops, budget_s)

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

    def _run(self, batch: list[NDArray[np.uint8]]) -> list[tuple[AttributeScores, ...]]:
        """All crops of the batch in passes of at most `max_batch`; a photo may bring more than that."""
        crops = np.concatenate(batch)  # a copy, which torch wants: arrays from other processes are read-only
        scores: list[AttributeScores] = []
        for begin in range(0, len(crops), self._max_batch):
            scores.extend(self._model.classify(crops[begin : begin + self._max_batch]))
        if len(scores) != len(crops):
            raise RuntimeError(f"the model gave {len(scores)} answers for {len(crops)} crops")
        left = iter(scores)
        return [tuple(islice(left, len(own))) for own in batch]
