import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from models.errors import InputError
from serve_app.load_report import corrected_s, summarize
from serve_app.loadtest import LoadPhoto, Phase, Record, closed_loop, open_loop, parse_profile, poisson
from tests.fakes import photo_bytes

PHOTO = LoadPhoto(photo_bytes())


class SlowServer:
    """Answers each request in turn after `pause_s`, holding all others: a service that stalls."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._turn = asyncio.Lock()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                async with self._turn:
                    await asyncio.sleep(self._pause_s)
                body = b'{"bundle": "demo@1", "garments": []}'
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def slow_url(pause_s: float) -> AsyncIterator[str]:
    server = await asyncio.start_server(SlowServer(pause_s).answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        pytest.param("20x60", [Phase(20, 20, 60)], id="steady"),
        pytest.param("5-50x120", [Phase(5, 50, 120)], id="ramp"),
        pytest.param("5x20, 60x0.5,0x3", [Phase(5, 5, 20), Phase(60, 60, 0.5), Phase(0, 0, 3)], id="burst_then_rest"),
    ],
)
def test_profiles_are_read(text: str, phases: list[Phase]) -> None:
    assert list(parse_profile(text)) == phases


@pytest.mark.parametrize("text", ["", "20", "x20", "20x0", "0x20", "-5x20", "20x-5", "5x20,", "1e3x2", "nanx2"])
def test_what_is_no_profile_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match=r"phase of load|offers no request"):
        parse_profile(text)


def test_arrivals_follow_the_profile_and_are_as_irregular_as_strangers() -> None:
    arrivals_s = poisson(parse_profile("10x100,10-90x100,0x50,100x10"), seed=3)
    assert (np.diff(arrivals_s) >= 0).all()
    steady, ramp, rest, burst = np.histogram(arrivals_s, bins=[0, 100, 200, 250, 260])[0]
    # five standard deviations of each count around its mean
    assert abs(steady - 1000) < 160 and abs(ramp - 5000) < 355 and rest == 0 and abs(burst - 1000) < 160
    # of a ramp from 10 to 90 three quarters of the first half's rate: 1500 of 5000 come in it
    assert abs(np.sum((arrivals_s > 100) & (arrivals_s < 150)) - 1500) < 195
    gaps = np.diff(arrivals_s[arrivals_s < 100])
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.2)  # of exponential gaps they are equal
    assert np.array_equal(arrivals_s, poisson(parse_profile("10x100,10-90x100,0x50,100x10"), seed=3))


async def test_every_arrival_has_its_record_with_the_services_own_code(url: str) -> None:
    photos = [PHOTO, LoadPhoto(b"no picture"), LoadPhoto(PHOTO.body, {"category": "kilt"})]
    noted: list[Record] = []
    records = await open_loop(url, np.zeros(6), photos, note=noted.append, keep_bodies=True)
    assert [record.code for record in records] == ["ok", "image_unreadable", "bad_request"] * 2
    assert [record.status for record in records] == [200, 422, 400] * 2
    assert [record.bundle for record in records] == ["fake@1.0.0", None, None] * 2
    assert records[0].body["garments"][0]["category"] == "dress"
    assert sorted(noted, key=lambda record: record.index) == records


async def test_no_answer_and_a_late_one_are_outcomes_too() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        (record,) = await open_loop(f"http://127.0.0.1:{nobody.getsockname()[1]}", [0.0], [PHOTO])
        assert (record.code, record.status) == ("no_answer", 0)
    async with slow_url(60) as url:
        (record,) = await open_loop(url, [0.0], [PHOTO], timeout_s=0.05)
        assert (record.code, record.status) == ("timeout", 0)


async def test_an_open_loop_does_not_wait_for_answers_and_counts_the_wait() -> None:
    async with slow_url(0.1) as url:
        records = await open_loop(url, [0.0] * 5, [PHOTO])
    waits = sorted(record.latency_s for record in records)
    assert all(wait >= 0.1 * (place + 1) - 0.01 for place, wait in enumerate(waits)), "each waits for those before it"


async def test_a_closed_loop_keeps_its_callers_busy(url: str) -> None:
    noted: list[Record] = []
    enough = asyncio.Event()

    def note(record: Record) -> None:
        noted.append(record)
        if len(noted) == 10:
            enough.set()

    running = asyncio.create_task(closed_loop(url, 3, 3600, [PHOTO], note=note))
    async with asyncio.timeout(60):
        await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {record.code for record in noted} == {"ok"}
    for record in noted:
        assert sum(other.sent_s <= record.sent_s < other.end_s for other in noted) <= 3


async def test_a_closed_loop_ends_when_its_time_is_over(url: str) -> None:
    records = await closed_loop(url, 3, 1e-3, [PHOTO])
    assert records and [record.index for record in records] == list(range(len(records)))


def test_the_wait_of_one_long_stall_counts_for_those_who_would_have_come() -> None:
    latency_s = np.array([0.1] * 9 + [1.0])
    corrected = corrected_s(latency_s, 0.1)
    assert len(corrected) == 19
    assert sorted(corrected)[-10:] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert np.array_equal(corrected_s(np.array([0.05, 0.19]), 0.1), [0.05, 0.19])


def test_figures_count_from_when_the_schedule_wanted_and_name_every_code() -> None:
    records = [Record(place, place * 0.1, place * 0.1 + 0.5, place * 0.1 + 0.6, "ok", 200) for place in range(100)]
    records.append(Record(100, 10.0, 10.0, 10.0, "overloaded", 503))
    summary = summarize(records)
    assert summary["by_code"] == {"ok": 100, "overloaded": 1}
    assert summary["latency_ms"]["corrected"]["p99"] == pytest.approx(600)
    assert summary["latency_ms"]["uncorrected"]["p99"] == pytest.approx(100)
    assert summary["sender_late_ms"] == pytest.approx(500)


def test_a_run_without_an_answer_has_figures_too() -> None:
    summary = summarize([Record(0, 0.0, 0.0, 0.1, "no_answer", 0)], num_callers=2)
    assert (summary["answered"], summary["latency_ms"]["corrected"]) == (0, {})


async def test_what_is_no_tagger_is_an_outcome_too(url: str) -> None:
    (record,) = await open_loop(f"{url}/elsewhere", [0.0], [PHOTO])
    assert (record.code, record.status) == ("not_found", 404)
