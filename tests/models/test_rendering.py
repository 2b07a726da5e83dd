"""Rendered photos: repeatable, labelled as the picture shows, and covering the whole ontology."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.datasets import read_dataset, read_facts
from models.errors import DatasetError
from models.ontology import Ontology, load_ontology
from models.rendering.canvas import Canvas
from models.rendering.dresser import Garment, paint, seen_share, spots_of
from models.rendering.labels import label
from models.rendering.looks import CATEGORIES, cloth_of, sample_look, sew
from models.rendering.outlines import Placement, box
from models.rendering.palette import COLOUR_NAMES, sample_colour
from models.rendering.render import render_dataset, render_photo
from models.rendering.sewing import STAGES
from models.rendering.sleeves import Arm
from models.rendering.uppers import Wearing
from models.types import NONE, NOT_VISIBLE, LabelledGarment

ONTOLOGY = load_ontology()
SIDE_PX = 320


def draw(category: str, seed: int, **fixed: str) -> tuple[Canvas, Garment]:
    """One garment alone, whole in the photo."""
    rng = np.random.default_rng(seed)
    look = sample_look(ONTOLOGY.categories[category], rng, **fixed)
    arm = Arm(0.5, 0.4)
    sewn = sew(category, look, Wearing(False, (arm, arm)), rng)
    placement = Placement(60.0, SIDE_PX / 2, 62.0)
    garment = Garment(category, look, sewn, cloth_of(look, sewn, rng, set()), placement, 1)
    canvas = Canvas(np.full((SIDE_PX, SIDE_PX, 3), 200.0, dtype=np.float32))
    paint(canvas, garment, STAGES, rng)
    return canvas, garment


def label_of(canvas: Canvas, garment: Garment) -> LabelledGarment:
    found = label(canvas, garment, 1, ONTOLOGY)
    assert found is not None
    return found


def test_photo_is_a_function_of_seed_and_index() -> None:
    first, second = render_photo(7, ONTOLOGY, 3), render_photo(7, ONTOLOGY, 3)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]
    assert not np.array_equal(render_photo(7, ONTOLOGY, 4)[0][:64, :64], first[0][:64, :64])


def test_figures_in_open_outerwear_over_something() -> None:
    shown = [render_photo(3, ONTOLOGY, index, 192, open_share=1.0)[1] for index in range(24)]
    open_over = sum(
        any(garment.attributes.get("closure") == ("open",) for garment in garments)
        and {"top", "dress"} & {garment.category for garment in garments} != set()
        for garments in shown
    )
    assert open_over >= 8  # half of the photos show figures


def test_labels_fit_picture_and_ontology() -> None:
    empty, kinds = 0, Counter[str]()
    for index in range(40):
        image, garments = render_photo(1, ONTOLOGY, index, 256)
        assert image.dtype == np.uint8
        assert max(image.shape[:2]) == 256
        empty += not garments
        for garment in garments:
            kinds[garment.category] += 1
            x1, y1, x2, y2 = garment.box
            assert 0 <= x1 < x2 <= image.shape[1]
            assert 0 <= y1 < y2 <= image.shape[0]
            attributes = ONTOLOGY.categories[garment.category].attributes
            for name, values in garment.attributes.items():
                assert set(values) <= set(attributes[name].values)
                assert len(values) == 1 or not attributes[name].is_single
            if garment.attributes.get("sleeve_length") == ("sleeveless",):
                assert garment.attributes.get("sleeve_type", (NONE,)) == (NONE,)
    assert set(kinds) == set(CATEGORIES)
    assert 0 < empty < 20


@pytest.mark.parametrize(
    ("category", "name", "value"),
    [
        pytest.param(category.name, attribute.name, value, id=f"{category.name}-{attribute.name}-{value}")
        for category in ONTOLOGY.categories.values()
        for attribute in category.attributes.values()
        if attribute.is_single
        for value in attribute.values
        if value not in (NOT_VISIBLE, NONE)
    ],
)
def test_every_value_is_drawn_and_labelled(category: str, name: str, value: str) -> None:
    fixed = {name: value}
    if name == "sleeve_type":
        fixed |= {"sleeve_length": "long"} | ({"neckline": "round"} if category != "outerwear" else {})
    assert label_of(*draw(category, 5, **fixed)).attributes[name] == (value,)


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_is_covered_is_not_visible(category: str) -> None:
    canvas, garment = draw(category, 2)
    whole = label_of(canvas, garment)
    for spots in spots_of(garment, "length"):
        low, high = spots.min(axis=0) - 8, spots.max(axis=0) + 8
        canvas.fill(box(float(low[0]), float(low[1]), float(high[0]), float(high[1])), np.zeros(3, dtype=np.float32))
    covered = label_of(canvas, garment)
    assert whole.attributes["length"] != (NOT_VISIBLE,)
    assert covered.attributes["length"] == (NOT_VISIBLE,)
    assert covered.attributes["texture"] == whole.attributes["texture"]


def test_hardly_visible_garment_has_no_label() -> None:
    canvas, garment = draw("top", 3)
    canvas.fill(box(0, 0, SIDE_PX, SIDE_PX), np.zeros(3, dtype=np.float32))
    assert label(canvas, garment, 1, ONTOLOGY) is None


def test_cropped_evidence_counts_as_hidden() -> None:
    canvas, garment = draw("top", 3)
    outside = np.array([[-5.0, 10.0], [SIDE_PX + 5.0, 10.0]], dtype=np.float32)
    assert seen_share(canvas, garment.owner, outside) == 0.0


def test_colours_are_those_that_show() -> None:
    striped = label_of(*draw("skirt", 1, pattern="striped")).attributes["colour"]
    assert len(striped) == 2
    assert len(label_of(*draw("skirt", 1, pattern="solid")).attributes["colour"]) == 1


def test_colour_names_do_not_touch() -> None:
    """The nearest samples of two names stay apart by more than exposure and white balance move them."""
    rng = np.random.default_rng(0)
    clouds = {name: np.stack([sample_colour(name, rng) for _ in range(60)]) for name in COLOUR_NAMES}
    for first in COLOUR_NAMES:
        for second in COLOUR_NAMES:
            if first < second:
                gap = np.linalg.norm(clouds[first][:, None] - clouds[second][None], axis=2).min()
                assert gap > 18, (first, second)


def test_smaller_ontology_gets_only_its_labels() -> None:
    data = ONTOLOGY.to_dict()
    attributes = data["categories"]["top"]["attributes"]
    data["categories"] = {"top": {"attributes": {"colour": attributes["colour"], "neckline": attributes["neckline"]}}}
    small = Ontology.from_dict(data)
    found = [garment for index in range(12) for garment in render_photo(2, small, index, 128)[1]]
    assert {garment.category for garment in found} == {"top"}
    assert set().union(*(garment.attributes for garment in found)) == {"colour", "neckline"}


def test_ontology_without_drawable_category_is_refused() -> None:
    data = ONTOLOGY.to_dict()
    data["categories"] = {"sock": data["categories"]["top"]}
    with pytest.raises(DatasetError, match="none of the ontology's categories"):
        render_photo(0, Ontology.from_dict(data))


def test_workers_do_not_change_a_set(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    render_dataset(tmp_path / "one", 4, 9, long_side_px=96, progress=lambda done, count: calls.append((done, count)))
    render_dataset(tmp_path / "two", 4, 9, workers=2, long_side_px=96)
    one, two = (read_dataset(tmp_path / name, ONTOLOGY) for name in ("one", "two"))
    assert [photo.path.read_bytes() for photo in one] == [photo.path.read_bytes() for photo in two]
    assert [photo.garments for photo in one] == [photo.garments for photo in two]
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert read_facts(tmp_path / "one")["seed"] == 9


@pytest.mark.parametrize(("count", "workers"), [pytest.param(0, 1, id="no_photo"), pytest.param(1, 0, id="no_worker")])
def test_empty_work_is_refused(tmp_path: Path, count: int, workers: int) -> None:
    with pytest.raises(DatasetError, match="at least one"):
        render_dataset(tmp_path, count, 1, workers=workers)


@pytest.mark.parametrize("open_share", [-0.1, 1.1])
def test_what_is_no_share_is_refused(tmp_path: Path, open_share: float) -> None:
    with pytest.raises(DatasetError, match=r"in \[0, 1\]"):
        render_dataset(tmp_path, 1, 1, open_share=open_share)
