"""Ten times the load that can be answered, and callers who harm others: a poisoned photo, one who hangs up.

Writes `out/overload.md`. Run by `make chaos`.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest

from serve_app.edge import MAX_WAIT_S
from serve_app.loadtest import LoadPhoto, Record, closed_loop, open_loop, parse_profile, poisson
from tests.chaos.faults import processes
from tests.chaos.service import PHOTOS, Places, Service
from tests.chaos.test_faults import SLOW_S
from tests.chaos.trial import REFUSALS
from tests.e2e.painted import BREAKS_CLASSIFIER, BREAKS_DETECTOR, NOTHING
from tests.e2e.scrape import Scrape, wait_for
from tests.fakes import photo_bytes

pytestmark = pytest.mark.chaos

TIMES = 10
FLOOD_S = float(os.environ.get("CHAOS_SECONDS", "60"))
_QUIET_S = 15.0
_LEAVERS = 12
TABLE = Path("out/overload.md")


@pytest.fixture
def slow_service(service: Service) -> Iterator[Service]:
    """Detectors that answer 8 photos a second, and so leave the cores to those who ask and refuse."""
    service.orders("detector").give_all(slow_s=0.45)
    yield service
    service.orders("detector").give_all()


def _p99(latencies_s: Sequence[float]) -> float:
    return float(np.percentile(latencies_s, 99, method="higher"))


def _cpu_s(process: int) -> float:
    """Seconds of CPU that a process has used."""
    numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def _latencies(records: Sequence[Record]) -> list[float]:
    return [record.end_s - record.sent_s for record in records]


def test_ten_times_the_capacity(slow_service: Service) -> None:
    url = slow_service.url
    alone_s = _p99(_latencies(asyncio.run(closed_loop(url, 1, _QUIET_S, PHOTOS))))
    full = asyncio.run(closed_loop(url, 32, 20.0, PHOTOS))
    capacity = sum(record.is_answered and record.end_s <= 20 for record in full) / 20
    flood = f"{TIMES * capacity:g}x{FLOOD_S:g},{capacity / 4:g}x{_QUIET_S:g}"
    proxy = processes("ray::ProxyActor")[0]
    cpu_s = _cpu_s(os.getpid()), _cpu_s(proxy)
    records = asyncio.run(open_loop(url, poisson(parse_profile(flood), seed=1), PHOTOS))
    cpu_s = _cpu_s(os.getpid()) - cpu_s[0], _cpu_s(proxy) - cpu_s[1]

    during = [record for record in records if record.due_s < FLOOD_S]
    answered = [record for record in during if record.is_answered]
    refused = _latencies([record for record in during if record.code in REFUSALS])
    goodput = sum(record.end_s <= FLOOD_S for record in answered) / FLOOD_S
    late = [
        record.due_s - FLOOD_S
        for record in records
        if record.due_s >= FLOOD_S and (not record.is_answered or record.latency_s > 2 * alone_s)
    ]
    lateness = [record.sent_s - record.due_s for record in records]
    rows = {
        "answered when asked as fast as it answers (32 callers), 1/s": f"{capacity:.1f}",
        "offered, 1/s": f"{len(during) / FLOOD_S:.0f}",
        "answered of it, 1/s": f"{goodput:.1f} ({100 * goodput / capacity:.0f} %)",
        "by outcome": ", ".join(f"{code} {count}" for code, count in Counter(r.code for r in during).most_common()),
        "p99 of one caller, s": f"{alone_s:.2f}",
        "p99 of the answered, s": f"{_p99(_latencies(answered)):.2f}",
        "refused within, ms (median / p99 / longest)": " / ".join(
            f"{1000 * value:.0f}" for value in (np.median(refused), _p99(refused), max(refused))
        ),
        "last request refused or slow after the end, s": f"{max(late, default=0.0):.1f}",
        "CPU of the generator, of the proxy, ms a request": " / ".join(
            f"{1000 * used_s / len(records):.1f}" for used_s in cpu_s
        ),
        "generator late, ms (p99, longest)": " / ".join(
            f"{1000 * value:.0f}" for value in (_p99(lateness), max(lateness))
        ),
    }
    TABLE.parent.mkdir(exist_ok=True)
    lines = ["| at ten times the capacity | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")

    assert {record.code for record in during} <= {"ok", *REFUSALS}, rows
    assert goodput >= 0.85 * capacity, rows
    assert _p99(_latencies(answered)) <= 2 * alone_s + MAX_WAIT_S, rows
    assert _p99(refused) < 0.1, rows
    assert max(late, default=0.0) <= 5, rows


def test_one_poisoned_photo_of_sixteen_fails_alone(service: Service) -> None:
    service.orders("classifier-trousers").give_all(slow_s=SLOW_S)
    before = Scrape(service.metrics_url)
    photos = [LoadPhoto(photo_bytes((300, 400), NOTHING), {"category": "trousers"})] * 16
    photos[7] = LoadPhoto(photo_bytes((300, 400), BREAKS_CLASSIFIER), {"category": "trousers"})
    # The first keeps the model busy while the sixteen gather behind it.
    records = asyncio.run(open_loop(service.url, [0.0, *[0.05] * 16], [photos[0], *photos]))
    service.orders("classifier-trousers").give_all()
    assert Counter(record.code for record in records) == {"ok": 16, "partial": 1}
    assert records[8].code == "partial"

    def shared(scrape: Scrape) -> float:
        """Batches of more than eight crops."""
        return _value(scrape, "16.0") - _value(scrape, "8.0")

    wait_for(service.metrics_url, lambda scrape: shared(scrape) > shared(before))


def _value(scrape: Scrape, most: str) -> float:
    return scrape.value("ray_tagger_batch_size_bucket", deployment="classifier-trousers", le=most)


def test_one_poisoned_photo_of_a_batch_request_fails_alone(service: Service) -> None:
    photos = [photo_bytes((300, 400), BREAKS_DETECTOR if index == 7 else NOTHING) for index in range(16)]
    files = [("images", (str(index), photo)) for index, photo in enumerate(photos)]
    results = httpx.post(f"{service.url}/v1/tag/batch", files=files, timeout=60).json()["results"]
    assert [result["index"] for result in results if "error" in result] == [7]


def test_who_hangs_up_frees_the_place(service: Service) -> None:
    """By the routers' own count, and by the metrics, which Ray renews once a second at most."""
    service.orders("detector").give_all(slow_s=3.0)
    before = Scrape(service.metrics_url)
    places = Places("router")

    async def leave() -> float:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            tasks = [asyncio.create_task(client.post("/v1/tag", content=PHOTOS[0].body)) for _ in range(_LEAVERS)]
            while await asyncio.to_thread(places.num_taken) < _LEAVERS:
                await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            left = time.monotonic()
            await asyncio.gather(*tasks, return_exceptions=True)
            return left

    def count(scrape: Scrape) -> float:
        return scrape.value("ray_tagger_requests_total", outcome="cancelled")

    def inside(scrape: Scrape) -> float:
        return scrape.value("ray_serve_replica_processing_queries", deployment="router")

    left = asyncio.run(leave())
    while places.num_taken() and time.monotonic() - left < 60:
        time.sleep(0.01)
    free_s = time.monotonic() - left
    wait_for(service.metrics_url, lambda scrape: count(scrape) - count(before) >= _LEAVERS)
    wait_for(service.metrics_url, lambda scrape: inside(scrape) == 0)
    shown_s = time.monotonic() - left
    service.orders("detector").give_all()
    with TABLE.open("a", encoding="utf-8") as table:
        print(f"| {_LEAVERS} callers hang up: free, shown after, s | {free_s:.2f}, {shown_s:.1f} |", file=table)
    assert free_s < 1
    assert httpx.post(f"{service.url}/v1/tag", content=PHOTOS[0].body, timeout=60).status_code == 200
