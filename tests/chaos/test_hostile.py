"""Ten thousand hostile requests and more over real HTTP, honest ones among them; run by `make chaos`."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from serve_app.loadtest import Record, open_loop, parse_profile, poisson
from serve_app.schemas import ErrorResponse
from tests.chaos.corpus import Hostile, corpus
from tests.chaos.faults import processes
from tests.chaos.service import PHOTOS, Service
from tests.chaos.trial import Trial

pytestmark = pytest.mark.chaos

COUNT = int(os.environ.get("CHAOS_BODIES", "10000"))
_CALLERS = 8
_LIMIT_S = 60.0
_HEAD = b"POST /v1/tag HTTP/1.1\r\nhost: tagger\r\n"
# (parts sent one after the other, seconds between them); what becomes of each is the server's own to say, but no 5xx.
_RAW: tuple[tuple[list[bytes], float], ...] = (
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


def test_hostile_requests_are_refused_and_cost_honest_ones_nothing(service: Service) -> None:
    replicas = processes("ray::ServeReplica")
    before = _memory()
    alone = asyncio.run(_honest(service.url, 20))
    statuses: Counter[int] = Counter()
    records: list[Record] = []

    async def everything() -> None:
        load = asyncio.create_task(_endless_honest(service.url, records))
        await _send_all(service.url, statuses)
        await asyncio.gather(*(_send_raw(service.url, parts, pause_s, statuses) for parts, pause_s in _RAW))
        load.cancel()
        await asyncio.wait([load])

    asyncio.run(everything())
    growth = {title: after / before[title] for title, after in _memory().items() if title in before}
    honest, calm = Trial("among", records, [0.0]), Trial("alone", alone, [0.0])
    Path("out").mkdir(exist_ok=True)
    Path("out/hostile.md").write_text(
        f"{sum(statuses.values())} hostile requests: {dict(sorted(statuses.items()))} (0: the connection ended)\n"
        f"{len(records)} honest ones among them: {dict(honest.by_code)}, p99 {honest.p99_s(0, 1e9):.2f} s; "
        f"alone {calm.p99_s(0, 1e9):.2f} s\nmemory of processes, after / before: "
        f"{ ({title: round(share, 2) for title, share in growth.items()}) }\n"
    )
    assert not [status for status in statuses if status >= 500], statuses
    assert honest.by_code.keys() <= {"ok"}, honest.by_code
    assert processes("ray::ServeReplica") == replicas, "a replica was replaced"
    assert httpx.get(f"{service.url}/readyz", timeout=60).status_code == 200


async def _honest(url: str, seconds: float) -> list[Record]:
    return await open_loop(url, list(poisson(parse_profile(f"4x{seconds:g}"))), PHOTOS, keep_bodies=True)


async def _endless_honest(url: str, records: list[Record]) -> None:
    await open_loop(url, list(poisson(parse_profile("4x3600"))), PHOTOS, keep_bodies=True, note=records.append)


async def _send_all(url: str, statuses: Counter[int]) -> None:
    hostiles: Iterator[Hostile] = corpus(COUNT, seed=COUNT)

    async def work() -> None:
        for hostile in hostiles:
            statuses[await send(url, hostile)] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CALLERS):
            tasks.create_task(work())


async def send(url: str, hostile: Hostile) -> int:
    headers = [(b"host", b"tagger"), (b"connection", b"close"), *hostile.headers]
    if hostile.content_type is not None:
        headers.append((b"content-type", hostile.content_type))
    headers.append((b"content-length", b"%d" % len(hostile.body)))
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    request = hostile.method.encode() + b" " + hostile.path + b" HTTP/1.1\r\n" + head + b"\r\n" + hostile.body
    status, answer = await _exchange(url, [request], 0)
    assert b"Traceback" not in answer and b"/site-packages/" not in answer, hostile
    if status == 503:  # the queue of honest and hostile ones together: said in our words
        ErrorResponse.model_validate_json(answer.partition(b"\r\n\r\n")[2])
        return 0
    return status


async def _send_raw(url: str, parts: list[bytes], pause_s: float, statuses: Counter[int]) -> None:
    status, _ = await _exchange(url, parts, pause_s)
    statuses[status] += 1


async def _exchange(url: str, parts: list[bytes], pause_s: float) -> tuple[int, bytes]:
    """Send the parts over a connection of its own and read to its end; status 0 where no answer came."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    answer = b""
    try:
        async with asyncio.timeout(_LIMIT_S):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            if not pause_s:
                answer = await reader.read()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0, answer


def _memory() -> dict[str, float]:
    """Resident bytes of every process of Serve, by title and id."""
    pages = {process: Path(f"/proc/{process}/statm").read_text().split()[1] for process in processes("ray::")}
    return {
        f"{Path(f'/proc/{process}/comm').read_text().strip()} {process}": float(size) for process, size in pages.items()
    }
