"""Requests that are the caller's mistake: what is sent, and the code and status that answer it."""

import base64
import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from tests.fakes import photo_bytes

_PNG = {"content-type": "image/png"}
_JPEG = {"content-type": "image/jpeg"}
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class BadRequestCase:
    """A request as httpx takes it, its answer, and what the message has to say."""

    name: str
    status: int
    code: str
    arguments: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    method: str = "POST"
    path: str = "/v1/tag"


def _gif() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _png_bomb() -> bytes:
    """A PNG whose header promises 50 000 x 50 000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _query(name: str, query: str, says: str) -> BadRequestCase:
    return BadRequestCase(
        name, 400, "bad_request", {"content": photo_bytes(), "headers": _PNG}, says, path=f"/v1/tag?{query}"
    )


def _raw(name: str, status: int, code: str, content: bytes, headers: dict[str, str], says: str) -> BadRequestCase:
    return BadRequestCase(name, status, code, {"content": content, "headers": headers}, says)


def _json(name: str, body: Any, says: str) -> BadRequestCase:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _raw(name, 400, "bad_request", content, _JSON, says)


_JPEG_BYTES = photo_bytes((64, 64), kind="JPEG")
_BASE64 = base64.b64encode(photo_bytes()).decode()
_PART = ("photo.png", photo_bytes(), "image/png")
_BROKEN_FORM = {"content-type": "multipart/form-data; boundary=x"}

BAD_REQUESTS = (
    _raw("empty_body", 422, "image_unreadable", b"", _JPEG, "no bytes"),
    _raw("empty_undeclared_body", 422, "image_unreadable", b"", {}, "no bytes"),
    _raw("text_as_jpeg", 422, "image_unreadable", b"hello, this is no picture", _JPEG, "no picture"),
    _raw("text", 415, "image_type_unsupported", b"hello", {"content-type": "text/plain"}, "'text/plain'"),
    _raw(
        "form_encoded",
        415,
        "image_type_unsupported",
        _JPEG_BYTES,
        {"content-type": "application/x-www-form-urlencoded"},
        "send image/jpeg",
    ),
    _raw("truncated_jpeg", 422, "image_truncated", _JPEG_BYTES[: len(_JPEG_BYTES) // 2], _JPEG, "whole file"),
    _raw("png_bomb", 413, "image_too_large", _png_bomb(), _PNG, "40000000 pixels"),
    _raw("40_mb", 413, "image_too_large", bytes(40 * 2**20), _JPEG, "20971520 bytes"),
    _raw("png_as_jpeg", 415, "image_type_unsupported", photo_bytes(), _JPEG, "image/png"),
    _raw("animated_gif", 415, "image_type_unsupported", _gif(), {"content-type": "image/gif"}, "image/gif"),
    _raw("animated_gif_as_png", 415, "image_type_unsupported", _gif(), _PNG, "GIF"),
    _raw(
        "compressed",
        415,
        "image_type_unsupported",
        zlib.compress(photo_bytes()),
        {"content-encoding": "deflate"},
        "as it is",
    ),
    _query("unknown_category", "category=gown", "known: top"),
    _query("unknown_category_in_list", "categories=dress,gown", "'gown'"),
    _query("unknown_attribute", "attributes=color", "'color'"),
    _query("negative_top_k", "top_k=-1", "from 1"),
    _query("score_above_one", "min_score=2", "from 0 to 1"),
    _query("unknown_parameter", "topk=1", "'topk'"),
    _query("repeated_parameter", "top_k=1&top_k=1", "twice"),
    _query("category_and_categories", "category=dress&categories=dress", "one of the two"),
    _json("json_empty", b"", "JSON"),
    _json("json_broken", b'{"image": ', "JSON"),
    _json("json_list", [], "JSON"),
    _json("json_deep", b"[" * 100_000, "JSON"),
    _json("json_unknown_field", {"image": {"base64": _BASE64}, "top_k": 1}, "top_k"),
    _json("json_unknown_inner_field", {"image": {"base64": _BASE64, "name": "a"}}, "image.name"),
    _json("json_without_image", {}, "image"),
    _json("json_empty_image", {"image": {}}, "exactly one of base64 and url"),
    _json("json_no_base64", {"image": {"base64": "no base64!"}}, "base64"),
    _json("json_base64_not_ascii", {"image": {"base64": "ü"}}, "base64"),
    _json("json_url_and_base64", {"image": {"url": "http://a", "base64": _BASE64}}, "exactly one"),
    _raw(
        "json_url",
        400,
        "image_url_refused",
        json.dumps({"image": {"url": "https://shop.example/a.jpg"}}).encode(),
        _JSON,
        "no photos by address",
    ),
    BadRequestCase(
        "two_image_parts", 400, "bad_request", {"files": [("image", _PART), ("image", _PART)]}, "more than 1 image"
    ),
    BadRequestCase("other_part", 400, "bad_request", {"files": {"photo": _PART}}, "named image"),
    BadRequestCase(
        "image_and_field", 400, "bad_request", {"files": {"image": _PART}, "data": {"top_k": "1"}}, "named image"
    ),
    _raw("multipart_without_boundary", 400, "bad_request", b"x", {"content-type": "multipart/form-data"}, "boundary"),
    _raw("multipart_empty", 400, "bad_request", b"", _BROKEN_FORM, "no part"),
    _raw("multipart_garbage", 400, "bad_request", b"garbage", _BROKEN_FORM, "malformed"),
    _raw(
        "multipart_cut_off",
        400,
        "bad_request",
        b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc',
        _BROKEN_FORM,
        "closing boundary",
    ),
    BadRequestCase("get_tag", 405, "method_not_allowed", says="method", method="GET"),
    BadRequestCase("unknown_path", 404, "not_found", says="/v1/tag", method="GET", path="/v2/tag"),
    BadRequestCase("trailing_slash", 404, "not_found", {"content": b"x"}, path="/v1/tag/"),
)
