import json
from pathlib import Path

import pytest

from models.errors import DatasetError
from tests.models.readers.conftest import Read

FILES = ("img/Sheer_Dress/img_00000001.jpg", "img/Striped_Tee/img_00000001.jpg", "img/Striped_Tee/img_00000002.jpg")


def listed(path: Path, *rows: str) -> None:
    """Count and heading before the rows, as in DeepFashion's lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([str(len(rows)), "some  columns", *rows]) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    coarse, fine = tmp_path / "Anno_coarse", tmp_path / "Anno_fine"
    listed(coarse / "list_category_cloth.txt", "Tee                 1", "Dress               3", "Button-Down 1")
    listed(
        coarse / "list_attr_cloth.txt",
        "floral print                  1",
        "lace                          2",
        "maxi                          3",
        "long sleeve                   4",
        "striped                       1",
    )
    listed(coarse / "list_category_img.txt", f"{FILES[0]}   2", f"{FILES[1]}   1", f"{FILES[2]}   1")
    listed(coarse / "list_attr_img.txt", f"{FILES[0]}  1 -1 1 -1 0", f"{FILES[1]} -1 0 0 1 1", f"{FILES[2]} 0 0 0 0 0")
    listed(coarse / "list_bbox.txt", f"{FILES[0]}  072 079 232 273", f"{FILES[1]} 0 0 9 9", f"{FILES[2]} 1 1 8 8")
    listed(tmp_path / "Eval" / "list_eval_partition.txt", f"{FILES[0]} train", f"{FILES[1]} val", f"{FILES[2]} val")
    flags = ["0"] * 26
    flags[0] = flags[7] = flags[10] = flags[14] = "1"  # floral, long sleeves, maxi, v-neck
    fine.mkdir()
    (fine / "test.txt").write_text(f"{FILES[0]}\n")
    (fine / "test_attr.txt").write_text(" ".join(flags) + "\n")
    (fine / "test_bbox.txt").write_text("72 79 232 273\n")
    (fine / "test_cate.txt").write_text("2\n")
    return tmp_path


def test_coarse_lists_have_names_with_spaces_and_a_zero_is_no_negative(folder: Path, read: Read) -> None:
    dress, tee, plain = read(folder, "deepfashion")
    assert (dress.file, dress.path) == (FILES[0], folder / FILES[0])
    (garment,) = dress.garments
    assert garment.box == (72, 79, 233, 274)  # both corners lie within
    assert (garment.category, dict(garment.attributes)) == ("dress", {"pattern": ("floral",), "length": ("maxi",)})
    assert dict(tee.garments[0].attributes) == {"pattern": ("striped",), "sleeve_length": ("long",)}
    assert (plain.garments[0].category, dict(plain.garments[0].attributes)) == ("top", {})
    assert [photo.file for photo in read(folder, "deepfashion", "val")] == list(FILES[1:])


def test_fine_lists_go_line_by_line_without_headings(folder: Path, read: Read) -> None:
    (photo,) = read(folder, "deepfashion-fine", "test")
    (garment,) = photo.garments
    assert (photo.file, garment.category, garment.box) == (FILES[0], "dress", (72, 79, 233, 274))
    assert dict(garment.attributes) == {
        "pattern": ("floral",), "sleeve_length": ("long",), "length": ("maxi",), "neckline": ("v_neck",),
    }  # fmt: skip


def test_lists_of_different_lengths_are_refused(folder: Path, read: Read) -> None:
    (folder / "Anno_fine" / "test_cate.txt").write_text("2\n1\n")
    with pytest.raises(DatasetError, match="is not as deepfashion-fine has it"):
        read(folder, "deepfashion-fine", "test")
    with pytest.raises(DatasetError, match=r"train.txt of .* cannot be read"):
        read(folder, "deepfashion-fine")


def test_deepfashion2_lists_items_among_other_keys(tmp_path: Path, read: Read) -> None:
    annos = tmp_path / "train" / "annos"
    annos.mkdir(parents=True)
    item = {"category_name": "vest dress", "category_id": 12, "bounding_box": [4, 5, 60, 90], "style": 1}
    other = {"category_name": "long sleeve outwear", "category_id": 4, "bounding_box": [1, 2, 70, 80]}
    (annos / "000001.json").write_text(json.dumps({"source": "user", "pair_id": 1, "item1": item, "item2": other}))
    (photo,) = read(tmp_path, "deepfashion2", "train")
    assert (photo.file, photo.path) == ("train/image/000001.jpg", tmp_path / "train" / "image" / "000001.jpg")
    assert [(each.category, each.box, dict(each.attributes)) for each in photo.garments] == [
        ("dress", (4, 5, 60, 90), {"sleeve_length": ("sleeveless",), "sleeve_type": ("none",)}),
        ("outerwear", (1, 2, 70, 80), {"sleeve_length": ("long",)}),
    ]
    assert read(tmp_path, "deepfashion2") == [photo]
