import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.classifier import CategoryHeads, Classifier, InceptionTrunk
from models.classifier_training import ClassifierTraining
from models.errors import DatasetError
from models.ontology import Attribute, Category, Ontology
from models.train_classifiers import train_classifiers
from models.training import TrainingProgress
from models.types import LabelledGarment, LabelledPhoto
from models.weights import load_weights

COLOUR = Attribute("colour", "several", ("red", "blue"))
ONTOLOGY = Ontology(
    "test",
    "1",
    {
        "top": Category("top", {"colour": COLOUR}),
        "skirt": Category("skirt", {"colour": COLOUR, "length": Attribute("length", "single", ("mini", "midi"))}),
    },
)
CONFIG = ClassifierTraining(size_px=75, epochs=0.5, batch=2, rate=0.02, seed=3, threads=1, head_views=1)


@pytest.fixture
def photos(tmp_path: Path) -> list[LabelledPhoto]:
    photos = []
    for number, (category, colour) in enumerate([("top", "red"), ("skirt", "blue"), ("top", "blue"), ("skirt", "red")]):
        pixels = np.full((90, 90, 3), 128, np.uint8)
        pixels[10:80, 10:80] = (220, 20, 20) if colour == "red" else (20, 20, 220)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        garment = LabelledGarment(category, (10, 10, 80, 80), {"colour": (colour,)})
        photos.append(LabelledPhoto(tmp_path / f"{number}.png", (garment,)))
    return photos


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"epochs": None}, "epochs or max_minutes", id="no_end"),
        pytest.param({"batch": 1}, "at least 2", id="batch_of_one"),
        pytest.param({"sizes": ((0.0, 60), (0.5, 75))}, "sizes need to be in", id="too_small"),
        pytest.param({"sizes": ((0.0, 75), (0.5, 96))}, "sizes need to be in", id="larger_than_the_result"),
        pytest.param({"size_px": 96, "sizes": ((0.5, 75), (0.7, 96))}, "start at share 0", id="does_not_start"),
        pytest.param({"size_px": 96, "sizes": ((0.0, 75),)}, "end at size_px", id="ends_too_small"),
    ],
)
def test_a_run_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("share", "size_px"),
    [pytest.param(0.0, 75, id="start"), pytest.param(0.5, 96, id="at"), pytest.param(0.4, 75, id="before")],
)
def test_crops_grow(share: float, size_px: int) -> None:
    assert replace(CONFIG, size_px=96, sizes=((0.0, 75), (0.5, 96))).size_at(share, 96) == size_px


def test_a_run_leaves_weights_that_answer(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    out = tmp_path / "out"
    result = json.loads(train_classifiers(CONFIG, photos, photos[:1], ONTOLOGY, out, told.append).read_text())
    assert told[-1].share == 1
    assert result["training"]["runs"][0]["steps"] == 1
    assert result["training"]["runs"][0]["train_garments"] == {"top": 2, "skirt": 2}
    assert Ontology.from_dict(result["ontology"]) == ONTOLOGY

    trunk, heads = InceptionTrunk(), CategoryHeads(ONTOLOGY.categories["skirt"])
    load_weights(trunk, out / result["weights"]["skirt"]["trunk"])
    load_weights(heads, out / result["weights"]["skirt"]["heads"])
    (answer,) = Classifier(ONTOLOGY.categories["skirt"], trunk, heads).classify(np.zeros((1, 75, 75, 3), np.uint8))
    assert answer.keys() == {"colour", "length"}

    with pytest.raises(DatasetError, match="another config"):
        train_classifiers(replace(CONFIG, rate=0.01), photos, [], ONTOLOGY, out)


def test_a_category_without_photo_is_named(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no photo shows skirt"):
        train_classifiers(CONFIG, [photos[0], photos[2]], [], ONTOLOGY, tmp_path / "out")
