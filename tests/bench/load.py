"""Closed and open loops of callers over plain sockets: on the machine that also serves, an ordinary client would cost
as much as the service's own share of a request. Who is refused in a closed loop comes back when the answer says.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

_PATIENCE_S = 60.0


@dataclass
class Answers:
    """What came back within the measured time.

    Attributes:
        seconds: measured time.
        latencies_ms: of the requests answered with 200 in it, with `body_index` of each.
        timings: `timing_ms` of a sample of the answers.
        num_garments: of the same sample.
        statuses: count of each HTTP status.
        num_sent: all that were answered, warm-up and the last ones included.
    """

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    body_index: list[int] = field(default_factory=list)
    timings: list[dict[str, float]] = field(default_factory=list)
    num_garments: list[int] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    num_sent: int = 0

    @property
    def per_second(self) -> float:
        """Photos answered per second."""
        return len(self.latencies_ms) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Latency that so many percent of the answers keep within; nan without answers."""
        return round(float(np.percentile(self.latencies_ms, percent)), 2) if self.latencies_ms else float("nan")

    def summary(self) -> dict[str, Any]:
        """The usual columns."""
        faults = sum(count for status, count in self.statuses.items() if status != 200)
        return {
            "photos_per_s": round(self.per_second, 2),
            **{f"p{percent}_ms": self.percentile_ms(percent) for percent in (50, 95, 99)},
            "answered": len(self.latencies_ms),
            "refused": faults,
        }


Wire = Callable[[str, bytes], bytes]
"""Host and body to the request, headers included."""


def post(host: str, body: bytes, path: str = "/v1/tag", headers: str = "Content-Type: image/jpeg") -> bytes:
    """The request as our service takes it; or with another path, or other headers."""
    return f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def closed_loop(
    url: str, bodies: Sequence[bytes], num_callers: int, seconds: float, warm_up_s: float = 2.0, wire: Wire = post
) -> Answers:
    """Keep `num_callers` requests at the service; what is answered in the warm-up is not counted."""
    requests = [wire(urlsplit(url).netloc, body) for body in bodies]
    return asyncio.run(_closed_loop(url, requests, num_callers, seconds, warm_up_s))


async def _closed_loop(
    url: str, requests: Sequence[bytes], num_callers: int, seconds: float, warm_up_s: float
) -> Answers:
    answers = Answers(seconds)
    begin = time.perf_counter() + warm_up_s
    indices = iter(range(2**31))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(num_callers):
            tasks.create_task(_caller(url, requests, indices, begin, begin + seconds, answers))
    return answers


async def _caller(
    url: str, requests: Sequence[bytes], indices: Any, begin: float, end: float, answers: Answers
) -> None:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        while (sent := time.perf_counter()) < end:
            index = next(indices) % len(requests)
            headers, body = await _exchange(reader, writer, requests[index])
            done = time.perf_counter()
            answers.num_sent += 1
            if begin <= done <= end:
                _note(answers, int(headers[9:12]), (done - sent) * 1000, index, body)
            if again := re.search(rb"retry-after: (\d+)", headers.lower()):
                await asyncio.sleep(min(float(again[1]), max(0.0, end - done)))
    finally:
        writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[bytes, bytes]:
    writer.write(request)
    headers = await reader.readuntil(b"\r\n\r\n")
    length = int(headers.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return headers, await reader.readexactly(length)


def open_loop(
    url: str, bodies: Sequence[bytes], per_second: float, seconds: float, wire: Wire = post, warm_up_s: float = 2.0
) -> Answers:
    """Photos come by chance, however the service does, each on a connection of its own; timed from when it was due.

    Those due in the warm-up are sent and not counted, all others are waited for.
    """
    requests = [wire(urlsplit(url).netloc, body) for body in bodies]
    return asyncio.run(_open_loop(url, requests, arrivals_s(per_second, warm_up_s + seconds), seconds, warm_up_s))


def arrivals_s(per_second: float, seconds: float, seed: int = 1) -> NDArray[np.float64]:
    """When photos are due: a Poisson process of exactly this mean rate."""
    return np.sort(np.random.default_rng(seed).uniform(0, seconds, round(per_second * seconds)))


async def _open_loop(
    url: str, requests: Sequence[bytes], due_s: NDArray[np.float64], seconds: float, warm_up_s: float
) -> Answers:
    answers = Answers(seconds)
    begin, place = time.perf_counter(), urlsplit(url)

    async def send(index: int, due: float) -> None:
        status, body = 0, b""  # 0: no answer
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_connection(place.hostname, place.port)
                try:
                    headers, body = await _exchange(reader, writer, requests[index])
                    status = int(headers[9:12])
                finally:
                    writer.close()
        answers.num_sent += 1
        if due >= warm_up_s:
            _note(answers, status, (time.perf_counter() - begin - due) * 1000, index, body)

    async with asyncio.TaskGroup() as tasks:
        for number, due in enumerate(due_s.tolist()):
            await asyncio.sleep(begin + due - time.perf_counter())
            tasks.create_task(send(number % len(requests), due))
    return answers


def _note(answers: Answers, status: int, latency_ms: float, index: int, body: bytes) -> None:
    answers.statuses[status] += 1
    if status != 200:
        return
    answers.latencies_ms.append(latency_ms)
    answers.body_index.append(index)
    if len(answers.latencies_ms) % 8 == 1:  # reading every answer would cost the service its cores
        answer = json.loads(body)
        answers.timings.append(answer.get("timing_ms", {}))
        answers.num_garments.append(len(answer.get("garments", ())))
