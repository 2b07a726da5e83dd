"""Which values and tags an answer carries."""

from dataclasses import replace
from typing import Any

import pytest

from models.colours import ColourShare
from models.types import AttributeScore, Detection
from models.vocabulary import Vocabulary, load_languages
from serve_app.answer import Answerer
from serve_app.compose import StageTimes, TaggedGarment, TaggedPhoto
from serve_app.naming import Naming
from serve_app.query import TagOptions
from serve_app.schemas import Garment
from tests.fakes import DRESS, SKIRT, FakeMeter, facts

TIMES = StageTimes(0.001, 0.002, 0.003, 0.0061)
SCORES = {
    "colour": (AttributeScore("red", 0.8), AttributeScore("white", 0.6), AttributeScore("black", 0.1)),
    "neckline": (AttributeScore("v_neck", 0.4), AttributeScore("not_visible", 0.3), AttributeScore("round", 0.3)),
    "sleeve_type": (AttributeScore("none", 0.9), AttributeScore("puff", 0.1)),
    "length": (AttributeScore("not_visible", 0.7), AttributeScore("midi", 0.3)),
}


def _photo(*garments: TaggedGarment) -> TaggedPhoto:
    return TaggedPhoto((120, 80), garments, TIMES)


def _answerer(meter: FakeMeter) -> Answerer:
    return Answerer(facts(), min_several_score=0.5, low_confidence_score=0.5, meter=meter)


DRESSED = TaggedGarment(DRESS, SCORES, ())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(
            TagOptions(0.5),
            {"colour": ["red", "white"], "neckline": ["v_neck"], "sleeve_type": ["none"], "length": ["not_visible"]},
            id="best_of_single_and_seen_of_several",
        ),
        pytest.param(TagOptions(0.5, top_k=1, attributes=frozenset({"colour"})), {"colour": ["red"]}, id="top_1"),
        pytest.param(
            TagOptions(0.5, top_k=50, attributes=frozenset({"sleeve_type"})),
            {"sleeve_type": ["none", "puff"]},
            id="all",
        ),
        pytest.param(TagOptions(0.5, attributes=frozenset({"closure"})), {}, id="not_of_this_category"),
    ],
)
def test_values_are_chosen_by_score(options: TagOptions, expected: dict[str, list[str]]) -> None:
    response = _answerer(FakeMeter()).response(_photo(DRESSED), options, "id")
    answered = response.garments[0].attributes
    assert {name: [value.value for value in values] for name, values in answered.items()} == expected


def test_tags_are_words_without_what_is_not_there_and_without_repetition() -> None:
    meter = FakeMeter()
    photo = _photo(DRESSED, DRESSED, TaggedGarment(SKIRT, None, ()))
    response = _answerer(meter).response(photo, TagOptions(0.5, top_k=3), "id")
    assert response.tags == ["dress", "red", "white", "v neck", "skirt"]
    assert [garment.status for garment in response.garments] == ["ok", "ok", "classifier_unavailable"]
    assert meter.counts["tagger_tags", "neckline", "v_neck"] == 2
    assert meter.counts["tagger_low_confidence", "dress", "neckline"] == 2
    assert ("tagger_low_confidence", "dress", "sleeve_type") not in meter.counts


def test_probabilities_hold_every_value_and_come_only_when_asked_for() -> None:
    answerer = _answerer(FakeMeter())
    plain = answerer.response(_photo(DRESSED), TagOptions(0.5), "id").garments[0]
    asked = answerer.response(_photo(DRESSED), TagOptions(0.5, has_probabilities=True), "id").garments[0]
    assert plain.probabilities is None
    assert asked.probabilities is not None
    assert [value.value for value in asked.probabilities["colour"]] == ["red", "white", "black"]
    assert asked.attributes == plain.attributes


def test_no_garment_is_a_normal_answer() -> None:
    response = _answerer(FakeMeter()).response(_photo(), TagOptions(0.5), "id")
    assert (response.garments, response.tags, response.image.width, response.image.height) == ([], [], 80, 120)
    assert response.timing_ms.total == pytest.approx(6.1)


def test_boxes_and_scores_are_rounded_for_the_wire() -> None:
    detection = Detection((1 / 3, 2 / 3, 10.0, 20.0), 2 / 3, "dress")
    garment = (
        _answerer(FakeMeter()).response(_photo(TaggedGarment(detection, {}, ())), TagOptions(0.5), "id").garments[0]
    )
    assert garment.box == (0.33, 0.67, 10.0, 20.0)
    assert garment.score == 0.6667


def _named(naming: Naming, **options: Any) -> Garment:
    return (
        _answerer(FakeMeter()).response(_photo(COLOURED), TagOptions(0.5, naming=naming, **options), "id").garments[0]
    )


COLOURED = TaggedGarment(DRESS, SCORES, (ColourShare("red", "#b3282d", 0.5), ColourShare("white", "#ffffff", 0.3)))
SHOP = Vocabulary(
    "shop",
    categories={"dress": "Dresses"},
    attributes={"colour": "Shade"},
    values={
        "colour": {"red": "Warm", "white": "Warm", "black": "Dark"},
        "neckline": {"v_neck": "Open", "round": "Open", "not_visible": None},
        "length": {"not_visible": None},
    },
)


def test_a_language_adds_labels_and_changes_no_name() -> None:
    garment, plain = _named(Naming(load_languages()["de"])), _named(Naming())
    assert (garment.category, garment.label, plain.label) == ("dress", "Kleid", None)
    assert [(value.value, value.label) for value in garment.attributes["colour"]] == [("red", "rot"), ("white", "weiß")]
    assert [colour.label for colour in garment.colours] == ["rot", "weiß"]
    response = _answerer(FakeMeter()).response(
        _photo(COLOURED), TagOptions(0.5, naming=Naming(load_languages()["fr"])), "i"
    )
    assert response.tags == ["robe", "rouge", "blanc", "col en V"]


def test_a_profile_renames_merges_and_leaves_out() -> None:
    garment = _named(Naming(profile=SHOP), has_probabilities=True)
    assert (garment.category, garment.label) == ("Dresses", "Dresses")
    assert [(value.value, value.score) for value in garment.attributes["Shade"]] == [("Warm", 0.8)]  # the better one
    assert [(value.value, value.score) for value in garment.attributes["neckline"]] == [("Open", 0.7)]  # their sum
    assert garment.attributes["length"] == []  # not the runner-up of what was left out
    assert garment.probabilities is not None
    assert [value.value for value in garment.probabilities["length"]] == ["midi"]
    assert [(colour.name, colour.hex, colour.share) for colour in garment.colours] == [("Warm", "#b3282d", 0.8)]


def test_metrics_count_the_ontology_s_names_whatever_the_profile() -> None:
    meter = FakeMeter()
    _answerer(meter).response(_photo(COLOURED), TagOptions(0.5, naming=Naming(profile=SHOP)), "id")
    assert meter.counts["tagger_tags", "colour", "white"] == 1
    assert meter.counts["tagger_tags", "length", "not_visible"] == 1


@pytest.mark.parametrize(
    ("thresholds", "naming", "expected"),
    [
        pytest.param({}, Naming(), ["neckline"], id="mute_bundle"),
        pytest.param({"neckline": 0.4}, Naming(), [], id="at_the_confidence"),
        pytest.param(
            {"sleeve_type": 0.95, "colour": 0.9}, Naming(), ["colour", "neckline", "sleeve_type"], id="stricter"
        ),
        pytest.param({}, Naming(profile=SHOP), [], id="merged_values_are_surer"),
        pytest.param({"colour": 0.9}, Naming(profile=SHOP), ["Shade"], id="under_the_shop_s_name"),
    ],
)
def test_answers_below_the_bundle_s_confidence_need_review(
    thresholds: dict[str, float], naming: Naming, expected: list[str]
) -> None:
    bundle = replace(facts(), threshold_by_attribute={"dress": thresholds})
    answerer = Answerer(bundle, min_several_score=0.5, low_confidence_score=0.4001, meter=FakeMeter())
    response = answerer.response(_photo(COLOURED), TagOptions(0.5, naming=naming), "id")
    assert response.garments[0].needs_review == expected
