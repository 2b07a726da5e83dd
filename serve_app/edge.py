"""What stands before the routers: a middleware of Serve's HTTP proxy.

It takes away the headers by which a caller could switch off Serve's time limits, refuses photos whose turn would come
too late before a router hears of them, asks routers about short photos by one call, answers in our form what Serve
would answer in its own, and asks another router when one dies before it has answered.
"""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.admission import Admission
from serve_app.api import REQUEST_ID, REQUEST_ID_HEADER, error_response
from serve_app.deployments import REQUEST_LIMIT_S
from serve_app.errors import DeadlineExceeded, ModelFailed, ModelUnavailable, NotFound, Overloaded, ReplicaDied
from serve_app.handles import RouterHandle
from serve_app.memory import give_back_memory
from serve_app.metrics import REQUESTS, Meter, NullMeter, RayMeter
from serve_app.one_call import WholeAnswer, WholeRequest
from serve_app.pace import Pace
from serve_app.replay import Replay, ReplayRoom

# Serve reads these from any caller: the first raises or removes the time limit, the second keeps a request alive that
# nobody waits for, the others choose the replica. It takes hyphens and underscores for the same.
_SERVES_OWN = re.compile(
    rb"x-request-timeout-seconds|x-request-disconnect-disabled|x-session-id|serve-multiplexed-model-id"
)
_REPEATABLE = "/v1/tag"
"""Tagging twice is tagging once, so it may be asked again; the rest may not."""
_PHOTO = "/v1/tag"
"""Whose queue is bounded: a batch has places of its own in the routers, everything else is answered at once."""
# Below half of a photo's time to its answer (TaggerArgs.request_deadline_s, 10 s): what is admitted is answered, and a
# flood is forgotten so many seconds after its end.
MAX_WAIT_S = 4.0
_NUM_FREE = 32  # what one router takes at once (deployments.py): a slow machine is not an overloaded one
_TRIES = 3
_KEPT_BYTES = 256 * 2**20
# A body that is short and at hand goes to the router at once. The rest goes by Serve's stream, where a router looks at
# key, size and time while it comes.
_SHORT_BYTES = 2**20
_SHORT_S = 0.25
_SERVES_PATHS = "/-/"

AskRouter = Callable[[WholeRequest], Awaitable[WholeAnswer]]
"""Asks any router, which may die (ReplicaDied), fail or be full; raises ModelUnavailable where none can be called."""


def edge_middleware() -> list[Middleware]:
    """Called by Serve in every proxy, where RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names it."""
    give_back_memory()
    return [Middleware(Edge, meter=RayMeter((REQUESTS,)), ask_router=RouterHandle())]


class Edge:
    """The middleware.

    Args:
        app: Serve's proxy.
        kept_bytes: bodies kept for asking again, in all; beyond it a request has one try.
        meter: counts the photos that no router answered; the others count theirs themselves.
        pace: how fast photos are answered; None for a new one.
        ask_router: asks a router by one call; None asks always by way of `app`.
    """

    def __init__(
        self,
        app: ASGIApp,
        kept_bytes: int = _KEPT_BYTES,
        meter: Meter | None = None,
        pace: Pace | None = None,
        ask_router: AskRouter | None = None,
    ) -> None:
        self._app = app
        self._ask_router = ask_router
        self._room = ReplayRoom(kept_bytes)
        self._meter = meter or NullMeter()
        self._pace = pace or Pace()
        self._admission = Admission(MAX_WAIT_S, self._pace, _NUM_FREE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI wants it."""
        if scope["type"] == "websocket":  # there are none, and Serve would hand them on
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http" or scope["path"].startswith(_SERVES_PATHS):
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope = {**scope, "headers": _cleaned(scope, request_id)}
        if not scope["path"].startswith("/"):  # `*` and the like: Serve has no route for them and would say 404 in text
            refusal = error_response(NotFound.code, "no such path", request_id, _own_headers(request_id))
            await refusal(scope, receive, send)
            return
        answer = _Answer(send)
        if scope["path"] != _PHOTO:
            await self._answer(scope, receive, answer, request_id)
            return
        try:
            self._admission.check()
        except Overloaded as exc:
            await self._say(exc, request_id, scope, receive, send)
            return
        self._pace.enter()
        try:
            await self._answer(scope, receive, answer, request_id)
        finally:
            self._pace.leave(is_finished=answer.is_good)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer", request_id: str) -> None:
        replay = Replay(receive, self._room)
        try:
            if not await self._ask_by_one_call(scope, replay, answer, request_id):
                await self._ask(scope, replay, answer)
            if not answer.has_started and not replay.is_gone:
                await self._say(self._error(answer.refused_with), request_id, scope, receive, answer.send_own)
        finally:
            replay.forget()

    async def _ask(self, scope: Scope, replay: Replay, answer: "_Answer") -> None:
        """Ask until something answered, at most three times; Serve answers nothing when a router died."""
        if not scope["path"].startswith(_REPEATABLE):
            replay.forget()  # the manifest of a job has up to 128 MiB
        for _ in range(_TRIES):
            await self._app({**scope, "state": dict(scope.get("state", {}))}, replay.from_the_start(), answer.send)
            if answer.has_answered or replay.is_gone or not replay.is_whole:
                return

    async def _ask_by_one_call(self, scope: Scope, replay: Replay, answer: "_Answer", request_id: str) -> bool:
        """Ask until a router answered, at most three times, or the caller is gone; False if nobody can be asked so."""
        if self._ask_router is None or not await _is_short_photo(scope, replay):
            return False
        request = WholeRequest.of(request_id, scope, replay.body)
        for _ in range(_TRIES):
            try:
                async with asyncio.timeout(REQUEST_LIMIT_S):
                    whole = await _unless_gone(self._ask_router(request), replay)
            except ReplicaDied:
                continue
            except TimeoutError:
                answer.refused_with = 408
            except (ModelFailed, Overloaded):
                answer.refused_with = 503
            except ModelUnavailable:
                return False
            else:
                if whole is not None:
                    own = (REQUEST_ID_HEADER.encode(), request_id.encode())
                    await whole._replace(headers=[*whole.headers, own]).send(answer.send)
            break
        return True

    def _error(self, status: int | None) -> DeadlineExceeded | Overloaded:
        """What to say for a status of Serve's own, or for no answer at all."""
        if status == 408:
            return DeadlineExceeded("no answer within the time limit")
        message = "the service has too much to do, or is starting; try again"
        if status is None:
            message = "the part of the service that worked on this request died; try again"
        return Overloaded(message, "", self._pace.retry_after_s())

    async def _say(
        self, error: DeadlineExceeded | Overloaded, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["path"] == _PHOTO:
            self._meter.count(REQUESTS, outcome=error.code)
        headers = _own_headers(request_id)
        if error.retry_after_s is not None:
            headers["retry-after"] = str(error.retry_after_s)
        await error_response(error.code, error.message, request_id, headers)(scope, receive, send)


class _Answer:
    """Hands on the answer of a router; holds back what Serve itself says, which is plain text."""

    def __init__(self, send: Send) -> None:
        self.send_own = send
        self.has_started = False
        self.refused_with: int | None = None
        self.is_good = False

    @property
    def has_answered(self) -> bool:
        return self.has_started or self.refused_with is not None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.has_started:
            if message["status"] >= 400 and _is_serves_own(message):
                self.refused_with = message["status"]
            else:
                self.has_started = True
                self.is_good = message["status"] < 400
                self.refused_with = None
        if self.has_started:
            await self.send_own(message)


async def _is_short_photo(scope: Scope, replay: Replay) -> bool:
    num_bytes = Headers(scope=scope).get("content-length", "")
    if scope["path"] != _PHOTO or not num_bytes.isdecimal() or len(num_bytes) > 18:
        return False
    if not 0 < int(num_bytes) <= _SHORT_BYTES:
        return False
    return await replay.has_come(int(num_bytes), _SHORT_S)


async def _unless_gone(call: Awaitable[WholeAnswer], replay: Replay) -> WholeAnswer | None:
    """Await a call; None, and the call is cancelled, if the caller hangs up first."""
    asking, leaving = asyncio.ensure_future(call), asyncio.ensure_future(replay.until_gone())
    try:
        await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
        return asking.result() if asking.done() else None
    finally:
        asking.cancel()
        leaving.cancel()
        await asyncio.wait((asking, leaving))


def _request_id(scope: Scope) -> str:
    """The caller's own id if it is harmless: Serve decodes it without asking whether it can."""
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _own_headers(request_id: str) -> dict[str, str]:
    return {REQUEST_ID_HEADER: request_id, "x-content-type-options": "nosniff"}


def _cleaned(scope: Scope, request_id: str) -> list[tuple[bytes, bytes]]:
    own = REQUEST_ID_HEADER.encode()
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name != own and not _SERVES_OWN.fullmatch(name.lower().replace(b"_", b"-"))
    ]
    return [*kept, (own, request_id.encode())]


def _is_serves_own(message: Message) -> bool:
    return not any(
        name.lower() == b"content-type" and not value.startswith(b"text/plain") for name, value in message["headers"]
    )
