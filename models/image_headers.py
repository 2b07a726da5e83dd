"""What the bytes of an image file say before any pixel is decoded: type, size, colour profile, orientation.

Only what decoding needs is handed on. Text chunks, thumbnails and vendor data never reach Pillow, so neither a
compressed bomb nor a broken entry in them can cost memory, raise, or warn from inside a thread.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import ImageTruncated, ImageUnreadable, UnsupportedImageType

ACCEPTED_TYPES = ("image/jpeg", "image/png", "image/webp")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Of the files that are taken for photos where a folder is given, in lower case."""
_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DECODED_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JPEG_SEGMENTS = frozenset((*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(0xDA, 0xF0), 0xFE))
"""Markers with a length behind them; at another, Pillow looks for markers in what follows, and obeys them."""
_MAX_PROFILE_BYTES = 4 * 2**20
_OTHER_TYPES = (
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image file taken apart.

    `data` holds only what decoding needs; `orientation` is the EXIF value 1..8; `has_adobe_marker` tells inverted
    CMYK from plain.
    """

    media_type: str
    width: int
    height: int
    data: bytes
    profile: bytes = b""
    orientation: int = 1
    bit_depth: int = 8
    has_adobe_marker: bool = False


def read_header(data: bytes, content_type: str | None = None) -> ImageHeader:
    """Recognise the type from the bytes and read its header.

    Args:
        data: the file.
        content_type: the type the caller declared; only `image/...` types are compared with the bytes.

    Raises:
        ImageUnreadable: if the bytes are no picture, or a broken one.
        ImageTruncated: if the file ends before its pixels begin, or its length says that the end is missing.
        UnsupportedImageType: if the type is not accepted, differs from the declared one, or the picture is animated.
    """
    media_type = media_type_of(data)
    if media_type is None:
        raise _refusal(data)
    declared = (content_type or "").split(";")[0].strip().lower()
    declared = _ALIASES.get(declared, declared)
    if declared.startswith("image/") and declared not in ("image/*", media_type):
        raise UnsupportedImageType(f"the picture is declared as {declared[:60]} but its bytes are {media_type}")
    reader = {"image/jpeg": _read_jpeg, "image/png": _read_png, "image/webp": _read_webp}[media_type]
    try:
        header = reader(data)
    except (struct.error, IndexError) as exc:
        raise ImageTruncated("the picture ends too early; send the whole file", repr(exc)) from exc
    if header.width < 1 or header.height < 1:
        raise ImageUnreadable("the picture is broken: its header says it has no pixels")
    return header


def media_type_of(data: bytes) -> str | None:
    """The accepted type that the first bytes of a file tell; None for any other."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(_PNG_SIGNATURE):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _refusal(data: bytes) -> UnsupportedImageType | ImageUnreadable:
    name = _other_type(data)
    if name:
        return UnsupportedImageType(f"{name} pictures are not accepted; send JPEG, PNG or WebP")
    if not data:
        return ImageUnreadable("the picture is empty: no bytes arrived")
    return ImageUnreadable("the bytes are no picture; send JPEG, PNG or WebP")


def _other_type(data: bytes) -> str:
    for signature, name in _OTHER_TYPES:
        if data.startswith(signature):
            return name
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIF"
    return "SVG" if b"<svg" in data[:1024].lower() else ""


def _truncated() -> ImageTruncated:
    return ImageTruncated("the picture ends too early; send the whole file")


def _read_png(data: bytes) -> ImageHeader:
    parts = [_PNG_SIGNATURE]
    profile, orientation = b"", 1
    width, height, bit_depth = struct.unpack_from(">IIB", data, 16)
    if data[12:16] != b"IHDR":
        raise ImageUnreadable("the PNG picture is broken: it does not begin with its header")
    offset = len(_PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + 12 + length
        if end > len(data):
            raise _truncated()
        body = data[offset + 8 : end - 4] if kind in (b"acTL", b"iCCP", b"eXIf") else b""
        if kind == b"acTL" and struct.unpack_from(">I", body)[0] > 1:
            raise UnsupportedImageType("animated pictures are not accepted; send a still JPEG, PNG or WebP")
        if kind == b"iCCP":
            profile = _inflate_profile(body)
        elif kind == b"eXIf":
            orientation = _orientation(body)
        elif kind in _PNG_DECODED_CHUNKS:
            parts.append(data[offset:end])
        offset = end
    return ImageHeader("image/png", width, height, b"".join(parts), profile, orientation, bit_depth)


def _inflate_profile(chunk: bytes) -> bytes:
    """Unpack a PNG's colour profile; b"" where it is broken or larger than any real one."""
    _, _, packed = chunk.partition(b"\x00")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if unpacker.eof else b""


def _read_jpeg(data: bytes) -> ImageHeader:
    parts = [b"\xff\xd8"]
    width = height = 0
    orientation, has_adobe_marker = 1, False
    profile_parts: dict[int, bytes] = {}
    for marker, begin, end in _jpeg_segments(data):
        body = data[begin + 4 : min(end, begin + 4 + 65535)]
        if marker == 0xDA:
            parts.append(data[begin:])
        elif marker == 0xE1 and body.startswith(b"Exif\x00\x00"):
            orientation = _orientation(body[6:])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\x00") and len(body) > 14:
            profile_parts[body[12]] = body[14:]
        elif marker == 0xEE and body.startswith(b"Adobe"):
            has_adobe_marker = True
            parts.append(data[begin:end])
        elif marker == 0xE0 or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[begin:end])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", body, 1)
    profile = b"".join(profile_parts[number] for number in sorted(profile_parts))
    profile = profile if len(profile) <= _MAX_PROFILE_BYTES else b""
    return ImageHeader(
        "image/jpeg", width, height, b"".join(parts), profile, orientation, has_adobe_marker=has_adobe_marker
    )


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, begin, end) of every segment up to and with the first scan."""
    offset = 2
    while True:
        if data[offset] != 0xFF:
            raise ImageUnreadable("the JPEG picture is broken: a marker is missing before its pixels")
        marker = data[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
            continue
        if marker == 0xD9:
            raise ImageUnreadable("the JPEG picture is broken: it ends before its pixels begin")
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a body
            offset += 2
            continue
        length = struct.unpack_from(">H", data, offset + 2)[0]
        if marker not in _JPEG_SEGMENTS or length < 2:
            raise ImageUnreadable("the JPEG picture is broken: a part before its pixels is none that JPEG has")
        end = offset + 2 + length
        if end >= len(data):
            raise _truncated()
        yield marker, offset, end
        if marker == 0xDA:
            return
        offset = end


def _read_webp(data: bytes) -> ImageHeader:
    if 8 + struct.unpack_from("<I", data, 4)[0] > len(data):
        raise _truncated()
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        return ImageHeader("image/webp", width, height, data)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return ImageHeader("image/webp", (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, data)
    if kind != b"VP8X":
        raise ImageUnreadable("the WebP picture is broken: it does not begin with its pixels or its header")
    if data[20] & 0x02:
        raise UnsupportedImageType("animated pictures are not accepted; send a still JPEG, PNG or WebP")
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    chunks = dict(_webp_chunks(data))
    exif = chunks.get(b"EXIF", b"").removeprefix(b"Exif\x00\x00")
    profile = chunks.get(b"ICCP", b"")
    profile = profile if len(profile) <= _MAX_PROFILE_BYTES else b""
    return ImageHeader("image/webp", width, height, data, profile, _orientation(exif))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 12
    while offset + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, offset)
        if kind in (b"ICCP", b"EXIF"):
            yield kind, data[offset + 8 : offset + 8 + length]
        offset += 8 + length + (length & 1)


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1..8 from a TIFF block; 1 where it is absent or broken."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (num_entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(num_entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return int(value) if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
