"""The parts of starting that need no Ray."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from serve_app import start
from serve_app.cores import num_cores
from serve_app.deployments import ProfileName, deployment_names, deployment_options
from serve_app.start import prepare_environment, wait_for_signal

NAMES = deployment_names(("top", "dress", "skirt"))


@pytest.mark.parametrize("profile", ["local", "kind-cpu"])
def test_every_deployment_finds_a_place_at_its_most(profile: ProfileName) -> None:
    noting = start._NotingOptions(lambda name: deployment_options(name, profile))
    needed = 0.0
    for name in NAMES:
        options = noting(name)
        replicas = options.get("autoscaling_config", {"max_replicas": options.get("num_replicas")})["max_replicas"]
        needed += replicas * options["ray_actor_options"]["num_cpus"]
    assert noting.num_cpus > needed
    assert noting.num_cpus >= num_cores()


def test_flags_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/secret/token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    prepare_environment()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_token_is_made_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    prepare_environment()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_ends_on_a_signal_and_gives_the_handlers_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    installed = threading.Event()

    def send() -> None:
        while signal.getsignal(number) is before:
            pass
        installed.set()
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    wait_for_signal()
    sender.join()
    assert installed.is_set()
    assert signal.getsignal(number) is before


def test_progress_names_what_is_missing() -> None:
    status = SimpleNamespace(
        deployments={
            "router": SimpleNamespace(status="HEALTHY", message=""),
            "detector": SimpleNamespace(status="UPDATING", message="Traceback\n  line\nBundleError: it is damaged"),
        }
    )
    assert start._missing(status) == "loading models: 1 of 2 ready, waiting for detector"
    assert start._reasons(status) == "detector: BundleError: it is damaged"
    assert start._missing(None) == "waiting for the deployments"
