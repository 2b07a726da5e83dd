"""Hostile requests by the thousand: the same for the same seed, none of them needing a network to be made.

Every family is an endless stream; `corpus` deals from all of them in turn. A request may happen to be harmless (a
mutated photo may still be one), so what holds for all of them is only that the answer is none of our faults.
"""

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from PIL import Image, ImageCms

Rng = random.Random
_METHODS = ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "post")
_JSON = b"application/json"
_ZEROS = zlib.compress(bytes(3_000_000), 9)


@dataclass(frozen=True)
class Hostile:
    """A request as bytes; `path` is what stands in the request line, query and all."""

    family: str
    body: bytes = b""
    content_type: bytes | None = None
    method: str = "POST"
    path: bytes = b"/v1/tag"
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


def corpus(count: int, seed: int = 7) -> Iterator[Hostile]:
    """So many hostile requests, of all families in turn."""
    rng = Rng(seed)
    return islice(_deal(rng), count)


def _deal(rng: Rng) -> Iterator[Hostile]:
    files = sample_photos()
    while True:
        for family in (_mutated, _mutated, _mutated, _bomb, _polyglot, _json, _query, _multipart, _path, _header):
            yield family(rng, files)


def sample_photos() -> list[bytes]:
    """Small photos of every kind that is decoded: progressive, palette, 16 bits, alpha, CMYK; profile, EXIF, XMP."""
    gradient = Image.linear_gradient("L").resize((48, 64))
    colour = Image.merge("RGB", (gradient, gradient.rotate(90, expand=False), gradient.rotate(180)))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:24] + bytes(12) + profile[36:]  # without the second in which it was made
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><!ENTITY a "aaaa"></x:xmpmeta>'
    alpha = colour.copy()
    alpha.putalpha(gradient)
    wanted = [
        (colour, "JPEG", {"icc_profile": profile, "exif": exif, "xmp": xmp}),
        (colour, "JPEG", {"progressive": True, "quality": 60}),
        (colour.convert("CMYK"), "JPEG", {}),
        (gradient, "JPEG", {"restart_marker_blocks": 2}),
        (colour, "PNG", {"icc_profile": profile, "exif": exif}),
        (colour.quantize(16), "PNG", {"transparency": 3}),
        (alpha, "PNG", {"compress_level": 0}),
        (gradient.convert("I;16"), "PNG", {}),
        (colour, "WEBP", {"icc_profile": profile, "exif": exif.tobytes(), "xmp": xmp}),
        (alpha, "WEBP", {"lossless": True}),
        (colour, "WEBP", {"quality": 50}),
    ]
    files = []
    for image, kind, options in wanted:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def _type_of(data: bytes) -> bytes:
    return b"image/jpeg" if data[:2] == b"\xff\xd8" else b"image/png" if data[:1] == b"\x89" else b"image/webp"


def boundaries(data: bytes) -> list[tuple[int, int]]:
    """(begin, end) of the segments or chunks of a photo, as its own lengths say."""
    found, offset = [], {b"\xff": 2, b"\x89": 8}.get(data[:1], 12)
    while offset + 8 <= len(data):
        if data[:1] == b"\xff":
            size = 2 + struct.unpack_from(">H", data, offset + 2)[0]
        elif data[:1] == b"\x89":
            size = 12 + struct.unpack_from(">I", data, offset)[0]
        else:
            size = 8 + (struct.unpack_from("<I", data, offset + 4)[0] + 1) // 2 * 2
        found.append((offset, min(len(data), offset + size)))
        offset += size
    return found


def _mutated(rng: Rng, photos: list[bytes]) -> Hostile:
    """A photo broken in its bytes, its lengths, or the order of its parts; once to three times."""
    photo = rng.choice(photos)
    kind, mutant = _type_of(photo), bytearray(photo)
    for _ in range(rng.randint(1, 3)):
        parts = boundaries(photo)
        begin, end = rng.choice(parts)
        begin, end = min(begin, len(mutant)), min(end, len(mutant))
        match rng.randrange(10):
            case 0:  # cut at a boundary, or beside it
                del mutant[max(1, begin + rng.randint(-1, 1)) :]
            case 1:  # cut anywhere
                del mutant[rng.randrange(1, len(mutant) + 1) :]
            case 2:  # flip bits
                for _ in range(rng.randint(1, 8)):
                    mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
            case 3:  # a wrong length, or a wrong field behind it
                at = begin + rng.randrange(16)
                mutant[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"))
            case 4:  # a part twice, or many times
                mutant[end:end] = mutant[begin:end] * rng.choice((1, 2, 50))
            case 5:  # a part missing
                del mutant[begin:end]
            case 6:  # parts in another order
                other, after = rng.choice(parts)
                mutant = mutant[:begin] + photo[other:after] + mutant[end:]
            case 7:  # noise in the pixels
                at = rng.randrange(len(mutant))
                mutant[at : at + 64] = rng.randbytes(64)
            case 8:  # zeros
                at = rng.randrange(len(mutant))
                mutant[at : at + 200] = bytes(200)
            case _:  # something behind the end
                mutant += rng.randbytes(rng.choice((1, 100, 5000)))
        if not mutant:
            mutant = bytearray(b"\0")
    return Hostile("mutated", bytes(mutant), rng.choice((kind, kind, kind, b"application/octet-stream")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _bomb(rng: Rng, photos: list[bytes]) -> Hostile:
    """Little that promises or unpacks to much: pixels, profiles, texts."""
    small = zlib.compress(bytes(4 * (1 + 3 * 4)), 9)
    huge = rng.choice((50_000, 65_535, 2**31 - 1, 2**32 - 1))
    jpeg = bytearray(rng.choice(photos[:2]))
    at = next(begin for begin, _ in boundaries(bytes(jpeg)) if jpeg[begin + 1] in (0xC0, 0xC2))
    jpeg[at + 5 : at + 9] = struct.pack(">HH", rng.choice((65_500, 65_535, 0)), rng.choice((65_500, 65_535, 1)))
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    bombs: list[tuple[bytes, bytes]] = [
        (_png(huge, huge, _ZEROS), b"image/png"),
        (_png(1, huge, _ZEROS), b"image/png"),
        (_png(1000, 1000, _ZEROS), b"image/png"),
        (_png(4, 4, _ZEROS), b"image/png"),
        (_png(4, 4, small, _chunk(b"iCCP", b"x\0\0" + _ZEROS * 8)), b"image/png"),
        (_png(4, 4, small, _chunk(b"zTXt", b"x\0\0" + _ZEROS * 8)), b"image/png"),
        (_png(4, 4, small, *[_chunk(b"tEXt", b"a\0b")] * 2000), b"image/png"),
        (_png(4, 4, small, _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), b"image/png"),
        (_png(4, 4, small, depth=rng.randrange(256), colour=rng.randrange(256)), b"image/png"),
        (bytes(jpeg), b"image/jpeg"),
        (webp + b"VP8 " + b"\xff" * 4, b"image/webp"),
        (webp, b"image/webp"),
    ]
    body, kind = rng.choice(bombs)
    return Hostile("bomb", body, kind)


def _polyglot(rng: Rng, photos: list[bytes]) -> Hostile:
    """Files that are two things at once, or not what they say."""
    photo = rng.choice(photos)
    others = (
        b"<html><script>alert(1)</script></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + rng.randbytes(60),
        b"GIF89a" + rng.randbytes(40),
        b"II*\0" + rng.randbytes(40),
        b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
        b"#!/bin/sh\nid\n",
        b"\0\0\0\x20ftypavif",
        b"8BPS\0\1",
        rng.randbytes(200),
        b"",
    )
    other = rng.choice(others)
    body = rng.choice((other + photo, photo + other, photo[:20] + other + photo[20:], other, photo[:3] + other))
    return Hostile("polyglot", body, rng.choice((b"image/jpeg", b"image/png", b"image/webp", b"image/*", b"")))


def _json(rng: Rng, photos: list[bytes]) -> Hostile:
    """Bodies that strain a JSON parser, or misuse the schema."""
    photo = base64.b64encode(rng.choice(photos)).decode()
    depth = rng.choice((50, 1000, 20_000))
    shapes: list[bytes] = [
        b"[" * depth,
        b'{"image":' * depth,
        b'{"image":' * depth + b"1" + b"}" * depth,
        json.dumps({"image": {"base64": photo[: rng.randrange(len(photo))]}}).encode(),
        json.dumps({"image": {"base64": photo.replace("/", "_").replace("+", "-")}}).encode(),
        json.dumps({"image": {"base64": f" {photo}\n"}}).encode(),
        json.dumps({"image": {"base64": photo, "url": "file:///etc/passwd"}}).encode(),
        json.dumps(
            {"image": {"url": rng.choice(("http://127.0.0.1:8265/", "gopher://x", "//", "\0", "x" * 9000))}}
        ).encode(),
        json.dumps({"image": rng.choice((None, [], 1e308, "x", True, {"base64": 1}, {"base64": [photo]}))}).encode(),
        b'{"image":{"base64":"a"},"image":{"base64":"b"}}',
        b'{"image":{"base64":"\\ud800"}}',
        b'{"image":{"base64":1' + b"0" * 5000 + b"}}",
        b'{"__proto__":{},"image":NaN}',
        b"\xef\xbb\xbf{}",
        '{"image":{}}'.encode("utf-16"),
        b"{" + b",".join(b'"%d":0' % number for number in range(3000)) + b"}",
        rng.randbytes(100),
    ]
    return Hostile(
        "json", rng.choice(shapes), rng.choice((_JSON, b"application/json; charset=utf-16", b"Application/JSON"))
    )


def _query(rng: Rng, photos: list[bytes]) -> Hostile:
    """Parameters that are wrong, repeated, endless or no text."""
    names = (b"min_score", b"top_k", b"categories", b"attributes", b"category", b"include", b"url", b"__class__", b"")
    values = (
        b"", b"nan", b"-inf", b"1e309", b"-0", b"0x10", b"%00", b"%ff%fe", b"%F0%9F%91%97", b"%D9%A1",
        b"../../etc/passwd", b"dress," * 500, b"dress%0d%0aset-cookie:a=b", b"'%20or%201=1--", b"${7*7}", b"9" * 400,
        b"dress;top", b"%",
    )  # fmt: skip
    pairs = [rng.choice(names) + b"=" + rng.choice(values) for _ in range(rng.choice((1, 2, 3, 400)))]
    return Hostile("query", rng.choice(photos), b"image/jpeg", path=b"/v1/tag?" + rng.choice((b"&", b";")).join(pairs))


def _multipart(rng: Rng, photos: list[bytes]) -> Hostile:
    """Forms with wrong boundaries, too many parts or headers, and names that are paths."""
    mark = rng.choice((b"x", b"x" * 70, b"x" * 5000, b"a b", b"--", b'"', b"\xff"))
    photo = rng.choice(photos)
    name = rng.choice((b"image", b"Image", b"image\0", b"../image", b'i"mage', b"", b"image; name=image", b"\xff"))
    disposition = b'Content-Disposition: form-data; name="' + name + b'"; filename="../../etc/passwd"\r\n'
    flood = b"".join(b"x-%d: y\r\n" % number for number in range(rng.choice((0, 5, 3000))))
    part = b"--" + mark + b"\r\n" + disposition + flood + b"Content-Type: image/png\r\n\r\n" + photo + b"\r\n"
    end = b"--" + mark + rng.choice((b"--\r\n", b"--", b"\r\n", b"", b"-"))
    body = rng.choice(
        (
            part + end,
            part * rng.choice((2, 200)) + end,
            part.replace(b"\r\n", b"\n") + end,
            part[: rng.randrange(len(part))],
            end + part,
            b"preamble" * 500 + part + end,
            b"--" + mark + b"\r\n" + rng.randbytes(300),
            b"--" + mark + b"\r\n" + b"a" * 20_000 + b": b\r\n\r\n",
            b"",
        )
    )
    content_type = b"multipart/form-data; boundary=" + rng.choice((mark, b'"' + mark + b'"', b"", b"other", mark * 2))
    return Hostile(
        "multipart", body, rng.choice((content_type, content_type, b"multipart/form-data", b"multipart/mixed"))
    )


def _path(rng: Rng, photos: list[bytes]) -> Hostile:
    """Paths that climb, hide or repeat, and methods that do not exist."""
    paths = (
        b"/../../etc/passwd", b"/assets/../../pyproject.toml", b"/assets/%2e%2e/%2e%2e/etc/passwd",
        b"/assets/..%2fapi.py", b"//v1//tag", b"/v1/tag/", b"/v1/tag%00", b"/v1/%74ag", b"/V1/TAG", b"/v1/tag;x=1",
        b"/v1/tag/../tag", b"/%", b"/%ff",
        b"/" + b"a" * 6000, b"/" + b"../" * 500, b"/-/routes", b"/.env", b"/.git/config", b"/api/version", b"/metrics",
        b"/v1/ontology?x=1", b"/v1/bundle", b"/readyz", b"/openapi.json", b"/docs", b"*", b"/v1/admin",
    )  # fmt: skip
    return Hostile("path", b"x", method=rng.choice((*_METHODS, "GET", "POST")), path=rng.choice(paths))


def _header(rng: Rng, photos: list[bytes]) -> Hostile:
    """Headers that lie, flood, steer or are no text."""
    junk = rng.choice(
        (b"\xff\xfe", b"a" * 3000, b"../..", b"-1", b"\t", b"'", b"${jndi:ldap://x}", b"0", b"?1", b"1e9")
    )
    name = rng.choice(
        (
            b"x-request-id", b"x-request-timeout-seconds", b"x-request-disconnect-disabled",
            b"serve_multiplexed_model_id", b"x-session-id", b"authorization",
            b"cookie", b"content-encoding", b"x-forwarded-for", b"range", b"accept",
            b"traceparent", b"x-http-method-override", b"if-none-match", b"origin", b"te",
        )
    )  # fmt: skip
    headers = ((name, junk), *((b"x-%d" % number, b"y") for number in range(rng.choice((0, 0, 80)))))
    kinds = (
        b"image/jpeg",
        b"image/jpeg; q=1",
        b"IMAGE/PNG",
        b"image/\xff",
        b"text/html",
        b"/",
        b";" * 500,
        b"a/b" * 900,
    )
    return Hostile("header", rng.choice(photos), rng.choice(kinds), headers=headers)
