"""What the benchmarks' open loop counts: every photo from when it was due, answered, refused or dropped."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.bench.load import arrivals_s, open_loop

PER_SECOND, SECONDS = 100, 0.3
ANSWERS = (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", b"HTTP/1.1 503 -\r\ncontent-length: 0\r\n\r\n", b"")


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers nobody before everybody has asked; the third kind of body gets nothing."""
    asked, ports, started = 0, list[int](), threading.Event()
    everybody, stop = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        kind = int(await reader.readexactly(1))
        asked += 1
        if asked == PER_SECOND * SECONDS:
            everybody.set()
        await everybody.wait()
        writer.write(ANSWERS[kind])
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            loops.append(asyncio.get_running_loop())
            ports.append(server.sockets[0].getsockname()[1])
            started.set()
            await stop.wait()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    yield f"http://127.0.0.1:{ports[0]}"
    loops[0].call_soon_threadsafe(stop.set)
    thread.join()


def test_open_loop_waits_for_no_answer_and_counts_each_photo_from_when_it_was_due(url: str) -> None:
    answers = open_loop(url, [b"0", b"1", b"2"], PER_SECOND, SECONDS, warm_up_s=0.0)
    due_s = arrivals_s(PER_SECOND, SECONDS)
    assert len(due_s) == 30
    assert 0 <= due_s.min() <= due_s.max() < SECONDS
    assert answers.statuses == {200: 10, 503: 10, 0: 10}
    assert set(answers.body_index) == {0}
    assert min(answers.latencies_ms) >= 1000 * (due_s[-1] - due_s[::3].max())
    assert max(answers.latencies_ms) >= 1000 * (due_s[-1] - due_s[0])
