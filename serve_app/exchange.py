"""What a client says to the service and how it takes the answers, with neither socket nor clock.

An exchange is a generator: it yields the next step (read a file, send a request, wait) and is told the outcome, so that
the sync and the async client differ only in how they do a step.
"""

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypedDict, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from models.errors import TaggingError
from models.image_headers import media_type_of
from serve_app.schemas import (
    BatchResponse,
    BatchResult,
    ErrorResponse,
    FeedbackGarment,
    FeedbackRequest,
    FeedbackResponse,
    Garment,
    TagResponse,
)

Photo = str | Path | bytes
"""Path of an image file, or its bytes."""

_BUSY = frozenset({429, 503})
# A request that never left, or whose connection broke: inference is idempotent, so asking again is safe. A read
# timeout is not among them: the service is still computing, and asking again would double its load.
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)

T = TypeVar("T")
Answer = TypeVar("Answer", bound=BaseModel)


class TagQuery(TypedDict, total=False):
    """What may be asked of a photo besides the photo; what is left out is the service's default."""

    min_score: float
    top_k: int
    categories: Sequence[str]
    attributes: Sequence[str]
    category: str
    garments: str
    include: Sequence[str]
    lang: str
    profile: str


class TaggerClientError(TaggingError):
    """The service refused or failed, or never answered.

    Args:
        message: the service's own sentence where it sent one.
        detail: what a log needs besides.
        code: error code of the service, or one of the client's own: `unreachable`, `timeout`, `unexpected_answer`,
            `file_unreadable`.
        status: HTTP status, None where no answer came.
        request_id: finds the request in the log of the service; empty where no answer came.
    """

    def __init__(
        self, message: str, detail: str = "", code: str = "internal", status: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message, detail)
        self.args = (message, detail, code, status, request_id)  # what pickling calls the class with
        self.code = code
        self.status = status
        self.request_id = request_id


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a busy or broken service is asked again.

    The wait before retry n is the service's Retry-After, if any, plus a random share of `first_wait_s` doubled n times
    (callers that were refused together do not come back together), and never more than `max_wait_s`.
    """

    retries: int = 4
    first_wait_s: float = 0.25
    max_wait_s: float = 30.0
    jitter: Callable[[], float] = random.random

    def wait_s(self, retry: int, asked_s: float) -> float:
        """Seconds before retry number `retry`, counted from 0, when the service asked for `asked_s`."""
        return min(self.max_wait_s, asked_s + self.jitter() * self.first_wait_s * 2.0**retry)


@dataclass(frozen=True)
class Read:
    """Step: read this file; its outcome is bytes or an OSError."""

    path: Path


@dataclass(frozen=True)
class Wait:
    """Step: let this much time pass; it has no outcome."""

    seconds: float


Step = httpx.Request | Read | Wait
Outcome = httpx.Response | httpx.TransportError | bytes | OSError | None
Exchange = Generator[Step, Outcome, T]


@dataclass(frozen=True)
class Wire:
    """Requests, retries and the reading of answers; knows no socket and no clock of its own."""

    policy: RetryPolicy

    def tag(self, photo: Photo, query: TagQuery, build: Callable[..., httpx.Request]) -> Exchange[TagResponse]:
        """Read the photo if it is a file, then ask about it; `build` is httpx's own `build_request`."""
        content = photo if isinstance(photo, bytes) else (yield from _file(Path(photo)))
        headers = {"content-type": _content_type(content)}
        params = query_params(query)
        return (
            yield from self.ask(
                lambda: build("POST", "/v1/tag", content=content, params=params, headers=headers), TagResponse
            )
        )

    def tag_batch(
        self, photos: Sequence[Photo], query: TagQuery, build: Callable[..., httpx.Request]
    ) -> Exchange[list[TagResponse | TaggerClientError]]:
        """Read the photos that are files, then ask about all that could be read in one request."""
        outcomes: dict[int, TagResponse | TaggerClientError] = {}
        files: dict[int, tuple[str, tuple[str, bytes, str]]] = {}
        for index, photo in enumerate(photos):
            try:
                content = photo if isinstance(photo, bytes) else (yield from _file(Path(photo)))
                files[index] = ("images", (str(index), content, _content_type(content)))
            except TaggerClientError as exc:
                outcomes[index] = exc
        if files:
            parts, params = list(files.values()), query_params(query)
            answer = yield from self.ask(
                lambda: build("POST", "/v1/tag/batch", files=parts, params=params), BatchResponse
            )
            outcomes |= {sent: _outcome(result) for sent, result in zip(files, answer.results, strict=False)}
        unanswered = TaggerClientError("the service left out an answer", "", "unexpected_answer")
        return [outcomes.get(index, unanswered) for index in range(len(photos))]

    def feedback(
        self,
        request_id: str,
        garment: Garment,
        attribute: str,
        values: Sequence[str],
        photo: str | None,
        *,
        build: Callable[..., httpx.Request],
    ) -> Exchange[FeedbackResponse]:
        """Send a correction; sent twice it is the same correction."""
        body = FeedbackRequest(
            request_id=request_id,
            garment=FeedbackGarment(category=garment.category, box=garment.box),
            attribute=attribute,
            values=list(values),
            photo=photo,
        ).model_dump(mode="json", exclude_none=True)
        return (yield from self.ask(lambda: build("POST", "/v1/feedback", json=body), FeedbackResponse))

    def ask(self, build: Callable[[], httpx.Request], schema: type[Answer]) -> Exchange[Answer]:
        """Send until answered or out of retries, then read the answer."""
        retry = 0
        while True:
            outcome = yield build()
            is_last = retry >= self.policy.retries
            if isinstance(outcome, httpx.Response):
                if is_last or outcome.status_code not in _BUSY:
                    return _read(outcome, schema)
                asked_s = _retry_after_s(outcome.headers)
            else:
                assert isinstance(outcome, httpx.TransportError)
                if is_last or not isinstance(outcome, _BROKEN):
                    raise _unanswered(outcome) from outcome
                asked_s = 0.0
            yield Wait(self.policy.wait_s(retry, asked_s))
            retry += 1


def _file(path: Path) -> Exchange[bytes]:
    outcome = yield Read(path)
    if isinstance(outcome, OSError):
        reason = outcome.strerror or "it cannot be opened"
        raise TaggerClientError(f"{path} cannot be read: {reason}", str(outcome), "file_unreadable") from outcome
    assert isinstance(outcome, bytes)
    return outcome


def _content_type(content: bytes) -> str:
    """Type by the first bytes; file names lie. What is none of ours is the service's to refuse."""
    return media_type_of(content) or "application/octet-stream"


def query_params(query: TagQuery) -> dict[str, str]:
    """The query as it stands in an address."""
    items = ((name, value) for name, value in query.items() if value is not None)
    return {name: ",".join(value) if isinstance(value, list | tuple) else str(value) for name, value in items}


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds that a Retry-After header asks for, in either of its two forms; 0 if there is none or it is neither."""
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _read(response: httpx.Response, schema: type[Answer]) -> Answer:
    try:
        if response.is_success:
            return schema.model_validate_json(response.content)
        error = ErrorResponse.model_validate_json(response.content).error
    except ValidationError as exc:
        message = f"{response.url.host} does not answer like a tagging service; check the address"
        raise TaggerClientError(message, str(exc), "unexpected_answer", response.status_code) from exc
    raise TaggerClientError(error.message, "", error.code, response.status_code, error.request_id)


def _outcome(result: BatchResult) -> TagResponse | TaggerClientError:
    if result.result is not None:
        return result.result
    if result.error is None:
        return TaggerClientError("the service left out an answer", "", "unexpected_answer")
    return TaggerClientError(result.error.message, "", result.error.code, None, result.error.request_id)


def _unanswered(exc: httpx.TransportError) -> TaggerClientError:
    host = exc.request.url.host
    if isinstance(exc, httpx.TimeoutException):
        return TaggerClientError(f"{host} did not answer in time", repr(exc), "timeout")
    return TaggerClientError(f"{host} cannot be reached", repr(exc), "unreachable")
