"""Offering load to a service and noting what became of every request.

Open loop: requests leave when the schedule says, however slow the answers are, and latency counts from that moment, so
a service that stalls cannot hide it. Closed loop: a fixed number of callers, each asking anew once it is answered.

    arrivals_s = poisson(parse_profile("5x20,60x3,5x20"), seed=1)
    records = asyncio.run(open_loop("http://127.0.0.1:8000", arrivals_s, [LoadPhoto(data)]))
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray

from models.errors import InputError

NO_ANSWER, TIMEOUT = "no_answer", "timeout"
"""Codes of requests that came to nothing: the connection broke or was refused; the time was over."""

_NUMBER = r"(\d+(?:\.\d+)?)"
_PHASE = re.compile(f"{_NUMBER}(?:-{_NUMBER})?x{_NUMBER}")
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which the rate goes evenly from `begin_rps` to `end_rps`, requests per second."""

    begin_rps: float
    end_rps: float
    duration_s: float

    @property
    def num_expected(self) -> float:
        """Mean number of requests."""
        return (self.begin_rps + self.end_rps) / 2 * self.duration_s

    def times_s(self, expected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds into the phase at which so many requests are expected to have come."""
        slope = (self.end_rps - self.begin_rps) / self.duration_s
        # the root of slope/2 t^2 + begin t - expected, in the form that also holds for a slope of zero
        root = np.sqrt(np.maximum(0.0, self.begin_rps**2 + 2 * slope * expected))
        return 2 * expected / np.maximum(self.begin_rps + root, 1e-12)


def parse_profile(text: str) -> tuple[Phase, ...]:
    """Read a profile: phases of RATExSECONDS or FROM-TOxSECONDS, comma between them.

    `20x60` is steady, `5-50x120` a ramp, `5x20,60x3,5x20` a burst.

    Raises:
        InputError: if it is not of that form, or offers nothing.
    """
    phases = []
    for part in text.split(","):
        match = _PHASE.fullmatch(part.strip())
        if match is None or float(match[3]) == 0:
            raise InputError(f"{part!r} is no phase of load; write RATExSECONDS or FROM-TOxSECONDS")
        begin, end, duration_s = match.groups()
        phases.append(Phase(float(begin), float(end or begin), float(duration_s)))
    if sum(phase.num_expected for phase in phases) == 0:
        raise InputError(f"{text!r} offers no request")
    return tuple(phases)


def poisson(phases: Sequence[Phase], seed: int = 0) -> NDArray[np.float64]:
    """Arrival times, (N,) ascending seconds, of callers who do not know of each other; the same seed, the same times.

    A Poisson process of a changing rate: its count is Poisson, and given the count the arrivals are spread evenly over
    the expected number of requests.
    """
    rng = np.random.default_rng(seed)
    arrivals, begin_s = [], 0.0
    for phase in phases:
        expected = np.sort(rng.uniform(0, phase.num_expected, rng.poisson(phase.num_expected)))
        arrivals.append(begin_s + phase.times_s(expected))
        begin_s += phase.duration_s
    return np.concatenate(arrivals)


@dataclass(frozen=True, slots=True)
class LoadPhoto:
    """A photo to ask about: the file's bytes and the query of the request."""

    body: bytes
    query: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one request; times are seconds since the run began.

    Args:
        index: of the request; photo `index` modulo their number was asked about.
        due_s: when the schedule wanted it to leave; in a closed loop when it left.
        sent_s: when it left.
        end_s: when its answer was there or given up.
        code: `ok`, `partial` where a garment lacks its attributes, the service's error code, `no_answer`, `timeout`.
        status: HTTP status; 0 where there was no answer.
        bundle: name@version that answered; None where none did.
        body: the answer as JSON where bodies are kept.
    """

    index: int
    due_s: float
    sent_s: float
    end_s: float
    code: str
    status: int
    bundle: str | None = None
    body: Any = None

    @property
    def is_answered(self) -> bool:
        """Whether it was tagged."""
        return self.status == 200

    @property
    def latency_s(self) -> float:
        """Seconds that the caller waited, from the moment that the schedule wanted."""
        return self.end_s - self.due_s


Note = Callable[[Record], None]


async def open_loop(
    url: str,
    arrivals_s: Sequence[float] | NDArray[np.float64],
    photos: Sequence[LoadPhoto],
    *,
    timeout_s: float = _TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
    note: Note | None = None,
    keep_bodies: bool = False,
) -> list[Record]:
    """Send a request at every arrival time, photos in turn, and wait for the last answer.

    Args:
        url: base address of the service.
        arrivals_s: ascending seconds since the start.
        photos: as many as arrivals to say which goes when; fewer are repeated.
        timeout_s: after which a request is given up.
        headers: sent with each, such as an API key.
        note: told each record as it comes.
        keep_bodies: puts the answer into its record.

    Returns:
        One record for every arrival, in their order.
    """
    async with _Sender(url, photos, timeout_s, headers, note, keep_bodies) as sender, asyncio.TaskGroup() as tasks:
        sent = []
        for index, due_s in enumerate(arrivals_s):
            await asyncio.sleep(max(0.0, due_s - sender.now_s))
            sent.append(tasks.create_task(sender.send(index, float(due_s))))
    return [task.result() for task in sent]


async def closed_loop(
    url: str,
    num_callers: int,
    duration_s: float,
    photos: Sequence[LoadPhoto],
    *,
    timeout_s: float = _TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
    note: Note | None = None,
    keep_bodies: bool = False,
) -> list[Record]:
    """Keep `num_callers` requests at the service for `duration_s`; records in the order in which they left.

    The other arguments are those of `open_loop`.
    """
    records: list[Record] = []
    async with _Sender(url, photos, timeout_s, headers, note, keep_bodies) as sender, asyncio.TaskGroup() as tasks:
        indices = iter(range(2**31))

        async def ask() -> None:
            while sender.now_s < duration_s:
                records.append(await sender.send(next(indices), None))

        for _ in range(num_callers):
            tasks.create_task(ask())
    return sorted(records, key=lambda record: record.index)


class _Sender:
    """Sends requests over connections of its own; none waits for another's connection."""

    def __init__(
        self,
        url: str,
        photos: Sequence[LoadPhoto],
        timeout_s: float,
        headers: Mapping[str, str] | None,
        note: Note | None,
        keep_bodies: bool,
    ) -> None:
        if not photos:
            raise ValueError("load needs at least one photo")
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=None,  # one limit for the whole request stands below
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,  # no proxy in between
        )
        self._photos = photos
        self._timeout_s = timeout_s
        self._note = note
        self._keep_bodies = keep_bodies
        self._begin = asyncio.get_running_loop().time()

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._begin

    async def send(self, index: int, due_s: float | None) -> Record:
        photo = self._photos[index % len(self._photos)]
        sent_s = self.now_s
        status, body = 0, None
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.post("/v1/tag", content=photo.body, params=photo.query)
            end_s = self.now_s
            status, (code, body) = response.status_code, _read(response)
        except TimeoutError:
            end_s, code = self.now_s, TIMEOUT
        except httpx.TransportError:
            end_s, code = self.now_s, NO_ANSWER
        bundle = body["bundle"] if status == 200 and body else None
        kept = body if self._keep_bodies else None
        record = Record(index, sent_s if due_s is None else due_s, sent_s, end_s, code, status, bundle, kept)
        if self._note:
            self._note(record)
        return record

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()


def _read(response: httpx.Response) -> tuple[str, Any]:
    """The code of an answer and its JSON; `http_502` and the like where it is not the service's own."""
    try:
        body = response.json()
        if response.status_code == 200:
            is_whole = body["bundle"] and all(garment["status"] == "ok" for garment in body["garments"])
            return "ok" if is_whole else "partial", body
        return str(body["error"]["code"]), body
    except (ValueError, KeyError, TypeError):
        return f"http_{response.status_code}", None
