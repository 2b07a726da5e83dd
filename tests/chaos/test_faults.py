"""Faults under steady load on a real Ray instance; every trial writes a row of `out/chaos.md`. Run by `make chaos`."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from serve_app.loadtest import parse_profile, poisson
from tests.chaos.faults import (
    HANG,
    SICKEN,
    kill,
    load_damaged_detector,
    load_faulty_detector,
    processes,
    replica,
)
from tests.chaos.service import DOUBLED, PHOTOS, Service
from tests.chaos.trial import HEAD, Fault, Trial, run_trial

pytestmark = pytest.mark.chaos

RATE = float(os.environ.get("CHAOS_RATE", "8"))
LONG_S = float(os.environ.get("CHAOS_SECONDS", "60"))
TABLE = Path("out/chaos.md")


@pytest.fixture(scope="module", autouse=True)
def table() -> None:
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(f"{HEAD}\n", encoding="utf-8")


def _trial(service: Service, name: str, seconds: float, *faults: Fault) -> Trial:
    arrivals_s = list(poisson(parse_profile(f"{RATE:g}x{seconds:g}"), seed=len(name)))
    trial = run_trial(name, service.url, arrivals_s, PHOTOS, faults)
    with TABLE.open("a", encoding="utf-8") as table:
        print(trial.row(), file=table)
    return trial


@pytest.mark.parametrize("deployment", DOUBLED)
def test_one_replica_of_two_killed_every_five_seconds(service: Service, deployment: str) -> None:
    times = [5.0 + 5 * number for number in range(int(LONG_S / 5))]
    faults = [Fault(at_s, partial(kill, replica(deployment))) for at_s in times]
    trial = _trial(service, f"kill {deployment}, every 5 s", LONG_S + 10, *faults)
    assert trial.num_lost == trial.num_duplicated == 0, trial.by_code
    assert trial.num_failed == 0, trial.by_code


def test_the_controller_killed(service: Service) -> None:
    trial = _trial(service, "kill the controller", 30, Fault(8, partial(kill, "ray::ServeController")))
    assert trial.by_code.keys() <= {"ok"}, trial.by_code
    _wait(lambda: bool(processes("ray::ServeController")))


def test_the_proxy_killed(service: Service) -> None:
    trial = _trial(service, "kill the proxy", 40, Fault(8, partial(kill, "ray::ProxyActor")))
    # Its connections break, and new ones are refused until the next proxy listens: who asks again sees nothing of it.
    assert trial.num_failed == trial.num_lost
    assert trial.first_good_s < 30


@pytest.mark.parametrize("order", [HANG, SICKEN])
@pytest.mark.parametrize("deployment", ["detector", "classifier-dress"])
def test_a_model_that_hangs_or_fails_is_replaced(service: Service, deployment: str, order: str) -> None:
    before = set(processes(replica(deployment)))
    trial = _trial(
        service, f"{deployment}: a model {order}s", 45, Fault(5, lambda: service.orders(deployment).give_one(order))
    )
    gone = before - set(processes(replica(deployment)))
    assert gone, "the replica that cannot answer is still there"
    assert trial.num_lost == 0


def test_a_slow_detector(service: Service) -> None:
    orders = service.orders("detector")
    trial = _trial(
        service,
        "detector ten times slower for 15 s",
        40,
        Fault(5, lambda: orders.give_all(slow_s=0.5)),
        Fault(20, lambda: orders.give_all()),
    )
    assert trial.num_lost == trial.num_failed == 0, trial.by_code


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


def test_a_roll_to_a_detector_that_does_not_load_keeps_the_old_one_answering(service: Service) -> None:
    before = set(processes(replica("detector")))
    roll = Fault(5, lambda: service.roll(load_damaged_detector))
    trial = _trial(service, "roll to a detector that does not load", 60, roll)
    kept = before & set(processes(replica("detector")))
    service.roll(partial(load_faulty_detector, service.folder))
    assert kept and trial.by_code.keys() <= {"ok"}, trial.by_code


def _wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.2)
