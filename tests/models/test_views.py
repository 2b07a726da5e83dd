from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import DatasetError
from models.ontology import load_ontology
from models.types import LabelledGarment, LabelledPhoto
from models.views import PhotoSet, load_photos, look_through, mirrored, random_window, shaken_light, smaller_canvas

ONTOLOGY = load_ontology()
BOX = (30.0, 40.0, 70.0, 100.0)


def photo_with_green_box(path: Path, size: tuple[int, int] = (120, 160), garments: int = 1) -> LabelledPhoto:
    pixels = np.full((size[1], size[0], 3), 20, dtype=np.uint8)
    pixels[40:100, 30:70] = (0, 255, 0)
    Image.fromarray(pixels).save(path)
    return LabelledPhoto(path, (LabelledGarment("dress", BOX),) * garments)


@pytest.fixture
def photos(tmp_path: Path) -> PhotoSet:
    sizes = [(120, 160)] * 3 + [(160, 120)] * 2 + [(160, 160)] * 2
    labelled = [photo_with_green_box(tmp_path / f"{at}.png", size) for at, size in enumerate(sizes)]
    return load_photos(labelled, ONTOLOGY, 128)


def green_box(canvas: np.ndarray) -> np.ndarray:
    """Edges of what is greener than anything else."""
    is_green = (canvas[..., 1].astype(int) - canvas[..., 0]) > 60
    rows, columns = np.nonzero(is_green)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_every_view_moves_the_box_with_the_pixels(photos: PhotoSet) -> None:
    rng = np.random.default_rng(0)
    for index in [at % len(photos) for at in range(80)]:
        view = photos.training_view(index, rng, light=0.2)
        assert view.canvas.shape == (*photos.canvas_hws[index], 3) and view.boxes.dtype == np.float32
        assert view.labels.tolist() == [ONTOLOGY.detector_label("dress")] * len(view.boxes)
        if len(view.boxes):
            assert np.abs(green_box(view.canvas) - view.boxes[0]).max() <= 2.5


def test_plain_view_is_the_letterboxed_photo(photos: PhotoSet) -> None:
    view = photos.plain_view(0)
    assert view.canvas.shape == (128, 96, 3)
    assert np.abs(green_box(view.canvas) - view.boxes[0]).max() <= 1.5
    assert view.boxes[0].tolist() == pytest.approx([side * 0.8 for side in BOX], rel=0.01)


def test_views_follow_from_the_seed(photos: PhotoSet) -> None:
    one, two = (photos.training_view(1, np.random.default_rng(5), 0.2) for _ in range(2))
    assert (one.canvas == two.canvas).all() and (one.boxes == two.boxes).all()


def test_views_on_a_smaller_canvas(photos: PhotoSet) -> None:
    assert photos.training_view(0, np.random.default_rng(0), 0.2, long_side_px=64).canvas.shape == (64, 64, 3)
    assert smaller_canvas((256, 192), 160) == (160, 128)
    assert smaller_canvas((192, 256), 256) == (192, 256)


def test_batches_hold_one_shape_and_every_photo(photos: PhotoSet) -> None:
    batches = photos.batches(np.random.default_rng(0), 2)
    assert sorted(len(batch) for batch in batches) == [2] * 4
    assert {int(index) for batch in batches for index in batch} == set(range(7))
    assert all(len({photos.canvas_hws[index] for index in batch}) == 1 for batch in batches)
    assert len(photos.batches(np.random.default_rng(1), 2)) == len(batches)


def test_batch_larger_than_the_set(photos: PhotoSet) -> None:
    assert [len(batch) for batch in photos.batches(np.random.default_rng(0), 16)] == [16] * 3


def test_a_photo_without_garments_and_one_listed_twice(tmp_path: Path) -> None:
    empty = photo_with_green_box(tmp_path / "empty.png", garments=0)
    photos = load_photos([empty, empty], ONTOLOGY, 64)
    assert photos.pixels[0] is photos.pixels[1]
    view = photos.training_view(1, np.random.default_rng(0), 0.2)
    assert view.boxes.shape == (0, 4) and view.labels.shape == (0,)


def test_unreadable_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"broken\.jpg"):
        load_photos([LabelledPhoto(tmp_path / "broken.jpg", ())], ONTOLOGY, 64)


def test_windows_cut_no_garment_in_half() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([[10, 10, 60, 150], [70, 20, 110, 60]], dtype=np.float32)
    for _ in range(100):
        x1, y1, x2, y2 = random_window((160, 120), boxes, rng)
        seen = np.clip(boxes, [x1, y1, x1, y1], [x2, y2, x2, y2])
        areas = (seen[:, 2] - seen[:, 0]) * (seen[:, 3] - seen[:, 1])
        shares = areas / ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        assert ((shares >= 0.6) | (shares <= 0.08)).all()


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param((0, 0, 100, 100), [20, 20, 40, 40], id="whole"),
        pytest.param((20, 20, 70, 70), [0, 0, 40, 40], id="closer"),
        pytest.param((-50, -100, 150, 100), [35, 60, 45, 70], id="farther"),
        pytest.param((30, 0, 80, 50), [0, 40, 20, 80], id="cut_at_the_edge"),
    ],
)
def test_look_through(window: tuple[int, int, int, int], expected: list[float]) -> None:
    pixels = np.zeros((100, 100, 3), dtype=np.uint8)
    boxes = np.array([[20, 20, 40, 40]], dtype=np.float32)
    _, seen = look_through(pixels, boxes, window, (100, 100))
    assert seen[0].tolist() == pytest.approx(expected)


def test_mirror_twice_is_nothing() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    boxes = np.array([[0, 0, 1, 2]], dtype=np.float32)
    turned_pixels, turned = mirrored(pixels, boxes)
    assert turned.tolist() == [[3, 0, 4, 2]]
    again_pixels, again = mirrored(turned_pixels, turned)
    assert (again_pixels == pixels).all() and (again == boxes).all()


def test_light_has_a_colour_that_is_the_same_everywhere() -> None:
    grey = np.full((2, 2, 3), 100, dtype=np.uint8)
    shaken = shaken_light(grey, 0.3, np.random.default_rng(0))
    assert (shaken == shaken[0, 0]).all()
    assert len(set(shaken[0, 0].tolist())) > 1 and np.ptp(shaken[0, 0].astype(int)) < 0.3 * 255
    assert (shaken_light(grey, 0.0, np.random.default_rng(0)) == grey).all()
