import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from models.images import PADDING_GREY, crop_square, decode_image, detector_canvas, letterbox
from tests.models.picture_files import (
    RED,
    chunk,
    encode,
    orientation_tag,
    picture,
    without_jpeg_segment,
)


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
