"""Reading the body of POST /v1/tag in its three forms: the image itself, multipart, JSON with base64 or an address.

The body is counted while it streams in, so that nobody makes us hold more than the limit; unpacking it is pure and
belongs into a thread.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from models.errors import ImageTooLarge, UnsupportedImageType
from models.image_headers import ACCEPTED_TYPES
from serve_app.download import Fetch
from serve_app.errors import BadRequest, UploadTimeout
from serve_app.multipart import parse_multipart
from serve_app.schemas import ImageSource, TagRequest

Form = Literal["raw", "multipart", "json"]
BodyT = TypeVar("BodyT", bound=BaseModel)
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
    too_large = f"the picture is too large; the limit is {max_image_bytes} bytes"
    body = await read_body(request, _max_body_bytes(form, max_image_bytes), deadline_s, too_large)
    source = (await asyncio.to_thread(parse_json, body, TagRequest)).image if form == "json" else None
    fetched = None
    if source is not None and checked_source(source).url is not None:
        fetched = await fetch(source.url or "", max(0.0, deadline - asyncio.get_running_loop().time()))

    def read_photo() -> tuple[bytes, str | None]:
        if fetched is not None:
            return fetched
        if source is not None:
            photo, declared = decode_base64(source.base64 or ""), None
        elif form == "multipart":
            part = parse_multipart(body, content_type, _IMAGE_PART, max_parts=1)[0]
            photo, declared = bytes(part.data), part.content_type
        else:
            return body, content_type or None
        if len(photo) > max_image_bytes:
            raise ImageTooLarge(too_large)
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


async def read_body(request: Request, max_bytes: int, deadline_s: float, too_large: str) -> bytes:
    """Read a whole body, never more than the limit.

    Args:
        request: its body is not read yet.
        max_bytes: largest body.
        deadline_s: seconds for all of it.
        too_large: the sentence for a larger one.

    Raises:
        UnsupportedImageType: if the body is compressed.
        ImageTooLarge: as soon as the limit is passed.
        UploadTimeout: if the body is late.
        BadRequest: if the client hangs up.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedImageType("compressed bodies are not accepted; send the picture as it is")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > max_bytes:
        raise ImageTooLarge(too_large)
    chunks: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(deadline_s):
            async for chunk in request.stream():
                length += len(chunk)
                if length > max_bytes:
                    raise ImageTooLarge(too_large)
                chunks.append(chunk)
    except TimeoutError as exc:
        raise UploadTimeout(f"the body did not arrive within {deadline_s:g} s") from exc
    except ClientDisconnect as exc:
        raise BadRequest("the connection closed before the whole body arrived") from exc
    return b"".join(chunks)


def parse_json(body: bytes, schema: type[BodyT]) -> BodyT:
    """Read a JSON body; blocking.

    Raises:
        BadRequest: naming the first place that is wrong.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"][:4])
        raise BadRequest(f"the JSON body is not as documented: {place or 'body'}: {first['msg'][:200]}") from exc


def checked_source(source: ImageSource) -> ImageSource:
    """Raise BadRequest unless exactly one of the two is given."""
    if (source.base64 is None) == (source.url is None):
        raise BadRequest("an image takes exactly one of base64 and url")
    return source


def decode_base64(text: str) -> bytes:
    """The bytes behind a text; blocking. Raises BadRequest."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadRequest("image.base64 is not valid base64; send the standard alphabet with padding") from exc
