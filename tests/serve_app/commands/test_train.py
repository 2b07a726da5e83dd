from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.classifier_training import ClassifierTraining
from models.ontology import Ontology
from models.rendering.render import render_dataset
from models.train_detector import DetectorTraining
from models.types import LabelledPhoto
from serve_app.cli import app


@pytest.mark.parametrize("model", ["detector", "classifiers"])
def test_relative_paths_are_those_of_the_caller_in_every_working_directory(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Path] = []

    def train(
        config: DetectorTraining | ClassifierTraining,
        photos: Sequence[LabelledPhoto],
        val_photos: Sequence[LabelledPhoto],
        ontology: Ontology,
        out_dir: Path,
        callback: object,
    ) -> Path:
        start = config.weights if isinstance(config, DetectorTraining) else config.start
        told.extend([photos[0].path, val_photos[0].path, out_dir, Path(start)])
        return out_dir

    monkeypatch.setattr(f"models.train_{model}.train_{model}", train)
    render_dataset(tmp_path / "photos", 1, seed=1, long_side_px=64)
    (tmp_path / "start.safetensors").symlink_to("blob")
    monkeypatch.chdir(tmp_path)
    sets = ["--data", "photos", "--val", "photos"]
    args = ["train", model, *sets, "--out", "run", "--weights", "start.safetensors", "--epochs", "1"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0
    photo = tmp_path / "photos" / "images" / "000000.jpg"
    assert told == [photo, photo, tmp_path / "run", tmp_path / "start.safetensors"]
