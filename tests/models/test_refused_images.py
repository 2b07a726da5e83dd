"""Files that are no photos, broken, too large or hostile: each is answered by an error that fits, or does no harm."""

import itertools
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from models.errors import ImageTooLarge, ImageTruncated, ImageUnreadable, UnsupportedImageType
from models.images import decode_image
from tests.models.picture_files import JPEG, PNG, WEBP, encode, picture, png_header, with_jpeg_segment, with_png_chunk

ANIMATION = [picture(), picture().rotate(180)]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", ImageUnreadable, id="empty"),
        pytest.param(b"hello, no picture", ImageUnreadable, id="text"),
        pytest.param(bytes(range(256)) * 8, ImageUnreadable, id="garbage"),
        pytest.param(b"\xff\xd8\xff" + b"\x00" * 500, ImageUnreadable, id="jpeg_garbage"),
        pytest.param(b"\xff\xd8\xff\xd9", ImageUnreadable, id="jpeg_without_pixels"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\x00" * 500, ImageUnreadable, id="png_garbage"),
        pytest.param(png_header(0, 10), ImageUnreadable, id="png_no_pixels"),
        pytest.param(JPEG[:100], ImageTruncated, id="jpeg_header_cut"),
        pytest.param(JPEG[: -len(JPEG) // 4], ImageTruncated, id="jpeg_pixels_cut"),
        pytest.param(JPEG[:3], ImageTruncated, id="jpeg_magic_only"),
        pytest.param(PNG[:20], ImageTruncated, id="png_header_cut"),
        pytest.param(PNG[:-30], ImageTruncated, id="png_pixels_cut"),
        pytest.param(PNG[:-12], ImageTruncated, id="png_end_missing"),
        pytest.param(png_header(60, 40), ImageTruncated, id="png_too_few_pixels"),
        pytest.param(WEBP[:-20], ImageTruncated, id="webp_cut"),
        pytest.param(WEBP[:15], ImageTruncated, id="webp_header_cut"),
        pytest.param(encode(picture(), "GIF"), UnsupportedImageType, id="gif"),
        pytest.param(encode(picture(), "TIFF"), UnsupportedImageType, id="tiff"),
        pytest.param(encode(picture(), "BMP"), UnsupportedImageType, id="bmp"),
        pytest.param(encode(picture(), "ICO"), UnsupportedImageType, id="ico"),
        pytest.param(b"<?xml version='1.0'?><svg xmlns='x'></svg>", UnsupportedImageType, id="svg"),
        pytest.param(b"\x00\x00\x00\x1cftypheic" + bytes(40), UnsupportedImageType, id="heic"),
        pytest.param(
            encode(ANIMATION[0], "WEBP", save_all=True, append_images=ANIMATION[1:]),
            UnsupportedImageType,
            id="animated_webp",
        ),
        pytest.param(
            encode(ANIMATION[0], "PNG", save_all=True, append_images=ANIMATION[1:]), UnsupportedImageType, id="apng"
        ),
    ],
)
def test_refusals(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_image(data)


@pytest.mark.parametrize(
    "data", [pytest.param(data, id=kind) for kind, data in zip("jpw", (JPEG, PNG, WEBP), strict=True)]
)
def test_every_cut_is_answered(data: bytes) -> None:
    for end in range(0, len(data) - 1, 7):
        try:
            decode_image(data[:end])
        except (ImageTruncated, ImageUnreadable):
            continue
        assert data is JPEG and end > len(data) - 8  # only the end marker is missing: every pixel is there


def test_damage_is_answered() -> None:
    rng = np.random.default_rng(0)
    for original, _ in itertools.product((JPEG, PNG, WEBP), range(60)):
        damaged = bytearray(original)
        for at in rng.integers(4, len(damaged), 3):
            damaged[at] = rng.integers(256)
        try:
            decode_image(bytes(damaged), max_pixels=100_000)
        except (ImageUnreadable, ImageTruncated, ImageTooLarge, UnsupportedImageType):
            continue


@pytest.mark.parametrize(
    ("declared", "is_refused"),
    [
        pytest.param("image/jpeg", False, id="same"),
        pytest.param("Image/JPG; charset=binary", False, id="alias"),
        pytest.param("application/octet-stream", False, id="not_an_image_type"),
        pytest.param("image/*", False, id="any_image"),
        pytest.param("image/png", True, id="another"),
        pytest.param("image/gif", True, id="not_accepted"),
    ],
)
def test_declared_type_is_compared(declared: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(UnsupportedImageType, match="but its bytes are image/jpeg"):
            decode_image(JPEG, content_type=declared)
    else:
        decode_image(JPEG, content_type=declared)


def test_limits_are_named() -> None:
    with pytest.raises(ImageTooLarge, match="50000 x 50000 pixels; the limit is 40000000 pixels"):
        decode_image(png_header(50_000, 50_000))
    with pytest.raises(ImageTooLarge, match="the limit is 100 bytes"):
        decode_image(PNG, max_bytes=100)
    decode_image(PNG, max_bytes=len(PNG), max_pixels=60 * 40)
    with pytest.raises(ImageTooLarge):
        decode_image(PNG, max_pixels=60 * 40 - 1)


def test_jpeg_and_webp_sizes_are_checked_before_decoding() -> None:
    jpeg = bytearray(JPEG)
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xff\xff\xff"
    webp = (
        b"RIFF"
        + struct.pack("<I", 30)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + b"\x00" * 4
        + b"\xff" * 6
        + b"VP8 "
        + bytes(4)
    )
    for data in (bytes(jpeg), webp):
        with pytest.raises(ImageTooLarge):
            decode_image(data)


BOMB = zlib.compress(bytes(30_000_000), 9)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(b"zTXt", b"Comment\x00\x00" + BOMB, id="text"),
        pytest.param(b"iTXt", b"Comment\x00\x01\x00\x00\x00" + BOMB, id="international_text"),
        pytest.param(b"iCCP", b"profile\x00\x00" + BOMB, id="profile"),
        pytest.param(b"iCCP", b"", id="empty_profile"),
        pytest.param(b"eXIf", b"II*\x00\xff\xff\xff\xff", id="broken_exif"),
    ],
)
def test_side_data_cannot_hurt(kind: bytes, body: bytes) -> None:
    assert (decode_image(with_png_chunk(PNG, kind, body)) == np.asarray(picture())).all()


@pytest.mark.parametrize(
    ("marker", "body"),
    [
        pytest.param(0xE1, b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(20), id="broken_exif"),
        pytest.param(0xE1, b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x1a\x01\x05\x00", id="cut_exif"),
        pytest.param(0xE2, b"MPF\x00II*\x00" + b"\xff" * 30, id="broken_multi_picture"),
        pytest.param(0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 30, id="photoshop"),
        pytest.param(0xFE, b"\xff" * 60, id="comment"),
    ],
)
def test_vendor_data_cannot_hurt(marker: int, body: bytes) -> None:
    assert (decode_image(with_jpeg_segment(JPEG, marker, body)) == decode_image(JPEG)).all()


@pytest.mark.parametrize("marker", [0x00, 0x02, 0xC8, 0xD8, 0xF0, 0xFD], ids=hex)
@pytest.mark.parametrize("length", [0, 1, None], ids=["no_length", "half_a_length", "right_length"])
def test_vendor_data_cannot_hide_where_pillow_looks_for_markers(marker: int, length: int | None) -> None:
    """Found by fuzzing: EXIF with sizes beyond the file reached Pillow behind a marker that JPEG does not have."""
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x1a\x00\x05\x00\xff\xff\xff\x00\x00\x00\x1a"
    hidden = b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif
    size = 2 + len(hidden) if length is None else length
    with pytest.raises(ImageUnreadable, match="none that JPEG has"):
        decode_image(JPEG[:2] + bytes((0xFF, marker)) + struct.pack(">H", size) + hidden + JPEG[2:])


def test_threads_decode_large_pictures_without_a_warning() -> None:
    large = encode(Image.new("1", (12_000, 9_000)), "PNG")  # Pillow warns from 90 million pixels on
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(2) as pool:
        for error in pool.map(lambda _: _error_of(large), range(4)):
            assert error is ImageTooLarge
        assert pool.submit(decode_image, PNG, max_pixels=200_000_000).result().shape == (40, 60, 3)
    assert not caught


def _error_of(data: bytes) -> type[Exception] | None:
    try:
        decode_image(data)
    except ImageTooLarge as exc:
        return type(exc)
    return None
