"""The service under test: painted models that obey orders, two replicas where one is to be killed, none added."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from serve_app.config import TaggerArgs
from serve_app.deployments import APPLICATION, deployment_options
from serve_app.detector import DetectorModel
from serve_app.loadtest import LoadPhoto
from serve_app.start import OptionsOf, StartOptions, start_service
from tests.chaos.faults import FaultyLoader, Orders, load_faulty_detector
from tests.e2e.conftest import free_port
from tests.e2e.painted import NOTHING, ONE_SKIRT, THREE_DRESSES, extended_ontology
from tests.fakes import facts, photo_bytes

PHOTOS = [LoadPhoto(photo_bytes((300, 400), colour)) for colour in (THREE_DRESSES, ONE_SKIRT, NOTHING)]
DOUBLED = ("router", "detector", "classifier-dress", "classifier-skirt")
_DISK_MB = 1024


@dataclass(frozen=True)
class Service:
    """A running service, and the folder through which its models get their orders."""

    url: str
    metrics_url: str
    folder: Path
    has_own_disk: bool
    """Whether what Ray and the service write goes to a small disk of their own."""

    @property
    def disk(self) -> Path:
        return self.folder.parent

    def roll(self, load_detector: Callable[[str], DetectorModel] | None = None, num_replicas: int = 2) -> None:
        """Deploy the application anew with another detector or another number of replicas, without waiting for it."""
        from ray.serve.api import RunTarget, run_many

        load_detector = load_detector or partial(load_faulty_detector, self.folder)
        application = _application(self.folder, load_detector, partial(_options, num_replicas=num_replicas))
        target = RunTarget(target=application, name=APPLICATION, route_prefix="/")
        run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)

    def orders(self, deployment: str) -> Orders:
        """Those of one deployment's models."""
        return Orders(self.folder, deployment)


def num_running(deployment: str) -> int:
    """Replicas that Serve has running."""
    from ray import serve

    application = serve.status().applications[APPLICATION]
    return application.deployments[deployment].replica_states.get("RUNNING", 0)  # type: ignore[call-overload]


class Places:
    """Those of a deployment's replicas, by their own count; metrics show it up to a second later, when Ray exports."""

    def __init__(self, deployment: str) -> None:
        import ray

        prefix = f"SERVE_REPLICA::{APPLICATION}#{deployment}#"
        named = ray.util.list_named_actors(all_namespaces=True)
        self._actors = [
            ray.get_actor(actor["name"], actor["namespace"]) for actor in named if actor["name"].startswith(prefix)
        ]

    def num_taken(self) -> int:
        """Requests inside."""
        import ray

        counts: list[int] = ray.get([actor.get_num_ongoing_requests.remote() for actor in self._actors])
        return sum(counts)


@contextmanager
def painted_service() -> Iterator[Service]:
    """Start it on free ports of this machine; stop it at the end."""
    os.environ.setdefault("RAY_metrics_report_interval_ms", "500")
    temp_dir = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))  # sockets need short paths
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(temp_dir)]
    has_own_disk = bool(shutil.which("mount")) and subprocess.run(mount, capture_output=True).returncode == 0
    folder = temp_dir / "orders"
    folder.mkdir()

    build = partial(_application, folder, partial(load_faulty_detector, folder))
    options = StartOptions(port=free_port(), temp_dir=temp_dir / "ray", options_of=_options)
    try:
        with start_service(_args(folder), options, report=lambda text: None, build=build) as started:
            yield Service(started.url, started.metrics_url, folder, has_own_disk)
    finally:
        if has_own_disk:
            subprocess.run(["umount", "--lazy", str(temp_dir)], check=True)
        shutil.rmtree(temp_dir, ignore_errors=True)


def _args(folder: Path) -> TaggerArgs:
    # Two replicas of two photos a batch: their time alone says how many photos a second are answered.
    return TaggerArgs(detector_max_batch=2, feedback=str(folder.parent / "feedback"))


def _application(folder: Path, load_detector: Callable[[str], DetectorModel], options_of: OptionsOf) -> Any:
    from serve_app.app import bind_app

    ontology = extended_ontology()
    # Pictures as large as those of real models, since only large ones go through the object store.
    about = replace(facts(ontology), detector_long_side_px=320, crop_size_px=160)
    return bind_app(_args(folder), about, load_detector, FaultyLoader(ontology, folder), options_of)


def _options(name: str, num_replicas: int = 2) -> dict[str, Any]:
    options = deployment_options(name, "kind-cpu")
    if name in DOUBLED:
        num = {"min_replicas": num_replicas, "max_replicas": num_replicas}
    else:
        num = {"min_replicas": 1, "max_replicas": 1}
    return {
        **options,
        "autoscaling_config": {**options["autoscaling_config"], **num},
        "ray_actor_options": {"num_cpus": 0.1},
    }
