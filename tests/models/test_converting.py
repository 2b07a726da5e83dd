from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.converting import convert
from models.datasets import read_dataset
from models.ontology import load_ontology
from models.readers import LabelMapping, SourceGarment, SourcePhoto

ONTOLOGY = load_ontology()


@pytest.fixture
def shirt(tmp_path: Path) -> Path:
    """A dark shape on a light, shaded background: the left edge at 30 %, the right at 80 %, top 20 %, bottom 90 %."""
    image = np.linspace(222, 234, 120)[:, None, None].repeat(100, axis=1).repeat(3, axis=2)
    image[24:108, 30:80] = (120, 20, 40)
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "shirt.png")
    return tmp_path / "shirt.png"


def mapping(**options: object) -> LabelMapping:
    return LabelMapping("csv", {}, {}, options)


@pytest.mark.parametrize(
    ("where", "box"),
    [
        pytest.param("foreground", (30, 24, 80, 108), id="foreground"),
        pytest.param("frame", (0, 0, 100, 120), id="frame"),
    ],
)
def test_a_garment_without_a_box_gets_one(
    tmp_path: Path, shirt: Path, where: str, box: tuple[float, float, float, float]
) -> None:
    photo = SourcePhoto("images/a/shirt.png", shirt, (SourceGarment("top", None, {"colour": ("red",)}),))
    assert convert([photo], mapping(box=where), tmp_path / "set", ONTOLOGY, {}) == []
    (read,) = read_dataset(tmp_path / "set", ONTOLOGY)
    assert read.path == tmp_path / "set" / "images" / "a-shirt.png"  # folders in a name do not nest
    assert read.path.read_bytes() == shirt.read_bytes()
    (garment,) = read.garments
    assert garment.box == pytest.approx(box, abs=3)
    assert garment.attributes == {"colour": ("red",)}


@pytest.mark.parametrize(
    ("cloth", "said", "colour"),
    [
        pytest.param((30, 60, 200), {}, {"colour": ("blue",)}, id="plain"),
        pytest.param((30, 60, 200), {"colour": ("navy",)}, {"colour": ("navy",)}, id="labelled"),
        pytest.param((128, 128, 128), {}, {}, id="grey-may-be-white-in-the-shade"),
    ],
)
def test_colours_nobody_labelled_are_measured_where_the_mapping_asks(
    tmp_path: Path, cloth: tuple[int, int, int], said: dict[str, tuple[str, ...]], colour: dict[str, tuple[str, ...]]
) -> None:
    image = np.full((120, 100, 3), 230, dtype=np.uint8)
    image[24:108, 30:80] = cloth
    Image.fromarray(image).save(tmp_path / "shirt.png")
    photo = SourcePhoto("shirt.png", tmp_path / "shirt.png", (SourceGarment("top", (30, 24, 80, 108), said),))
    convert([photo], mapping(colours="pixels"), tmp_path / "set", ONTOLOGY, {})
    (read,) = read_dataset(tmp_path / "set", ONTOLOGY)
    assert read.garments[0].attributes == colour


def test_of_two_colours_neither_is_taken_for_the_garments(tmp_path: Path) -> None:
    image = np.full((120, 100, 3), 230, dtype=np.uint8)
    image[24:108, 30:80] = (30, 60, 200)
    image[66:108, 30:80] = (200, 30, 30)
    Image.fromarray(image).save(tmp_path / "shirt.png")
    photo = SourcePhoto("shirt.png", tmp_path / "shirt.png", (SourceGarment("top", (30, 24, 80, 108)),))
    convert([photo], mapping(colours="pixels"), tmp_path / "set", ONTOLOGY, {})
    (read,) = read_dataset(tmp_path / "set", ONTOLOGY)
    assert not read.garments[0].attributes


def test_another_garments_colour_in_the_box_does_not_count_as_much(tmp_path: Path) -> None:
    image = np.full((120, 100, 3), 230, dtype=np.uint8)
    image[24:108, 30:80] = (30, 60, 200)
    image[66:108, 30:80] = (200, 30, 30)
    Image.fromarray(image).save(tmp_path / "outfit.png")
    garments = (SourceGarment("top", (30, 24, 80, 108)), SourceGarment("skirt", (30, 66, 80, 108)))
    photo = SourcePhoto("outfit.png", tmp_path / "outfit.png", garments)
    convert([photo], mapping(colours="pixels"), tmp_path / "set", ONTOLOGY, {})
    (read,) = read_dataset(tmp_path / "set", ONTOLOGY)
    assert [garment.attributes for garment in read.garments] == [{"colour": ("blue",)}, {"colour": ("red",)}]


def test_boxes_end_at_the_photo_and_what_cannot_be_used_is_told(tmp_path: Path, shirt: Path) -> None:
    (tmp_path / "torn.png").write_bytes(shirt.read_bytes()[:80])
    garments = (SourceGarment("top", (-5, 2, 25, 400)), SourceGarment("skirt", (100, 2, 130, 40)))
    photos = [
        SourcePhoto("shirt.png", shirt, garments, region=(0, 0, 50, 500)),
        SourcePhoto("torn.png", tmp_path / "torn.png", ()),
        SourcePhoto("gone.png", tmp_path / "gone.png", ()),
    ]
    outside, torn, gone = convert(photos, mapping(), tmp_path / "set", ONTOLOGY, {"source": "shop"})
    assert "of skirt lies outside" in outside and "torn.png cannot be read" in torn and "gone.png" in gone
    (read,) = read_dataset(tmp_path / "set", ONTOLOGY)
    assert [(each.category, each.box) for each in read.garments] == [("top", (0, 2, 25, 120))]
    assert read.region == (0, 0, 50, 120)


def test_squeezed_photos_get_their_height_back(tmp_path: Path, shirt: Path) -> None:
    photo = SourcePhoto("1.jpg", shirt, (SourceGarment("top", (30, 24, 80, 108)),))
    convert([photo], mapping(height_ratio=1.5), tmp_path / "set", ONTOLOGY, {})
    (read,) = read_dataset(tmp_path / "set", ONTOLOGY)
    with Image.open(read.path) as image:
        assert image.size == (100, 180)
    assert read.garments[0].box == (30, 36, 80, 162)
