"""How fast requests are finished, and so how long one more would wait."""

import math
import time
from collections import deque
from collections.abc import Callable

_WINDOW_S = 10.0
_TELLING_S = 1.0  # of work, or
_TELLING_COUNT = 8  # finished: what less than that says of the pace is chance
_QUEUE = 16  # inside: the models are as fast as they can be
_MEMORY_S = 60.0
MAX_RETRY_AFTER_S = 60


class Pace:
    """Counts what is inside, and what was finished since there is always something inside, for ten seconds at most.

    How fast it went when there was a queue is remembered for a minute, for the beginning of the next.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._finished: deque[float] = deque()
        self._busy_since = clock()
        self._remembered = 0.0, -math.inf  # pace, 1/s, and when
        self.num_inside = 0

    def enter(self) -> None:
        """A request comes in."""
        if not self.num_inside:  # an idle service is not a slow one
            self._busy_since = self._clock()
            self._finished.clear()
        self.num_inside += 1

    def leave(self, *, is_finished: bool) -> None:
        """A request goes; `is_finished` if it was answered, not refused."""
        now = self._clock()
        self._forget(now)
        if is_finished:
            self._finished.append(now)
            if self.num_inside >= _QUEUE and (pace := self._pace(now)):
                self._remembered = pace, now
        self.num_inside -= 1

    def wait_s(self) -> float | None:
        """Seconds until one more would be answered at the present pace; None if too little was finished to tell."""
        now = self._clock()
        pace = self._pace(now)
        if pace is None and now - self._remembered[1] < _MEMORY_S:
            pace = self._remembered[0]
        return None if pace is None else (self.num_inside + 1) / pace

    def _pace(self, now: float) -> float | None:
        """Finished per second of the present work."""
        self._forget(now)
        busy_s = now - max(self._busy_since, now - _WINDOW_S)
        if not self._finished or (len(self._finished) < _TELLING_COUNT and busy_s < _TELLING_S):
            return None
        return len(self._finished) / max(busy_s, 1e-3)

    def retry_after_s(self) -> int:
        """Whole seconds for a Retry-After header."""
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self.wait_s() or 0.0)))

    def _forget(self, now: float) -> None:
        """Called at every end too: a service that never refuses would keep all it ever finished."""
        while self._finished and self._finished[0] < now - _WINDOW_S:
            self._finished.popleft()
