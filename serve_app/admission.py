"""Admission: a photo whose turn would come after its deadline is refused before its body is read."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from serve_app.errors import Overloaded
from serve_app.pace import MAX_RETRY_AFTER_S, Pace

_QUEUE_BEGINS = 8  # fewer photos than this are a batch, and tell nothing about capacity


class Admission:
    """The queue of one router.

    Args:
        deadline_s: from the last byte of a body to its answer.
        pace: how fast photos are finished; None for a new one.
    """

    def __init__(self, deadline_s: float, pace: Pace | None = None) -> None:
        self._deadline_s = deadline_s
        self._pace = pace or Pace()

    def check(self) -> None:
        """Call before a body is read.

        Raises:
            Overloaded: saying when the queue will be half as long as it may be.
        """
        wait_s = self._pace.wait_s()
        if self._pace.num_inside >= _QUEUE_BEGINS and wait_s is not None and wait_s > self._deadline_s:
            left_s = min(MAX_RETRY_AFTER_S, math.ceil(wait_s - self._deadline_s / 2))
            raise Overloaded("too many requests wait; try again", f"about {wait_s:.0f} s", left_s)

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
