from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.bundle import Bundle, load_bundle
from models.bundle_writer import write_random_bundle
from models.calibration import MIN_GARMENTS, calibrate
from models.errors import BundleError
from models.images import crop_square
from models.ontology import Attribute, Category, Ontology
from models.predictor import Tagger, chosen_values
from models.types import Detection, LabelledGarment, LabelledPhoto

LENGTH = Attribute("length", "single", ("mini", "midi", "maxi"))
COLOUR = Attribute("colour", "several", ("red", "blue"))
ONTOLOGY = Ontology(
    "test",
    "1",
    {"skirt": Category("skirt", {"length": LENGTH}), "dress": Category("dress", {"colour": COLOUR, "length": LENGTH})},
)
PHOTO = np.random.default_rng(0).integers(0, 255, (150, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_random_bundle(tmp_path_factory.mktemp("bundle"), ONTOLOGY, seed=1))


@pytest.fixture(scope="module")
def tagger(bundle: Bundle) -> Tagger:
    return Tagger(bundle)


def test_a_random_bundle_finds_and_answers_something(tagger: Tagger) -> None:
    garments = tagger.tag(PHOTO, min_score=0.05)
    assert garments
    assert [each.detection.score for each in garments] == sorted(
        (each.detection.score for each in garments), reverse=True
    )
    for garment in garments:
        x1, y1, x2, y2 = garment.detection.box
        assert 0 <= x1 < x2 <= 90
        assert 0 <= y1 < y2 <= 150
        assert garment.attributes.keys() == ONTOLOGY.categories[garment.detection.category].attributes.keys()


def test_answers_keep_the_order_of_the_garments(tagger: Tagger) -> None:
    boxes = [
        ("dress", (5.0, 5.0, 60.0, 120.0)),
        ("skirt", (20.0, 60.0, 80.0, 140.0)),
        ("dress", (0.0, 0.0, 90.0, 150.0)),
    ]
    together = tagger.classify(PHOTO, boxes)
    for garment, scores in zip(boxes, together, strict=True):
        (alone,) = tagger.classify(PHOTO, [garment])
        assert scores.keys() == alone.keys()
        for name in scores:
            assert [each.score for each in scores[name]] == pytest.approx(
                [each.score for each in alone[name]], abs=1e-4
            )


def test_no_garment_is_no_answer(tagger: Tagger) -> None:
    assert tagger.classify(PHOTO, []) == []


def test_one_classifier_answers_as_all_of_them_do(bundle: Bundle, tagger: Tagger) -> None:
    box = (5.0, 5.0, 60.0, 120.0)
    alone = bundle.load_classifier("skirt")
    (expected,) = tagger.classify(PHOTO, [("skirt", box)])
    (scores,) = alone.classify(crop_square(PHOTO, box, bundle.crop_size_px, bundle.crop_pad_ratio)[None])
    assert [each.value for each in scores["length"]] == [each.value for each in expected["length"]]
    with pytest.raises(BundleError, match="no category hat"):
        bundle.load_classifier("hat")


def test_calibration_without_labels_changes_nothing(bundle: Bundle) -> None:
    assert calibrate(bundle, [], []).temperatures == {}
    assert load_bundle(bundle.dir).digest == bundle.digest


def test_a_detection_needs_what_is_best_on_photos_with_all_garments_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(write_random_bundle(tmp_path / "bundle", ONTOLOGY))
    box = (5.0, 5.0, 60.0, 120.0)
    monkeypatch.setattr(Tagger, "detect", lambda self, image, min_score: [Detection(box, 0.3, "skirt")])
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    right = LabelledPhoto(tmp_path / "a.png", (LabelledGarment("skirt", box),))
    beside = LabelledPhoto(tmp_path / "a.png", (LabelledGarment("skirt", box),), region=(60, 0, 90, 150))
    calibrate(bundle, [right], [right] * MIN_GARMENTS)
    assert load_bundle(bundle.dir).min_score == 0.3
    calibrate(bundle, [right] * MIN_GARMENTS, [right])
    assert load_bundle(bundle.dir).min_score == 0.5
    calibrate(bundle, [right], [beside] * MIN_GARMENTS)  # found outside of what was labelled
    assert load_bundle(bundle.dir).min_score == 0.5


def test_the_same_seed_makes_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    assert load_bundle(write_random_bundle(tmp_path, ONTOLOGY, seed=1)).digest == bundle.digest


@pytest.mark.parametrize(
    ("is_single", "threshold", "chosen"),
    [
        pytest.param(True, 0.9, ("red",), id="the_best_of_a_single_choice_whatever_its_score"),
        pytest.param(False, 0.3, ("red", "blue"), id="all_from_the_threshold_on"),
        pytest.param(False, 0.9, (), id="none_reaches_the_threshold"),
    ],
)
def test_chosen_values(is_single: bool, threshold: float, chosen: tuple[str, ...]) -> None:
    assert chosen_values([("red", 0.6), ("blue", 0.3), ("green", 0.1)], is_single, threshold) == chosen
