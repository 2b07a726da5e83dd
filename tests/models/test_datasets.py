"""The dataset form: what is written is read back, and what is wrong is named by file and line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from models.datasets import read_dataset, read_facts, repeat_rare, write_dataset
from models.errors import DatasetError
from models.ontology import load_ontology
from models.types import LabelledGarment, LabelledPhoto

ONTOLOGY = load_ontology()
GARMENT = {"category": "dress", "box": [1, 2, 30.5, 40], "attributes": {"colour": ["red", "navy"], "length": ["midi"]}}


def make_set(directory: Path, *lines: object) -> Path:
    (directory / "images").mkdir(parents=True)
    Image.new("RGB", (48, 64)).save(directory / "images" / "0.jpg")
    (directory / "dataset.json").write_text(json.dumps({"format": 1}))
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (directory / "annotations.jsonl").write_text("\n".join(text) + "\n")
    return directory


def entry(*garments: object, file: str = "images/0.jpg") -> dict[str, object]:
    return {"file": file, "width": 48, "height": 64, "garments": list(garments)}


def test_written_set_is_read_back(tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    photo = LabelledPhoto(
        tmp_path / "set" / "images" / "0.jpg",
        (
            LabelledGarment("top", (0.0, 1.25, 48.0, 64.0), {"colour": ("red", "white"), "neckline": ("v_neck",)}),
            LabelledGarment("skirt", (1.0, 2.0, 3.0, 4.0)),
        ),
    )
    empty = LabelledPhoto(photo.path, ())
    write_dataset(tmp_path / "set", [(photo, (64, 48)), (empty, (64, 48))], ONTOLOGY, {"source": "shop"})
    assert read_dataset(tmp_path / "set", ONTOLOGY) == [photo, empty]
    facts = read_facts(tmp_path / "set")
    assert (facts["count"], facts["source"], facts["ontology"]) == (2, "shop", ONTOLOGY.to_dict())


def photo_of(number: int, *categories: str) -> LabelledPhoto:
    return LabelledPhoto(Path(f"{number}.jpg"), tuple(LabelledGarment(each, (0, 0, 1, 1)) for each in categories))


@pytest.mark.parametrize(
    ("common_share", "expected"),
    [pytest.param(0.64, 4, id="sqrt_of_64_over_4"), pytest.param(0.04, 1, id="common"), pytest.param(0.0, 1, id="off")],
)
def test_photos_are_repeated_by_the_rarest_category_they_show(common_share: float, expected: int) -> None:
    rare = [photo_of(0, "dress", "top"), photo_of(1, "dress")]
    photos = (
        rare + [photo_of(number, "top") for number in range(2, 46)] + [photo_of(number) for number in range(46, 50)]
    )
    repeated = repeat_rare(photos, common_share)
    assert [repeated.count(photo) for photo in photos] == [expected] * 2 + [1] * 48


def test_what_is_left_of_a_factor_is_drawn_the_same_way_again() -> None:
    photos = [photo_of(number, "dress") for number in range(100)] + [photo_of(number) for number in range(100, 400)]
    repeated = repeat_rare(photos, 0.5625, seed=3)  # factor 1.5
    assert {repeated.count(photo) for photo in photos[:100]} == {1, 2}
    assert 130 < sum(repeated.count(photo) for photo in photos[:100]) < 170
    assert repeated == repeat_rare(photos, 0.5625, seed=3)


def test_photo_outside_the_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"elsewhere\.jpg"):
        write_dataset(tmp_path / "set", [(LabelledPhoto(tmp_path / "elsewhere.jpg", ()), (1, 1))], ONTOLOGY, {})
    assert not (tmp_path / "set" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "line 2: no JSON", id="torn_line"),
        pytest.param([1], "line 2: needs an object", id="no_object"),
        pytest.param(entry(file="images/9.jpg"), "no photo images/9.jpg", id="photo_missing"),
        pytest.param(entry(file="../set/images/0.jpg"), "line 2: there is no photo", id="photo_outside"),
        pytest.param({**entry(), "garments": None}, "garments needs to be a list", id="garments_missing"),
        pytest.param(entry("dress"), "garment needs to be an object", id="garment_text"),
        pytest.param(entry({**GARMENT, "category": "sock"}), "unknown category 'sock'", id="category_unknown"),
        pytest.param(entry({**GARMENT, "box": [1, 2, 3]}), "box needs four numbers", id="box_short"),
        pytest.param(entry({**GARMENT, "box": [9, 2, 3, 4]}), "x1 < x2", id="box_reversed"),
        pytest.param(entry({**GARMENT, "box": [1, 2, 49, 4]}), "inside 48 x 64", id="box_outside_image"),
        pytest.param(
            entry({**GARMENT, "attributes": {"mood": ["glad"]}}), "unknown attribute dress.mood", id="attribute"
        ),
        pytest.param(entry({**GARMENT, "attributes": {"length": ["tall"]}}), "unknown value 'tall'", id="value"),
        pytest.param(entry({**GARMENT, "attributes": {"length": "midi"}}), "needs a list", id="value_no_list"),
        pytest.param(
            entry({**GARMENT, "attributes": {"length": ["midi", "mini"]}}), "takes one value", id="two_of_one"
        ),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, line: object, message: str) -> None:
    make_set(tmp_path / "set", entry(GARMENT), line)
    with pytest.raises(DatasetError, match=r"annotations\.jsonl line 2") as caught:
        read_dataset(tmp_path / "set", ONTOLOGY)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param("{", "no JSON", id="torn"),
        pytest.param("[]", "no JSON object", id="list"),
        pytest.param('{"format": 2}', "format 2 is not 1", id="other_format"),
    ],
)
def test_set_without_usable_facts_is_refused(tmp_path: Path, facts: str | None, message: str) -> None:
    make_set(tmp_path / "set", entry())
    (tmp_path / "set" / "dataset.json").unlink()
    if facts is not None:
        (tmp_path / "set" / "dataset.json").write_text(facts)
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path / "set", ONTOLOGY)
