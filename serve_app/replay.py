"""Bodies of requests that may have to be sent a second time, kept within a bound."""

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.types import Message, Receive


class ReplayRoom:
    """Room for the bodies of a process, `num_bytes` in all."""

    def __init__(self, num_bytes: int) -> None:
        self._left_bytes = num_bytes

    def reserve(self, num_bytes: int) -> bool:
        """Take room for a part of a body; False if there is none."""
        if num_bytes > self._left_bytes:
            return False
        self._left_bytes -= num_bytes
        return True

    def release(self, num_bytes: int) -> None:
        """Give room back."""
        self._left_bytes += num_bytes


class Replay:
    """Receives a body once and gives it as often as it is asked for.

    Args:
        receive: ASGI's, nothing of the body taken yet.
        room: for what is kept.

    `is_whole` until something could not be kept; `is_gone` once the caller hung up.
    """

    def __init__(self, receive: Receive, room: ReplayRoom) -> None:
        self._receive = receive
        self._room = room
        self._messages: list[Message] = []
        self._num_kept = 0
        self.is_whole = True
        self.is_gone = False

    def from_the_start(self) -> Receive:
        """A `receive` that begins with the first message."""
        position = 0

        async def receive() -> Message:
            nonlocal position
            if position < len(self._messages):
                position += 1
                return self._messages[position - 1]
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                return message
            self._keep(message)
            position += 1
            return message

        return receive

    async def has_come(self, num_bytes: int, limit_s: float) -> bool:
        """Wait for a body of a known size; False if there is no room for it, or it is not here in full by then."""
        if not self._room.reserve(num_bytes):
            return False
        self._num_kept += num_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self._has_all:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        self.is_gone = True
                        break
                    self._messages.append(message)
        return self._has_all

    @property
    def _has_all(self) -> bool:
        return bool(self._messages) and not self._messages[-1].get("more_body", False)

    @property
    def body(self) -> bytes:
        """What is kept of it."""
        return b"".join(message.get("body", b"") for message in self._messages)

    async def until_gone(self) -> None:
        """Return when the caller hangs up; the body has come in full."""
        await self._receive()
        self.is_gone = True

    def forget(self) -> None:
        """Let go of everything kept."""
        self._messages = []
        self.is_whole = False
        self._room.release(self._num_kept)
        self._num_kept = 0

    def _keep(self, message: MutableMapping[str, Any]) -> None:
        size = len(message.get("body", b""))
        if self.is_whole and self._room.reserve(size):
            self._messages.append(message)
            self._num_kept += size
        else:
            self.forget()
