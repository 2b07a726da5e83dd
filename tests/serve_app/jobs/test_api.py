"""The HTTP interface of jobs over ASGI, around the real book and an engine that tags nothing."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from models.errors import TaggingError
from models.ontology import load_ontology
from serve_app.api import make_asgi
from serve_app.catalog.plan import Plan, is_stopped, part_name, photos_of
from serve_app.catalog.rows import write_rows
from serve_app.catalog.storage import Folder
from serve_app.config import TaggerArgs
from serve_app.jobs.api import MAX_PHOTOS, Jobs, job_routes
from serve_app.jobs.deployment import JobsDeployment
from tests.fakes import FakeMeter

ROOT = "s3://shop/photos"
PHOTOS = [f"{ROOT}/{number}.jpg" for number in range(3)]
NO_JOB = "0" * 32


def _fail_all(folder: Folder, plan: Plan, bundle_uri: str) -> Iterator[int]:
    for part in range(plan.num_parts):
        photos = photos_of(folder, part)
        content = write_rows(plan.options.rows, 0, photos, [TaggingError("secret")] * len(photos))
        folder.write(part_name(part), lambda file, content=content: file.write(content))  # type: ignore[misc]
        yield part


def _client(jobs: Jobs | None) -> httpx.AsyncClient:
    app = make_asgi(None, FakeMeter(), job_routes(jobs, load_ontology(), 20.0))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tagger")


@pytest.fixture
def client(tmp_path: Path) -> httpx.AsyncClient:
    args = TaggerArgs(jobs_dir=str(tmp_path), jobs_roots=(ROOT,))  # type: ignore[call-arg]
    return _client(JobsDeployment(args, "fake@1.0.0 0", _fail_all))


async def _ended(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    while (job := (await client.get(path)).json())["status"] in ("queued", "running"):
        pass
    return dict(job)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"json": {"photos": PHOTOS}}, id="json"),
        pytest.param(
            {"content": "\r\n".join([*PHOTOS, "", ""]), "headers": {"content-type": "text/plain; charset=utf-8"}},
            id="text",
        ),
    ],
)
async def test_a_job_is_taken_done_and_handed_out(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    taken = await client.post("/v1/jobs", params={"rows": "photo"}, **body)
    assert taken.status_code == 202, taken.text
    assert (taken.json()["num_photos"], taken.json()["rows"]) == (3, "photo")
    path = taken.headers["location"]
    assert path == f"/v1/jobs/{taken.json()['id']}"
    job = await _ended(client, path)
    assert (job["status"], job["num_done"], job["errors"]) == ("succeeded", 3, {"internal": 3})
    page = (await client.get(f"{path}/results")).json()
    assert [row["photo"] for row in page["rows"]] == PHOTOS
    assert page["rows"][0]["error_code"] == "internal" and "secret" not in str(page)
    assert "next_page" not in page
    file = await client.get(f"{path}/results", params={"format": "parquet"})
    assert pq.read_table(io.BytesIO(file.content)).column("photo").to_pylist() == PHOTOS
    listed = (await client.get("/v1/jobs")).json()
    assert [each["id"] for each in listed["jobs"]] == [job["id"]]


async def test_a_repeated_key_is_the_same_job(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "monday"}
    first, second = [(await client.post("/v1/jobs", json={"photos": PHOTOS}, headers=headers)).json() for _ in "12"]
    assert first["id"] == second["id"]
    other = await client.post("/v1/jobs", json={"photos": PHOTOS[:1]}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "code"),
    [
        pytest.param("POST", "", {"json": {"photos": []}}, 400, "bad_request", id="no_photos"),
        pytest.param("POST", "", {"json": {"photos": PHOTOS, "url": "x"}}, 400, "bad_request", id="unknown_field"),
        pytest.param(
            "POST",
            "",
            {"content": b"a\n" * (MAX_PHOTOS + 1), "headers": {"content-type": "text/plain"}},
            400,
            "bad_request",
            id="too_many",
        ),
        pytest.param("POST", "", {"content": b"{"}, 400, "bad_request", id="no_json"),
        pytest.param("POST", "", {"json": {"photos": ["/etc/passwd"]}}, 400, "bad_request", id="not_allowed"),
        pytest.param("POST", "", {"json": {"photos": [f"{PHOTOS[0]}\n/x"]}}, 400, "bad_request", id="line_break"),
        pytest.param(
            "POST", "", {"content": b"\xff", "headers": {"content-type": "text/plain"}}, 400, "bad_request", id="bytes"
        ),
        pytest.param(
            "POST", "", {"json": {"photos": PHOTOS}, "params": {"category": "hat"}}, 400, "bad_request", id="category"
        ),
        pytest.param(
            "POST", "", {"json": {"photos": PHOTOS}, "params": {"min_score": "nan"}}, 400, "bad_request", id="nan"
        ),
        pytest.param(
            "POST",
            "",
            {"json": {"photos": PHOTOS}, "headers": {"idempotency-key": "a b"}},
            400,
            "bad_request",
            id="odd_key",
        ),
        pytest.param("GET", "", {"params": {"limit": "0"}}, 400, "bad_request", id="limit"),
        pytest.param("GET", "", {"params": {"after": NO_JOB}}, 404, "not_found", id="after_no_job"),
        pytest.param("GET", f"/{NO_JOB}", {}, 404, "not_found", id="no_job"),
        pytest.param("GET", "/..%2f..%2fetc", {}, 404, "not_found", id="up"),
        pytest.param("POST", f"/{NO_JOB}/cancel", {}, 404, "not_found", id="cancel_no_job"),
        pytest.param("GET", f"/{NO_JOB}/results", {}, 404, "not_found", id="results_of_no_job"),
        pytest.param("GET", f"/{NO_JOB}/results", {"params": {"page": "x"}}, 400, "bad_request", id="page"),
        pytest.param("GET", f"/{NO_JOB}/results", {"params": {"format": "csv"}}, 400, "bad_request", id="format"),
        pytest.param("DELETE", "", {}, 405, "method_not_allowed", id="method"),
    ],
)
async def test_wrong_requests_have_their_code(
    client: httpx.AsyncClient, method: str, path: str, arguments: dict[str, Any], status: int, code: str
) -> None:
    response = await client.request(method, f"/v1/jobs{path}", **arguments)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_results_are_handed_out_page_by_page(client: httpx.AsyncClient) -> None:
    photos = [f"{ROOT}/{number}.jpg" for number in range(20)]
    path = (await client.post("/v1/jobs", json={"photos": photos})).headers["location"]
    assert (await _ended(client, path))["num_pages"] == 3
    found, link = [], f"{path}/results"
    while link:
        page = await client.get(link)
        found += [row["photo"] for row in page.json()["rows"]]
        link = page.links.get("next", {}).get("url", "")
    assert found == photos


async def test_jobs_are_listed_page_by_page_and_cancelled(tmp_path: Path) -> None:
    def wait_for_the_end(folder: Folder, plan: Plan, bundle_uri: str) -> Iterator[int]:
        while not is_stopped(folder):
            time.sleep(0.01)
        yield from ()

    args = TaggerArgs(jobs_dir=str(tmp_path), jobs_roots=(ROOT,))  # type: ignore[call-arg]
    client = _client(JobsDeployment(args, "fake@1.0.0 0", wait_for_the_end))
    ids = [(await client.post("/v1/jobs", json={"photos": PHOTOS})).json()["id"] for _ in range(3)]
    first = (await client.get("/v1/jobs", params={"limit": 2})).json()
    rest = (await client.get("/v1/jobs", params={"limit": 2, "after": first["next"]})).json()
    assert [job["id"] for job in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert "next" not in rest
    for job_id in ids:
        cancelled = (await client.post(f"/v1/jobs/{job_id}/cancel")).json()
        assert (cancelled["status"], cancelled["num_done"]) == ("cancelled", 0)
        assert cancelled["expires_at"] > cancelled["created_at"]
        assert (await client.get(f"/v1/jobs/{job_id}/results")).json()["error"]["code"] == "not_found"


async def test_a_service_without_jobs_says_so(tmp_path: Path) -> None:
    off = _client(None)
    for method, path in (("POST", ""), ("GET", ""), ("GET", f"/{NO_JOB}"), ("POST", f"/{NO_JOB}/cancel")):
        response = await off.request(method, f"/v1/jobs{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
