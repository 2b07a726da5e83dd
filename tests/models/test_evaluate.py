import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.evaluate import measure, quality_summary, save_report
from models.ontology import Attribute, Category, Ontology
from models.report import report_text
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
    name="test", version="1", digest="0" * 64, ontology=ONTOLOGY, thresholds={"dress": {"colour": 0.6}}
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
    assert "No labelled garment." in report_text(report)


def test_no_photo_is_a_report_too() -> None:
    report = run([])
    assert (report["photos"], report["detection"]["ap"]) == (0, None)
    assert report_text(report)


def test_a_saved_report_is_json_and_shows_its_plots(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    report = run(photos, Detection(DRESS, 0.9, "dress"))
    save_report(report, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == report
    text = (tmp_path / "report" / "report.md").read_text()
    assert "2 photos, 3 garments (dress 2, skirt 1)" in text
    for plot in ("attributes.png", "detection.png"):
        assert f"({plot})" in text
        assert (tmp_path / "report" / plot).stat().st_size > 1000


def test_the_bundle_keeps_the_main_figures(photos: list[LabelledPhoto]) -> None:
    summary = quality_summary(run(photos))
    assert summary["macro_f1"] == {"dress": {"colour": 1.0, "length": pytest.approx(1 / 3, abs=1e-5)}, "skirt": {}}
    assert (summary["split"], summary["photos"]) == ("val", 2)
