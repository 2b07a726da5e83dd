from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from models.datasets import read_dataset
from models.errors import DatasetError
from models.ontology import load_ontology
from serve_app.cli import app


def test_rendered_photos_can_be_read_and_shown(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "render", str(tmp_path / "set"), "--count", "3", "--seed", "5"])
    assert done.exit_code == 0, done.output
    photos = read_dataset(tmp_path / "set", load_ontology())
    assert len(photos) == 3
    done = CliRunner().invoke(app, ["data", "show", str(tmp_path / "set"), "--to", str(tmp_path / "shown")])
    assert done.exit_code == 0, done.output
    assert sorted(path.stem for path in (tmp_path / "shown").iterdir()) == [photo.path.stem for photo in photos]


def test_a_table_is_converted_with_its_photos_and_boxes_kept_inside_them(tmp_path: Path) -> None:
    source = tmp_path / "shop"
    source.mkdir()
    Image.fromarray(np.full((40, 30, 3), 200, dtype=np.uint8)).save(source / "a.png")
    (source / "labels.csv").write_text(
        "file,label,split,x1,y1,x2,y2\na.png,Dress,train,-5,2,25,44\nb.png,Dress,test,,,,\n"
    )
    arguments = ["data", "convert", str(source / "labels.csv"), str(tmp_path / "set"), "--mapping", "flat"]
    done = CliRunner().invoke(app, [*arguments, "--split", "train"])
    assert done.exit_code == 0, done.output
    (photo,) = read_dataset(tmp_path / "set", load_ontology())
    assert photo.path.parent == tmp_path / "set" / "images"
    assert [(garment.category, garment.box) for garment in photo.garments] == [("dress", (0, 2, 25, 40))]


def test_a_check_names_faults_and_shared_photos_and_ends_with_1(tmp_path: Path) -> None:
    for name, seed in (("train", 3), ("test", 3)):
        done = CliRunner().invoke(app, ["data", "render", str(tmp_path / name), "--count", "2", "--seed", str(seed)])
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path / "train"), str(tmp_path / "test")])
    assert done.exit_code == 1
    assert (
        "train: 2 photos" in done.output
        and ".colour: black " in done.output
        and "2 look alike in two sets:" in done.output
    )


def test_a_refusal_is_one_of_ours(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "show", str(tmp_path)])
    assert isinstance(done.exception, DatasetError)
