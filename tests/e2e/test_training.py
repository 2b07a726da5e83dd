"""Both models trained by Ray Train on two workers, for real and very short."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.bundle_writer import write_bundle
from models.classifier_training import ClassifierTraining
from models.datasets import read_dataset
from models.detector import DetectorSpec
from models.errors import DatasetError
from models.learning_curve import read_curve
from models.ontology import load_ontology
from models.rendering.render import render_dataset
from models.train_classifiers import train_classifiers
from models.train_detector import DetectorTraining, train_detector
from models.training import TrainingProgress
from models.types import LabelledPhoto
from serve_app.train_on_ray import train_on_ray
from tests.e2e.conftest import Cluster

pytestmark = [
    pytest.mark.cluster,
    # Ray Train copies Ray Data's settings, and so meets what Ray itself has deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

ONTOLOGY = load_ontology()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledPhoto]:
    directory = tmp_path_factory.mktemp("sets") / "train"
    render_dataset(directory, 64, seed=11, long_side_px=128)
    return read_dataset(directory, ONTOLOGY)


def test_two_workers_train_both_models_into_a_bundle(
    cluster: Cluster, photos: list[LabelledPhoto], tmp_path: Path
) -> None:
    spec = DetectorSpec("mobilenet_v3_large_320_fpn", 64, 32, len(ONTOLOGY.categories))
    detector = DetectorTraining(spec, epochs=2, batch=4, rate=0.01, threads=1, report_s=0.0)
    learning = {"rate": 1e-4, "head_ratio": 5.0, "smoothing": 0.0}  # fast enough to show in a dozen steps
    classifiers = ClassifierTraining(size_px=75, epochs=2, batch=8, threads=1, report_s=0.0, head_views=1, **learning)
    results = {}
    for name, train in (
        ("detector", partial(train_detector, detector, photos, photos[:8], ONTOLOGY, tmp_path / "detector")),
        (
            "classifiers",
            partial(train_classifiers, classifiers, photos, photos[:8], ONTOLOGY, tmp_path / "classifiers"),
        ),
    ):
        told: list[TrainingProgress] = []
        results[name] = train_on_ray(train, tmp_path / name, told.append, workers=2, threads=1, use_gpu=False)
        assert told[-1].share == 1
        curve = read_curve(tmp_path / name / ("" if name == "detector" else "run"))
        losses = [row["loss"] for row in curve if "loss" in row]
        half = len(losses) // 2  # a pass over the same photos
        assert half >= 4
        assert np.mean(losses[half:]) < np.mean(losses[:half])
    bundle = write_bundle(
        tmp_path / "bundle", name="tiny", version="1", training={},
        detectors=[results["detector"]], classifiers=results["classifiers"],
    )  # fmt: skip
    assert load_bundle(bundle).training["detector"]["workers"] == 2


def test_what_a_trainer_refuses_is_said_once(cluster: Cluster, photos: list[LabelledPhoto], tmp_path: Path) -> None:
    spec = DetectorSpec("mobilenet_v3_large_320_fpn", 64, 32, len(ONTOLOGY.categories))
    config = DetectorTraining(spec, epochs=1)
    train = partial(train_detector, config, [], [], ONTOLOGY, tmp_path / "out")
    with pytest.raises(DatasetError, match="no photo to train on"):
        train_on_ray(train, tmp_path / "out", lambda progress: None, workers=1, threads=1, use_gpu=False)
