from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.crops import UNLABELLED, cut_crops, encode_labels, read_photo, shaken_box
from models.errors import DatasetError
from models.images import crop_square
from models.ontology import Attribute, Category, Ontology
from models.types import LabelledGarment, LabelledPhoto

COLOUR = Attribute("colour", "several", ("red", "blue", "green"))
LENGTH = Attribute("length", "single", ("mini", "midi"))
ONTOLOGY = Ontology(
    "test", "1", {name: Category(name, {"colour": COLOUR, "length": LENGTH}) for name in ("top", "dress")}
)
BOX = (20.0, 30.0, 60.0, 90.0)


def garment(category: str = "dress", **attributes: tuple[str, ...]) -> LabelledGarment:
    return LabelledGarment(category, BOX, attributes)


def photo(path: Path, garments: Sequence[LabelledGarment]) -> LabelledPhoto:
    pixels = np.random.default_rng(0).integers(0, 255, (120, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return LabelledPhoto(path, tuple(garments))


def test_an_unlabelled_attribute_is_no_negative() -> None:
    garments = [garment(colour=("red", "green"), length=("midi",)), garment()]
    assert encode_labels(LENGTH, garments).tolist() == [1, UNLABELLED]
    assert encode_labels(COLOUR, garments).tolist() == [[1, 0, 1], [UNLABELLED] * 3]


@pytest.mark.parametrize(
    ("attribute", "values", "said"),
    [
        pytest.param(COLOUR, ("pink",), "no value 'pink'", id="unknown_value"),
        pytest.param(LENGTH, ("mini", "midi"), "takes one value", id="two_for_a_single_choice"),
    ],
)
def test_labels_that_cannot_be(attribute: Attribute, values: tuple[str, ...], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        encode_labels(attribute, [LabelledGarment("dress", BOX, {attribute.name: values})])


def test_a_crop_from_the_region_is_the_crop_from_the_photo(tmp_path: Path) -> None:
    one = photo(tmp_path / "a.png", [garment()])
    crops = cut_crops([one], ONTOLOGY, size_px=75, context_ratio=0.2)
    expected = crop_square(read_photo(one.path), BOX, 75, 0.1)
    np.testing.assert_array_equal(crops.crop(0, 75, 0.1), expected)


def test_large_garments_are_kept_small_and_stay_in_place(tmp_path: Path) -> None:
    pixels = np.zeros((400, 400, 3), np.uint8)
    pixels[100:300, 100:200] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    large = LabelledPhoto(tmp_path / "a.png", (LabelledGarment("top", (100, 100, 200, 300)),))
    crops = cut_crops([large], ONTOLOGY, size_px=80, context_ratio=0.1)
    assert max(crops.regions[0].shape) <= 80 * 1.15 * 1.25
    x1, y1, x2, y2 = (round(side) for side in crops.boxes[0])
    inside = crops.regions[0][y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
    assert inside.min() > 200
    assert crops.regions[0][: y1 - 2].max() < 50


def test_rows_and_labels_follow_the_categories(tmp_path: Path) -> None:
    photos = [
        photo(tmp_path / "a.png", [garment("dress", length=("mini",)), garment("top", length=("midi",))]),
        photo(tmp_path / "b.png", []),
        photo(tmp_path / "c.png", [garment("dress", length=("midi",))]),
    ]
    crops = cut_crops(photos, ONTOLOGY, size_px=75, context_ratio=0.1)
    assert crops.counts() == {"top": 1, "dress": 2}
    indices = np.arange(3)
    rows = crops.rows_by_category(indices)
    assert {name: positions.tolist() for name, positions in rows.items()} == {"dress": [0, 2], "top": [1]}
    assert crops.labels_of("dress", indices[rows["dress"]])["length"].tolist() == [0, 1]
    only = cut_crops(photos, ONTOLOGY, size_px=75, context_ratio=0.1, categories=["top"])
    assert only.counts() == {"top": 1}


def test_every_stretch_of_the_order_mixes_the_categories(tmp_path: Path) -> None:
    photos = [photo(tmp_path / "a.png", [garment("top")] * 30 + [garment("dress")] * 10)]
    crops = cut_crops(photos, ONTOLOGY, size_px=75, context_ratio=0.1)
    order = crops.mixed_order(np.random.default_rng(1))
    assert sorted(order) == list(range(40))
    for at in range(0, 40, 8):
        assert 1 <= (crops.category_rows[order[at : at + 8]] == 1).sum() <= 3


def test_an_unreadable_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    broken = LabelledPhoto(tmp_path / "broken.jpg", (garment(),))
    with pytest.raises(DatasetError, match=r"broken\.jpg"):
        cut_crops([broken], ONTOLOGY, size_px=75, context_ratio=0.1)


def test_a_shaken_box_stays_near() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        shaken = shaken_box(BOX, 0.08, rng)
        assert all(abs(new - old) <= 0.08 * 60 for new, old in zip(shaken, BOX, strict=True))
        assert shaken != BOX
