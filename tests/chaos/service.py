"""The service under test: painted models that obey orders, two replicas where one is to be killed."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from serve_app.config import TaggerArgs
from serve_app.deployments import deployment_options
from serve_app.detector import DetectorModel
from serve_app.loadtest import LoadPhoto
from serve_app.serve_config import APPLICATION
from serve_app.start import OptionsOf, StartOptions, start_service
from tests.chaos.faults import FaultyLoader, Orders, load_faulty_detector
from tests.e2e.conftest import free_port
from tests.e2e.painted import NOTHING, ONE_SKIRT, THREE_DRESSES, extended_ontology
from tests.fakes import facts, photo_bytes

PHOTOS = [LoadPhoto(photo_bytes((300, 400), colour)) for colour in (THREE_DRESSES, ONE_SKIRT, NOTHING)]
DOUBLED = ("router", "detector", "classifier-dress", "classifier-skirt")


@dataclass(frozen=True)
class Service:
    """A running service, and the folder through which its models get their orders."""

    url: str
    metrics_url: str
    folder: Path

    def roll(self, load_detector: Callable[[str], DetectorModel]) -> None:
        """Deploy the application anew with another detector, without waiting for it."""
        from ray.serve.api import RunTarget, run_many

        target = RunTarget(
            target=_application(self.folder, load_detector, _options), name=APPLICATION, route_prefix="/"
        )
        run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)

    def orders(self, deployment: str) -> Orders:
        """Those of one deployment's models."""
        return Orders(self.folder, deployment)


@contextmanager
def painted_service() -> Iterator[Service]:
    """Start it on free ports of this machine; stop it at the end."""
    temp_dir = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))  # sockets need short paths
    folder = temp_dir / "orders"
    folder.mkdir()

    build = partial(_application, folder, partial(load_faulty_detector, folder))
    options = StartOptions(port=free_port(), temp_dir=temp_dir / "ray", options_of=_options)
    try:
        with start_service(TaggerArgs(), options, report=lambda text: None, build=build) as started:
            yield Service(started.url, started.metrics_url, folder)
    finally:
        rmtree(temp_dir, ignore_errors=True)


def _application(folder: Path, load_detector: Callable[[str], DetectorModel], options_of: OptionsOf) -> Any:
    from serve_app.app import bind_app

    ontology = extended_ontology()
    return bind_app(TaggerArgs(), facts(ontology), load_detector, FaultyLoader(ontology, folder), options_of)


def _options(name: str) -> dict[str, Any]:
    options = deployment_options(name, "kind-cpu")
    if name in DOUBLED:
        options["autoscaling_config"] = {**options["autoscaling_config"], "min_replicas": 2, "max_replicas": 3}
    return {**options, "ray_actor_options": {"num_cpus": 0.1}}
