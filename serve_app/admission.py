"""Admission: a photo whose turn would come too late is refused before its body is read."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from serve_app.errors import Overloaded
from serve_app.pace import MAX_RETRY_AFTER_S, Pace

_UNKNOWN_QUEUE = 64  # taken while nobody knows how fast they will be answered


class Admission:
    """The queue at one place.

    Args:
        max_wait_s: a photo that would be answered later than this from now is refused.
        pace: how fast photos are finished; None for a new one.
        num_free: photos that may be there whatever their pace; the default is a batch, which is no queue.
    """

    def __init__(self, max_wait_s: float, pace: Pace | None = None, num_free: int = 8) -> None:
        self._max_wait_s = max_wait_s
        self._pace = pace or Pace()
        self._num_free = num_free

    def check(self) -> None:
        """Call before a body is read.

        Raises:
            Overloaded: saying when the queue will be half as long as it may be.
        """
        num_inside, wait_s = self._pace.num_inside, self._pace.wait_s()
        if wait_s is None:
            is_full, left_s = num_inside >= _UNKNOWN_QUEUE, 1
        else:
            is_full = num_inside >= self._num_free and wait_s > self._max_wait_s
            left_s = min(MAX_RETRY_AFTER_S, math.ceil(wait_s - self._max_wait_s / 2))
        if is_full:
            raise Overloaded("too many requests wait; try again", f"{num_inside} inside, wait {wait_s} s", left_s)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be counted in the queue; enter once the body is there, since a slow upload keeps nobody waiting."""
        self._pace.enter()
        is_finished = False
        try:
            yield
            is_finished = True
        except Overloaded as exc:
            raise Overloaded(exc.message, exc.detail, self._pace.retry_after_s()) from exc
        finally:
            self._pace.leave(is_finished=is_finished)
