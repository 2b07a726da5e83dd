"""A real Prometheus reads the running service: rules and panels have data, and the loss of the detector is noticed."""

import asyncio
import io
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from rich.console import Console

from serve_app.commands.top import frame
from serve_app.loadtest import LoadPhoto, open_loop, parse_profile, poisson
from serve_app.readings import Reading, view
from tests.e2e import painted
from tests.e2e.conftest import Cluster, free_port
from tests.fakes import photo_bytes

MONITORING = Path(__file__).parents[2] / "k8s" / "components" / "monitoring"
RULES = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text(encoding="utf-8"))["spec"]
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
OUT = Path(__file__).parents[2] / "out" / "dashboards"
LIMIT_S = 120.0
PAST_S = 120.0
TRAFFIC = (
    (painted.THREE_DRESSES, {}),
    (painted.UNSURE_TOP, {}),
    (painted.HIDDEN_TOP, {}),
    (painted.BREAKS_CLASSIFIER, {"category": "trousers"}),
)
CORRECTION = {
    "request_id": "seen-yesterday",
    "garment": {"category": "dress", "box": [8, 8, 40, 60]},
    "attribute": "pattern",
    "values": ["striped"],
}
# Absent here: what only a cluster of nodes, a GPU, a week of data, keys or a fault bring forth.
ABSENT = ("autoscaler_", "ray_node_g", "offset 7d", "retries", "dropped", "key_requests", "[45]..")


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

    def history(self, query: str, past_s: float) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """The series of a query over the past seconds: labels, and (seconds, value) at each step."""
        now = time.time()
        params: dict[str, str | float] = {"query": query, "start": now - past_s, "end": now, "step": 2}
        answer = httpx.get(f"{self._url}/api/v1/query_range", params=params, timeout=30).raise_for_status().json()
        return [
            (series["metric"], [(at - now + past_s, float(value)) for at, value in series["values"]])
            for series in answer["data"]["result"]
        ]

    def is_firing(self, alert: str) -> bool:
        """Whether an alert fires now."""
        return self.has_data(f'ALERTS{{alertname="{alert}",alertstate="firing"}}')


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not here")
    directory = tmp_path_factory.mktemp("prometheus")
    for group in RULES["groups"]:
        group["interval"] = "2s"
        for rule in group["rules"]:
            if rule.get("alert") == "TaggerDetectorDown":
                rule["for"] = "10s"
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


def _concrete(query: str) -> str:
    """A panel's query with Grafana's variables filled in."""
    values = {"rate_interval": "1m", "namespace": "shop", "deployment": ".*", "attribute": "colour"}
    for name, value in values.items():
        query = query.replace(f"$__{name}" if name == "rate_interval" else f"${name}", value)
    return query.replace("$gpu_hour_price", "1")


def _queries() -> Iterator[tuple[str, str]]:
    for group in RULES["groups"]:
        yield from ((rule["record"], rule["record"]) for rule in group["rules"] if "record" in rule)
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}: {target['legendFormat']}", _concrete(target["expr"])


@pytest.mark.cluster
def test_every_rule_and_panel_has_data(cluster: Cluster, prometheus: Prometheus) -> None:
    wanted = {title: query for title, query in _queries() if not any(part in query for part in ABSENT)}
    assert len(wanted) > 25
    until = time.monotonic() + LIMIT_S
    while wanted and time.monotonic() < until:
        for colour, query in TRAFFIC:
            photo = photo_bytes((300, 400), colour)
            cluster.client.post("/v1/tag", content=photo, params=query).raise_for_status()
        cluster.client.post("/v1/feedback", json=CORRECTION).raise_for_status()
        wanted = {title: query for title, query in wanted.items() if not prometheus.has_data(query)}
    assert sorted(wanted) == []


@pytest.mark.cluster
def test_the_loss_of_every_detector_is_noticed_and_said_and_ends(cluster: Cluster, prometheus: Prometheus) -> None:
    _wait_until(lambda: prometheus.has_data('ray_serve_deployment_replica_healthy{deployment="detector"} == 1'))
    assert not prometheus.is_firing("TaggerDetectorDown")
    cluster.obstacle.touch()
    try:
        _kill_replicas("detector")
        _wait_until(lambda: prometheus.is_firing("TaggerDetectorDown"))
        response = cluster.client.get("/readyz")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "detector_unavailable")
    finally:
        cluster.obstacle.unlink()
    _wait_until(lambda: not prometheus.is_firing("TaggerDetectorDown"))
    photo = photo_bytes((300, 400), painted.THREE_DRESSES)
    assert cluster.client.post("/v1/tag", content=photo).status_code == 200


def _kill_replicas(deployment: str) -> None:
    import ray
    from ray.serve.context import _get_global_client

    details = _get_global_client().get_serve_details()["applications"]["tagger"]["deployments"][deployment]
    for replica in details["replicas"]:
        ray.kill(ray.get_actor(replica["actor_name"], namespace="serve"))


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < until, "it did not come to pass in time"
        time.sleep(0.5)


@pytest.mark.slow
def test_dashboards_are_drawn_to_be_looked_at(cluster: Cluster, prometheus: Prometheus) -> None:
    colours = (painted.THREE_DRESSES, painted.ONE_SKIRT, painted.UNSURE_TOP, painted.HIDDEN_TOP, painted.NOTHING)
    photos = [LoadPhoto(photo_bytes((300, 400), colour)) for colour in colours]
    photos.append(LoadPhoto(photo_bytes((300, 400), painted.BREAKS_CLASSIFIER), {"category": "trousers"}))
    arrivals_s = poisson(parse_profile(f"4-12x{PAST_S / 2},12-4x{PAST_S / 2}"))
    before = Reading.of([httpx.get(cluster.service.metrics_url).text])
    asyncio.run(open_loop(cluster.service.url, arrivals_s, photos))
    OUT.mkdir(parents=True, exist_ok=True)
    console = Console(width=130, record=True, file=io.StringIO())
    urls = [cluster.service.metrics_url]
    console.print(frame(view(before, Reading.of([httpx.get(urls[0]).text])), urls))
    (OUT / "top.svg").write_text(console.export_svg(title="fashion-tagger top", clear=False), encoding="utf-8")
    (OUT / "top.txt").write_text(console.export_text(), encoding="utf-8")
    for path in DASHBOARDS:
        assert _draw_page(path, prometheus) > 3, path.stem


def _draw_page(path: Path, prometheus: Prometheus) -> int:
    """Draw the panels of a dashboard as Grafana would arrange them; how many have data."""
    from matplotlib.figure import Figure

    panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
    figure = Figure(figsize=(14, 2.6 * ((len(panels) + 1) // 2)), layout="constrained")
    num_filled = 0
    for axes, panel in zip(figure.subplots((len(panels) + 1) // 2, 2).flat, panels, strict=False):
        num_series = 0
        for target in panel["targets"]:
            for labels, points in prometheus.history(_concrete(target["expr"]), PAST_S):
                legend = re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), target["legendFormat"])  # noqa: B023
                axes.plot(*zip(*points, strict=True), label=legend, linewidth=1.2)
                num_series += 1
        axes.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults']['unit']})", fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        if num_series:
            axes.legend(fontsize=6, loc="upper left", ncols=1 + num_series // 8)
            num_filled += 1
        else:
            axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes, color="#888888")
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    figure.savefig(OUT / f"{path.stem}.png", dpi=80)
    return num_filled
