import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.datasets import ANNOTATIONS_NAME, write_dataset
from models.ontology import load_ontology
from models.set_check import check_set, shared_photos
from models.types import LabelledGarment, LabelledPhoto

ONTOLOGY = load_ontology()


def made(directory: Path, *seeds: int) -> Path:
    """Blurred noise, a dress each; the first without label."""
    (directory / "images").mkdir(parents=True)
    photos = []
    for at, seed in enumerate(seeds):
        noise = np.random.default_rng(seed).integers(0, 255, (12, 9, 3), dtype=np.uint8)
        path = directory / "images" / f"{at}.png"
        Image.fromarray(noise).resize((90, 120), Image.Resampling.BICUBIC).save(path)
        dress = LabelledGarment("dress", (5, 5, 80, 110), {"colour": ("red",), "length": ("midi",)})
        photos.append((LabelledPhoto(path, (dress,) if at else ()), (120, 90)))
    write_dataset(directory, photos, ONTOLOGY, {})
    return directory


def test_a_set_without_fault_is_counted(tmp_path: Path) -> None:
    check = check_set(made(tmp_path / "train", 1, 2, 3), ONTOLOGY)
    assert (check.photos, check.num_empty, dict(check.garments)) == (["0.png", "1.png", "2.png"], 1, {"dress": 2})
    assert check.problems == []
    assert check.values == {("dress", "colour"): {"red": 2}, ("dress", "length"): {"midi": 2}}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"file": "images/9.png"}, "line 2: there is no photo images/9.png", id="missing_file"),
        pytest.param({"file": "images/torn.png"}, "torn.png cannot be read", id="unreadable_file"),
        pytest.param({"file": "images/0.png"}, "0.png is listed 2 times", id="twice"),
        pytest.param({"garments": [{"category": "hat"}]}, "line 2: unknown category 'hat'", id="unknown_category"),
        pytest.param(
            {"garments": [{"category": "dress", "box": [5, 5, 95, 110]}]}, "inside 90 x 120", id="box_outside"
        ),
        pytest.param(
            {"garments": [{"category": "dress", "box": [5, 5, 80, 110], "attributes": {"length": ["long"]}}]},
            "unknown value 'long' of dress.length",
            id="unknown_value",
        ),
    ],
)
def test_every_fault_is_told_and_the_rest_is_read(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    directory = made(tmp_path / "train", 1, 2, 3)
    (directory / "images" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    lines = (directory / ANNOTATIONS_NAME).read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    (directory / ANNOTATIONS_NAME).write_text("\n".join(lines))
    check = check_set(directory, ONTOLOGY)
    assert any(problem in each for each in check.problems), check.problems
    assert "2.png" in check.photos


def test_lines_that_are_gone_are_missed(tmp_path: Path) -> None:
    directory = made(tmp_path / "train", 1, 2, 3)
    lines = (directory / ANNOTATIONS_NAME).read_text().splitlines()
    (directory / ANNOTATIONS_NAME).write_text(lines[1])
    assert "the set was written with 3 photos; copy it anew" in check_set(directory, ONTOLOGY).problems


def test_a_photo_in_two_splits_is_found_however_it_was_saved(tmp_path: Path) -> None:
    train, test = made(tmp_path / "train", 1, 2, 3), made(tmp_path / "test", 4, 5, 2)
    with Image.open(test / "images" / "2.png") as image:
        image.convert("RGB").resize((60, 80)).save(test / "images" / "2.png", "JPEG", quality=70)
    checks = [check_set(each, ONTOLOGY) for each in (train, test)]
    assert shared_photos(*checks) == [("1.png", "2.png")]
