"""What reaches the running service and what does not: headers, sockets, refusals of a full queue."""

import asyncio
import os
from pathlib import Path

import grpc
import httpx
import pytest

from serve_app.schemas import ErrorResponse
from tests.e2e import painted
from tests.e2e.conftest import Cluster
from tests.e2e.scrape import Scrape, wait_for
from tests.fakes import photo_bytes

pytestmark = pytest.mark.cluster

PHOTO = photo_bytes((300, 400), painted.THREE_DRESSES)
_LISTENING = "0A"
_LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


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


def test_a_full_queue_refuses_in_our_words_and_who_hangs_up_is_counted(cluster: Cluster) -> None:
    slow = photo_bytes((300, 400), painted.SLOW_SKIRT)

    async def crowd() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=400)
        async with httpx.AsyncClient(base_url=cluster.service.url, timeout=120, limits=limits) as client:
            tasks = [
                asyncio.create_task(client.post("/v1/tag", content=slow, params={"category": "skirt"}))
                for _ in range(300)
            ]
            refused: list[httpx.Response] = []
            for task in asyncio.as_completed(tasks):
                response = await task
                if response.status_code != 200:
                    refused.append(response)
                if len(refused) == 20:
                    break
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return refused

    refused = asyncio.run(crowd())
    assert {response.status_code for response in refused} == {503}
    for response in refused:
        assert ErrorResponse.model_validate_json(response.text).error.code == "overloaded"
        assert 1 <= int(response.headers["retry-after"]) <= 60
    wait_for(cluster.service.metrics_url, _has_cancelled)


def _has_cancelled(scrape: Scrape) -> bool:
    return scrape.value("ray_tagger_requests_total", outcome="cancelled") > 0


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
