"""Who gets in: the codes of missing, wrong, revoked and exhausted keys, and what they leave behind."""

import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.api import make_asgi
from serve_app.config import TaggerArgs
from serve_app.errors import KeyRefused, RateLimited
from serve_app.guard import Guard
from serve_app.keys import Key, KeyRing, digest_of, write_keys
from serve_app.start import StartError, StartOptions, check_access, is_loopback
from serve_app.web import web_routes
from tests.fakes import FakeMeter, photo_bytes, tagging_service

NOON = 1_700_000_000 // 86_400 * 86_400 + 43_200.0


class Shop:
    """The interface behind keys, with a clock that stands."""

    def __init__(self, file: Path, threads: ThreadPoolExecutor) -> None:
        self.file = file
        self.now = NOON
        self.meter = FakeMeter()
        self.write(
            Key(name="tagger", sha256=digest_of("tag-key")),
            Key(name="jobber", sha256=digest_of("job-key"), scopes=("jobs",)),
            Key(name="chief", sha256=digest_of("admin-key"), scopes=("admin",)),
            Key(name="slow", sha256=digest_of("slow-key"), per_second=1),
            Key(name="small", sha256=digest_of("small-key"), per_day=2),
        )
        self.ring = KeyRing(file, lambda: self.now)
        self.guard = Guard(self.ring, self.meter, lambda: self.now)
        app = make_asgi(tagging_service(threads, self.meter), self.meter, web_routes(), guard=self.guard)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tagger")

    def write(self, *keys: Key) -> None:
        write_keys(self.file, keys)

    async def tag(self, key: str | None = None, authorization: str | None = None) -> httpx.Response:
        given = authorization or (f"Bearer {key}" if key else None)
        headers = {"authorization": given} if given else {}
        return await self.client.post("/v1/tag", content=photo_bytes(), headers=headers)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    with ThreadPoolExecutor(1) as threads:
        yield Shop(tmp_path / "keys.yaml", threads)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        pytest.param({}, 401, "key_missing", id="missing"),
        pytest.param({"authorization": "Basic dGFnOmtleQ=="}, 401, "key_missing", id="other_scheme"),
        pytest.param({"authorization": "Bearer "}, 401, "key_missing", id="empty"),
        pytest.param({"key": "wrong"}, 403, "key_refused", id="wrong"),
        pytest.param({"key": digest_of("tag-key")}, 403, "key_refused", id="digest_for_key"),
        pytest.param({"key": "job-key"}, 403, "key_refused", id="other_scope"),
        pytest.param({"key": "tag-key"}, 200, None, id="right"),
        pytest.param({"authorization": "bearer  tag-key"}, 200, None, id="scheme_in_lower_case"),
        pytest.param({"key": "admin-key"}, 200, None, id="admin_opens_everything"),
    ],
)
async def test_answers_by_key(shop: Shop, given: dict[str, Any], status: int, code: str | None) -> None:
    response = await shop.tag(**given)
    assert response.status_code == status
    assert response.json().get("error", {}).get("code") == code
    assert ("www-authenticate" in response.headers) is (status == 401)
    assert response.headers["x-request-id"]


async def test_a_revoked_key_stops_and_a_new_one_opens_without_a_restart(shop: Shop) -> None:
    assert (await shop.tag("tag-key")).status_code == 200
    shop.write(Key(name="new", sha256=digest_of("new-key")))
    shop.now += 1
    assert (await shop.tag("tag-key")).status_code == 403
    assert (await shop.tag("new-key")).status_code == 200


async def test_the_rate_of_a_key_allows_a_burst_and_says_when_to_come_back(shop: Shop) -> None:
    assert [(await shop.tag("slow-key")).status_code for _ in range(3)] == [200, 200, 429]
    refused = await shop.tag("slow-key")
    assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == ("rate_limited", "2")
    assert (await shop.tag("tag-key")).status_code == 200, "another key pays nothing for it"
    shop.now += 1
    assert (await shop.tag("slow-key")).status_code == 200


async def test_the_quota_of_a_key_ends_with_the_day(shop: Shop) -> None:
    assert [(await shop.tag("small-key")).status_code for _ in range(3)] == [200, 200, 429]
    assert int((await shop.tag("small-key")).headers["retry-after"]) == 43_201
    shop.now += 43_200
    assert (await shop.tag("small-key")).status_code == 200


def test_photos_of_a_batch_are_charged_all_or_none(shop: Shop) -> None:
    state: dict[str, Any] = {}
    shop.guard.admit("/v1/tag", "Bearer small-key", state)
    with pytest.raises(RateLimited):
        state["caller"].charge(2)
    state["caller"].charge(1)
    state = {}
    shop.guard.admit("/v1/tag", "Bearer slow-key", state)
    shop.now += 10
    state["caller"].charge(15)  # more than the burst ever holds: let in, and owed
    with pytest.raises(RateLimited) as caught:
        state["caller"].charge(1)
    assert caught.value.retry_after_s is not None and caught.value.retry_after_s >= 14


async def test_metrics_have_the_name_of_the_key_and_never_the_key(shop: Shop) -> None:
    for key in ("tag-key", "wrong", None):
        await shop.tag(key)
    counted = {tags: count for tags, count in shop.meter.counts.items() if tags[0] == "tagger_key_requests"}
    assert counted == {
        ("tagger_key_requests", "tagger", "200"): 1,
        ("tagger_key_requests", "none", "403"): 1,
        ("tagger_key_requests", "none", "401"): 1,
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/", 200, id="page"),
        pytest.param("/assets/app.js", 200, id="asset"),
        pytest.param("/healthz", 200, id="health"),
        pytest.param("/readyz", 200, id="readiness"),
        pytest.param("/v1/ontology", 401, id="ontology"),
        pytest.param("/v1/bundle", 401, id="bundle"),
        pytest.param("//v1/bundle", 401, id="two_slashes"),
        pytest.param("/assets/", 404, id="folder"),
        pytest.param("/v2", 401, id="unknown"),
    ],
)
async def test_what_is_open_is_listed_and_the_rest_closed(shop: Shop, path: str, status: int) -> None:
    request = shop.client.build_request("GET", "http://tagger/")
    request.url = request.url.copy_with(raw_path=path.encode())
    assert (await shop.client.send(request)).status_code == status


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/feedback", "/v1/admin", "/anything"])
def test_a_tagging_key_opens_nothing_else(shop: Shop, path: str) -> None:
    with pytest.raises(KeyRefused, match="scope"):
        shop.guard.admit(path, "Bearer tag-key", {})
    shop.guard.admit(path, "Bearer admin-key", {})


async def test_any_key_may_read_what_can_be_answered(shop: Shop) -> None:
    response = await shop.client.get("/v1/ontology", headers={"authorization": "Bearer job-key"})
    assert response.status_code == 200


async def test_no_other_site_is_let_in(shop: Shop) -> None:
    asking = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for response in (
        await shop.client.options("/v1/tag", headers={**asking, "authorization": "Bearer tag-key"}),
        await shop.client.get("/healthz", headers=asking),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_without_keys_only_this_machine_is_answered(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local
    if is_local:
        check_access(TaggerArgs(), StartOptions(host=host))
    else:
        with pytest.raises(StartError, match="--no-auth"):
            check_access(TaggerArgs(), StartOptions(host=host))
        check_access(TaggerArgs(no_auth=True), StartOptions(host=host))


def test_a_start_with_half_of_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="two files"):
        check_access(TaggerArgs(), StartOptions(tls_cert=tmp_path / "cert.pem"))


async def test_a_batch_pays_for_each_of_its_photos(shop: Shop) -> None:
    images = [{"base64": base64.b64encode(photo_bytes()).decode()}] * 3
    for key, status in (("tag-key", 200), ("small-key", 429)):
        response = await shop.client.post(
            "/v1/tag/batch", json={"images": images}, headers={"authorization": f"Bearer {key}"}
        )
        assert response.status_code == status, response.text
