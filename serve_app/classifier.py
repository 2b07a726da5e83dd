"""The classifier deployment of one category: batches the crops of many requests into one model."""

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.images import PADDING_GREY
from models.types import AttributeScores
from serve_app.batching import Batcher
from serve_app.replica import ModelReplica, end_replica


class ClassifierModel(Protocol):
    """What `models.classifier.Classifier` does."""

    def classify(self, crops: NDArray[np.uint8]) -> Sequence[AttributeScores]:
        """Scores of each of (N, S, S, 3) uint8 crops."""


class ClassifierDeployment(ModelReplica[ClassifierModel]):
    """One replica of the classifier of a category; batches are counted in crops."""

    def _warm_batcher(self, size_px: int) -> Batcher[NDArray[np.uint8], tuple[AttributeScores, ...]]:
        probe = np.full((1, size_px, size_px, 3), PADDING_GREY, dtype=np.uint8)
        self._run([probe])
        return Batcher(
            self._run,
            self._max_batch,
            size_of=len,
            probe=probe,
            meter=self._meter,
            give_up=end_replica,
            turn=self._turn,
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
            scores: tuple[AttributeScores, ...] = await self._batcher.submit(crops, budget_s)
        return scores

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
