"""A stand-in for a dead proxy: it holds the connections that come until Serve has started the next one.

Serve needs some seconds for that, and on one machine there is no other proxy to go to: without a stand-in every new
connection is refused meanwhile. Linux only, which lets two sockets listen on one port and says who does.
"""

import asyncio
import sys
import threading
from contextlib import suppress
from pathlib import Path

_POLL_S = 0.05
_MAX_HELD = 1000  # connections; those beyond are closed at once
_LIMIT_S = 30.0  # after which it looks anew
_CHUNK_BYTES = 2**16
_LISTENING = "0A"


class StandIn:
    """Watches the proxy from a thread of its own.

    Args:
        host: that the proxy listens on.
        port: likewise.

    `num_held` connections wait at the moment.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.num_held = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)
        self._stopped = asyncio.Event()

    def start(self) -> None:
        """Begin; the proxy listens already."""
        if sys.platform == "linux":
            self._thread.start()

    def stop(self) -> None:
        """End, before the proxy does."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        watch = asyncio.create_task(self._watch())
        await self._stopped.wait()
        left = {watch} | asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        await asyncio.sleep(0)  # their connections close

    async def _watch(self) -> None:
        """Hold a connection that asks nothing: it breaks in the moment in which the proxy dies."""
        while True:
            try:
                reader, writer = await self._connect()
            except OSError:
                await self._stand_in()
                continue
            try:
                await asyncio.sleep(_POLL_S)  # whoever closes it at once shall not keep us busy
                with suppress(OSError):
                    await reader.read(1)
            finally:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return await asyncio.open_connection(host, self._port)

    async def _stand_in(self) -> None:
        is_back = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with suppress(OSError):
                    await self._hold(reader, writer, is_back)
            finally:
                writer.close()

        try:
            server = await asyncio.start_server(hold, self._host, self._port, reuse_port=True)
        except OSError:  # the proxy was faster, or somebody else is there
            await asyncio.sleep(_POLL_S)
            return
        own = _num_listening(self._port)  # the next proxy's comes on top of it
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LIMIT_S):
                    while _num_listening(self._port) <= own:
                        await asyncio.sleep(_POLL_S)
                for _ in range(2):  # take what the kernel still has for us: closing would break it
                    await asyncio.sleep(0)
        finally:
            server.close()
            is_back.set()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_back: asyncio.Event) -> None:
        if self.num_held >= _MAX_HELD:
            return
        self.num_held += 1
        try:
            await is_back.wait()
        finally:
            self.num_held -= 1
        to_reader, to_writer = await self._connect()
        await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what comes; either side's end is the other's."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _num_listening(port: int) -> int:
    """Sockets that listen on a port of this machine."""
    found = 0
    for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(FileNotFoundError):
            for line in path.read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                found += state == _LISTENING and int(local.rpartition(":")[2], 16) == port
    return found
