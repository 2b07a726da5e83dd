"""The Serve config files of the overlays start the real application: on nodes as the manifests describe, here all on
this machine. Their GPUs exist in Ray's books only, so the models are told to compute on the CPU, and the file of API
keys, there a mounted Secret, is one of the test's; nothing else changes.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serve_app.deployments import APPLICATION
from serve_app.keys import Key, digest_of, new_key, write_keys
from tests.e2e.conftest import free_port

pytestmark = pytest.mark.slow  # on a Ray instance of its own, with a dozen replicas that load torch
OVERLAYS = Path(__file__).parents[2] / "k8s" / "overlays"
NODES = {
    "kind-cpu": [{"num_cpus": 4, "labels": {"pool": "cpu"}}],
    "gpu-prod": [
        *[{"num_cpus": 4, "labels": {"pool": "cpu"}}] * 2,
        *[{"num_cpus": 7, "num_gpus": 1, "labels": {"pool": "gpu"}}] * 2,
    ],
}
LIMIT_S = 420.0


@pytest.fixture(params=NODES)
def overlay(request: pytest.FixtureRequest) -> Iterator[str]:
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    temp_dir = tempfile.mkdtemp(prefix="tagger-", dir="/tmp")  # sockets need short paths
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 200 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**own, "num_cpus": 0, "temp_dir": temp_dir})
    try:
        for node in NODES[request.param]:
            cluster.add_node(object_store_memory=own["object_store_memory"], **node)
        ray.init(address=cluster.address, log_to_driver=False)
        yield request.param
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(temp_dir, ignore_errors=True)


def test_the_config_of_an_overlay_starts_and_serves(overlay: str, tmp_path: Path) -> None:
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    config = yaml.safe_load((OVERLAYS / overlay / "serve_config.yaml").read_text(encoding="utf-8"))
    (application,) = config["applications"]
    application["args"]["device"] = "cpu"
    key = new_key()
    if "api_keys" in application["args"]:
        keys = tmp_path / "api-keys.yaml"
        write_keys(keys, [Key(name="shop", sha256=digest_of(key))])
        application["args"]["api_keys"] = str(keys)
    port = free_port()
    # one proxy, since all nodes share the machine's ports
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
    _wait_until_running()
    status = serve.status().applications[APPLICATION]
    wanted = {entry["name"]: entry["autoscaling_config"]["min_replicas"] for entry in application["deployments"]}
    assert {
        name: deployment.replica_states.get("RUNNING", 0) for name, deployment in status.deployments.items()
    } == wanted
    headers = {"authorization": f"Bearer {key}"}
    response = httpx.post(f"http://127.0.0.1:{port}/v1/tag", content=_photo(), headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    assert {garment["status"] for garment in response.json()["garments"]} == {"ok"}


def _photo() -> bytes:
    import io

    from PIL import Image

    from models.ontology import load_ontology
    from models.rendering.render import render_photo

    buffer = io.BytesIO()
    Image.fromarray(render_photo(3, load_ontology())[0]).save(buffer, "JPEG")
    return buffer.getvalue()


def _wait_until_running() -> None:
    from ray import serve

    until = time.monotonic() + LIMIT_S
    while True:
        status = serve.status().applications.get(APPLICATION)
        if status is not None and status.status == "RUNNING":
            return
        assert status is None or status.status != "DEPLOY_FAILED", status.message
        assert time.monotonic() < until, status
        time.sleep(0.5)
