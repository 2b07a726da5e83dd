"""A circuit breaker: a deployment that does not answer is not waited for again and again."""

import time
from collections.abc import Callable
from typing import Literal

Outcome = Literal["answered", "absent", "unknown"]
"""Of a call: answered, if only by an error of the model; nobody answered; or it was given up for another reason."""

_FAILURES_TO_OPEN = 5
_OPEN_S = 5.0


class Breaker:
    """Opens after five calls in a row that nobody answered; lets one call try every five seconds from then on.

    Without it every photo would wait out the classifiers' whole deadline while a category is away.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_failures = 0
        self._try_at = 0.0

    def allows(self) -> bool:
        """Whether to call now; each True wants a `note` after it."""
        if self._num_failures < _FAILURES_TO_OPEN:
            return True
        now = self._clock()
        if now < self._try_at:
            return False
        self._try_at = now + _OPEN_S  # the others wait for what becomes of this one
        return True

    def note(self, outcome: Outcome) -> None:
        """Say what became of a call."""
        if outcome == "answered":
            self._num_failures = 0
        elif outcome == "absent":
            self._num_failures += 1
            self._try_at = self._clock() + _OPEN_S
