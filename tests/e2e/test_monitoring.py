"""A real Prometheus reads the running service: every rule and every panel that one machine can fill has data."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.e2e import painted
from tests.e2e.conftest import Cluster, free_port
from tests.fakes import photo_bytes

pytestmark = pytest.mark.monitoring  # of its own: it waits up to LIMIT_S for a Prometheus on the real service
MONITORING = Path(__file__).parents[2] / "k8s" / "components" / "monitoring"
RULES = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text(encoding="utf-8"))["spec"]
LIMIT_S = 90.0
TRAFFIC = (
    (painted.THREE_DRESSES, {}),
    (painted.UNSURE_TOP, {}),
    (painted.BREAKS_CLASSIFIER, {"category": "trousers"}),
)
# Absent here: what only a cluster of nodes, a GPU, a week of data or a fault brings forth.
ABSENT = ("autoscaler_", "ray_node_g", "offset 7d", "retries", "dropped", "[45]..")


class Prometheus:
    """Asks the server at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def has_data(self, query: str) -> bool:
        """Whether a query returns at least one series; False too while the server starts."""
        try:
            response = httpx.get(f"{self._url}/api/v1/query", params={"query": query}, timeout=10)
        except httpx.TransportError:
            return False
        return bool(response.status_code == 200 and response.json()["data"]["result"])


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not here")
    directory = tmp_path_factory.mktemp("prometheus")
    for group in RULES["groups"]:
        group["interval"] = "2s"
    (directory / "rules.yaml").write_text(yaml.safe_dump(RULES), encoding="utf-8")
    target = {"targets": [urlsplit(cluster.service.metrics_url).netloc], "labels": {"namespace": "shop"}}
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(directory / "rules.yaml")],
        "scrape_configs": [{"job_name": "fashion-tagger/ray-head", "static_configs": [target]}],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/data"]
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(["prometheus", *options, f"--web.listen-address={address}"], stderr=log)
        try:
            yield Prometheus(f"http://{address}")
        finally:
            server.terminate()
            server.wait(timeout=30)


def _queries() -> Iterator[tuple[str, str]]:
    for group in RULES["groups"]:
        yield from ((rule["record"], rule["record"]) for rule in group["rules"] if "record" in rule)
    values = {
        "$__rate_interval": "1m",
        "$namespace": "shop",
        "$deployment": ".*",
        "$attribute": "colour",
        "$gpu_hour_price": "1",
    }
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                query = target["expr"]
                for name, value in values.items():
                    query = query.replace(name, value)
                yield f"{path.stem}: {panel['title']}: {target['legendFormat']}", query


def test_every_rule_and_panel_has_data(cluster: Cluster, prometheus: Prometheus) -> None:
    wanted = {title: query for title, query in _queries() if not any(part in query for part in ABSENT)}
    assert len(wanted) > 25
    until = time.monotonic() + LIMIT_S
    while wanted and time.monotonic() < until:
        for colour, query in TRAFFIC:
            photo = photo_bytes((300, 400), colour)
            cluster.client.post("/v1/tag", content=photo, params=query).raise_for_status()
        wanted = {title: query for title, query in wanted.items() if not prometheus.has_data(query)}
    assert sorted(wanted) == []
