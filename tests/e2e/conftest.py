"""One real Ray instance and one running service for all cluster tests; everything on loopback and free ports."""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundle import load_bundle
from models.ontology import Ontology
from serve_app.config import TaggerArgs
from serve_app.deployments import deployment_options
from serve_app.start import OptionsOf, RunningService, StartOptions, start_service
from tests.collector import Collector
from tests.e2e.painted import PaintedDetectorLoader, PaintedLoader, extended_ontology
from tests.fakes import facts

VERSION = "1.0.0"
"""Of the bundle that answers, `fake@1.0.0`."""


@dataclass(frozen=True)
class Cluster:
    """The running service and a client of it."""

    service: RunningService
    client: httpx.Client
    ontology: Ontology
    collector: Collector
    shop: Path
    """Where jobs may read photos."""
    obstacle: Path
    """While this file exists no detector starts."""
    build: Callable[[str, str, OptionsOf], Any]
    """The application for the address and the version of a bundle."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kind_options(name: str) -> dict[str, Any]:
    """Those of a laptop cluster, with gauges renewed before they vanish, which here they do after a second."""
    return {**deployment_options(name, "kind-cpu"), "health_check_period_s": 0.5}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    os.environ.setdefault("RAY_metrics_report_interval_ms", "500")
    ontology = extended_ontology()
    collector = Collector()
    temp_dir = Path(tempfile.mkdtemp(prefix="tagger-", dir="/tmp"))  # sockets need short paths
    shop = temp_dir / "shop"
    shop.mkdir()
    args = TaggerArgs(
        request_deadline_s=40.0,
        detect_deadline_s=30.0,
        classify_deadline_s=30.0,
        feedback=str(temp_dir / "feedback"),
        trace_endpoint=collector.endpoint,
        trace_share=0.0,  # only what asks for it
        jobs_dir=str(temp_dir / "jobs"),
        jobs_roots=(str(shop),),
    )
    # Jobs load the bundle that the answers name, where the deployments have painted models.
    about = replace(facts(ontology), digest=load_bundle(args.bundle_uri, check_digests=False).digest)
    obstacle = temp_dir / "obstacle"
    options = StartOptions(port=free_port(), temp_dir=temp_dir, options_of=kind_options)

    def build(bundle: str, version: str, options_of: OptionsOf) -> Any:
        from serve_app.app import bind_app

        of_bundle = args.model_copy(update={"bundle": bundle})
        return bind_app(
            of_bundle,
            replace(about, version=version),
            PaintedDetectorLoader(obstacle),
            PaintedLoader(ontology),
            options_of,
        )

    try:
        with (
            collector,
            start_service(
                args, options, report=lambda text: None, build=partial(build, args.bundle, VERSION)
            ) as service,
            httpx.Client(base_url=service.url, timeout=120) as client,
        ):
            yield Cluster(service, client, ontology, collector, shop, obstacle, build)
    finally:
        shutil.rmtree(temp_dir, ignore_errors=True)
