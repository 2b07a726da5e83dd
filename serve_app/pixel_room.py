"""Room for decoded photos: a bound on the pixels that a router holds at a time, whatever their number."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PixelRoom:
    """Hands out pixels in the order in which they are asked for.

    Args:
        num_pixels: in all; a photo takes 3 bytes per pixel once decoded, and twice that while it is.
    """

    def __init__(self, num_pixels: int) -> None:
        self._num_pixels = num_pixels
        self._num_free = num_pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, num_pixels: int) -> AsyncIterator[None]:
        """Hold room for a photo; waits for it. A photo larger than all the room takes all of it."""
        num_pixels = min(num_pixels, self._num_pixels)
        if self._waiting or num_pixels > self._num_free:
            await self._wait(num_pixels)
        else:
            self._num_free -= num_pixels
        try:
            yield
        finally:
            self._give_back(num_pixels)

    async def _wait(self, num_pixels: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((num_pixels, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # the room was given in the same moment
                self._give_back(num_pixels)
            else:
                self._give_back(0)  # those behind it may fit now
            raise

    def _give_back(self, num_pixels: int) -> None:
        self._num_free += num_pixels
        while self._waiting:
            needed, future = self._waiting[0]
            if not future.done():
                if needed > self._num_free:
                    return
                self._num_free -= needed
                future.set_result(None)
            self._waiting.popleft()
