"""One trial: steady load, faults while it runs, and a line of what became of the requests."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from serve_app.client import AsyncTaggerClient, TaggerClientError
from serve_app.loadtest import NO_ANSWER, TIMEOUT, LoadPhoto, Record, open_loop
from tests.chaos.faults import processes, replica
from tests.chaos.service import num_running

_AFTER_S = 5.0  # from the last fault to what counts as after it
REFUSALS = ("overloaded", "detector_unavailable", "rate_limited")
"""Answers that say clearly: not now."""


@dataclass(frozen=True)
class Fault:
    """Something done to the service `at_s` seconds into the load."""

    at_s: float
    do: Callable[[], object]


@dataclass(frozen=True)
class Trial:
    """What became of a load with faults in it; times are seconds since it began."""

    name: str
    records: Sequence[Record]
    faults_s: Sequence[float]
    whole_s: float | None = None
    """Longest time from a fault until Serve had a new replica running and was not short of any; None if not watched."""

    @property
    def by_code(self) -> Counter[str]:
        return Counter(record.code for record in self.records)

    @property
    def num_lost(self) -> int:
        """Requests without an answer."""
        return self.by_code[NO_ANSWER] + self.by_code[TIMEOUT]

    @property
    def num_duplicated(self) -> int:
        """Answers that went to more than one request."""
        ids = [record.body["request_id"] for record in self.records if record.is_answered]
        return len(ids) - len(set(ids))

    @property
    def num_failed(self) -> int:
        """Requests that were neither answered nor refused in words: ours to answer for.

        So is one that was taken, whose router died, and for which no other was found.
        """
        return sum(
            record.status == 0
            or (record.status >= 500 and (record.code not in REFUSALS or "died" in record.body["error"]["message"]))
            for record in self.records
        )

    @property
    def first_good_s(self) -> float:
        """Longest time from a fault to the first good answer to a request that left after it."""
        good = [(record.sent_s, record.end_s) for record in self.records if record.code == "ok"]
        return max(min((end for sent, end in good if sent > at), default=float("inf")) - at for at in self.faults_s)

    def num_open(self, at_s: float) -> int:
        """Requests that had left and were not answered at a time, give or take 50 ms of clocks."""
        return sum(record.sent_s - 0.05 <= at_s <= record.end_s + 0.05 for record in self.records)

    def p99_s(self, begin_s: float, end_s: float) -> float:
        latencies = [
            record.latency_s for record in self.records if record.is_answered and begin_s <= record.due_s < end_s
        ]
        return float(np.percentile(latencies, 99)) if latencies else float("nan")

    def row(self) -> str:
        """A row of the table; `HEAD` says what stands in it."""
        first, last = self.faults_s[0], self.faults_s[-1]
        codes = ", ".join(f"{code} {count}" for code, count in self.by_code.most_common())
        times = (self.p99_s(0, first), self.p99_s(first, last + _AFTER_S), self.p99_s(last + _AFTER_S, 1e9))
        return (
            f"| {self.name} | {len(self.records)} | {codes} | {self.num_lost} | {self.num_duplicated} | "
            f"{self.first_good_s:.1f} | {'' if self.whole_s is None else format(self.whole_s, '.1f')} | "
            f"{' / '.join(f'{time_s:.2f}' for time_s in times)} |"
        )


HEAD = (
    "| fault | sent | by outcome | lost | duplicated | first good answer, s | whole again, s | "
    "p99 before / during / after, s |\n|---|---|---|---|---|---|---|---|"
)


Load = Callable[[str, Sequence[float], Sequence[LoadPhoto]], Awaitable[list[Record]]]


async def plain(url: str, arrivals_s: Sequence[float], photos: Sequence[LoadPhoto]) -> list[Record]:
    """Requests that ask once."""
    return await open_loop(url, arrivals_s, photos, keep_bodies=True)


async def through_the_client(url: str, arrivals_s: Sequence[float], photos: Sequence[LoadPhoto]) -> list[Record]:
    """The client library, which asks again."""
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def ask(index: int, due_s: float) -> Record:
        await asyncio.sleep(due_s - (loop.time() - begin))
        body, code, status = None, "ok", 200
        try:
            body = (await client.tag(photos[index % len(photos)].body)).model_dump()
        except TaggerClientError as exc:
            code, status = exc.code, exc.status or 0
        return Record(index, due_s, due_s, loop.time() - begin, code, status, None, body)

    async with AsyncTaggerClient(url) as client:
        return list(await asyncio.gather(*(ask(index, due_s) for index, due_s in enumerate(arrivals_s))))


class _Watch(threading.Thread):
    """Notes which replicas of a deployment there are, as processes and in the eyes of Serve."""

    def __init__(self, deployment: str) -> None:
        super().__init__(daemon=True)
        self._deployment = deployment
        self._begin = time.monotonic()
        self._seen: list[tuple[float, frozenset[int], int]] = []
        self._is_over = threading.Event()
        self._look()

    def run(self) -> None:
        while not self._is_over.wait(0.2):
            self._look()

    def _look(self) -> None:
        now_s = time.monotonic() - self._begin
        self._seen.append((now_s, frozenset(processes(replica(self._deployment))), num_running(self._deployment)))

    def whole_s(self, faults_s: Sequence[float]) -> float:
        self._is_over.set()
        self.join()
        _, first, num_wanted = self._seen[0]
        longest = 0.0
        for at_s in faults_s:
            before = [ids for seen_s, ids, _ in self._seen if seen_s <= at_s][-1]
            whole = (
                seen_s
                for seen_s, ids, num in self._seen
                if seen_s > at_s and ids - before and len(ids) == len(first) and num == num_wanted
            )
            longest = max(longest, next(whole, float("inf")) - at_s)
        return longest


def run_trial(
    name: str,
    url: str,
    arrivals_s: Sequence[float],
    photos: Sequence[LoadPhoto],
    faults: Sequence[Fault],
    *,
    load: Load = plain,
    watched: str | None = None,
) -> Trial:
    """Offer the load, and do the faults at their times.

    Args:
        name: of the trial.
        url: of the service.
        arrivals_s: when requests leave.
        photos: what they ask about.
        faults: in the order of their times.
        load: how requests are sent.
        watched: deployment whose replicas are to be replaced.
    """
    records: list[Record] = []
    began = threading.Event()

    async def run() -> None:
        began.set()
        records.extend(await load(url, arrivals_s, photos))

    watch = _Watch(watched) if watched else None
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    if watch:
        watch.start()
    began.wait()
    begin = time.monotonic()
    done_s = []
    for fault in faults:
        time.sleep(max(0.0, fault.at_s - (time.monotonic() - begin)))
        done_s.append(time.monotonic() - begin)
        fault.do()
    thread.join()
    return Trial(name, records, done_s, watch.whole_s(done_s) if watch else None)
