"""Rendered photos and whole sets of them; a photo is a pure function of (seed, index)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.datasets import write_dataset
from models.errors import DatasetError
from models.ontology import Ontology, load_ontology
from models.rendering.backgrounds import draw_background
from models.rendering.hiding import hide_parts
from models.rendering.labels import label
from models.rendering.looks import CATEGORIES
from models.rendering.scene import Scene, arrange_figure, arrange_flat, arrange_nothing, scatter_props
from models.types import LabelledGarment, LabelledPhoto

Progress = Callable[[int, int], None]
"""Called with (photos done, photos in all)."""

_JPEG_QUALITY = 88
_SHAPES, _SHAPE_SHARES = ((4, 3), (1, 1), (3, 4)), (0.70, 0.15, 0.15)


def render_photo(
    seed: int, ontology: Ontology, index: int = 0, long_side_px: int = 512, open_share: float = 0.0
) -> tuple[NDArray[np.uint8], tuple[LabelledGarment, ...]]:
    """Draw one photo with its labels.

    Args:
        seed: of the set.
        ontology: categories, attributes and values it lacks are not drawn or not labelled.
        index: which photo of the set.
        long_side_px: the longer side.
        open_share: of the figures, that wear open outerwear over a top or dress besides those that do by chance.

    Returns:
        (H, W, 3) uint8 sRGB, and the visible garments with boxes in its pixels.

    Raises:
        DatasetError: if the ontology has no category that can be drawn.
    """
    known = tuple(name for name in CATEGORIES if name in ontology.categories)
    if not known:
        raise DatasetError(f"none of the ontology's categories can be drawn; these can: {', '.join(CATEGORIES)}")
    rng = np.random.default_rng([seed, index])
    is_worn = bool(rng.random() < 0.5)
    is_empty = bool(rng.random() < 0.04)
    canvas = draw_background(rng, _image_hw(rng, long_side_px), 0.8 if is_worn else None)
    scene = Scene(canvas, _embedded(), known, rng, open_share)
    scatter_props(scene, int(rng.choice([0, 1, 2, 3, 5], p=[0.4, 0.2, 0.2, 0.12, 0.08])))
    if is_empty:
        arrange_nothing(scene)
    elif is_worn:
        arrange_figure(scene)
    else:
        arrange_flat(scene)
    hide_parts(scene, is_worn)
    found = (label(canvas, garment, scene.area_px.get(garment.owner, 0), ontology) for garment in scene.garments)
    garments = tuple(garment for garment in found if garment is not None)
    return _develop(canvas.rgb, garments, rng)


@cache
def _embedded() -> Ontology:
    """The ontology that the renderer can draw in full."""
    return load_ontology()


def _image_hw(rng: np.random.Generator, long_side_px: int) -> tuple[int, int]:
    tall, wide = _SHAPES[int(rng.choice(len(_SHAPES), p=_SHAPE_SHARES))]
    return long_side_px * tall // max(tall, wide), long_side_px * wide // max(tall, wide)


def _develop(
    rgb: NDArray[np.float32], garments: tuple[LabelledGarment, ...], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], tuple[LabelledGarment, ...]]:
    """White balance, exposure, blur and noise as of a camera; half of the photos mirrored."""
    height, width = rgb.shape[:2]
    rgb *= (float(rng.uniform(0.93, 1.05)) * rng.uniform(0.98, 1.02, 3)).astype(np.float32)
    if rng.random() < 0.35:
        rgb[:, 1:-1] = rgb[:, 1:-1] * np.float32(0.6) + (rgb[:, :-2] + rgb[:, 2:]) * np.float32(0.2)
        rgb[1:-1] = rgb[1:-1] * np.float32(0.6) + (rgb[:-2] + rgb[2:]) * np.float32(0.2)
    noise = _noise()
    dy, dx = rng.integers(0, noise.shape[0] - height + 1), rng.integers(0, noise.shape[1] - width + 1)
    rgb += noise[dy : dy + height, dx : dx + width, None] * np.float32(rng.uniform(0.5, 3.5))
    image = rgb.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        return image, garments
    mirrored = tuple(
        LabelledGarment(
            garment.category,
            (width - garment.box[2], garment.box[1], width - garment.box[0], garment.box[3]),
            garment.attributes,
        )
        for garment in garments
    )
    return np.ascontiguousarray(image[:, ::-1]), mirrored


@cache
def _noise() -> NDArray[np.float32]:
    return np.random.default_rng(11).standard_normal((1200, 1200), dtype=np.float32)


def render_dataset(
    out_dir: Path,
    count: int,
    seed: int,
    *,
    ontology: Ontology | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    long_side_px: int = 512,
    open_share: float = 0.0,
) -> None:
    """Render a set in the dataset form; the same seed gives the same photos whatever the number of workers.

    Args:
        out_dir: becomes the set; made if missing.
        count: number of photos.
        seed: of the set.
        ontology: None is the embedded one.
        workers: processes; 1 renders in this one.
        progress: called after each photo.
        long_side_px: longer side of every photo.
        open_share: as of `render_photo`, in [0, 1].

    Raises:
        DatasetError: if count or workers is below one, open_share is no share, or the ontology has nothing to draw.
    """
    if count < 1 or workers < 1:
        raise DatasetError(f"a set needs at least one photo and one worker, got {count} and {workers}")
    if not 0 <= open_share <= 1:
        raise DatasetError(f"the share of open outerwear needs to be in [0, 1], got {open_share}")
    ontology = ontology or load_ontology()
    (out_dir / "images").mkdir(parents=True, exist_ok=True)
    write_one = partial(_write_photo, out_dir, seed, ontology, long_side_px, open_share)
    facts = {"source": "rendered", "seed": seed, "long_side_px": long_side_px, "open_share": open_share}
    write_dataset(out_dir, _render_all(write_one, count, workers, progress), ontology, facts)


def _render_all(
    write_one: Callable[[int], tuple[LabelledPhoto, tuple[int, int]]],
    count: int,
    workers: int,
    progress: Progress | None,
) -> Iterator[tuple[LabelledPhoto, tuple[int, int]]]:
    if workers == 1:
        for index in range(count):
            yield write_one(index)
            if progress:
                progress(index + 1, count)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, written in enumerate(pool.map(write_one, range(count), chunksize=16), start=1):
            yield written
            if progress:
                progress(done, count)


def _write_photo(
    out_dir: Path, seed: int, ontology: Ontology, long_side_px: int, open_share: float, index: int
) -> tuple[LabelledPhoto, tuple[int, int]]:
    image, garments = render_photo(seed, ontology, index, long_side_px, open_share)
    path = out_dir / "images" / f"{index:06d}.jpg"
    Image.fromarray(image).save(path, quality=_JPEG_QUALITY)
    return LabelledPhoto(path, garments), (image.shape[0], image.shape[1])
