"""The adaptive batcher of both model deployments: a batch grows only while the model is busy with the one before.

An idle model starts at once, so nobody waits for company; a busy one, and one whose turn has not come, finds everything
that arrived meanwhile.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from serve_app.errors import DeadlineExceeded, ModelFailed, Overloaded
from serve_app.metrics import BATCH_SIZE, DROPPED, Meter, NullMeter
from serve_app.turns import Turn

Item = TypeVar("Item")
Result = TypeVar("Result")
_HEARTBEAT_LIMIT_S = 5.0
_log = logging.getLogger("ray.serve")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    size: int
    kind: Hashable
    expires_at: float  # loop time
    future: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """Collects concurrent calls into batches for one model thread.

    A batch whose run raises is run again item by item, so that a bad item fails alone.

    Args:
        run: takes the items of a batch, returns one result per item; runs in the model thread, one batch at a time.
        max_size: largest batch, counted with `size_of`; a single item that is larger makes a batch of its own.
        size_of: how much of a batch an item takes.
        kind_of: only items of the same kind share a batch, such as canvases of one shape.
        probe: an item that every model in order can answer; run after a failure, to tell a bad item from a bad model.
        meter: records batch sizes and dropped calls.
        give_up: called when an item has failed and the probe fails too, before the item's caller is told.
        turn: had while a batch is computed, and awaited before it is chosen; None where nobody else is in the way.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        max_size: int,
        size_of: Callable[[Item], int] = lambda item: 1,
        kind_of: Callable[[Item], Hashable] = lambda item: None,
        probe: Item | None = None,
        meter: Meter | None = None,
        give_up: Callable[[], None] = lambda: None,
        turn: Turn | None = None,
    ) -> None:
        self._run = run
        self._max_size = max_size
        self._size_of = size_of
        self._kind_of = kind_of
        self._probe = probe
        self._has_failed = False  # since the last batch that did not
        self._meter = meter or NullMeter()
        self._give_up = give_up
        self._turn = turn
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worker: asyncio.Task[None] | None = None
        self._busy_since: float | None = None
        self._is_closed = False

    async def submit(self, item: Item, budget_s: float) -> Result:
        """Wait for the item's result.

        A caller that is cancelled, or whose budget ends, before its batch starts costs the model nothing.

        Args:
            item: what `run` takes.
            budget_s: seconds from now in which the batch has to start.

        Raises:
            Overloaded: if the batcher is closed.
            DeadlineExceeded: if the budget ended first.
            ModelFailed: if `run` raised on this item.
        """
        if self._is_closed:
            raise Overloaded("this replica is stopping; try again")
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Item, Result] = _Waiting(
            item, self._size_of(item), self._kind_of(item), loop.time() + budget_s, loop.create_future()
        )
        self._queue.append(waiting)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await waiting.future

    async def check_alive(self, stall_limit_s: float) -> None:
        """Raise RuntimeError if the model thread hangs, or the model fails on its probe.

        Hanging shows by a heartbeat through the thread, or by the age of the running batch.
        """
        if self._is_closed:
            raise RuntimeError("the model thread is closed")
        loop = asyncio.get_running_loop()
        if self._busy_since is not None:
            busy_s = loop.time() - self._busy_since
            if busy_s > stall_limit_s:
                raise RuntimeError(f"the model has computed one batch for {busy_s:.0f} s")
            if not self._has_failed:
                return
        try:
            async with asyncio.timeout(_HEARTBEAT_LIMIT_S):
                await loop.run_in_executor(self._thread, self._beat)
        except TimeoutError as exc:
            if self._busy_since is None:  # otherwise a batch has begun meanwhile
                raise RuntimeError("the model thread gives no heartbeat") from exc

    def _beat(self) -> None:
        """In the model thread: nothing, or the probe if the model has failed since it last succeeded."""
        if self._has_failed and self._probe is not None:
            try:
                self._run([self._probe])
            except Exception as exc:  # whatever a model raises
                raise RuntimeError("the model fails on its own probe") from exc
        self._has_failed = False

    async def close(self) -> None:
        """Take no more, answer everything that waits, end the thread."""
        self._is_closed = True
        if self._worker is not None:
            await self._worker
        self._thread.shutdown(wait=False)

    def abandon(self) -> None:
        """End the thread without waiting; for a process that is about to end."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """Run batches until nothing waits; lives only as long as that."""
        batch: list[_Waiting[Item, Result]] = []
        try:
            while self._queue:
                if self._turn:
                    await asyncio.get_running_loop().run_in_executor(
                        self._thread, self._turn.acquire, self._size_of_next
                    )
                try:
                    if batch := self._next_batch():
                        await self._run_batch(batch)
                finally:
                    if self._turn:
                        self._turn.release()
        finally:  # reached with calls still waiting only if the loop is being torn down
            self._worker = None
            for waiting in (*batch, *self._queue):
                waiting.future.cancel()
            self._queue.clear()

    def _size_of_next(self) -> int:
        """How large the next batch would be; called in the model thread, for which the copy is made at once."""
        waiting = tuple(self._queue)
        return min(self._max_size, sum(each.size for each in waiting if each.kind == waiting[0].kind))

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """Take the oldest live call and those of its kind that fit with it, in order; empty if nothing waits."""
        now = asyncio.get_running_loop().time()
        alive = [waiting for waiting in self._queue if self._is_alive(waiting, now)]
        batch: list[_Waiting[Item, Result]] = []
        left: deque[_Waiting[Item, Result]] = deque()
        room = self._max_size
        for waiting in alive:
            fits = waiting.size <= room or not batch
            if fits and (not batch or waiting.kind == batch[0].kind):
                batch.append(waiting)
                room -= waiting.size
            else:
                left.append(waiting)
        self._queue = left
        return batch

    def _is_alive(self, waiting: _Waiting[Item, Result], now: float) -> bool:
        if waiting.future.done():
            self._meter.count(DROPPED, reason="cancelled")
            return False
        if waiting.expires_at <= now:
            self._meter.count(DROPPED, reason="expired")
            waiting.future.set_exception(DeadlineExceeded("the request waited too long for a model"))
            return False
        return True

    async def _run_batch(self, batch: list[_Waiting[Item, Result]]) -> None:
        self._meter.observe(BATCH_SIZE, sum(waiting.size for waiting in batch))
        error = await self._answer(batch)
        if error is None:
            return
        if len(batch) == 1:
            await self._fail(batch[0], error)
            return
        for waiting in batch:
            if not waiting.future.done():
                alone = await self._answer([waiting])
                if alone is not None:
                    await self._fail(waiting, alone)

    async def _fail(self, waiting: _Waiting[Item, Result], error: Exception) -> None:
        """Tell a caller that its item failed alone, unless it is the model that is at fault and another may answer."""
        _log.error("the model failed on an item", exc_info=error)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._beat)
        except RuntimeError:
            self._give_up()
        if not waiting.future.done():
            waiting.future.set_exception(ModelFailed("the model failed on this input", repr(error)))

    async def _answer(self, batch: list[_Waiting[Item, Result]]) -> Exception | None:
        """Run a batch in the model thread and hand out its results; the error if it raised."""
        loop = asyncio.get_running_loop()
        self._busy_since = loop.time()
        try:
            results = await loop.run_in_executor(self._thread, self._run, [waiting.item for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"the model gave {len(results)} results for {len(batch)} items")
        except Exception as exc:  # whatever a model raises is the answer to its callers, and must not end the worker
            self._has_failed = True
            return exc
        finally:
            self._busy_since = None
        self._has_failed = False
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)
        return None
