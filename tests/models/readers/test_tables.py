import json
from pathlib import Path

import pytest

from models.errors import DatasetError
from tests.models.readers.conftest import Read


def saved(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_rows_of_a_file_are_garments_of_one_photo(tmp_path: Path, read: Read) -> None:
    table = saved(
        tmp_path / "labels.csv",
        "file,label,split,pattern,colour,x1,y1,x2,y2\n"
        "shirt.png,Polo,train,solid,red|white,,,,\n"
        "boots.png,Shoes,train,,,,,,\n"
        "other.png,Dress,test,,,,,,\n"
        "shirt.png,Pants,train,,,1,2,30,40\n",
    )
    shirt, boots = read(table, "flat", "train")
    polo, pants = shirt.garments
    assert (polo.category, polo.box) == ("top", None)
    assert polo.attributes == {"neckline": ("shirt_collar",), "pattern": ("solid",), "colour": ("red", "white")}
    assert (pants.category, pants.box) == ("trousers", (1, 2, 30, 40))
    assert boots.garments == ()


def test_boxes_may_come_as_corner_and_size(tmp_path: Path, read: Read) -> None:
    table = saved(tmp_path / "labels.csv", "file,label,x,y,w,h\nshirt.png,Polo,10,20,30,40\nboots.png,Shoes,,,,\n")
    shirt, boots = read(table, "flat")
    assert (shirt.garments[0].box, shirt.garments[0].attributes.keys()) == ((10, 20, 40, 60), {"neckline"})
    assert boots.garments == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("a.png,Cape,,", "label 'Cape' of a.png is not in the mapping", id="unknown_label"),
        pytest.param("a.png,Polo,zigzag,", "pattern has no value zigzag", id="unknown_value"),
        pytest.param("a.png,Polo,solid|striped,", "pattern takes one value", id="two_of_a_single_choice"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, read: Read, row: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(saved(tmp_path / "labels.csv", f"file,label,pattern,colour\n{row}\n"), "flat")


def test_a_table_without_the_column_and_one_that_is_missing_are_named(tmp_path: Path, read: Read) -> None:
    with pytest.raises(DatasetError, match=r"labels\.csv is not as csv has it: 'label' is missing"):
        read(saved(tmp_path / "labels.csv", "file\na.png\n"), "flat")
    with pytest.raises(DatasetError, match=r"none\.csv of none\.csv cannot be read"):
        read(tmp_path / "none.csv", "flat")


def test_clothing_attributes_take_only_what_six_people_agreed_on(tmp_path: Path, read: Read) -> None:
    columns = (
        "file,split,black,blue,brown,category,collar,gray,green,neckline,pattern_floral,pattern_graphics,pattern_plaid,"
        "pattern_solid,pattern_spot,pattern_stripe,purple,red,sleevelength,white,yellow,dup_group\n"
    )
    table = saved(
        tmp_path / "labels.csv",
        columns
        + "1.jpg,test,yes,no,no,suit,yes,no,no,v_shape,no,no,no,,,,no,no,long,yes,no,\n"
        + "2.jpg,test,no,no,no,,,,no,round,no,no,no,yes,no,no,yes,no,long,no,no,\n"
        + "3.jpg,test,no,no,no,tank top,no,no,no,other,yes,no,no,no,no,yes,no,no,sleeveless,no,no,\n"
        + "4.jpg,test,no,no,no,dress,no,no,no,round,no,no,no,yes,no,no,no,no,short,no,no,000339\n",
    )
    suit, tank_top = read(table, "cad")  # nobody agreed on what the second is; the last is there twice
    assert suit.garments[0].category == "outerwear"
    # Outerwear has collars, no neckline; nobody agreed on its pattern.
    assert dict(suit.garments[0].attributes) == {"colour": ("black", "white"), "sleeve_length": ("long",)}
    # Floral and striped both: a single choice has no answer. No colour was said.
    assert dict(tank_top.garments[0].attributes) == {"sleeve_length": ("sleeveless",), "sleeve_type": ("none",)}


def test_style_tables_hold_commas_without_quotes_and_na_is_a_value(tmp_path: Path, read: Read) -> None:
    table = saved(
        tmp_path / "styles.csv",
        "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName\n"
        "15970,Men,Apparel,Topwear,Shirts,Navy Blue,Fall,2011,Casual,Turtle Check Men, Navy, Blue Shirt\n"
        "2,Men,Apparel,Topwear,Tshirts,NA,Fall,2011,NA,Plain\n"
        "3,Men,Apparel,Topwear,Kurtas,Blue,Fall,2011,Ethnic,Long\n",
    )
    shirt, tshirt = read(table, "myntra")
    assert shirt.path == tmp_path / "images" / "15970.jpg"
    assert dict(shirt.garments[0].attributes) == {"colour": ("navy",)}
    assert dict(tshirt.garments[0].attributes) == {}


def test_style_files_and_json_lines_say_the_same(tmp_path: Path, read: Read) -> None:
    style = {
        "meta": {"code": 200},
        "data": {
            "id": 7,
            "baseColour": "Off White",
            "colour2": None,
            "articleType": {"id": 90, "typeName": "Tops"},
            "articleAttributes": {"Sleeve Length": "Three-Quarter Sleeves", "Neck": "V-Neck", "Pattern": "Solid"},
        },
    }
    saved(tmp_path / "styles" / "7.json", json.dumps(style))
    line = {"id": 7, "articleType": "Tops", "split": "val", "name": "Top, White"}
    words = {"colour": "Off White", "sleeve_length": "three_quarter", "neckline": "v_neck", "pattern": "solid"}
    lines = saved(tmp_path / "attributes.jsonl", json.dumps({**line, "attributes": words}) + "\n")
    (style_file,), (json_line,) = read(tmp_path / "styles", "myntra"), read(lines, "myntra", "val")
    assert style_file.garments == json_line.garments
    assert dict(json_line.garments[0].attributes) == {
        "colour": ("white",), "neckline": ("v_neck",), "sleeve_length": ("three_quarter",), "pattern": ("solid",),
    }  # fmt: skip
    assert read(lines, "myntra", "test") == []


def test_fashionai_answers_by_letter_and_says_what_cannot_be_seen(tmp_path: Path, read: Read) -> None:
    labels = saved(
        tmp_path / "Annotations" / "label.csv",
        "Images/skirt_length_labels/a.jpg,skirt_length_labels,nnynnn\n"
        "Images/neckline_design_labels/b.jpg,neckline_design_labels,nnmnynnnnn\n"
        "Images/pant_length_labels/c.jpg,pant_length_labels,ynnnnn\n"
        "Images/coat_length_labels/d.jpg,coat_length_labels,nnnmnmnn\n"
        "Images/neck_design_labels/e.jpg,neck_design_labels,nnnny\n",
    )
    photos = read(labels, "fashionai")
    assert photos[0].path == tmp_path / "Images" / "skirt_length_labels" / "a.jpg"
    assert [(photo.garments[0].category, dict(photo.garments[0].attributes)) for photo in photos] == [
        ("skirt", {"length": ("knee",)}),
        ("top", {"neckline": ("v_neck",)}),  # the m beside it is no second answer
        ("trousers", {"length": ("not_visible",)}),
        # The coat has no answer at all, two that could be.
        ("top", {}),  # draped is none of our necklines
    ]
    with pytest.raises(DatasetError, match="5 letters for the 6 values"):
        read(saved(labels, "Images/a.jpg,skirt_length_labels,nnynn\n"), "fashionai")
