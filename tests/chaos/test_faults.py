"""Faults under 60 % load on a real Ray instance; every trial writes a row of `out/chaos.md`. Run by `make chaos`."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from serve_app.loadtest import parse_profile, poisson
from tests.chaos.faults import (
    HANG,
    SICKEN,
    STARVE,
    kill,
    load_damaged_detector,
    processes,
    replica,
)
from tests.chaos.service import DOUBLED, PHOTOS, Service, num_running
from tests.chaos.trial import HEAD, REFUSALS, Fault, Load, Trial, plain, run_trial, through_the_client

pytestmark = pytest.mark.chaos

SLOW_S = 0.2
"""With it and its own 0.05 s a batch of two, two detectors answer 16 photos a second.

On two cores, in turn with the classifiers, 13.7.
"""
RATE = 0.6 * 16
LONG_S = float(os.environ.get("CHAOS_SECONDS", "60"))
TABLE = Path("out/chaos.md")
_FULL_BYTES = 20 * 32 * 2**20  # more than the object store takes
FEEDBACK = {
    "request_id": "r-1",
    "garment": {"category": "dress", "box": [1, 2, 3, 4]},
    "attribute": "neckline",
    "values": ["v_neck"],
}


@pytest.fixture(scope="module", autouse=True)
def table() -> None:
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(f"{HEAD}\n", encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def _known_capacity(service: Service) -> Iterator[None]:
    service.orders("detector").give_all(slow_s=SLOW_S)
    yield
    service.orders("detector").give_all()


def _roll(service: Service, num_replicas: int) -> None:
    before = {name: set(processes(replica(name))) for name in DOUBLED}
    service.roll(num_replicas=num_replicas)
    for name in DOUBLED:
        _wait(lambda name=name: len(set(processes(replica(name))) - before[name]) == num_replicas)
        _wait(lambda name=name: num_running(name) == len(processes(replica(name))) == num_replicas)


def _trial(
    service: Service,
    name: str,
    profile: float | str,
    *faults: Fault,
    watched: str | None = None,
    load: Load = plain,
) -> Trial:
    profile = profile if isinstance(profile, str) else f"{RATE:g}x{profile:g}"
    arrivals_s = list(poisson(parse_profile(profile), seed=len(name)))
    trial = run_trial(name, service.url, arrivals_s, PHOTOS, faults, load=load, watched=watched)
    with TABLE.open("a", encoding="utf-8") as table:
        print(trial.row(), file=table)
    return trial


@pytest.mark.parametrize("deployment", DOUBLED)
def test_one_replica_of_two_killed_every_five_seconds(service: Service, deployment: str) -> None:
    times = [5.0 + 5 * number for number in range(int(LONG_S / 5))]
    faults = [Fault(at_s, partial(kill, replica(deployment))) for at_s in times]
    trial = _trial(service, f"kill a {deployment} of two, every 5 s", LONG_S + 10, *faults, watched=deployment)
    assert trial.num_lost == trial.num_duplicated == trial.num_failed == 0, trial.by_code


def test_the_controller_killed_in_bursty_load(service: Service) -> None:
    bursts = ",".join(
        [f"{RATE / 2:g}x4,{1.5 * RATE:g}x2"] * 5
    )  # what is refused otherwise is not the controller's doing
    trial = _trial(service, "kill the controller, bursty load", bursts, Fault(8, partial(kill, "ray::ServeController")))
    assert trial.by_code.keys() <= {"ok"}, trial.by_code
    _wait(lambda: bool(processes("ray::ServeController")))


def test_the_proxy_killed(service: Service) -> None:
    trial = _trial(service, "kill the proxy", 40, Fault(8, partial(kill, "ray::ProxyActor")))
    # Only the connections that were open break: at most as many as there were requests inside.
    assert trial.num_failed == trial.num_lost <= trial.num_open(trial.faults_s[0])
    assert trial.first_good_s < 30


def test_the_client_hides_a_killed_proxy(service: Service) -> None:
    fault = Fault(8, partial(kill, "ray::ProxyActor"))
    trial = _trial(service, "kill the proxy, asked through the client", 40, fault, load=through_the_client)
    assert trial.by_code.keys() <= {"ok"}, trial.by_code


@pytest.mark.parametrize("order", [HANG, SICKEN, STARVE])
@pytest.mark.parametrize("deployment", ["detector", "classifier-dress"])
def test_a_model_that_hangs_or_fails_is_replaced(service: Service, deployment: str, order: str) -> None:
    fault = Fault(5, lambda: service.orders(deployment).give_one(order))
    seconds = 40 if order == HANG else 25
    trial = _trial(service, f"a {deployment} of two: the model {order}s", seconds, fault, watched=deployment)
    assert trial.whole_s is not None and trial.whole_s < 30
    assert trial.num_lost == 0


def test_the_only_replica_of_each_kind_killed(service: Service) -> None:
    _roll(service, 1)
    trials = [
        _trial(
            service,
            f"kill the only {deployment}, twice",
            f"{RATE / 2:g}x40",
            *[Fault(at_s, partial(kill, replica(deployment))) for at_s in (5, 20)],
            watched=deployment,
        )
        for deployment in DOUBLED[:3]
    ]
    _roll(service, 2)
    for trial in trials:
        assert trial.num_lost == trial.num_duplicated == trial.num_failed == 0, trial.by_code


def test_a_slow_detector(service: Service) -> None:
    orders = service.orders("detector")
    trial = _trial(
        service,
        "detectors ten times slower for 15 s",
        40,
        Fault(5, lambda: orders.give_all(slow_s=10 * SLOW_S)),
        Fault(20, lambda: orders.give_all(slow_s=SLOW_S)),
    )
    assert trial.num_lost == 0, trial.by_code
    assert trial.by_code.keys() <= {"ok", "deadline_exceeded", *REFUSALS}, trial.by_code


def test_every_fifth_batch_of_a_classifier_fails(service: Service) -> None:
    orders = service.orders("classifier-dress")
    trial = _trial(
        service,
        "every 5th batch of classifier-dress fails",
        30,
        Fault(5, lambda: orders.give_all(fails_every=5)),
        Fault(25, lambda: orders.give_all()),
    )
    assert trial.num_lost == trial.num_failed == 0, trial.by_code


def test_the_object_store_full(service: Service) -> None:
    import ray

    held: list[object] = []

    def fill() -> None:
        held.extend(ray.put(np.ones(_FULL_BYTES // 20, np.uint8)) for _ in range(20))

    trial = _trial(service, "object store full for 15 s", 40, Fault(5, fill), Fault(20, held.clear))
    assert trial.num_lost == trial.num_failed == 0, trial.by_code


def test_the_disk_full(service: Service) -> None:
    if not service.has_own_disk:
        pytest.skip("needs a disk that may be filled: the right to mount one")
    filler = service.disk / "filler"
    statuses = []

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**20))
        statuses.append(httpx.post(f"{service.url}/v1/feedback", json=FEEDBACK, timeout=30).status_code)

    def free() -> None:
        filler.unlink()
        statuses.append(httpx.post(f"{service.url}/v1/feedback", json=FEEDBACK, timeout=30).status_code)

    killed = Fault(10, partial(kill, replica("detector")))
    trial = _trial(
        service, "disk full for 20 s, a detector killed meanwhile", 40, Fault(5, fill), killed, Fault(25, free)
    )
    assert trial.num_lost == trial.num_failed == 0, trial.by_code
    assert statuses == [503, 200]
    _wait(lambda: num_running("detector") == 2)


def test_a_bundle_damaged_when_a_replica_starts(service: Service) -> None:
    orders = service.orders("detector")
    trial = _trial(
        service,
        "the bundle is damaged for 20 s, a detector of two killed meanwhile",
        45,
        Fault(5, orders.damage_bundle),
        Fault(6, partial(kill, replica("detector"))),
        Fault(25, orders.mend_bundle),
    )
    assert trial.num_lost == trial.num_failed == 0, trial.by_code
    _wait(lambda: num_running("detector") == 2)


def test_a_roll_to_a_detector_that_does_not_load_keeps_the_old_one_answering(service: Service) -> None:
    before = set(processes(replica("detector")))
    roll = Fault(5, lambda: service.roll(load_damaged_detector))
    trial = _trial(service, "roll to a detector that does not load", 45, roll)
    kept = before & set(processes(replica("detector")))
    _roll(service, 2)
    assert kept and trial.by_code.keys() <= {"ok"}, trial.by_code


def _wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)
