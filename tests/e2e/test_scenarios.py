"""Days in the life of the service, on a real Ray instance: a new bundle, a sleeping category, another season."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from serve_app.config import TaggerArgs
from serve_app.deployments import APPLICATION
from serve_app.loadtest import LoadPhoto, Phase, Record, open_loop, poisson
from serve_app.start import OptionsOf
from tests.e2e import painted
from tests.e2e.conftest import VERSION, Cluster, kind_options
from tests.fakes import photo_bytes

OUT = Path(__file__).parents[2] / "out" / "scenarios"
LIMIT_S = 240.0
ROLL_RPS = 20.0
# A batch of the season takes 0.6 s, a call some 0.9 s with its wait: 5.4 calls at once, above a classifier's target
# of 4 and below a router's of 10.
SEASON_RPS = 6.0
REACTION_S = 15.0
"""Promised from a shift of the mix to the start of a replica; 9 by the settings."""
SLEEPER = "classifier-top"
FIRST, SECOND = f"fake@{VERSION}", "fake@2.0.0"
BEST = {FIRST: 0.9, SECOND: 0.8}
NODE_CPUS = 4.0
SHOP = [LoadPhoto(photo_bytes((150, 200), colour)) for colour in (painted.ONE_DRESS, painted.ONE_SKIRT)]
DRESSES = [LoadPhoto(photo_bytes((300, 400), painted.BUSY_DRESS))]
TROUSERS = [LoadPhoto(photo_bytes((300, 400), painted.BUSY_TROUSERS))]


class Load:
    """Offers photos at a rate as long as its context lasts; `records` holds what was answered."""

    def __init__(self, url: str, photos: list[LoadPhoto], rate_rps: float = ROLL_RPS) -> None:
        self.records: list[Record] = []
        self._rate_rps = rate_rps
        self._url = url
        self._photos = photos
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._end: asyncio.Event = asyncio.Event()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._offer())
        self._loop.close()

    async def _offer(self) -> None:
        arrivals_s = poisson([Phase(self._rate_rps, self._rate_rps, 2 * LIMIT_S)])
        loading = asyncio.create_task(
            open_loop(self._url, arrivals_s, self._photos, note=self.records.append, keep_bodies=True)
        )
        await self._end.wait()
        loading.cancel()
        await asyncio.wait([loading])

    def answered_by(self, bundle: str, count: int) -> bool:
        """Whether so many answers in a row, up to now, are of a bundle."""
        last = self.records[-count:]
        return len(last) == count and all(record.bundle == bundle for record in last)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[None]:
    """As many CPUs in Ray's books as a worker of the laptop cluster has, so that not all replicas start at once."""
    import ray
    from ray.util import placement_group, remove_placement_group

    rest = placement_group([{"CPU": ray.cluster_resources()["CPU"] - NODE_CPUS}])
    assert rest.wait(LIMIT_S)
    yield
    remove_placement_group(rest)


def _impatient(name: str) -> dict[str, Any]:
    """As shipped, but calm is over after seconds instead of minutes."""
    options = kind_options(name)
    if "autoscaling_config" in options:
        options["autoscaling_config"] |= {"downscale_delay_s": 6, "downscale_to_zero_delay_s": 6}
    return options


def _sleepy(name: str) -> dict[str, Any]:
    """The same, and tops, which are in no load here, may sleep."""
    options = _impatient(name)
    if name == SLEEPER:
        options["autoscaling_config"]["min_replicas"] = 0
    return options


def _roll(cluster: Cluster, bundle: str, version: str, options_of: OptionsOf) -> list[Record]:
    """Deploy a bundle under load; the records from before it until only its answers come."""
    from ray import serve

    with Load(cluster.service.url, SHOP) as load:
        before, after = (FIRST, SECOND) if version != VERSION else (SECOND, FIRST)
        _wait_until(lambda: load.answered_by(before, 20))
        serve.run(cluster.build(bundle, version, options_of), name=APPLICATION, route_prefix="/")
        _wait_until(lambda: load.answered_by(after, 60))
    longest_s = max(record.latency_s for record in load.records)
    _write(f"roll-to-{version}", {"requests": len(load.records), "longest_s": longest_s})
    return list(load.records)


@pytest.fixture(scope="module")
def rolled(cluster: Cluster, node: None) -> list[Record]:
    """The second bundle answers; what became of the requests while it came."""
    return _roll(cluster, painted.SECOND_BUNDLE, "2.0.0", _sleepy)


def _assert_whole(records: list[Record]) -> None:
    """No request failed, and every answer has the scores of the bundle that it names, from detector and classifier."""
    assert [(record.due_s, record.code) for record in records if record.code != "ok"] == []
    assert {record.bundle for record in records} == {FIRST, SECOND}
    for record in records:
        best = BEST[record.bundle or ""]
        garment = record.body["garments"][0]
        assert garment["score"] == pytest.approx(best), record.bundle
        assert garment["attributes"]["pattern"][0]["score"] == pytest.approx(best), record.bundle


@pytest.mark.slow
def test_a_roll_fails_no_request_and_mixes_no_bundles(rolled: list[Record]) -> None:
    _assert_whole(rolled)


@pytest.mark.slow
def test_a_sleeping_category_wakes_for_the_photo_that_waits(cluster: Cluster, rolled: list[Record]) -> None:
    _wait_until(lambda: _replicas()[SLEEPER] == 0)
    assert _replicas()["classifier-dress"] >= 1

    async def ask() -> list[Record]:
        photos = [LoadPhoto(photo_bytes((300, 400), painted.UNSURE_TOP))]
        return await open_loop(cluster.service.url, [0.0] * 4, photos, timeout_s=LIMIT_S)

    records = asyncio.run(ask())
    _write("wake", {"longest_s": max(record.latency_s for record in records)})
    assert {record.code for record in records} == {"ok"}
    assert _replicas()[SLEEPER] >= 1


@pytest.mark.slow
def test_another_season_moves_replicas_from_dresses_to_trousers(cluster: Cluster, rolled: list[Record]) -> None:
    _wait_until(lambda: _replicas()[SLEEPER] == 0)
    with Watch() as watch:
        with Load(cluster.service.url, DRESSES, SEASON_RPS):
            _wait_until(lambda: _replicas()["classifier-dress"] >= 2)
            time.sleep(5)  # for the picture
        shift_s = watch.now_s
        with Load(cluster.service.url, TROUSERS, SEASON_RPS) as season:
            _wait_until(lambda: _replicas()["classifier-trousers"] >= 2 and _replicas()["classifier-dress"] == 1)
            time.sleep(5)
    facts = watch.draw(shift_s)
    assert {record.code for record in season.records} == {"ok"}
    assert facts["second_trousers_replica_begins_s"] <= REACTION_S
    still = {name for name, counts in watch.running.items() if len(set(counts)) == 1}
    assert still == set(watch.running) - {"classifier-dress", "classifier-trousers"}


@pytest.mark.slow
def test_a_rollback_fails_no_request_either(cluster: Cluster, rolled: list[Record]) -> None:
    _assert_whole(_roll(cluster, TaggerArgs().bundle, VERSION, _impatient))


class Watch:
    """Counts replicas twice a second while its context lasts."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.running: dict[str, list[int]] = {}
        self.starting: dict[str, list[int]] = {}
        self._begin = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._begin

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            self.times_s.append(self.now_s)
            for counts_by_name, state in ((self.running, "RUNNING"), (self.starting, "STARTING")):
                for name, count in _replicas(state).items():
                    counts_by_name.setdefault(name, []).append(count)

    def draw(self, shift_s: float) -> dict[str, float]:
        """Write the plot and the times; seconds from the shift to what the names say."""
        from matplotlib.figure import Figure

        def first(counts: list[int], wanted: int, after_s: float) -> float:
            return next(at for at, count in zip(self.times_s, counts, strict=True) if at > after_s and count == wanted)

        begins_s = first(self.starting["classifier-trousers"], 1, shift_s)
        facts = {
            "second_trousers_replica_begins_s": begins_s - shift_s,
            "second_trousers_replica_serves_s": first(self.running["classifier-trousers"], 2, begins_s) - shift_s,
            "second_dress_replica_gone_s": first(self.running["classifier-dress"], 1, shift_s) - shift_s,
        }
        _write("mix-shift", facts)
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        axes = figure.subplots()
        for name, counts in sorted(self.running.items()):
            if len(set(counts)) > 1:
                apart = 0.03 if "trousers" in name else -0.03
                axes.step(self.times_s, [count + apart for count in counts], where="post", label=name, linewidth=2)
            else:
                axes.step(self.times_s, counts, where="post", color="#aaaaaa", linewidth=1)
        axes.axvline(shift_s, color="#888888", linestyle="--")
        axes.annotate("from dresses to trousers", (shift_s, 2.3), xytext=(4, 0), textcoords="offset points", fontsize=8)
        axes.plot([], [], color="#aaaaaa", linewidth=1, label="all others")
        axes.set(xlabel="seconds", ylabel="running replicas", ylim=(-0.1, 2.6), yticks=(0, 1, 2))
        axes.legend(loc="upper left", fontsize=8)
        figure.savefig(OUT / "mix-shift.png", dpi=100)
        return facts

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


def _replicas(state: str = "RUNNING") -> dict[str, int]:
    from ray import serve

    deployments = serve.status().applications[APPLICATION].deployments
    return {name: deployment.replica_states.get(state, 0) for name, deployment in deployments.items()}


def _write(name: str, facts: dict[str, float]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < until, "it did not come to pass in time"
        time.sleep(0.25)
