"""Clients of the service, sync and async: typed answers, typed errors, retries that respect the service.

with TaggerClient("http://127.0.0.1:8000") as tagger:
    for garment in tagger.tag("dress.jpg").garments:
        print(garment.category, garment.box)
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, Unpack

import httpx

from serve_app.exchange import (
    Answer,
    Exchange,
    Outcome,
    Photo,
    Read,
    RetryPolicy,
    Step,
    T,
    TaggerClientError,
    TagQuery,
    Wait,
    Wire,
)
from serve_app.schemas import BundleResponse, Garment, OntologyResponse, TagResponse

__all__ = ["AsyncTaggerClient", "Photo", "RetryPolicy", "TagQuery", "TaggerClient", "TaggerClientError"]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_RETRY = RetryPolicy()


class TaggerClient:
    """Asks a service, one call at a time or several in threads; safe to share between threads.

    Args:
        url: base address, with the path prefix if there is one.
        api_key: sent as a bearer token.
        timeout_s: for connecting, and for each pause between bytes of an answer.
        retry: what happens on 429, 503 and broken connections.
        transport: replaces the network, for tests and for talking to an application in this process.
        sleep: waits between tries.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_auth(api_key), timeout=timeout_s, transport=transport)
        self._wire = Wire(retry)
        self._sleep = sleep

    def tag(self, photo: Photo, **query: Unpack[TagQuery]) -> TagResponse:
        """Garments of one photo.

        Raises:
            TaggerClientError: with the code of the service, or one of the client's own.
        """
        return self._run(self._wire.tag(photo, query, self._http.build_request))

    def tag_many(
        self, photos: Iterable[Photo], concurrency: int = 4, **query: Unpack[TagQuery]
    ) -> Iterator[TagResponse | TaggerClientError]:
        """One outcome for every photo, in their order; a photo that failed yields its error and stops nothing.

        Args:
            photos: read as they are needed, at most 2 x `concurrency` ahead of the caller.
            concurrency: photos at the service at a time.
            query: as in `tag`.
        """

        def outcome(photo: Photo) -> TagResponse | TaggerClientError:
            try:
                return self.tag(photo, **query)
            except TaggerClientError as exc:
                return exc

        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="tagger")
        try:
            waiting = deque[Future[TagResponse | TaggerClientError]]()
            for photo in photos:
                waiting.append(pool.submit(outcome, photo))
                if len(waiting) >= 2 * concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def tag_batch(self, photos: Sequence[Photo], **query: Unpack[TagQuery]) -> list[TagResponse | TaggerClientError]:
        """One outcome for every photo, in their order, by one request; at most 64 photos.

        Raises:
            TaggerClientError: if the batch as a whole was refused or failed.
        """
        return self._run(self._wire.tag_batch(photos, query, self._http.build_request))

    def feedback(
        self, request_id: str, garment: Garment, attribute: str, values: Sequence[str], photo: str | None = None
    ) -> None:
        """Say what an attribute of an answered garment really is.

        Args:
            request_id: of the answer.
            garment: as answered, without a profile.
            attribute: one of its category, or `category`.
            values: the right one, or the right ones.
            photo: the file of the photo, relative to where training will find them.

        Raises:
            TaggerClientError: as in `tag`.
        """
        self._run(self._wire.feedback(request_id, garment, attribute, values, photo, build=self._http.build_request))

    def ontology(self) -> OntologyResponse:
        """Categories, attributes and values of the service. Raises like `tag`."""
        return self._get("/v1/ontology", OntologyResponse)

    def bundle(self) -> BundleResponse:
        """The bundle that answers. Raises like `tag`."""
        return self._get("/v1/bundle", BundleResponse)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _get(self, path: str, schema: type[Answer]) -> Answer:
        return self._run(self._wire.ask(lambda: self._http.build_request("GET", path), schema))

    def _run(self, exchange: Exchange[T]) -> T:
        outcome: Outcome = None
        try:
            while True:
                outcome = self._do(exchange.send(outcome))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _do(self, step: Step) -> Outcome:
        try:
            match step:
                case Wait(seconds):
                    self._sleep(seconds)
                    return None
                case Read(path):
                    return path.read_bytes()
                case request:
                    return self._http.send(request)
        except (httpx.TransportError, OSError) as exc:
            return exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncTaggerClient:
    """The same for an event loop; see `TaggerClient` for the arguments."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_auth(api_key), timeout=timeout_s, transport=transport)
        self._wire = Wire(retry)
        self._sleep = sleep

    async def tag(self, photo: Photo, **query: Unpack[TagQuery]) -> TagResponse:
        """Garments of one photo. Raises like `TaggerClient.tag`."""
        return await self._run(self._wire.tag(photo, query, self._http.build_request))

    async def tag_many(
        self, photos: Iterable[Photo], concurrency: int = 4, **query: Unpack[TagQuery]
    ) -> AsyncIterator[TagResponse | TaggerClientError]:
        """One outcome for every photo, in their order; see `TaggerClient.tag_many`."""
        places = asyncio.Semaphore(concurrency)

        async def outcome(photo: Photo) -> TagResponse | TaggerClientError:
            async with places:
                try:
                    return await self.tag(photo, **query)
                except TaggerClientError as exc:
                    return exc

        waiting = deque[asyncio.Task[TagResponse | TaggerClientError]]()
        try:
            for photo in photos:
                waiting.append(asyncio.create_task(outcome(photo)))
                if len(waiting) >= 2 * concurrency:
                    yield await waiting[0]
                    waiting.popleft()
            while waiting:
                yield await waiting[0]
                waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def tag_batch(
        self, photos: Sequence[Photo], **query: Unpack[TagQuery]
    ) -> list[TagResponse | TaggerClientError]:
        """One outcome for every photo, by one request; see `TaggerClient.tag_batch`."""
        return await self._run(self._wire.tag_batch(photos, query, self._http.build_request))

    async def feedback(
        self, request_id: str, garment: Garment, attribute: str, values: Sequence[str], photo: str | None = None
    ) -> None:
        """Say what an attribute of an answered garment really is; see `TaggerClient.feedback`."""
        await self._run(
            self._wire.feedback(request_id, garment, attribute, values, photo, build=self._http.build_request)
        )

    async def ontology(self) -> OntologyResponse:
        """Categories, attributes and values of the service. Raises like `tag`."""
        return await self._get("/v1/ontology", OntologyResponse)

    async def bundle(self) -> BundleResponse:
        """The bundle that answers. Raises like `tag`."""
        return await self._get("/v1/bundle", BundleResponse)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _get(self, path: str, schema: type[Answer]) -> Answer:
        return await self._run(self._wire.ask(lambda: self._http.build_request("GET", path), schema))

    async def _run(self, exchange: Exchange[T]) -> T:
        outcome: Outcome = None
        try:
            while True:
                outcome = await self._do(exchange.send(outcome))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def _do(self, step: Step) -> Outcome:
        try:
            match step:
                case Wait(seconds):
                    await self._sleep(seconds)
                    return None
                case Read(path):
                    return await asyncio.to_thread(path.read_bytes)
                case request:
                    return await self._http.send(request)
        except (httpx.TransportError, OSError) as exc:
            return exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _auth(api_key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"} if api_key else {}
