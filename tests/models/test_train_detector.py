import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.detector import DetectorSpec, build_detector
from models.errors import DatasetError
from models.ontology import load_ontology
from models.train_detector import DetectorTraining, train_detector
from models.training import TrainingProgress
from models.types import LabelledGarment, LabelledPhoto
from models.weights import save_weights

ONTOLOGY = load_ontology()
SPEC = DetectorSpec("mobilenet_v3_large_320_fpn", 64, 16, 5)
CONFIG = DetectorTraining(SPEC, epochs=1, batch=4, rate=0.02, threads=1, report_s=0.0, average_decay=0.5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledPhoto]:
    """Four photos: a red dress, a blue skirt, both, none."""
    directory = tmp_path_factory.mktemp("sets") / "made" / "images"
    directory.mkdir(parents=True)
    dress, skirt = (8.0, 10.0, 40.0, 60.0), (44.0, 30.0, 76.0, 72.0)
    made = []
    for at, categories in enumerate((("dress",), ("skirt",), ("dress", "skirt"), ())):
        pixels = np.full((80, 80, 3), 230, dtype=np.uint8)
        boxes = {"dress": (dress, (200, 20, 20)), "skirt": (skirt, (20, 20, 200))}
        for name in categories:
            (x1, y1, x2, y2), colour = boxes[name]
            pixels[int(y1) : int(y2), int(x1) : int(x2)] = colour
        Image.fromarray(pixels).save(directory / f"{at}.png")
        garments = tuple(LabelledGarment(name, boxes[name][0]) for name in categories)
        made.append(LabelledPhoto(directory / f"{at}.png", garments))
    return made


def test_loss_falls_on_four_photos(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    losses: list[float] = []
    result = train_detector(
        replace(CONFIG, epochs=10),
        photos,
        photos,
        ONTOLOGY,
        tmp_path / "out",
        lambda progress: losses.append(progress.metrics.get("loss", np.nan)),
    )
    assert np.isnan(losses.pop())  # the last report holds the validation
    assert len(losses) == 10 and np.mean(losses[-3:]) < 0.7 * losses[0]
    record = json.loads(result.read_text())
    assert record["training"]["steps"] == 10 and record["training"]["photos_seen"] == 40
    assert record["training"]["train_photos"] == {"made": 4}
    assert record["training"]["val"]["num_garments"] == 4
    build_detector(DetectorSpec.from_dict(record["spec"]), result.parent / record["weights"])
    with (result.parent / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [*map(str, range(1, 11)), "10"]
    assert rows[-1]["val_ap50"]


def test_a_finer_map_is_learnt_from_weights_that_lack_it(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    save_weights(build_detector(SPEC), tmp_path / "coarse.safetensors")
    spec = replace(SPEC, backbone="mobilenet_v3_large_320_fpn_stride16")
    config = replace(CONFIG, spec=spec, weights=str(tmp_path / "coarse.safetensors"))
    result = train_detector(config, photos, [], ONTOLOGY, tmp_path / "out")
    trained = build_detector(spec, result.with_name("detector.safetensors"))
    assert trained.backbone.lateral.weight.abs().sum() > 0


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    photos: list[LabelledPhoto], tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1, batch=1, sizes=((0.0, 64),))

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    train_detector(config, photos, [], ONTOLOGY, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train_detector(config, photos, [], ONTOLOGY, tmp_path / "resumed", interrupt)
    with pytest.raises(DatasetError, match="another config"):
        train_detector(replace(config, seed=1), photos, [], ONTOLOGY, tmp_path / "resumed")
    assert not (tmp_path / "resumed" / "detector.safetensors").exists()
    train_detector(config, photos, [], ONTOLOGY, tmp_path / "resumed")
    straight, resumed = (tmp_path / name / "detector.safetensors" for name in ("straight", "resumed"))
    assert straight.read_bytes() == resumed.read_bytes()


def test_no_photo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no photo to train on"):
        train_detector(CONFIG, [], [], ONTOLOGY, tmp_path / "out")


def test_growing_canvases() -> None:
    config = replace(CONFIG, spec=replace(SPEC, long_side_px=256), sizes=((0.0, 128), (0.5, 192), (0.8, 256)))
    assert [config.size_at(share, 256) for share in (0, 0.49, 0.5, 0.79, 0.8, 1)] == [128, 128, 192, 192, 256, 256]
    assert CONFIG.size_at(0.3, 64) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"epochs": None}, "epochs or max_minutes", id="endless"),
        pytest.param({"batch": 0}, "batch", id="no_batch"),
        pytest.param({"sizes": ((0.2, 64),)}, "share 0", id="late_start"),
        pytest.param({"sizes": ((0.0, 64), (0.5, 32))}, "end at the spec's size", id="wrong_end"),
        pytest.param({"sizes": ((0.0, 40), (0.5, 64))}, "multiples of 32", id="odd_size"),
    ],
)
def test_unusable_configs_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
