import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.evaluate import measure, quality_summary, save_report
from models.ontology import Attribute, Category, Ontology
from models.report import report_html, summary_lines
from models.types import AttributeScore, Box, Detection, LabelledGarment, LabelledPhoto

ONTOLOGY = Ontology(
    "test",
    "1",
    {
        "dress": Category(
            "dress",
            {
                "colour": Attribute("colour", "several", ("red", "blue")),
                "length": Attribute("length", "single", ("mini", "midi")),
            },
        ),
        "skirt": Category("skirt", {"length": Attribute("length", "single", ("mini", "midi"))}),
    },
)
BUNDLE = SimpleNamespace(
    name="test",
    version="1",
    digest="0" * 64,
    ontology=ONTOLOGY,
    min_score=0.5,
    thresholds={"dress": {"colour": 0.6}},
    temperatures={"dress": {"length": 2.0}},
)
DRESS, SKIRT = (10.0, 10.0, 50.0, 90.0), (60.0, 40.0, 95.0, 95.0)


class FakeTagger:
    """Finds what it is told; answers mini and red at 0.9, midi and blue at 0.55."""

    bundle = BUNDLE

    def __init__(self, found: Sequence[Detection]) -> None:
        self._found = found

    def detect(self, image: np.ndarray, min_score: float) -> list[Detection]:
        return [detection for detection in self._found if detection.score >= min_score]

    def classify(self, image: np.ndarray, garments: Sequence[tuple[str, Box]]) -> list[dict[str, Any]]:
        length = (AttributeScore("mini", 0.9), AttributeScore("midi", 0.1))
        colour = (AttributeScore("red", 0.9), AttributeScore("blue", 0.55))
        return [{"length": length} | ({"colour": colour} if category == "dress" else {}) for category, _ in garments]


@pytest.fixture
def photos(tmp_path: Path) -> list[LabelledPhoto]:
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    dress = LabelledGarment("dress", DRESS, {"colour": ("red",), "length": ("mini",)})
    other = LabelledGarment("dress", DRESS, {"length": ("midi",)})
    skirt = LabelledGarment("skirt", SKIRT, {})
    return [LabelledPhoto(tmp_path / "a.png", (dress, skirt)), LabelledPhoto(tmp_path / "a.png", (other,))]


def run(photos: Sequence[LabelledPhoto], *found: Detection) -> dict[str, Any]:
    return measure(FakeTagger(found), photos, "val")  # type: ignore[arg-type]


def test_attributes_on_true_boxes_count_only_what_is_labelled(photos: list[LabelledPhoto]) -> None:
    attributes = run(photos)["attributes"]["on_true_boxes"]
    assert attributes["skirt"] == {}
    length = attributes["dress"]["length"]
    assert length["garments"] == 2
    assert length["accuracy"] == 0.5
    assert length["values"]["midi"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert length["ratio"] == 1.0  # it always answers one value
    colour = attributes["dress"]["colour"]
    assert colour["garments"] == 1
    assert colour["macro_f1"] == 1.0  # blue stays below its threshold


def test_what_was_not_found_is_no_attribute_error(photos: list[LabelledPhoto]) -> None:
    report = run(photos, Detection(DRESS, 0.9, "dress"), Detection(SKIRT, 0.3, "skirt"), Detection(SKIRT, 0.8, "dress"))
    assert report["end_to_end"] == {"min_score": 0.5, "found": 4, "matched": 2, "labelled": 3}
    assert report["attributes"]["on_found_boxes"]["dress"]["length"]["garments"] == 2
    assert 0 < report["detection"]["ap50"] <= 1
    assert report["detection"]["by_category"].keys() == {"dress", "skirt"}


def test_nothing_found_is_a_report_too(photos: list[LabelledPhoto]) -> None:
    report = run(photos)
    assert report["detection"]["ap"] == 0
    assert report["attributes"]["on_found_boxes"]["dress"] == {}
    assert report["summary"]["on_found_boxes"]["macro_f1"] is None
    assert report["detection"]["confusion"]["counts"] == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]
    assert report_html(report, photos)


def test_no_photo_is_a_report_too() -> None:
    report = run([])
    assert (report["photos"], report["detection"]["ap"]) == (0, None)
    assert report_html(report, []) and summary_lines(report)


def test_scores_ranks_and_confusions_are_told(photos: list[LabelledPhoto]) -> None:
    report = run(photos)
    length = report["attributes"]["on_true_boxes"]["dress"]["length"]
    assert length["confusion"] == [[1, 0], [1, 0]]  # true midi is answered mini
    assert (length["balanced_accuracy"], length["top3_recall"]) == (0.5, 1.0)
    assert length["calibration_error"] == pytest.approx(0.4)  # 0.9 twice, right once
    assert length["calibration_error_before"] == pytest.approx(81 / 82 - 0.5, abs=1e-4)  # odds of 9, squared
    assert length["coverage"][0] == {"threshold": 0.5, "coverage": 1.0, "right": 0.5}
    low, high = length["macro_f1_interval"]
    assert 0 <= low <= length["macro_f1"] <= high <= 1
    assert report["attributes"]["on_true_boxes"]["dress"]["colour"]["map"] == 1.0
    assert [each["answers"] for each in report["summary"]["on_true_boxes"]["reliability"]] == [3]


def test_what_lies_outside_the_labelled_region_counts_neither_way(photos: list[LabelledPhoto]) -> None:
    found = Detection(DRESS, 0.9, "dress"), Detection(SKIRT, 0.9, "skirt")
    region = replace(photos[1], region=(0.0, 0.0, 55.0, 100.0))
    assert run([photos[1]], *found)["end_to_end"]["found"] == 2
    report = run([region], *found)
    assert (report["end_to_end"]["found"], report["detection"]["ap"]) == (1, 1.0)
    assert report["detection"]["ap_interval"] == [1.0, 1.0]


def test_photos_with_one_garment_or_none(photos: list[LabelledPhoto]) -> None:
    empty = LabelledPhoto(photos[0].path, ())
    found = Detection(DRESS, 0.9, "dress"), Detection(SKIRT, 0.6, "skirt")
    assert run([photos[1], empty], *found)["photo_level"] == {
        "photos_with_garments": 1, "best_category_right": 1.0, "photos_without": 1, "empty_answer_right": 0.0,
    }  # fmt: skip
    assert run([photos[1], empty])["photo_level"]["empty_answer_right"] == 1.0
    assert run([photos[1]])["photo_level"]["best_category_right"] == 0.0


def test_a_saved_report_is_json_and_a_page_that_needs_nothing_besides(
    photos: list[LabelledPhoto], tmp_path: Path
) -> None:
    report = run(photos, Detection(DRESS, 0.9, "dress"), Detection(SKIRT, 0.7, "dress"))
    save_report(report, photos, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == report
    page = (tmp_path / "report" / "report.html").read_text()
    assert "2 photos, 3 garments (dress 2, skirt 1)" in page
    assert page.count("<svg") == 3 and "data:image/jpeg;base64," in page
    assert not re.search(r"(src|href)=.?(http|/)", page)
    # The first photo lacks its skirt and has a dress where it is; the second has one wrong length and that dress.
    assert [(each["number"], each["weight"]) for each in report["worst"]] == [(0, 1.7), (1, 1.15)]
    assert ["skirt: not found"] in [note["lines"] for note in report["worst"][0]["notes"]]
    assert str(tmp_path) not in page


def test_the_bundle_keeps_the_main_figures(photos: list[LabelledPhoto]) -> None:
    summary = quality_summary(run(photos))
    length = {"macro_f1": pytest.approx(1 / 3, abs=1e-5), "majority_macro_f1": pytest.approx(1 / 3, abs=1e-5)}
    colour = {"macro_f1": 1.0, "majority_macro_f1": 1.0, "garments": 1}
    assert summary["attributes"] == {"dress": {"colour": colour, "length": {**length, "garments": 2}}, "skirt": {}}
    assert (summary["split"], summary["photos"], summary["end_to_end"]["labelled"]) == ("val", 2, 3)


def test_detection_is_not_measured_where_not_every_garment_is_labelled(photos: list[LabelledPhoto]) -> None:
    found = Detection(DRESS, 0.6, "dress"), Detection(SKIRT, 0.9, "dress")
    report = measure(FakeTagger(found), photos, "val", complete=False)  # type: ignore[arg-type]
    for way in ("on_true_boxes", "on_found_boxes"):  # what is found of the category is taken, wherever it lies
        assert report["attributes"][way] == run(photos, *found)["attributes"]["on_true_boxes"]
    assert report["colours"]["on_found_boxes"]["garments"] == 1
    assert all("found" not in line for each in report["worst"] for note in each["notes"] for line in note["lines"])
    assert {"detection", "photo_level", "end_to_end"}.isdisjoint(quality_summary(report))
    assert "Average precision" not in report_html(report, photos)
    assert "detection: not measured" in "".join(summary_lines(report))


def test_an_attribute_is_pooled_over_the_categories_that_share_it(photos: list[LabelledPhoto]) -> None:
    skirt = LabelledGarment("skirt", SKIRT, {"length": ("mini",)})
    pooled = run([*photos, replace(photos[0], garments=(skirt,))])["summary"]["on_true_boxes"]["pooled"]["length"]
    # Mini three times; true are mini of a dress, midi of a dress, mini of the skirt.
    assert pooled == {
        "garments": 3, "macro_f1": 0.4, "accuracy": pytest.approx(2 / 3, abs=1e-5), "majority_macro_f1": 0.4,
        "majority_accuracy": pytest.approx(2 / 3, abs=1e-5),
    }  # fmt: skip


def test_the_largest_colour_on_the_pixels_is_held_against_the_label(
    photos: list[LabelledPhoto], tmp_path: Path
) -> None:
    Image.new("RGB", (100, 100), (20, 40, 200)).save(tmp_path / "blue.png")
    assert run([replace(photos[0], path=tmp_path / "blue.png")])["colours"] == {
        "on_true_boxes": {"garments": 1, "first_true": 0.0},
        "on_found_boxes": {"garments": 0, "first_true": None},
    }
    Image.new("RGB", (100, 100), (200, 20, 30)).save(tmp_path / "red.png")
    report = run(
        [replace(photos[0], path=tmp_path / "red.png")], Detection(SKIRT, 0.9, "skirt"), Detection(DRESS, 0.9, "dress")
    )
    assert report["colours"] == {way: {"garments": 1, "first_true": 1.0} for way in ("on_true_boxes", "on_found_boxes")}
