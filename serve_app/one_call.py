"""A request and its answer as one message each: how the proxy asks a router about a short photo.

Serve hands a request on as a stream, whose body the router fetches by calls back to the proxy, and whose answer is a
stream again. For a photo of some kilobytes that costs more than decoding it.
"""

import asyncio
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Scope, Send

_SCOPE = (
    "type",
    "asgi",
    "http_version",
    "method",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "headers",
    "client",
    "server",
)
"""What a scope says of the request; the rest belongs to the process that received it."""


class WholeRequest(NamedTuple):
    """A request whose body is there in full."""

    request_id: str
    scope: dict[str, Any]
    body: bytes

    @classmethod
    def of(cls, request_id: str, scope: Scope, body: bytes) -> "WholeRequest":
        """From an ASGI scope."""
        return cls(request_id, {name: scope[name] for name in _SCOPE if name in scope}, body)


class WholeAnswer(NamedTuple):
    """An answer in full."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send) -> None:
        """Answer with it, as ASGI wants it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def answer_whole(app: ASGIApp, request: WholeRequest) -> WholeAnswer:
    """Let an ASGI application answer; cancelling tells it that the caller hung up."""
    start: Message = {}
    parts: list[bytes] = []
    unread = [{"type": "http.request", "body": request.body}]

    async def receive() -> Message:
        if not unread:
            await asyncio.get_running_loop().create_future()  # nothing more comes
        return unread.pop()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(request.scope, receive, send)
    return WholeAnswer(start["status"], list(start["headers"]), b"".join(parts))
