"""Pictures for people: boxes with what is known of each garment beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.types import Box

# Told apart by people with the common colour vision deficiencies (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True, slots=True)
class Note:
    """A box in pixels of the photo and the lines of text that belong to it, the first one a title."""

    box: Box
    lines: tuple[str, ...]


def draw_notes(image: NDArray[np.uint8], notes: Sequence[Note]) -> Image.Image:
    """Draw each box on a copy of the photo and its lines in a column to the right of it.

    The column keeps the photo itself readable however many tags there are.

    Args:
        image: (H, W, 3) uint8 RGB.
        notes: what to draw, in pixels of that image.
    """
    height, width = image.shape[:2]
    font_px = max(11, round(max(height, width) / 45))
    font = ImageFont.load_default(size=font_px)
    line_px = round(font_px * 1.3)
    num_lines = sum(len(note.lines) + 1 for note in notes)
    longest = max((font.getlength(line) for note in notes for line in note.lines), default=0.0)
    column = round(longest) + 2 * font_px if notes else 0
    picture = Image.new("RGB", (width + column, max(height, num_lines * line_px + font_px)), "white")
    picture.paste(Image.fromarray(image), (0, 0))
    draw = ImageDraw.Draw(picture)
    stroke = max(2, round(max(height, width) / 250))
    y = font_px // 2
    for index, note in enumerate(notes):
        colour = _COLOURS[index % len(_COLOURS)]
        draw.rectangle(note.box, outline=colour, width=stroke)
        for line_number, line in enumerate(note.lines):
            draw.text((width + font_px, y), line, fill=colour if line_number == 0 else "black", font=font)
            y += line_px
        y += line_px
    return picture
