"""The photos that benchmarks send: drawn, so that everybody has the same, as JPEG files of a chosen size."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from models.datasets import read_dataset
from models.ontology import Ontology, load_ontology
from models.rendering.render import render_dataset, render_photo
from models.types import LabelledPhoto

SEED = 9001
"""Of the test split: training never saw it."""


def jpegs(count: int, long_side_px: int = 512, num_bytes: int = 0, seed: int = SEED) -> list[bytes]:
    """Different photos as JPEG; each with at least `num_bytes`, by the finest quality that needs no more detail.

    Args:
        count: how many.
        long_side_px: the longer side.
        num_bytes: noise is added until the file is as large; 0 for the usual quality.
        seed: of the set.
    """
    return [_jpeg(index, long_side_px, num_bytes, seed) for index in range(count)]


def _jpeg(index: int, long_side_px: int, num_bytes: int, seed: int) -> bytes:
    image, _ = render_photo(seed, load_ontology(), index, min(long_side_px, 512))
    picture = Image.fromarray(image)
    scale = long_side_px / max(picture.size)
    if scale > 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    noise = np.random.default_rng(index).normal(0, 1, (picture.height, picture.width, 1))
    data = _encoded(picture, 88)
    for deviation in (2, 4, 7, 11, 16):
        if len(data) >= num_bytes:
            break
        noisy = np.clip(np.asarray(picture) + deviation * noise, 0, 255).astype(np.uint8)
        data = _encoded(Image.fromarray(noisy), 92)
    return data


def _encoded(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def labelled(directory: Path, count: int, ontology: Ontology) -> list[LabelledPhoto]:
    """The first photos of the test split with their labels, drawn into a directory."""
    render_dataset(directory, count, SEED, ontology=ontology)
    return read_dataset(directory, ontology)
