import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import DatasetError
from tests.models.readers.conftest import Read

CCP: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "0007.jpg", "figure_y": [5, 70], "split": "train"},
        {"id": 9, "file_name": "0009.jpg", "figure_y": [0, 9], "split": "test"},
    ],
    # Ids with a gap, and a name that holds a comma, as in the real files.
    "categories": [{"id": 0, "name": "shirt, blouse"}, {"id": 31, "name": "shoe"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 0, "coarse_category": "top", "bbox": [10, 20, 30, 40], "iscrowd": 0,
         "attributes_weak": {"colour": "white", "texture_energy": 19.8}},
        {"id": 2, "image_id": 7, "category_id": 31, "coarse_category": "shoe", "bbox": [2, 65, 5, 5], "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 0, "coarse_category": "shorts", "bbox": [1, 2, 3, 4], "iscrowd": 0,
         "attributes_weak": {"colour": "turquoise"}},
        {"id": 4, "image_id": 7, "category_id": 0, "coarse_category": "top", "bbox": [1, 2, 3, 4], "iscrowd": 1},
    ],
}  # fmt: skip


def saved(directory: Path, data: dict[str, Any]) -> Path:
    (directory / "instances.json").write_text(json.dumps(data))
    return directory / "instances.json"


def test_boxes_become_corners_and_unmapped_categories_background(tmp_path: Path, read: Read) -> None:
    photos = read(saved(tmp_path, CCP), "ccp")
    assert [photo.path for photo in photos] == [tmp_path / "images" / name for name in ("0007.jpg", "0009.jpg")]
    assert photos[1].garments == ()
    top, shorts = photos[0].garments
    assert (top.category, top.box) == ("top", (10.0, 20.0, 40.0, 60.0))
    assert dict(top.attributes) == {"colour": ("white",)}
    # A foreign value nobody mapped is unlabelled; what the category implies stays.
    assert (shorts.category, dict(shorts.attributes)) == ("trousers", {"length": ("shorts",)})
    assert photos[0].region == (1.0, 5.0, 40.0, 70.0)  # the figure's height, the annotations' width
    assert [photo.file for photo in read(saved(tmp_path, CCP), "ccp", "test")] == ["0009.jpg"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"annotations": [{**CCP["annotations"][0], "bbox": [10, 20, 0, 40]}]}, "without area", id="flat"),
        pytest.param({"annotations": [{"image_id": 7}]}, "'coarse_category' is missing", id="no_category"),
        pytest.param({"images": 3}, "is not as coco has it", id="no_list"),
    ],
)
def test_files_that_are_no_coco_are_refused(tmp_path: Path, read: Read, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(saved(tmp_path, {**CCP, **change}), "ccp")


def square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def fashionpedia(*annotations: dict[str, Any]) -> dict[str, Any]:
    """Ids as far apart as the real ones; the attributes' names come from the file itself."""
    return {
        "images": [{"id": 3, "file_name": "3.jpg", "width": 100, "height": 100}],
        "categories": [
            {"id": 0, "name": "shirt, blouse"},
            {"id": 9, "name": "coat"},
            {"id": 10, "name": "dress"},
            {"id": 31, "name": "sleeve"},
            {"id": 33, "name": "neckline"},
        ],
        "attributes": [
            {"id": 154, "name": "maxi (length)", "supercategory": "length"},
            {"id": 160, "name": "wrist-length", "supercategory": "length"},
            {"id": 157, "name": "short (length)", "supercategory": "length"},
            {"id": 183, "name": "v-neck", "supercategory": "neckline type"},
            {"id": 340, "name": "plant", "supercategory": "textile pattern"},
        ],
        "annotations": [{"id": at, "image_id": 3, "iscrowd": 0, **each} for at, each in enumerate(annotations)],
    }


DRESS = {"category_id": 10, "attribute_ids": [154, 340], "segmentation": square(10, 10, 80), "bbox": [10, 10, 80, 80]}
NECKLINE = {"category_id": 33, "attribute_ids": [183], "segmentation": square(40, 12, 10), "bbox": [40, 12, 10, 10]}


def sleeve(attribute: int, x: int) -> dict[str, Any]:
    return {"category_id": 31, "attribute_ids": [attribute], "segmentation": square(x, 30, 8), "bbox": [x, 30, 8, 8]}


def test_parts_give_their_attributes_to_the_garment_they_lie_on(tmp_path: Path, read: Read) -> None:
    (photo,) = read(saved(tmp_path, fashionpedia(DRESS, NECKLINE, sleeve(160, 20), sleeve(160, 70))), "fashionpedia")
    (dress,) = photo.garments
    assert dict(dress.attributes) == {
        "length": ("maxi",),
        "pattern": ("floral",),
        "neckline": ("v_neck",),
        "sleeve_length": ("long",),
    }


def test_of_layers_the_part_belongs_to_the_smaller_and_sleeves_that_differ_say_nothing(
    tmp_path: Path, read: Read
) -> None:
    # The coat's mask leaves out the shirt that shows in its opening; only boxes overlap.
    coat = {"category_id": 9, "segmentation": [*square(10, 10, 25), *square(60, 10, 25)], "bbox": [10, 10, 75, 25]}
    shirt = {"category_id": 0, "attribute_ids": [], "segmentation": square(35, 10, 25), "bbox": [35, 10, 25, 25]}
    (photo,) = read(
        saved(tmp_path, fashionpedia(coat, shirt, NECKLINE, sleeve(160, 12), sleeve(157, 70))), "fashionpedia"
    )
    assert [(each.category, dict(each.attributes)) for each in photo.garments] == [
        ("outerwear", {}),
        ("top", {"neckline": ("v_neck",)}),
    ]
    boxes = [{key: value for key, value in each.items() if key != "segmentation"} for each in (coat, shirt, NECKLINE)]
    (photo,) = read(saved(tmp_path, fashionpedia(*boxes)), "fashionpedia")
    assert dict(photo.garments[1].attributes) == {"neckline": ("v_neck",)}


def test_a_part_on_no_garment_is_dropped_and_a_missing_box_comes_from_the_mask(tmp_path: Path, read: Read) -> None:
    far = {**NECKLINE, "segmentation": square(92, 92, 6), "bbox": [92, 92, 6, 6]}
    counts = {"size": [100, 100], "counts": [100 * 10 + 20, 30, 70, 30, 100 * 88 - 50]}
    run_lengths = {"category_id": 10, "attribute_ids": [], "segmentation": counts}
    (photo,) = read(saved(tmp_path, fashionpedia(run_lengths, far)), "fashionpedia")
    (dress,) = photo.garments
    assert (dress.box, dict(dress.attributes)) == ((10.0, 20.0, 12.0, 50.0), {})
