"""Colours are those of the garment, not of what is behind it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.colours import garment_colours
from models.ontology import load_ontology
from models.rendering.render import render_photo
from models.types import Box

ONTOLOGY = load_ontology()
NAMES = ONTOLOGY.categories["dress"].attributes["colour"].values
WHITE = (255, 255, 255)


def _photo(garment: tuple[int, int, int], background: tuple[int, int, int] = WHITE) -> NDArray[np.uint8]:
    image = np.full((120, 100, 3), background, dtype=np.uint8)
    image[20:100, 30:70] = garment
    return image


BOX = (20.0, 10.0, 80.0, 110.0)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        pytest.param((20, 20, 22), "black", id="black"),
        pytest.param((130, 130, 132), "grey", id="grey"),
        pytest.param((190, 30, 40), "red", id="red"),
        pytest.param((28, 40, 80), "navy", id="navy"),
        pytest.param((60, 120, 210), "blue", id="blue"),
        pytest.param((40, 120, 55), "green", id="green"),
        pytest.param((240, 205, 50), "yellow", id="yellow"),
        pytest.param((238, 150, 180), "pink", id="pink"),
        pytest.param((110, 70, 40), "brown", id="brown"),
        pytest.param((222, 205, 175), "beige", id="beige"),
        pytest.param((255, 255, 255), "white", id="white_on_white"),
    ],
)
def test_a_plain_garment_has_one_colour(rgb: tuple[int, int, int], name: str) -> None:
    (colour,) = garment_colours(_photo(rgb), BOX, NAMES)
    assert (colour.name, colour.share) == (name, 1.0)
    assert colour.hex == "#{:02x}{:02x}{:02x}".format(*rgb)


def test_shares_follow_the_area_and_holes_of_the_background_colour_count() -> None:
    image = _photo((190, 30, 40), background=(230, 230, 228))
    image[40:60, 40:60] = (230, 230, 228)  # a pale print inside the garment
    colours = garment_colours(image, BOX, NAMES)
    assert [colour.name for colour in colours] == ["red", "white"]
    assert colours[1].share == pytest.approx(400 / 3200, abs=0.03)


@pytest.mark.parametrize(
    ("box", "names"),
    [
        pytest.param((200.0, 200.0, 220.0, 220.0), NAMES, id="outside"),
        pytest.param(BOX, ("mauve",), id="unknown_names"),
        pytest.param(BOX, (), id="no_names"),
    ],
)
def test_nothing_to_measure_gives_nothing(box: tuple[float, float, float, float], names: tuple[str, ...]) -> None:
    assert garment_colours(_photo((190, 30, 40)), box, names) == ()


def test_a_box_of_one_pixel_has_a_colour() -> None:
    (colour,) = garment_colours(_photo((190, 30, 40)), (40.0, 40.0, 41.0, 41.0), NAMES)
    assert colour.name == "red"


def test_every_colour_of_the_ontology_can_be_answered() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    for name in NAMES:
        assert garment_colours(image, (0.0, 0.0, 60.0, 60.0), (name,))[0].name == name


RED, NAVY, PALE, SKIN, WOOD = (176, 30, 40), (30, 44, 84), (232, 230, 226), (214, 160, 130), (150, 104, 66)


def _fill(image: NDArray[np.uint8], box: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = colour


def _floor(kind: str) -> NDArray[np.uint8]:
    """A photo, (200, 160, 3), of what a garment may lie on."""
    rng = np.random.default_rng(3)
    image = np.full((200, 160, 3), SKIN if kind == "skin" else WOOD, dtype=np.uint8)
    if kind == "patterned":
        image[(np.indices((200, 160)) // 8).sum(axis=0) % 2 == 0] = (70, 140, 120)
    if kind == "grained":
        image[:] = np.clip(image + rng.normal(0, 22, (200, 1, 1)), 0, 255)
    return image


def _shares(image: NDArray[np.uint8], box: Box, *others: Box) -> dict[str, float]:
    return {colour.name: colour.share for colour in garment_colours(image, box, NAMES, others)}


@pytest.mark.parametrize("kind", ["plain", "patterned", "grained", "skin"])
def test_what_a_garment_lies_on_is_not_its_colour(kind: str) -> None:
    image = _floor(kind)
    _fill(image, (50, 30, 110, 170), RED)
    _fill(image, (30, 40, 130, 70), RED)  # sleeves: a third of the box is floor
    assert _shares(image, (28.0, 27.0, 132.0, 173.0)) == {"red": pytest.approx(1.0, abs=0.05)}


def test_skin_inside_the_box_is_not_the_dress() -> None:
    image = np.full((300, 160, 3), 235, dtype=np.uint8)
    _fill(image, (60, 10, 100, 90), SKIN)  # face and neckline
    _fill(image, (30, 70, 130, 150), SKIN)  # arms
    _fill(image, (55, 230, 105, 300), SKIN)  # legs
    _fill(image, (50, 80, 110, 240), NAVY)
    _fill(image, (70, 70, 90, 100), SKIN)
    assert _shares(image, (28.0, 68.0, 132.0, 242.0)) == {"navy": pytest.approx(1.0, abs=0.05)}


@pytest.mark.parametrize("stripe_px", [12, 45])
def test_both_colours_of_a_striped_garment_have_their_shares(stripe_px: int) -> None:
    image = _floor("grained")
    _fill(image, (40, 30, 120, 170), NAVY)
    stripes = (np.arange(30, 170) // stripe_px) % 3 == 0
    image[30:170, 40:120][stripes] = PALE
    shares = _shares(image, (38.0, 28.0, 122.0, 172.0))
    assert shares.keys() == {"navy", "white"}
    assert shares["white"] == pytest.approx(stripes.mean(), abs=0.05)


def test_the_trousers_below_a_top_are_not_its_colour() -> None:
    image = np.full((300, 160, 3), 200, dtype=np.uint8)
    _fill(image, (40, 30, 120, 150), RED)
    _fill(image, (45, 130, 115, 290), NAVY)
    top, trousers = (38.0, 28.0, 122.0, 165.0), (43.0, 128.0, 117.0, 292.0)
    assert _shares(image, top, trousers) == {"red": 1.0}
    assert _shares(image, trousers, top) == {"navy": 1.0}


def test_a_second_box_of_the_same_garment_takes_nothing_away() -> None:
    image = _photo(RED)
    assert _shares(image, BOX, (22.0, 12.0, 80.0, 108.0)) == _shares(image, BOX)


@pytest.mark.parametrize("scale", [1, 5])
def test_the_whole_photo_as_box_means_its_foreground(scale: int) -> None:
    image = np.full((401 * scale, 301 * scale, 3), 235, dtype=np.uint8)
    _fill(image, (90 * scale, 60 * scale, 210 * scale, 340 * scale), RED)
    assert _shares(image, (0.0, 0.0, 301.0 * scale, 401.0 * scale)) == {"red": 1.0}


def test_colours_of_drawn_garments_are_the_drawn_ones() -> None:
    largest, both = [], []
    for index in range(16):
        image, garments = render_photo(9102, ONTOLOGY, index, 256)
        for garment in garments:
            shares = _shares(image, garment.box, *(other.box for other in garments if other is not garment))
            colours = garment.attributes["colour"]
            largest.append(max(shares, key=shares.__getitem__) in colours)
            both.append(shares.keys() >= set(colours))
    assert len(largest) > 15
    assert np.mean(largest) >= 0.9 and np.mean(both) >= 0.9
