"""From the bytes of a photo to the pixels a model sees: decoding, letterboxing, cropping.

Training, evaluation and serving share this one copy of the geometry. Pillow and numpy only; safe to call from threads.
"""

import io
import math
import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from models.errors import ImageTooLarge, ImageTruncated, ImageUnreadable
from models.image_headers import ImageHeader, read_header
from models.types import Box

PADDING_GREY = 114
"""Level of the padding around a photo; near the mean of photos, so its edge is weak once normalised."""

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 40_000_000
CANVAS_MULTIPLE_PX = 32
"""Sides of a canvas are multiples of it: the pixels per cell of the detector's coarsest backbone map."""


# Opened through their own classes: Image.open would warn about large pictures, which no thread can silence for itself.
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "image/jpeg": JpegImagePlugin.JpegImageFile,
    "image/png": PngImagePlugin.PngImageFile,
    "image/webp": WebPImagePlugin.WebPImageFile,
}
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
)
_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS, content_type: str | None = None
) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or WebP photo into upright sRGB; transparent parts become white.

    Both limits are checked before anything is decoded.

    Args:
        data: the file.
        max_bytes: largest accepted file.
        max_pixels: largest accepted width x height.
        content_type: the declared type, compared with what the bytes are; None to go by the bytes alone.

    Returns:
        (H, W, 3) uint8 sRGB, upright by its EXIF orientation; a writable array of its own.

    Raises:
        ImageUnreadable: if the bytes are no picture, or a broken one.
        ImageTruncated: if the file ends too early.
        ImageTooLarge: naming the limit.
        UnsupportedImageType: if the type is not accepted or not the declared one, or the picture is animated.
    """
    if len(data) > max_bytes:
        raise ImageTooLarge(f"the picture has {len(data)} bytes; the limit is {max_bytes} bytes")
    header = read_header(data, content_type)
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(
            f"the picture has {header.width} x {header.height} pixels; the limit is {max_pixels} pixels in all"
        )
    try:
        with _OPENERS[header.media_type](io.BytesIO(header.data)) as opened:
            if opened.size != (header.width, header.height):
                raise ImageUnreadable("the picture is broken: it names two different sizes")
            opened.load()
            image = _to_srgb(_to_plain_mode(opened, header), header.profile)
    except _DECODING_ERRORS as exc:
        if "truncated" in str(exc).lower():
            raise ImageTruncated("the picture ends too early; send the whole file", repr(exc)) from exc
        raise ImageUnreadable("the picture is broken and cannot be decoded", repr(exc)) from exc
    if header.orientation != 1:
        image = image.transpose(_TRANSPOSE_BY_ORIENTATION[header.orientation])
    return np.array(image)


def _to_plain_mode(image: Image.Image, header: ImageHeader) -> Image.Image:
    """Bring any mode to L, RGB or CMYK with 8 bits and no transparency."""
    transparency = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey; convert("L") would clip at 255
        levels = np.asarray(image, dtype=np.uint16)
        grey = (levels >> 8).astype(np.uint8)
        return Image.fromarray(grey if transparency is None else np.where(levels == transparency, 255, grey))
    if image.mode == "CMYK":
        # Pillow takes every CMYK JPEG for Adobe's inverted kind; without Adobe's marker the values are plain.
        return image if header.has_adobe_marker else Image.fromarray(255 - np.asarray(image), "CMYK")
    if header.bit_depth == 16 and isinstance(transparency, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in transparency)
    if transparency is not None or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        colours = image.convert("RGBA")
        plain = Image.new("RGB", image.size, (255, 255, 255))
        plain.paste(colours, mask=colours.getchannel("A"))
        return plain
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert through the embedded colour profile; a profile that is broken or of another mode is ignored."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" in ImageCms.getProfileDescription(source).lower() and image.mode == "RGB":
                return image
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


def detector_canvas(image_hw: tuple[int, int], long_side_px: int) -> tuple[int, int]:
    """Choose the canvas that a photo fills best: portrait, square or landscape.

    Three shapes only, so that photos of any aspect meet in few batches. The short side is 3/4 of the long one, up to
    the next multiple of 32, on which the detector's feature maps and anchors align.

    Args:
        image_hw: (height, width) of the photo in pixels.
        long_side_px: long side of the canvas, a multiple of 32.

    Returns:
        (height, width) of the canvas in pixels.

    Raises:
        ValueError: if `long_side_px` is not a positive multiple of 32.
    """
    if long_side_px < CANVAS_MULTIPLE_PX or long_side_px % CANVAS_MULTIPLE_PX:
        raise ValueError(f"long_side_px needs to be a positive multiple of {CANVAS_MULTIPLE_PX}, got {long_side_px}")
    short_side_px = math.ceil(long_side_px * 3 / 4 / CANVAS_MULTIPLE_PX) * CANVAS_MULTIPLE_PX
    canvases = ((long_side_px, long_side_px), (long_side_px, short_side_px), (short_side_px, long_side_px))
    return max(canvases, key=lambda canvas_hw: _filled_share(image_hw, canvas_hw))


def _filled_share(image_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> float:
    scale = min(canvas_hw[0] / image_hw[0], canvas_hw[1] / image_hw[1])
    return image_hw[0] * image_hw[1] * scale**2 / (canvas_hw[0] * canvas_hw[1])


def letterbox(image: NDArray[np.uint8], canvas_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], float]:
    """Scale a photo to fit a canvas, aspect kept, anchored top-left, grey at right and bottom.

    Args:
        image: (H, W, 3) uint8.
        canvas_hw: (height, width) of the canvas in pixels.

    Returns:
        The canvas, (height, width, 3) uint8, and the scale: photo_xy = canvas_xy / scale.
    """
    height, width = image.shape[:2]
    scale = min(canvas_hw[0] / height, canvas_hw[1] / width)
    scaled = _resize(image, (_scaled_side(height, scale, canvas_hw[0]), _scaled_side(width, scale, canvas_hw[1])))
    canvas = np.full((*canvas_hw, 3), PADDING_GREY, dtype=np.uint8)
    canvas[: scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas, scale


def crop_square(image: NDArray[np.uint8], box: Box, size_px: int, pad_ratio: float) -> NDArray[np.uint8]:
    """Cut a garment out of its photo into a square, aspect kept, centred, grey around it.

    Args:
        image: (H, W, 3) uint8.
        box: the garment in pixels of the photo; parts outside the photo are cut off.
        size_px: side of the square.
        pad_ratio: share of the box's width and height added on every side, as far as the photo reaches.

    Returns:
        (size_px, size_px, 3) uint8.

    Raises:
        ValueError: if the box does not meet the photo.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    pad_x, pad_y = (x2 - x1) * pad_ratio, (y2 - y1) * pad_ratio
    left, right = max(0, math.floor(x1 - pad_x)), min(width, math.ceil(x2 + pad_x))
    top, bottom = max(0, math.floor(y1 - pad_y)), min(height, math.ceil(y2 + pad_y))
    if left >= right or top >= bottom:
        raise ValueError(f"box {box} does not meet the photo of {width} x {height} pixels")
    region = image[top:bottom, left:right]
    scale = size_px / max(region.shape[:2])
    scaled = _resize(region, (_scaled_side(bottom - top, scale, size_px), _scaled_side(right - left, scale, size_px)))
    square = np.full((size_px, size_px, 3), PADDING_GREY, dtype=np.uint8)
    y, x = (size_px - scaled.shape[0]) // 2, (size_px - scaled.shape[1]) // 2
    square[y : y + scaled.shape[0], x : x + scaled.shape[1]] = scaled
    return square


def _scaled_side(side_px: int, scale: float, limit_px: int) -> int:
    return min(limit_px, max(1, round(side_px * scale)))


def _resize(image: NDArray[np.uint8], target_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear with antialiasing; far larger photos are first reduced by a whole factor, which is much faster."""
    if image.shape[:2] == target_hw:
        return image
    pillow = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(
        pillow.resize((target_hw[1], target_hw[0]), Image.Resampling.BILINEAR, reducing_gap=2.0), dtype=np.uint8
    )
