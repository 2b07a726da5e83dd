"""A soak: half an hour of changing load, hostile requests and failing batches, and what every process holds meanwhile.

Writes `out/soak.json` and `out/soak.png`, and prints the slopes. Run by `make soak`; SOAK_SECONDS shortens it.
"""

import asyncio
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import numpy as np

from serve_app.loadtest import LoadPhoto, Record, open_loop, parse_profile, poisson
from tests.chaos.corpus import corpus
from tests.chaos.footprint import footprints
from tests.chaos.service import Service, painted_service
from tests.chaos.test_hostile import send
from tests.e2e.painted import NOTHING, ONE_SKIRT, THREE_DRESSES
from tests.fakes import photo_bytes

SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
_SAMPLE_S = 7.0  # replicas give memory back every 5 s: a multiple of it would read them at one same point of that
_PER_MINUTE = 9
_WARM_UP = 1 / 3  # of the run: caches, arenas and thread pools fill
_CYCLE = "1x20,2x20,4x20"
_FAILS_EVERY = (0, 0, 50)
_PHOTOS = [
    LoadPhoto(photo_bytes(image_hw, colour))
    for image_hw in ((300, 400), (1200, 900), (2000, 1500))
    for colour in (THREE_DRESSES, ONE_SKIRT, NOTHING)
]


@dataclass
class Samples:
    """What was read, every seven seconds."""

    times_s: list[float] = field(default_factory=list)
    memory_mb: dict[str, list[float]] = field(default_factory=dict)
    files: dict[str, list[int]] = field(default_factory=dict)
    series: list[dict[str, int]] = field(default_factory=list)

    def read(self, now_s: float, metrics_url: str) -> None:
        """Add one reading; a process that was not there at the first reading is left out."""
        is_first = not self.times_s
        self.times_s.append(now_s)
        for name, held in footprints().items():
            if is_first or name in self.memory_mb:
                self.memory_mb.setdefault(name, []).append(round(held.memory_mb, 2))
                self.files.setdefault(name, []).append(held.num_files)
        try:
            lines = httpx.get(metrics_url, timeout=30).text.splitlines()
        except httpx.TransportError:  # a machine that is too busy to be read; the reading before stands for it
            self.series.append(self.series[-1] if self.series else {})
            return
        self.series.append(dict(Counter(line.partition("{")[0] for line in lines if not line.startswith("#"))))

    @property
    def num_warm(self) -> int:
        """Readings of the warm-up."""
        return int(len(self.times_s) * _WARM_UP)

    def new_series(self) -> dict[str, int]:
        """Series that came after the warm-up, by the name of their metric."""
        before = self.series[self.num_warm]
        return {
            name: count - before.get(name, 0) for name, count in self.series[-1].items() if count > before.get(name, 0)
        }

    def slopes(self) -> dict[str, float]:
        """Percent per ten minutes that the memory of each process grows after the warm-up, by a straight line.

        The line goes through the least reading of every minute, which is what a process keeps: photos that happen to be
        decoded, and memory that is free until it is given back, are 12 to 30 MB of a router that come and go.
        """
        begins = range(self.num_warm, len(self.times_s) - _PER_MINUTE + 1, _PER_MINUTE)
        times = np.array([self.times_s[begin] for begin in begins])
        found = {}
        for name, sizes in self.memory_mb.items():
            if len(sizes) == len(self.times_s):
                slope, level = np.polyfit(times, [min(sizes[begin : begin + _PER_MINUTE]) for begin in begins], 1)
                found[name] = round(float(100 * 600 * slope / (level + slope * times[0])), 2)
        return found


async def soak(service: Service) -> tuple[Samples, list[Record], Counter[int]]:
    """Load the service and read its processes until the time is over."""
    samples, records, statuses = Samples(), [], Counter[int]()
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def load() -> None:
        cycle = parse_profile(_CYCLE)
        arrivals_s = poisson(cycle * max(1, int(SECONDS / sum(phase.duration_s for phase in cycle))))
        await open_loop(service.url, arrivals_s, _PHOTOS, note=records.append)

    async def hostile() -> None:
        for request in corpus(10**9, seed=1):
            status, _ = await send(service.url, request)
            statuses[status] += 1
            await asyncio.sleep(0.5)

    async def fail() -> None:
        for number in range(10**9):
            service.orders("classifier-dress").give_all(fails_every=_FAILS_EVERY[number % len(_FAILS_EVERY)])
            await asyncio.sleep(20)

    others = [asyncio.create_task(work()) for work in (hostile, fail)]
    loading = asyncio.create_task(load())
    while not loading.done():
        await asyncio.to_thread(samples.read, loop.time() - begin, service.metrics_url)
        await asyncio.wait([loading], timeout=_SAMPLE_S)
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    return samples, records, statuses


def _draw(samples: Samples, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
    minutes = np.array(samples.times_s) / 60
    for name, sizes in sorted(samples.memory_mb.items()):
        axes[0].plot(minutes[: len(sizes)], sizes, label=name.split(" ")[0], linewidth=0.8)
        axes[1].plot(minutes[: len(sizes)], samples.files[name], linewidth=0.8)
    axes[2].plot(minutes, [sum(counts.values()) for counts in samples.series])
    for axis, label in zip(axes, ("resident memory, MB", "open files", "metric series"), strict=True):
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    figure.legend(fontsize=5, ncols=5, loc="outside lower center")
    axes[2].set_xlabel("minutes")
    figure.savefig(path, dpi=90)


def main() -> None:
    """Run it, and say what grew."""
    with painted_service() as service:
        samples, records, statuses = asyncio.run(soak(service))
    out = Path("out")
    out.mkdir(exist_ok=True)
    codes = Counter(record.code for record in records)
    found = {
        "seconds": SECONDS,
        "requests": dict(codes),
        "hostile": {str(status): count for status, count in sorted(statuses.items())},
        "slope_percent_per_10_min": samples.slopes(),
        "ended": [name for name, sizes in samples.memory_mb.items() if len(sizes) < len(samples.times_s)],
        "series": [sum(samples.series[at].values()) for at in (0, samples.num_warm, -1)],
        "series_since_warm_up": samples.new_series(),
        "files": {name: [counts[0], max(counts), counts[-1]] for name, counts in samples.files.items()},
    }
    (out / "soak.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / "soak-samples.json").write_text(json.dumps(asdict(samples)), encoding="utf-8")
    _draw(samples, out / "soak.png")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
