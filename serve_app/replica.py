"""What replicas of all models have in common: a model, its batcher, its health, and other bundles during a roll."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Self, TypeVar, cast

from serve_app.batching import Batcher
from serve_app.metrics import BUNDLE, MODEL_METRICS, Meter, RayMeter
from serve_app.other_bundles import ModelSource, OtherBundles
from serve_app.tracing import Tracing
from serve_app.turns import Turn

M = TypeVar("M")
_log = logging.getLogger("ray.serve")


class ModelReplica(ABC, Generic[M]):
    """One replica of a model.

    Args:
        load_model: loads the model; called once, here in the replica.
        size_px: of the pictures to warm up with: side of a crop, long side of a canvas.
        max_batch: pictures that the model takes at once.
        stall_limit_s: a batch that computes longer marks the replica unhealthy.
        meter: records batches; None for Ray's.
        make_tracing: makes what traces calls; called once, here in the replica.
        source: the bundle that the model is of, and what loads another's.
        make_turn: makes the model's turn at the cores, likewise; None where it shares them with no other.
    """

    def __init__(
        self,
        load_model: Callable[[], M],
        size_px: int,
        max_batch: int,
        stall_limit_s: float,
        meter: Meter | None = None,
        make_tracing: Callable[[], Tracing] = Tracing,
        source: ModelSource[M] | None = None,
        make_turn: Callable[[], Turn] | None = None,
    ) -> None:
        self._model = load_model()
        self._max_batch = max_batch
        self._stall_limit_s = stall_limit_s
        self._tracing = make_tracing()
        self._source = source
        self._turn = make_turn() if make_turn else None
        self._meter = meter = meter or RayMeter(MODEL_METRICS)
        same_kind = cast("Callable[..., Self]", type(self))  # not self, which would keep itself alive
        self._others: OtherBundles[Self] = OtherBundles(
            source.bundle if source else "",
            lambda bundle: same_kind(
                partial(_model_of, source, bundle),
                size_px,
                max_batch,
                stall_limit_s,
                meter,
                make_tracing,
                make_turn=make_turn,
            ),
        )
        self._batcher = self._warm_batcher(size_px)

    @abstractmethod
    def _warm_batcher(self, size_px: int) -> Batcher[Any, Any]:
        """Run the model on what it has to be warm for, and make what batches calls of it."""

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


def _model_of(source: ModelSource[M] | None, bundle: str) -> M:
    assert source is not None
    return source.load(bundle)


def end_replica() -> None:
    """End the process of a replica whose model fails on whatever it is asked.

    It would go on answering with errors, and fast, which draws requests, until Serve has missed three health checks:
    one in seven photos failed for ten seconds. Calls to a process that ended are made again elsewhere.
    """
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        serve.get_replica_context()
    except RayServeException:  # a test in one process
        return
    _log.critical("the model fails on its own probe; ending this replica")
    os._exit(1)
