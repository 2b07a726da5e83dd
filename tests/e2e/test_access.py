"""Who and what reaches the running service and what does not: keys, headers, sockets, refusals of a full queue."""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest

from serve_app.config import TaggerArgs
from serve_app.deployments import APPLICATION, DETECTOR, ROUTER, classifier_name
from serve_app.keys import Key, digest_of, write_keys
from serve_app.schemas import ErrorResponse
from tests.chaos.faults import processes
from tests.chaos.service import Places
from tests.e2e import painted
from tests.e2e.conftest import Cluster
from tests.e2e.scrape import LIMIT_S, Scrape, wait_for
from tests.fakes import facts, photo_bytes

pytestmark = pytest.mark.cluster

PHOTO = photo_bytes((300, 400), painted.THREE_DRESSES)
_LISTENING = "0A"
_LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


@dataclass(frozen=True)
class Guarded:
    """A router behind keys; `write` replaces them. The key of a name is `<name>-secret`."""

    client: httpx.Client
    file: Path

    def write(self, **limits_by_name: dict[str, float]) -> None:
        keys = [
            Key.model_validate({"name": name, "sha256": digest_of(f"{name}-secret"), **limits})
            for name, limits in limits_by_name.items()
        ]
        write_keys(self.file, keys)

    def tag(self, name: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {name}-secret"} if name else {}
        return self.client.post("/v1/tag", content=PHOTO, headers=headers)

    def wait_for(self, name: str, status: int) -> None:
        until = time.monotonic() + LIMIT_S
        while self.tag(name).status_code != status:
            assert time.monotonic() < until, f"{name} was not answered {status} in time"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def guarded(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A second router beside the open one, on the same models."""
    from ray import serve

    from serve_app.router import RouterDeployment

    file = tmp_path_factory.mktemp("keys") / "api-keys.yaml"
    handle = partial(serve.get_deployment_handle, app_name=APPLICATION)
    with httpx.Client(base_url=f"{cluster.service.url}/guarded", timeout=120) as client:
        service = Guarded(client, file)
        service.write(shop={}, slow={"per_second": 0.001}, small={"per_day": 1}, jobber={"scopes": ["jobs"]})
        router = serve.deployment(name=ROUTER, ray_actor_options={"num_cpus": 0.01}, graceful_shutdown_wait_loop_s=0.1)
        application = router(serve.ingress()(RouterDeployment)).bind(
            TaggerArgs(api_keys=str(file), request_deadline_s=40.0, detect_deadline_s=30.0, classify_deadline_s=30.0),
            facts(cluster.ontology),
            handle(DETECTOR),
            {name: handle(classifier_name(name)) for name in cluster.ontology.category_names},
        )
        serve.run(application, name="guarded", route_prefix="/guarded")
        yield service
        serve.delete("guarded")


@pytest.mark.parametrize(
    ("name", "statuses", "code", "header"),
    [
        pytest.param("", [401], "key_missing", "www-authenticate", id="missing"),
        pytest.param("nobody", [403], "key_refused", None, id="wrong"),
        pytest.param("jobber", [403], "key_refused", None, id="other_scope"),
        pytest.param("shop", [200, 200], None, None, id="right"),
        pytest.param("slow", [200, 429], "rate_limited", "retry-after", id="over_its_rate"),
        pytest.param("small", [200, 429], "rate_limited", "retry-after", id="over_its_quota"),
    ],
)
def test_answers_by_key(guarded: Guarded, name: str, statuses: list[int], code: str | None, header: str | None) -> None:
    answers = [guarded.tag(name) for _ in statuses]
    assert [answer.status_code for answer in answers] == statuses, answers[-1].text
    if code:
        assert ErrorResponse.model_validate_json(answers[-1].text).error.code == code
    if header:
        assert answers[-1].headers[header]


def test_a_key_counts_once_it_is_in_the_file_and_no_longer_than_that(cluster: Cluster, guarded: Guarded) -> None:
    routers = processes("ray::ServeReplica:guarded")
    assert guarded.tag("season").status_code == 403
    guarded.write(shop={}, season={})
    guarded.wait_for("season", 200)
    guarded.write(season={})
    guarded.wait_for("shop", 403)
    assert guarded.tag("season").status_code == 200
    assert processes("ray::ServeReplica:guarded") == routers, "by a restart"
    wait_for(cluster.service.metrics_url, _has_counted_by_key)


def _has_counted_by_key(scrape: Scrape) -> bool:
    return all(
        scrape.value("ray_tagger_key_requests_total", key=key, status=status) > 0
        for key, status in (("season", "200"), ("none", "403"), ("none", "401"))
    )


def test_no_key_stands_in_logs_or_metrics(cluster: Cluster, guarded: Guarded) -> None:
    assert guarded.tag("nobody").status_code == 403
    secrets = [f"{name}-secret".encode() for name in ("shop", "season", "nobody")] + [
        digest_of("season-secret").encode()
    ]
    logs = [path for path in cluster.obstacle.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = [httpx.get(cluster.service.metrics_url).content, *(path.read_bytes() for path in logs)]
    assert len(texts) > 20 and b"guarded" in b"".join(texts)
    assert not [secret for secret in secrets for text in texts if secret in text]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"x-request-timeout-seconds", b"0.001")], id="shortest_time_limit"),
        pytest.param([(b"x-request-id", b"\xff\xfe")], id="request_id_that_is_no_text"),
        pytest.param([(b"x-session-id", b"\xff\xfe")], id="session_that_is_no_text"),
        pytest.param([(b"serve_multiplexed_model_id", b"other")], id="model_id"),
    ],
)
def test_headers_do_not_steer_serve(cluster: Cluster, headers: list[tuple[bytes, bytes]]) -> None:
    response = cluster.client.post("/v1/tag", content=PHOTO, headers=headers)
    assert response.status_code == 200, response.text


def test_a_full_queue_refuses_in_our_words(cluster: Cluster) -> None:
    async def crowd() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=400)
        async with httpx.AsyncClient(base_url=cluster.service.url, timeout=120, limits=limits) as client:
            return await asyncio.gather(*[_tag_slowly(client) for _ in range(200)])

    refused = [response for response in asyncio.run(crowd()) if response.status_code != 200]
    assert {response.status_code for response in refused} == {503}
    for response in refused:
        assert ErrorResponse.model_validate_json(response.text).error.code == "overloaded"
        assert 1 <= int(response.headers["retry-after"]) <= 60


def test_who_hangs_up_is_counted(cluster: Cluster) -> None:
    places, before = Places(ROUTER), _num_cancelled(Scrape(cluster.service.metrics_url))

    async def hang_up() -> None:
        async with httpx.AsyncClient(base_url=cluster.service.url, timeout=120) as client:
            task = asyncio.create_task(_tag_slowly(client))
            while not task.done() and not await asyncio.to_thread(places.num_taken):
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def is_counted(scrape: Scrape) -> bool:
        if _num_cancelled(scrape) > before:
            return True
        asyncio.run(hang_up())  # again: on a busy machine one may be answered before it has hung up
        return False

    wait_for(cluster.service.metrics_url, is_counted)


async def _tag_slowly(client: httpx.AsyncClient) -> httpx.Response:
    slow = photo_bytes((300, 400), painted.SLOW_SKIRT)
    return await client.post("/v1/tag", content=slow, params={"category": "skirt"})


def _num_cancelled(scrape: Scrape) -> float:
    return scrape.value("ray_tagger_requests_total", outcome="cancelled")


def test_sockets_listen_on_this_machine_alone_or_ask_for_rays_token(cluster: Cluster) -> None:
    ours = {os.getpid(), *_descendants(os.getpid())}
    sockets = {link for process in ours for link in _sockets(process)}
    addresses = [
        line.split()[1].split(":")
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
        if line.split()[3] == _LISTENING and f"socket:[{line.split()[9]}]" in sockets
    ]
    assert len(addresses) > 5
    for port in [int(port, 16) for address, port in addresses if address not in _LOOPBACK]:
        # Ray binds the servers by which replicas call each other to every address, and unpickles what they are sent.
        call = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary("/ray.serve.ASGIService/HandleRequest")
        for token in ([], [("authorization", "Bearer wrong")]):
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=60, metadata=token)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED, port


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    for path in Path("/proc", str(process), "task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _sockets(process: int) -> set[str]:
    links = set()
    for path in Path("/proc", str(process), "fd").glob("*"):
        try:
            links.add(os.readlink(path))
        except OSError:  # closed meanwhile
            continue
    return {link for link in links if link.startswith("socket:")}
