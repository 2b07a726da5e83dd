import io
import itertools
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from models.errors import ImageTooLarge, ImageTruncated, ImageUnreadable, UnsupportedImageType
from models.images import PADDING_GREY, crop_square, decode_image, detector_canvas, letterbox

RED = (200, 50, 30)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(width: int = 60, height: int = 40) -> Image.Image:
    """Left half red, right half a grey ramp from top to bottom."""
    pixels = np.full((height, width, 3), RED, dtype=np.uint8)
    pixels[:, width // 2 :] = np.linspace(0, 255, height).astype(np.uint8)[:, None, None]
    return Image.fromarray(pixels)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_png_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    return data[:33] + chunk(kind, body) + data[33:]


def with_jpeg_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


def without_jpeg_segment(data: bytes, marker: int) -> bytes:
    at = data.index(bytes((0xFF, marker)))
    return data[:at] + data[at + 2 + struct.unpack_from(">H", data, at + 2)[0] :]


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def orientation_tag(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def transparent_palette() -> Image.Image:
    pixels = np.zeros((40, 60), dtype=np.uint8)
    pixels[:, 30:] = 1
    image = Image.fromarray(pixels, "P")
    image.putpalette([*RED, 0, 0, 0])
    return image


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        pytest.param(encode(picture(), "PNG"), 0, id="png"),
        pytest.param(encode(picture(), "PNG", interlace=1), 0, id="png_interlaced"),
        pytest.param(encode(picture(), "JPEG", quality=95, subsampling=0), 4, id="jpeg"),
        pytest.param(encode(picture(), "JPEG", quality=95, subsampling=0, progressive=True), 4, id="jpeg_progressive"),
        pytest.param(encode(picture().convert("CMYK"), "JPEG", quality=98, subsampling=0), 6, id="cmyk_adobe"),
        pytest.param(encode(picture(), "WEBP", lossless=True), 0, id="webp_lossless"),
        pytest.param(encode(picture(), "WEBP", quality=95), 12, id="webp"),
        pytest.param(encode(picture().convert("RGBA"), "WEBP", lossless=True), 0, id="webp_alpha"),
        pytest.param(encode(picture().convert("RGBA"), "PNG"), 0, id="png_alpha"),
        pytest.param(encode(picture().quantize(256), "PNG"), 2, id="palette"),
    ],
)
def test_every_kind_reads_like_its_plain_twin(data: bytes, tolerance: int) -> None:
    decoded = decode_image(data)
    plain = np.asarray(picture()).astype(int)
    inner = np.ones(60, dtype=bool)
    inner[27:33] = False  # the edge between the halves rings in lossy files
    assert decoded.dtype == np.uint8 and decoded.flags.writeable
    assert np.abs(decoded.astype(int) - plain)[:, inner].max() <= tolerance


def test_cmyk_without_adobe_marker_is_not_inverted() -> None:
    adobe = encode(picture().convert("CMYK"), "JPEG", quality=98)
    plain_values = Image.merge(
        "CMYK", [band.point(lambda level: 255 - level) for band in picture().convert("CMYK").split()]
    )
    unmarked = without_jpeg_segment(encode(plain_values, "JPEG", quality=98), 0xEE)
    assert np.abs(decode_image(unmarked).astype(int) - decode_image(adobe).astype(int)).max() <= 3


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.arange(0, 256, dtype=np.uint16).reshape(16, 16)
    deep = decode_image(encode(Image.fromarray(levels * 257), "PNG"))
    assert (deep == levels[..., None]).all()


def test_16_bit_colour_is_scaled() -> None:
    rows = b"".join(b"\x00" + struct.pack(">3H", 200 * 257, 50 * 257, 30 * 257) * 4 for _ in range(2))
    header = struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert (decode_image(data) == RED).all()


def transparent_colour() -> Image.Image:
    pixels = np.full((40, 60, 4), (*RED, 255), dtype=np.uint8)
    pixels[:, 30:, 3] = 0
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(transparent_palette(), "PNG", transparency=1), id="palette_index"),
        pytest.param(encode(transparent_palette(), "PNG", transparency=b"\xff\x00"), id="palette_bytes"),
        pytest.param(encode(transparent_colour(), "PNG"), id="rgba"),
        pytest.param(encode(transparent_colour(), "WEBP", lossless=True, exact=True), id="rgba_webp"),
    ],
)
def test_transparent_becomes_white(data: bytes) -> None:
    decoded = decode_image(data)
    assert (decoded[:, :30] == RED).all()
    assert (decoded[:, 30:] == 255).all()


@pytest.mark.parametrize("mode", ["LA", "L", "1", "I;16"])
def test_transparent_grey_becomes_white(mode: str) -> None:
    if mode == "LA":
        data = encode(Image.new("LA", (4, 4), (90, 0)), "PNG")
    elif mode == "I;16":
        data = encode(Image.fromarray(np.full((4, 4), 9000, np.uint16)), "PNG", transparency=9000)
    else:
        data = encode(Image.new(mode, (4, 4), 0), "PNG", transparency=0)
    assert (decode_image(data) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = np.asarray(picture()).astype(int)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    options: dict[str, object] = {"quality": 98} | ({"lossless": True} if kind == "WEBP" else {})
    data = encode(Image.fromarray(stored.astype(np.uint8)), kind, exif=orientation_tag(orientation), **options)
    decoded = decode_image(data).astype(int)
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).mean() < 2


def swapped_profile() -> bytes:
    """A valid RGB profile: sRGB's with the red and blue primaries exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", data, 128)
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    data[tags[b"rXYZ"] : tags[b"rXYZ"] + 4], data[tags[b"bXYZ"] : tags[b"bXYZ"] + 4] = b"bXYZ", b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "odd.".encode("utf-16-be"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_profile_is_converted(kind: str) -> None:
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.new("RGB", (8, 8), RED), kind, icc_profile=swapped_profile(), **options)
    red, green, blue = decode_image(data)[4, 4].astype(int)
    assert abs(red - RED[2]) < 8 and abs(green - RED[1]) < 8 and abs(blue - RED[0]) < 8


@pytest.mark.parametrize(
    ("image", "profile"),
    [
        pytest.param(Image.new("RGB", (4, 4), RED), b"no profile at all", id="garbage"),
        pytest.param(Image.new("RGB", (4, 4), RED), swapped_profile()[:200], id="cut"),
        pytest.param(Image.new("L", (4, 4), 77), swapped_profile(), id="colour_profile_on_grey"),
    ],
)
def test_unusable_profile_is_ignored(image: Image.Image, profile: bytes) -> None:
    decoded = decode_image(encode(image, "PNG", icc_profile=profile))
    assert (decoded == np.asarray(image.convert("RGB"))).all()


JPEG, PNG, WEBP = (encode(picture(), kind) for kind in ("JPEG", "PNG", "WEBP"))
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


@pytest.mark.parametrize(
    ("image_hw", "expected"),
    [
        pytest.param((1200, 800), (320, 256), id="portrait"),
        pytest.param((800, 1200), (256, 320), id="landscape"),
        pytest.param((800, 800), (320, 320), id="square"),
        pytest.param((850, 800), (320, 320), id="nearly_square"),
        pytest.param((5000, 3), (320, 256), id="sliver"),
        pytest.param((1, 1), (320, 320), id="one_pixel"),
    ],
)
def test_canvas_with_the_least_padding_wins(image_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert detector_canvas(image_hw, 320) == expected


def test_canvas_sides_are_multiples_of_32() -> None:
    assert detector_canvas((400, 300), 256) == (256, 192)
    with pytest.raises(ValueError, match="multiple of 32"):
        detector_canvas((400, 300), 300)


@pytest.mark.parametrize("image_hw", [(1200, 800), (100, 333), (1, 1), (3000, 2), (7, 900)])
def test_letterbox_keeps_the_aspect_and_pads_grey(image_hw: tuple[int, int]) -> None:
    image = np.full((*image_hw, 3), 255, dtype=np.uint8)
    canvas, scale = letterbox(image, (256, 192))
    height, width = max(1, round(image_hw[0] * scale)), max(1, round(image_hw[1] * scale))
    assert canvas.shape == (256, 192, 3)
    assert scale == min(256 / image_hw[0], 192 / image_hw[1])
    assert (canvas[:height, :width] == 255).all()
    assert (canvas[height:] == PADDING_GREY).all() and (canvas[:, width:] == PADDING_GREY).all()


def test_letterbox_moves_a_mark_by_the_scale() -> None:
    image = np.zeros((1000, 600, 3), dtype=np.uint8)
    image[400:500, 300:360] = 255
    canvas, scale = letterbox(image, (256, 192))
    rows, columns = np.nonzero(canvas[: round(1000 * scale), : round(600 * scale), 0] > 127)
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / scale
    assert np.abs(found - (300, 400, 360, 500)).max() <= 0.75 / scale


def test_crop_is_centred_and_padded() -> None:
    image = np.zeros((200, 100, 3), dtype=np.uint8)
    image[50:150, 40:60] = 255
    crop = crop_square(image, (40.0, 50.0, 60.0, 150.0), 100, 0.0)
    assert (crop[:, 40:60] == 255).all()
    assert (crop[:, :40] == PADDING_GREY).all() and (crop[:, 60:] == PADDING_GREY).all()


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((-50.0, -50.0, 500.0, 500.0), id="larger_than_the_photo"),
        pytest.param((99.2, 10.0, 99.8, 10.5), id="within_one_pixel"),
        pytest.param((0.0, 0.0, 100.0, 0.4), id="sliver"),
    ],
)
def test_crop_of_any_box_that_meets_the_photo(box: tuple[float, float, float, float]) -> None:
    assert crop_square(np.zeros((200, 100, 3), np.uint8), box, 64, 0.1).shape == (64, 64, 3)


def test_crop_outside_the_photo_is_refused() -> None:
    with pytest.raises(ValueError, match="does not meet the photo"):
        crop_square(np.zeros((200, 100, 3), np.uint8), (150.0, 0.0, 180.0, 50.0), 64, 0.1)
