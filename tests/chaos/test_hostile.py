"""Ten thousand hostile requests and more over real HTTP, honest ones among them; run by `make chaos`."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from serve_app.loadtest import Note, Record, open_loop, parse_profile, poisson
from tests.chaos.corpus import Hostile, corpus
from tests.chaos.faults import processes
from tests.chaos.footprint import footprints
from tests.chaos.service import PHOTOS, Service
from tests.chaos.trial import REFUSALS

pytestmark = pytest.mark.chaos

COUNT = int(os.environ.get("CHAOS_BODIES", "10000"))
_CALLERS = 8
_PER_S = 32.0
_TRIES = 30
_LIMIT_S = 60.0
Raw = tuple[list[bytes], float]
_HEAD = b"POST /v1/tag HTTP/1.1\r\nhost: tagger\r\n"
# (parts sent one after the other, seconds between them); what becomes of each is the server's own to say, but no 5xx.
_RAW: tuple[Raw, ...] = (
    ([_HEAD + b"content-length: 100\r\n\r\nxx"], 0),  # fewer bytes than said, then silence
    ([_HEAD + b"content-length: 2\r\n\r\n" + b"x" * 5000], 0),  # more
    ([_HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nxxxxxx"], 0),
    ([_HEAD + b"content-length: -1\r\n\r\n"], 0),
    ([_HEAD + b"content-length: 99999999999999999999\r\n\r\n"], 0),
    ([_HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n"], 0),
    ([_HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx"], 0),
    ([_HEAD + b"transfer-encoding: chunked\r\n\r\n5;" + b"x" * 9000 + b"\r\nhello\r\n0\r\n\r\n"], 0),
    ([_HEAD, *[b"x-%d: y\r\n" % number for number in range(20_000)], b"\r\n"], 0),
    ([_HEAD + b"x-long: " + b"y" * 200_000 + b"\r\n\r\n"], 0),
    ([_HEAD + b"content-length: 300\r\n\r\n", *[b"x"] * 30], 0.2),  # a byte at a time, then silence
    ([b"POST /v1/tag HTTP/1.1\r\n", *[b"x: y\r\n"] * 10], 0.5),  # headers without an end
    ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500], 0),  # TLS where none is spoken
    ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 0),
    ([b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
      b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"], 0),
    ([b"\0" * 10_000], 0),
)  # fmt: skip


async def test_hostile_requests_are_refused_and_cost_honest_ones_nothing(service: Service) -> None:
    warming = Stream(service.url, corpus(max(200, COUNT // 5), seed=1), _RAW)
    await warming.run()
    replicas = processes("ray::ServeReplica")
    before = footprints()
    alone = await _honest(service.url)
    stream = Stream(service.url, corpus(COUNT), _RAW)
    among = await _beside(service.url, stream)
    company = await _beside(service.url, Stream(service.url, _harmless(COUNT // 8)))
    alone += await _honest(service.url)
    after = footprints()
    growth = {name: after[name].memory_mb / held.memory_mb for name, held in before.items() if name in after}
    Path("out").mkdir(exist_ok=True)
    Path("out/hostile.md").write_text(
        f"{stream.statuses.total()} hostile requests, {_PER_S} a second: {dict(sorted(stream.statuses.items()))} "
        f"(0: the connection ended), after {stream.num_refused} refusals\n"
        f"{_summary('alone', alone)}{_summary('among them', among)}"
        f"{_summary('among as many harmless ones', company)}memory after / before, and MB before:\n"
        + "".join(f"{growth[name]:.3f} {before[name].memory_mb:.0f} {name}\n" for name in sorted(growth))
    )
    assert not stream.failures
    assert {record.code for record in among} <= {"ok", *REFUSALS}
    assert set(replicas) <= set(processes("ray::ServeReplica")), "a replica was replaced"
    assert not {name: share for name, share in growth.items() if share > 1.1}
    assert httpx.get(f"{service.url}/readyz", timeout=60).status_code == 200


def _summary(title: str, records: list[Record]) -> str:
    codes = dict(Counter(record.code for record in records))
    p50, p95, p99 = np.percentile([record.latency_s for record in records if record.is_answered], (50, 95, 99))
    return f"{len(records)} honest requests {title}: {codes}, p50 {p50:.3f} s, p95 {p95:.3f} s, p99 {p99:.3f} s\n"


async def _honest(url: str, seconds: float = 30.0, note: Note | None = None) -> list[Record]:
    return await open_loop(url, list(poisson(parse_profile(f"6x{seconds:g}"))), PHOTOS, note=note)


async def _beside(url: str, stream: "Stream") -> list[Record]:
    """What becomes of honest requests while a stream lasts."""
    records: list[Record] = []
    load = asyncio.create_task(_honest(url, 3600.0, records.append))
    await stream.run()
    load.cancel()
    await asyncio.wait([load])
    return records


def _harmless(count: int) -> Iterator[Hostile]:
    return (Hostile("harmless", photo.body, b"image/jpeg") for photo in islice(cycle(PHOTOS), count))


class Stream:
    """Requests by a few callers at a steady rate, and what they were answered; raw ones at any time between."""

    def __init__(self, url: str, requests: Iterator[Hostile], raw: Sequence[Raw] = ()) -> None:
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.num_refused = 0
        self._url = url
        self._requests = requests
        self._raw = raw
        self._num_sent = 0

    async def run(self) -> None:
        """Send them all and wait for the last answer."""
        begin_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_CALLERS):
                tasks.create_task(self._work(begin_s))
            for parts, pause_s in self._raw:
                tasks.create_task(self._send_raw(parts, pause_s))

    async def _work(self, begin_s: float) -> None:
        for request in self._requests:
            due_s = begin_s + self._num_sent / _PER_S
            self._num_sent += 1
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            status, answer = await send(self._url, request)
            for _ in range(_TRIES):  # "not now" is an answer; the request has to be answered once there is room
                if status != 503:
                    break
                self.num_refused += 1
                await asyncio.sleep(1.0)
                status, answer = await send(self._url, request)
            self._note(request, status, answer)

    async def _send_raw(self, parts: list[bytes], pause_s: float) -> None:
        self._note(parts[0][:200], *await _exchange(self._url, parts, pause_s))

    def _note(self, request: object, status: int, answer: bytes) -> None:
        self.statuses[status] += 1
        if status >= 500:
            self.failures.append(f"{request!r:.200} -> {answer!r:.600}")


async def send(url: str, hostile: Hostile) -> tuple[int, bytes]:
    headers = [(b"host", b"tagger"), (b"connection", b"close"), *hostile.headers]
    if hostile.content_type is not None:
        headers.append((b"content-type", hostile.content_type))
    headers.append((b"content-length", b"%d" % len(hostile.body)))
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    request = hostile.method.encode() + b" " + hostile.path + b" HTTP/1.1\r\n" + head + b"\r\n" + hostile.body
    status, answer = await _exchange(url, [request], 0)
    assert b"Traceback" not in answer and b"/site-packages/" not in answer, hostile
    return status, answer


async def _exchange(url: str, parts: list[bytes], pause_s: float) -> tuple[int, bytes]:
    """Send the parts over a connection of its own and read to its end; status 0 where no answer came."""
    address = urlsplit(url)
    answer = b""
    try:
        async with asyncio.timeout(_LIMIT_S):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            with closing(writer):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
                answer = await reader.read()
    except (OSError, TimeoutError):
        pass
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0, answer
