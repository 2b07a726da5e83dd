"""One real Ray instance and one running service for all cluster tests; everything on loopback and free ports."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from models.bundle import load_bundle
from models.ontology import Ontology
from serve_app.config import TaggerArgs
from serve_app.deployments import deployment_options
from serve_app.start import RunningService, StartOptions, start_service
from tests.collector import Collector
from tests.e2e.painted import PaintedLoader, extended_ontology, load_painted_detector
from tests.fakes import facts


@dataclass(frozen=True)
class Cluster:
    """The running service and a client of it."""

    service: RunningService
    client: httpx.Client
    ontology: Ontology
    collector: Collector
    shop: Path
    """Where jobs may read photos."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    bundle = replace(facts(ontology), digest=load_bundle(args.bundle_uri, check_digests=False).digest)
    options = StartOptions(
        port=free_port(), temp_dir=temp_dir, options_of=lambda name: deployment_options(name, "kind-cpu")
    )

    def build(options_of):  # type: ignore[no-untyped-def]
        from serve_app.app import bind_app

        return bind_app(args, bundle, load_painted_detector, PaintedLoader(ontology), options_of)

    try:
        with (
            collector,
            start_service(args, options, report=lambda text: None, build=build) as service,
            httpx.Client(base_url=service.url, timeout=120) as client,
        ):
            yield Cluster(service, client, ontology, collector, shop)
    finally:
        shutil.rmtree(temp_dir, ignore_errors=True)
