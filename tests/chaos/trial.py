"""One trial: steady load, faults while it runs, and a line of what became of the requests."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from serve_app.loadtest import NO_ANSWER, TIMEOUT, LoadPhoto, Record, open_loop

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
        """Requests that were neither answered nor refused in words: ours to answer for."""
        return sum(
            record.status == 0 or (record.status >= 500 and record.code not in REFUSALS) for record in self.records
        )

    @property
    def first_good_s(self) -> float:
        """Longest time from a fault to the first good answer to a request that left after it."""
        good = [(record.sent_s, record.end_s) for record in self.records if record.code == "ok"]
        return max(min((end for sent, end in good if sent > at), default=float("inf")) - at for at in self.faults_s)

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
            f"{self.first_good_s:.1f} | {' / '.join(f'{time_s:.2f}' for time_s in times)} |"
        )


HEAD = (
    "| fault | sent | by outcome | lost | duplicated | to the first good answer, s | p99 before / during / after, s |\n"
    "|---|---|---|---|---|---|---|"
)


def run_trial(
    name: str, url: str, arrivals_s: Sequence[float], photos: Sequence[LoadPhoto], faults: Sequence[Fault]
) -> Trial:
    """Offer the load, and do the faults at their times."""
    records: list[Record] = []
    began = threading.Event()

    def load() -> None:
        async def run() -> None:
            began.set()
            records.extend(await open_loop(url, arrivals_s, photos, keep_bodies=True))

        asyncio.run(run())

    thread = threading.Thread(target=load)
    thread.start()
    began.wait()
    begin = time.monotonic()
    done_s = []
    for fault in faults:
        time.sleep(max(0.0, fault.at_s - (time.monotonic() - begin)))
        done_s.append(time.monotonic() - begin)
        fault.do()
    thread.join()
    return Trial(name, records, done_s)
