import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import models.readers
from models.errors import DatasetError
from models.ontology import load_ontology
from models.readers import load_mapping, read_coco, read_csv

ONTOLOGY = load_ontology()
MAPPINGS = Path(models.readers.__file__).with_name("mappings")

COCO = {
    "images": [{"id": 7, "file_name": "0007.jpg"}, {"id": 9, "file_name": "0009.jpg"}],
    # Ids with a gap, and a name that holds a comma, as in the real files.
    "categories": [{"id": 0, "name": "shirt, blouse"}, {"id": 31, "name": "shoe"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 0, "coarse_category": "top", "bbox": [10, 20, 30, 40], "iscrowd": 0,
         "attributes_weak": {"colour": "white", "texture_energy": 19.8}},
        {"id": 2, "image_id": 7, "category_id": 31, "coarse_category": "shoe", "bbox": [0, 0, 5, 5], "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 0, "coarse_category": "shorts", "bbox": [1, 2, 3, 4], "iscrowd": 0,
         "attributes_weak": {"colour": "turquoise"}},
        {"id": 4, "image_id": 7, "category_id": 0, "coarse_category": "top", "bbox": [1, 2, 3, 4], "iscrowd": 1},
    ],
}  # fmt: skip


def test_coco_boxes_become_corners_and_unmapped_categories_background(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text(json.dumps(COCO))
    photos = read_coco(tmp_path / "instances.json", tmp_path, load_mapping(MAPPINGS / "ccp.yaml", ONTOLOGY), ONTOLOGY)
    assert [photo.path.name for photo in photos] == ["0007.jpg", "0009.jpg"]
    assert photos[1].garments == ()
    top, shorts = photos[0].garments
    assert (top.category, top.box) == ("top", (10.0, 20.0, 40.0, 60.0))
    assert dict(top.attributes) == {"colour": ("white",)}
    # A foreign value nobody mapped is unlabelled; what the category implies stays.
    assert (shorts.category, dict(shorts.attributes)) == ("trousers", {"length": ("shorts",)})


def test_coco_box_without_area_is_refused(tmp_path: Path) -> None:
    broken = {**COCO, "annotations": [{**COCO["annotations"][0], "bbox": [10, 20, 0, 40]}]}  # type: ignore[dict-item]
    (tmp_path / "instances.json").write_text(json.dumps(broken))
    with pytest.raises(DatasetError, match="without area"):
        read_coco(tmp_path / "instances.json", tmp_path, load_mapping(MAPPINGS / "ccp.yaml", ONTOLOGY), ONTOLOGY)


def _photo(path: Path) -> None:
    """A dark shape on a light, shaded background: the left edge at 30 %, the right at 80 %, top 20 %, bottom 90 %."""
    image = np.linspace(222, 234, 120)[:, None, None].repeat(100, axis=1).repeat(3, axis=2)
    image[24:108, 30:80] = (120, 20, 40)
    Image.fromarray(image.astype(np.uint8)).save(path)


def test_csv_rows_of_a_split_are_read_with_boxes_from_the_foreground(tmp_path: Path) -> None:
    for name in ("shirt.png", "boots.png", "other.png"):
        _photo(tmp_path / name)
    (tmp_path / "labels.csv").write_text(
        "file,label,split,pattern,colour,x1,y1,x2,y2\n"
        "shirt.png,Polo,train,solid,red|white,,,,\n"
        "boots.png,Shoes,train,,,,,,\n"
        "other.png,Dress,test,,,,,,\n"
        "shirt.png,Pants,train,,,1,2,30,40\n"
    )
    mapping = load_mapping(MAPPINGS / "flat.yaml", ONTOLOGY)
    shirt, boots = read_csv(tmp_path / "labels.csv", mapping, ONTOLOGY, {"split": "train"})
    polo, pants = shirt.garments
    assert polo.category == "top"
    assert polo.attributes == {"neckline": ("shirt_collar",), "pattern": ("solid",), "colour": ("red", "white")}
    assert polo.box == pytest.approx((30, 24, 80, 108), abs=3)
    assert (pants.category, pants.box) == ("trousers", (1, 2, 30, 40))
    assert boots.garments == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("a.png,Cape,,", "label 'Cape' of a.png is not in the mapping", id="unknown_label"),
        pytest.param("a.png,Polo,zigzag,", "pattern has no value zigzag", id="unknown_value"),
    ],
)
def test_csv_rows_that_cannot_be_used_are_named(tmp_path: Path, row: str, message: str) -> None:
    _photo(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(f"file,label,pattern,colour\n{row}\n")
    with pytest.raises(DatasetError, match=message):
        read_csv(tmp_path / "labels.csv", load_mapping(MAPPINGS / "flat.yaml", ONTOLOGY), ONTOLOGY, {})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param("{category: hat}", "unknown category hat", id="category"),
        pytest.param("{category: top, attributes: {rise: [low]}}", "top has no attribute rise", id="attribute"),
        pytest.param("{category: top, attributes: {pattern: [zigzag]}}", "pattern has no value zigzag", id="value"),
    ],
)
def test_a_mapping_that_the_ontology_does_not_know_is_refused(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(f"format: csv\nfile_column: f\nlabel_column: l\ncategories:\n  X: {entry}\n")
    with pytest.raises(DatasetError, match=message):
        load_mapping(path, ONTOLOGY)


def test_every_shipped_mapping_fits_the_embedded_ontology() -> None:
    paths = sorted(MAPPINGS.glob("*.yaml"))
    assert paths
    for path in paths:
        assert load_mapping(path, ONTOLOGY).categories
