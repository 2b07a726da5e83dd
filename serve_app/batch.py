"""Many photos in one request: each gets its own answer or error, and all batches together leave room for single photos.

A place at the models is taken photo by photo, and every batch waits for it with a few workers only, so two batches of
different size advance side by side.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from threading import Lock

from starlette.requests import Request

from models.errors import ImageTooLarge, TaggingError, UnsupportedImageType
from models.image_headers import read_header
from serve_app.answer import Answerer
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.download import Fetch
from serve_app.errors import INTERNAL_MESSAGE, DeadlineExceeded, Overloaded, public_code
from serve_app.guard import charge
from serve_app.metrics import REQUESTS, Meter
from serve_app.multipart import Part, parse_multipart
from serve_app.query import TagOptions
from serve_app.schemas import MAX_BATCH_IMAGES, BatchImage, BatchRequest, BatchResult, ErrorBody, TagResponse
from serve_app.tracing import span
from serve_app.upload import checked_source, decode_base64, parse_json, read_body

_log = logging.getLogger("ray.serve")
_OVERHEAD_BYTES = MAX_BATCH_IMAGES * 4096  # headers of a part, or the JSON around an image
_MAX_OPEN = 4  # batches in memory per router replica
_MAX_ID_LENGTH = 128
_PART_NAME = "images"


@dataclass(frozen=True, slots=True)
class _Item:
    id: str
    source: Part | BatchImage


class BatchTagger:
    """Takes batches in, a bounded number at a time.

    Args:
        args: limits and deadlines.
        composer: tags one photo.
        answerer: writes its answer.
        fetch: fetches a photo by its address.
        meter: counts the outcome of every photo.
    """

    def __init__(self, args: TaggerArgs, composer: Composer, answerer: Answerer, fetch: Fetch, meter: Meter) -> None:
        self.args = args
        self.composer = composer
        self.answerer = answerer
        self.fetch = fetch
        self.meter = meter
        self.places = asyncio.Semaphore(args.batch_concurrency)
        self._num_open = 0

    async def open(self, request: Request, options: TagOptions, request_id: str) -> "Batch":
        """Receive a batch; the caller closes it.

        Raises:
            Overloaded: if as many batches as allowed are being answered.
            RateLimited: if the API key may not send that many photos now.
            InputError: if the body cannot be used at all.
        """
        if self._num_open >= _MAX_OPEN:
            raise Overloaded("too many batches are being answered; try again")
        self._num_open += 1
        try:
            deadline = asyncio.get_running_loop().time() + self.args.batch_deadline_s
            items = await _receive(request, self.args)
            charge(request.scope, len(items) - 1)
        except BaseException:
            self._num_open -= 1
            raise
        return Batch(self, items, options, request_id, deadline)

    def note_closed(self) -> None:
        """Make room for another batch."""
        self._num_open -= 1


class Batch:
    """The photos of one request on their way.

    Args:
        tagger: whose places at the models they take.
        items: in the order of the request.
        options: the same for all.
        request_id: of the whole; a photo's is this one with its position behind it.
        deadline: loop time; photos that are not answered by then are answered with an error.
    """

    def __init__(
        self, tagger: BatchTagger, items: list[_Item], options: TagOptions, request_id: str, deadline: float
    ) -> None:
        self._tagger = tagger
        self._items = items
        self._options = options
        self._request_id = request_id
        self._deadline = deadline
        self._budget = _Budget(tagger.args.max_batch_bytes, tagger.args.max_batch_pixels)
        self._workers: list[asyncio.Task[None]] = []
        self._is_open = True

    async def results(self) -> AsyncIterator[BatchResult]:
        """Every photo's outcome as it is there."""
        done: asyncio.Queue[BatchResult] = asyncio.Queue()
        waiting = deque(enumerate(self._items))

        async def work() -> None:
            while waiting:
                done.put_nowait(await self._result(*waiting.popleft()))

        self._workers = [asyncio.create_task(work()) for _ in self._items[: self._tagger.args.batch_concurrency]]
        for _ in self._items:
            yield await done.get()

    def close(self) -> None:
        """Cancel what is not answered, and make room for another batch; has to be called, once or more."""
        for worker in self._workers:
            worker.cancel()
        if self._is_open:
            self._is_open = False
            self._tagger.note_closed()

    async def _result(self, index: int, item: _Item) -> BatchResult:
        request_id = f"{self._request_id}.{index}"
        try:
            async with asyncio.timeout_at(self._deadline):
                answer = await self._tag(item, request_id)
        except TimeoutError:
            error: TaggingError = DeadlineExceeded("the batch ran out of its time before this photo was answered")
        except TaggingError as exc:
            error = exc
        except Exception:  # one photo must not take the others with it
            _log.exception("request %s failed", request_id)
            error = TaggingError(INTERNAL_MESSAGE)
        else:
            self._tagger.meter.count(REQUESTS, outcome=answer.outcome)
            return BatchResult(index=index, id=item.id, result=answer, error=None)
        code = public_code(error)
        self._tagger.meter.count(REQUESTS, outcome=code)
        message = INTERNAL_MESSAGE if code == "internal" else error.message
        return BatchResult(
            index=index, id=item.id, result=None, error=ErrorBody(code=code, message=message, request_id=request_id)
        )

    async def _tag(self, item: _Item, request_id: str) -> TagResponse:
        read_photo = await self._reader(item)
        async with self._tagger.places:
            photo = await self._tagger.composer.tag(lambda: self._budget.admit(*read_photo()), self._options)
        with span("assemble"):
            return self._tagger.answerer.response(photo, self._options, request_id)

    async def _reader(self, item: _Item) -> Callable[[], tuple[bytes, str | None]]:
        source = item.source
        if isinstance(source, Part):
            return lambda: (bytes(source.data), source.content_type)
        url = checked_source(source).url
        if url is None:
            return lambda: (decode_base64(source.base64 or ""), None)
        left_s = self._deadline - asyncio.get_running_loop().time()
        fetched = await self._tagger.fetch(url, max(0.0, min(left_s, self._tagger.args.upload_deadline_s)))
        return lambda: fetched


class _Budget:
    """What the photos of one batch may have in all; photos that come after it is spent are refused."""

    def __init__(self, max_bytes: int, max_pixels: int) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._num_bytes = 0
        self._num_pixels = 0
        self._lock = Lock()  # asked from threads

    def admit(self, data: bytes, declared: str | None) -> tuple[bytes, str | None]:
        header = read_header(data, declared)
        with self._lock:
            self._num_bytes += len(data)
            self._num_pixels += header.width * header.height
            if self._num_bytes > self._max_bytes:
                raise ImageTooLarge(f"the pictures of the batch are too large; the limit is {self._max_bytes} bytes")
            if self._num_pixels > self._max_pixels:
                raise ImageTooLarge(
                    f"the pictures of the batch have too many pixels; the limit is {self._max_pixels} pixels in all"
                )
        return data, declared


async def _receive(request: Request, args: TaggerArgs) -> list[_Item]:
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if media_type not in ("multipart/form-data", "application/json"):
        raise UnsupportedImageType(
            f"content type {media_type[:60]!r} is not accepted; send multipart/form-data or application/json"
        )
    max_bytes = args.max_batch_bytes * 4 // 3 if media_type == "application/json" else args.max_batch_bytes
    too_large = f"the batch is too large; the limit is {args.max_batch_bytes} bytes of pictures"
    body = await read_body(request, max_bytes + _OVERHEAD_BYTES, args.upload_deadline_s, too_large)
    if media_type == "application/json":
        images = (await asyncio.to_thread(parse_json, body, BatchRequest)).images
        return [_Item(image.id or str(index), image) for index, image in enumerate(images)]
    parts = await asyncio.to_thread(parse_multipart, body, content_type, _PART_NAME, MAX_BATCH_IMAGES)
    return [_Item(part.option(b"filename")[:_MAX_ID_LENGTH] or str(index), part) for index, part in enumerate(parts)]
