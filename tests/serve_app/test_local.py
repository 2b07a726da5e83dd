"""The service's composition against the predictor that `evaluate` measures, with the shipped weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.bundle import load_bundle
from models.images import decode_image
from models.ontology import load_ontology
from models.predictor import Tagger
from models.rendering.render import render_photo
from models.vocabulary import load_languages
from serve_app.config import DEMO_BUNDLE, TaggerArgs
from serve_app.errors import BadRequest
from serve_app.local import LocalTagger

MIN_SCORE = 0.1  # low, so that there are garments whatever the weights know


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTagger]:
    profile = tmp_path_factory.mktemp("profiles") / "shop.yaml"
    profile.write_text("{categories: {skirt: Skirts}, attributes: {colour: shade}}")
    profile.with_name("other.yaml").write_text("no profile, and not asked for")
    with LocalTagger(DEMO_BUNDLE, "cpu", str(profile)) as tagger:
        yield tagger


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(2):
        image, _ = render_photo(seed=77, ontology=load_ontology(), index=index)
        Image.fromarray(image).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def test_answers_are_those_of_the_measured_predictor(local: LocalTagger, photos: list[Path]) -> None:
    measured = Tagger(load_bundle(TaggerArgs().bundle_uri))
    num_garments = 0
    for photo in photos:
        answered = local.tag(photo, min_score=MIN_SCORE).garments
        expected = measured.tag(decode_image(photo.read_bytes()), MIN_SCORE)
        num_garments += len(expected)
        assert [garment.category for garment in answered] == [each.detection.category for each in expected]
        for garment, each in zip(answered, expected, strict=True):
            assert np.allclose(garment.box, each.detection.box, atol=0.01)
            for name, values in garment.attributes.items():
                if values:
                    best = each.attributes[name][0]
                    assert values[0].score == pytest.approx(best.score, abs=0.002)
    assert num_garments


def test_a_named_category_is_classified_without_detection(local: LocalTagger, photos: list[Path]) -> None:
    (garment,) = local.tag(photos[0], category="skirt").garments
    with Image.open(photos[0]) as image:
        assert garment.box == (0, 0, *image.size)
    assert set(garment.attributes) == set(load_ontology().categories["skirt"].attributes)


def test_answers_are_named_by_a_language_and_by_the_file_of_a_profile(local: LocalTagger, photos: list[Path]) -> None:
    (garment,) = local.tag(photos[0], category="skirt", lang="de", profile="shop").garments
    assert (garment.category, garment.label) == ("Skirts", "Skirts")
    assert "shade" in garment.attributes and "colour" not in garment.attributes
    assert {colour.label for colour in garment.colours} <= set(load_languages()["de"].values["colour"].values())
    with pytest.raises(BadRequest, match="known: shop"):
        local.tag(photos[0], profile="nobody")
