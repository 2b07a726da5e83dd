"""The stand-in of a dead proxy: connections that come while nobody listens are answered by whoever listens next."""

import asyncio
import socket
import sys

import pytest

from serve_app.standin import StandIn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="two sockets on one port need Linux")


class Proxy:
    """Answers every connection with its name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", port, reuse_port=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if await reader.read(100):
            writer.write(self._name.encode())
            await writer.drain()
        writer.close()

    def die(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


async def _ask(port: int) -> str:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:  # in the milliseconds before the stand-in listens
            await asyncio.sleep(0.01)
    writer.write(b"x")
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


async def test_who_comes_between_two_proxies_waits_for_the_next() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    proxy = Proxy("first")
    await proxy.listen(port)
    stand_in = StandIn("127.0.0.1", port)
    stand_in.start()
    try:
        assert await _ask(port) == "first"
        for name in ("second", "third"):
            proxy.die()
            waiting = [asyncio.create_task(_ask(port)) for _ in range(20)]
            while stand_in.num_held < len(waiting):
                await asyncio.sleep(0.01)
            proxy = Proxy(name)
            await proxy.listen(port)
            assert await asyncio.gather(*waiting) == [name] * 20
            assert await _ask(port) == name
    finally:
        await asyncio.to_thread(stand_in.stop)
        proxy.die()
