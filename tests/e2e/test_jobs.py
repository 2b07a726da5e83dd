"""A job over real HTTP, with the shipped bundle on Ray Data, and its keeper killed in the middle."""

import time
from typing import Any

import pytest

from tests.e2e.conftest import Cluster
from tests.fakes import photo_bytes

pytestmark = pytest.mark.cluster

NUM_PHOTOS = 40
BROKEN = {"000.jpg": "image_unreadable", "013.jpg": "image_truncated", "none.jpg": "photo_unavailable"}


def _kill_keeper() -> None:
    import ray

    names = [actor for actor in ray.util.list_named_actors(all_namespaces=True) if "#jobs#" in actor["name"]]
    assert names
    for actor in names:
        ray.kill(ray.get_actor(actor["name"], namespace=actor["namespace"]))


def _state(cluster: Cluster, path: str) -> dict[str, Any]:
    """The job; empty while nobody keeps it."""
    response = cluster.client.get(path)
    if response.status_code == 503:
        assert response.json()["error"]["code"] in ("jobs_unavailable", "overloaded")
        return {}
    assert response.status_code == 200, response.text
    return dict(response.json())


def _wait(cluster: Cluster, path: str, least: int) -> dict[str, Any]:
    while not (job := _state(cluster, path)) or (job["num_done"] < least and job["status"] in ("queued", "running")):
        time.sleep(0.1)  # nothing tells of a job but asking
    return job


def test_a_job_survives_its_keeper_and_loses_nothing(cluster: Cluster) -> None:
    for index in range(NUM_PHOTOS - 1):
        (cluster.shop / f"{index:03}.jpg").write_bytes(photo_bytes((96, 128), (6 * index, 90, 90), "JPEG"))
    (cluster.shop / "000.jpg").write_bytes(b"no picture at all")
    (cluster.shop / "013.jpg").write_bytes((cluster.shop / "012.jpg").read_bytes()[:400])
    names = [*(f"{index:03}.jpg" for index in range(NUM_PHOTOS - 1)), "none.jpg"]
    manifest = "\n".join(str(cluster.shop / name) for name in names)
    taken = cluster.client.post(
        "/v1/jobs", params={"rows": "photo"}, content=manifest, headers={"content-type": "text/plain"}
    )
    assert taken.status_code == 202, taken.text
    path = taken.headers["location"]
    before = _wait(cluster, path, least=8)
    assert before["status"] == "running" and before["num_done"] < NUM_PHOTOS, before
    _kill_keeper()
    job = _wait(cluster, path, least=NUM_PHOTOS)
    while job["status"] == "running":
        job = _wait(cluster, path, least=NUM_PHOTOS + 1)
    assert (job["status"], job["num_done"], job["num_failed"]) == ("succeeded", NUM_PHOTOS, len(BROKEN)), job
    rows: list[dict[str, Any]] = []
    page: int | None = 0
    while page is not None:
        body = cluster.client.get(f"{path}/results", params={"page": page}).json()
        rows += body["rows"]
        page = body.get("next_page")
    assert [row["photo"] for row in rows] == manifest.split("\n")
    failed = {row["photo"].rpartition("/")[2]: row["error_code"] for row in rows if "error_code" in row}
    assert failed == BROKEN


def test_a_job_may_not_read_what_no_root_holds(cluster: Cluster) -> None:
    for photo in ("/etc/passwd", f"{cluster.shop}/../jobs/x", "file:///etc/passwd"):
        response = cluster.client.post("/v1/jobs", json={"photos": [photo]})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_request")
