"""Reading the body of POST /v1/tag in its three forms: the image itself, multipart, JSON with base64 or an address.

The body is counted while it streams in, so that nobody makes us hold more than the limit; unpacking it is pure and
belongs into a thread.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from models.errors import ImageTooLarge, UnsupportedImageType
from models.image_headers import ACCEPTED_TYPES
from serve_app.download import Fetch
from serve_app.errors import BadRequest, UploadTimeout
from serve_app.schemas import ImageSource, TagRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

Form = Literal["raw", "multipart", "json"]
ReadPhoto = Callable[[], tuple[bytes, str | None]]

_MULTIPART_OVERHEAD_BYTES = 64 * 1024
_JSON_OVERHEAD_BYTES = 4 * 1024
_IMAGE_PART = "image"


async def receive_photo(request: Request, max_image_bytes: int, deadline_s: float, fetch: Fetch) -> ReadPhoto:
    """Read the whole body, and fetch the photo if the body only names its address.

    Args:
        request: its body is not read yet.
        max_image_bytes: largest image; multipart and JSON may be larger by what their form needs.
        deadline_s: seconds for both together.
        fetch: fetches a photo by its address.

    Returns:
        A function that unpacks the image file and its declared type; blocking, and raises BadRequest, ImageTooLarge.

    Raises:
        UnsupportedImageType: if the content type is none of the accepted, before anything is read.
        ImageTooLarge: as soon as the limit is passed.
        UploadTimeout: if the body is late.
        BadRequest: if the client hangs up, or the body is no JSON of ours.
        ImageUrlRefused: if the address of the photo is not allowed.
        ImageUrlFailed: if it gives no photo.
    """
    deadline = asyncio.get_running_loop().time() + deadline_s
    content_type = request.headers.get("content-type", "")
    form = _form(content_type)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedImageType("compressed bodies are not accepted; send the picture as it is")
    body = await _read(request, _max_body_bytes(form, max_image_bytes), max_image_bytes, deadline_s)
    source = await asyncio.to_thread(_parse_json, body) if form == "json" else None
    fetched = None
    if source is not None and source.url is not None:
        fetched = await fetch(source.url, max(0.0, deadline - asyncio.get_running_loop().time()))

    def read_photo() -> tuple[bytes, str | None]:
        if fetched is not None:
            return fetched
        if form == "raw":
            return body, content_type or None
        photo, declared = (_decoded(source), None) if source else _unpack_multipart(body, content_type)
        if len(photo) > max_image_bytes:
            raise _too_large(max_image_bytes)
        return photo, declared

    return read_photo


def _form(content_type: str) -> Form:
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return "multipart"
    if media_type == "application/json":
        return "json"
    if media_type in ("", "application/octet-stream", "image/jpg", "image/*", *ACCEPTED_TYPES):
        return "raw"
    raise UnsupportedImageType(
        f"content type {media_type[:60]!r} is not accepted; send {', '.join(ACCEPTED_TYPES)}, "
        "multipart/form-data or application/json"
    )


def _max_body_bytes(form: Form, max_image_bytes: int) -> int:
    if form == "json":
        return max_image_bytes * 4 // 3 + _JSON_OVERHEAD_BYTES
    return max_image_bytes + (_MULTIPART_OVERHEAD_BYTES if form == "multipart" else 0)


async def _read(request: Request, max_body_bytes: int, max_image_bytes: int, deadline_s: float) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > max_body_bytes:
        raise _too_large(max_image_bytes)
    chunks: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(deadline_s):
            async for chunk in request.stream():
                length += len(chunk)
                if length > max_body_bytes:
                    raise _too_large(max_image_bytes)
                chunks.append(chunk)
    except TimeoutError as exc:
        raise UploadTimeout(f"the body did not arrive within {deadline_s:g} s") from exc
    except ClientDisconnect as exc:
        raise BadRequest("the connection closed before the whole body arrived") from exc
    return b"".join(chunks)


def _too_large(max_image_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(f"the picture is too large; the limit is {max_image_bytes} bytes")


def _parse_json(body: bytes) -> ImageSource:
    try:
        source = TagRequest.model_validate_json(body).image
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"][:4])
        raise BadRequest(
            f'the JSON body is not {{"image": {{"base64": "..."}}}}: {place or "body"}: {first["msg"][:200]}'
        ) from exc
    if (source.base64 is None) == (source.url is None):
        raise BadRequest("image takes exactly one of base64 and url")
    return source


def _decoded(source: ImageSource) -> bytes:
    try:
        return base64.b64decode(source.base64 or "", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadRequest("image.base64 is not valid base64; send the standard alphabet with padding") from exc


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    is_complete: bool = False

    @property
    def name(self) -> str:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        return options.get(b"name", b"").decode("latin-1")


class _PartCollector:
    """Receives the parser's callbacks; holds views of nothing, so the body may go."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self._name = b""
        self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": lambda: self.parts.append(_Part()),
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": lambda data, start, end: self.parts[-1].data.extend(memoryview(data)[start:end]),
            "on_part_end": self._on_part_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        if self.parts[-1].name != _IMAGE_PART:
            raise BadRequest(f"the multipart body has an unknown part; it takes one part, named {_IMAGE_PART}")
        if len(self.parts) > 1:
            raise BadRequest(f"the multipart body has more than one {_IMAGE_PART} part; send one photo per request")

    def _on_part_end(self) -> None:
        self.parts[-1].is_complete = True


def _unpack_multipart(body: bytes, content_type: str) -> tuple[bytes, str | None]:
    """The bytes and the declared type of the one image part."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequest("the multipart content type names no boundary")
    collector = _PartCollector()
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise BadRequest("the multipart body is malformed") from exc
    if not collector.parts:
        raise BadRequest(f"the multipart body has no part named {_IMAGE_PART}")
    part = collector.parts[0]
    if not part.is_complete:
        raise BadRequest("the multipart body ends before its closing boundary")
    declared = part.headers.get(b"content-type", b"").decode("latin-1")
    return bytes(part.data), declared or None
