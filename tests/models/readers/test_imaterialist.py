import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.readers.conftest import Read

LABEL_MAP = (
    "labelId,taskId,labelName,taskName\n36,1,Casual Dresses,category\n62,1,Dresses,category\n190,1,T-Shirts,category\n"
    '148,2,Red,color\n214,5,V-Necks,neckline\n89,1,"Hosiery, Stockings, Tights",category\n'
)


@pytest.mark.parametrize(
    ("image_key", "label_key", "kind"),
    [pytest.param("image_id", "label_id", int, id="published"), pytest.param("imageId", "labelId", str, id="kaggle")],
)
def test_labels_of_2018_come_in_two_spellings(
    tmp_path: Path, read: Read, image_key: str, label_key: str, kind: Any
) -> None:
    (tmp_path / "iMat_fashion_2018_label_map_228.csv").write_text(LABEL_MAP)
    labels = {5: [36, 62, 148, 214], 6: [190, 62], 8: [89, 148], 9: [190]}
    rows = [{image_key: kind(image), label_key: [kind(each) for each in ids]} for image, ids in labels.items()]
    (tmp_path / "train.json").write_text(json.dumps({"images": [], "annotations": rows}))
    dress, tshirt = read(tmp_path / "train.json", "imaterialist-labels")
    assert dress.path == tmp_path / "images" / "5.jpg"
    (garment,) = dress.garments  # two names of one category are no contradiction
    assert (garment.category, garment.box) == ("dress", None)
    assert dict(garment.attributes) == {"colour": ("red",), "neckline": ("v_neck",)}
    # Photo 6 shows a T-shirt and a dress, nobody says where; photo 8 shows no garment of ours.
    assert (tshirt.file, tshirt.garments[0].category) == ("9.jpg", "top")


DESCRIPTIONS = {
    "categories": [{"id": 10, "name": "dress"}, {"id": 33, "name": "neckline"}],
    "attributes": [
        {"id": 154, "name": "maxi (length)", "supercategory": "length"},
        {"id": 183, "name": "v-neck", "supercategory": "neckline type"},
    ],
}
# 20 x 10 pixels: columns 2 to 5 of rows 3 to 12, and a neckline within, in any order of runs.
DRESS_RUNS = "64 10 44 10 84 10 104 10"
NECKLINE_RUNS = "65 3 85 3"


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(
            "ImageId,EncodedPixels,Height,Width,ClassId\n"
            f"00a.jpg,{DRESS_RUNS},20,10,10_154\n00a.jpg,{NECKLINE_RUNS},20,10,33_183\n",
            id="2019",
        ),
        pytest.param(
            "ImageId,EncodedPixels,Height,Width,ClassId,AttributesIds\n"
            f'00a,{DRESS_RUNS},20,10,10,"154,999"\n00a,{NECKLINE_RUNS},20,10,33,183\n',
            id="2020",
        ),
    ],
)
def test_masks_are_runs_down_the_columns_and_parts_are_bound(tmp_path: Path, read: Read, table: str) -> None:
    (tmp_path / "train.csv").write_text(table)
    (tmp_path / "label_descriptions.json").write_text(json.dumps(DESCRIPTIONS))
    (photo,) = read(tmp_path / "train.csv", "imaterialist-masks")
    assert photo.path == tmp_path / "train" / "00a.jpg"
    (dress,) = photo.garments
    assert dress.box == (2.0, 3.0, 6.0, 13.0)
    assert dict(dress.attributes) == {"length": ("maxi",), "neckline": ("v_neck",)}
