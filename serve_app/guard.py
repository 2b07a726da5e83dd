"""Who may ask what, and how often: the API key of a request against its path, and the limits of that key.

Limits count in each router replica by itself, so that no request waits for a counter elsewhere: with N routers a key
gets up to N times its limit, and a replica that starts begins to count anew.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from serve_app import keys
from serve_app.errors import KeyMissing, KeyRefused, RateLimited
from serve_app.keys import Key, KeyRing
from serve_app.metrics import KEY_REQUESTS, Meter

NO_KEY = "none"
"""Stands in metrics for requests without a valid key."""

_OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")
_OPEN_PREFIX = "/assets/"  # files of the page
_ANY_KEY = ("/v1/ontology", "/v1/bundle")
_SCOPE_BY_PREFIX: tuple[tuple[str, keys.Scope], ...] = (
    ("/v1/jobs", "jobs"),
    ("/v1/feedback", "feedback"),
    ("/v1/tag", "tag"),
)
"""Whatever stands nowhere here, unknown paths among it, needs the scope admin: a forgotten path is a closed one."""
_SECONDS_PER_DAY = 86_400
_BURST_S = 2.0


@dataclass(slots=True)
class _Use:
    """What a key has used: tokens left of its rate, photos of the day."""

    tokens: float
    at_s: float
    day: int
    num_today: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; kept in the state of the request."""

    key: Key
    _guard: "Guard"

    def charge(self, num_photos: int) -> None:
        """Count photos beyond the first, which the request itself has paid.

        Raises:
            RateLimited: if the key may not send that many now; nothing is counted then.
        """
        self._guard.charge(self.key, num_photos)


class Guard:
    """Checks requests before anything of them is read.

    Args:
        ring: the keys.
        meter: counts requests by key and status.
        clock: seconds since the epoch; it says when a day ends.
    """

    def __init__(self, ring: KeyRing, meter: Meter, clock: Callable[[], float] = time.time) -> None:
        self._ring = ring
        self._meter = meter
        self._clock = clock
        self._use_by_name: dict[str, _Use] = {}

    def admit(self, path: str, authorization: str, state: dict[str, Any]) -> None:
        """Let a request in, and note its caller in `state`; the page, the documentation and the probes are open.

        Raises:
            KeyMissing: if it brings no key.
            KeyRefused: if its key is unknown, or does not open this path.
            RateLimited: if the key has used up its rate or its day.
        """
        if path in _OPEN or path.startswith(_OPEN_PREFIX):
            return
        scope: keys.Scope = next((scope for prefix, scope in _SCOPE_BY_PREFIX if path.startswith(prefix)), "admin")
        kind, _, presented = authorization.partition(" ")
        if kind.lower() != "bearer" or not presented.strip():
            raise KeyMissing("an API key is needed; send it as Authorization: Bearer <key>")
        key = self._ring.find(presented.strip())
        if key is None:
            raise KeyRefused("the API key is unknown or was revoked")
        state["caller"] = Caller(key, self)
        if path in _ANY_KEY:
            return
        if not key.opens(scope):
            raise KeyRefused(f"the API key does not open this path; it needs the scope {scope}")
        self.charge(key, 1)

    def charge(self, key: Key, num_photos: int) -> None:
        """Take photos off the rate and the day of a key, all or none; raises RateLimited."""
        now = self._clock()
        use = self._refilled(key, now)
        if key.per_day is not None and use.num_today + num_photos > key.per_day:
            left_s = int((use.day + 1) * _SECONDS_PER_DAY - now) + 1
            raise RateLimited(f"the key may send {key.per_day} photos a day; the day ends at 0:00 UTC", "", left_s)
        if key.per_second is not None:
            # A batch larger than the burst would never pass: it is let in when the bucket is full, and leaves a debt.
            needed = min(float(num_photos), _burst(key.per_second))
            if use.tokens < needed:
                wait_s = int((needed - use.tokens) / key.per_second) + 1
                raise RateLimited(f"the key may send {key.per_second:g} photos a second", "", wait_s)
            use.tokens -= num_photos
        use.num_today += num_photos

    def count(self, state: dict[str, Any], status: int) -> None:
        """Count an answered request under the name of its key."""
        caller: Caller | None = state.get("caller")
        self._meter.count(KEY_REQUESTS, key=caller.key.name if caller else NO_KEY, status=str(status))

    def _refilled(self, key: Key, now: float) -> _Use:
        day = int(now // _SECONDS_PER_DAY)
        burst = _burst(key.per_second or 0.0)
        use = self._use_by_name.setdefault(key.name, _Use(burst, now, day))
        use.tokens = min(burst, use.tokens + max(0.0, now - use.at_s) * (key.per_second or 0.0))
        use.at_s = now
        if day != use.day:
            use.day, use.num_today = day, 0
        return use


def charge(scope: Scope, num_photos: int) -> None:
    """Count photos of a request beyond its first, all or none; nothing where nobody is asked for a key.

    Raises:
        RateLimited: if its key may not send that many now.
    """
    caller: Caller | None = scope.get("state", {}).get("caller")
    if caller and num_photos > 0:
        caller.charge(num_photos)


def _burst(per_second: float) -> float:
    return max(1.0, per_second * _BURST_S)
