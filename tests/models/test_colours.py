"""Colours are those of the garment, not of what is behind it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.colours import garment_colours, srgb_to_lab
from models.ontology import load_ontology

NAMES = load_ontology().categories["dress"].attributes["colour"].values
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
    assert colours[1].share == pytest.approx(400 / 3200, abs=0.02)


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


def test_lab_of_known_colours() -> None:
    lab = srgb_to_lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], dtype=np.uint8))
    assert lab == pytest.approx(np.array([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2]]), abs=0.1)
