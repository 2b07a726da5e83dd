from pathlib import Path

import pytest

from models.errors import OntologyError
from models.ontology import Ontology, load_ontology, parse_ontology
from models.types import NONE, NOT_VISIBLE

MINIMAL = """\
name: shop
version: "1"
attributes:
  colour: {choice: several, values: [red, blue]}
categories:
  hat:
    colour:
    brim: {choice: single, values: [wide, narrow]}
"""


def test_embedded_ontology_has_the_default_categories_and_attributes() -> None:
    ontology = load_ontology()
    assert ontology.category_names == ("top", "outerwear", "dress", "trousers", "skirt")
    for category in ontology.categories.values():
        assert {"colour", "pattern", "texture"} <= set(category.attributes)
        assert not category.attributes["colour"].is_single
    assert {"neckline", "sleeve_length", "sleeve_type", "length"} <= set(ontology.categories["top"].attributes)
    assert {"collar", "closure", "length"} <= set(ontology.categories["outerwear"].attributes)
    assert {"silhouette", "hemline", "length"} <= set(ontology.categories["dress"].attributes)
    assert {"leg_shape", "rise", "length"} <= set(ontology.categories["trousers"].attributes)
    assert {"silhouette", "hemline", "length"} <= set(ontology.categories["skirt"].attributes)
    assert NONE in ontology.categories["top"].attributes["sleeve_type"].values
    assert NOT_VISIBLE in ontology.categories["dress"].attributes["hemline"].values


def test_labels_are_contiguous_from_one_and_reversible() -> None:
    ontology = load_ontology()
    labels = [ontology.detector_label(name) for name in ontology.category_names]
    assert labels == [1, 2, 3, 4, 5]
    assert [ontology.category_of_label(label) for label in labels] == list(ontology.category_names)


def test_a_category_may_define_an_attribute_itself_or_take_the_shared_one() -> None:
    ontology = parse_ontology(MINIMAL, "shop.yaml")
    assert ontology.categories["hat"].attributes["colour"].values == ("red", "blue")
    assert ontology.categories["hat"].attributes["brim"].label_by_value == {"wide": 0, "narrow": 1}


def test_dict_form_round_trips() -> None:
    ontology = load_ontology()
    assert Ontology.from_dict(ontology.to_dict()) == ontology


@pytest.mark.parametrize(
    ("old", "new", "line", "mend"),
    [
        pytest.param("    brim: {", "    Brim: {", 8, "snake_case", id="capital_in_name"),
        pytest.param("[wide, narrow]", "[wide, wide]", 8, "remove one", id="value_twice"),
        pytest.param("[wide, narrow]", "[wide]", 8, "at least two values", id="one_value"),
        pytest.param("[wide, narrow]", "wide", 8, "must be a list", id="values_no_list"),
        pytest.param("[wide, narrow]", "[wide, no]", 8, "quotes", id="yaml_boolean"),
        pytest.param("choice: single", "choice: one", 8, "single or several", id="unknown_choice"),
        pytest.param("[red, blue]", "[red, not_visible]", 4, "make it single", id="not_visible_among_several"),
        pytest.param("    colour:\n", "    fabric:\n", 7, "no definition", id="undefined_attribute"),
        pytest.param("  hat:\n", "  hat:\n  cap:\n", 6, "expected a mapping", id="category_without_content"),
        pytest.param('version: "1"\n', "", 1, "version is missing", id="missing_key"),
        pytest.param('version: "1"\n', 'version: "1"\nversions: 2\n', 3, "unknown key", id="unknown_key"),
        pytest.param("    brim: {", "    colour: {", 8, "stands twice", id="attribute_twice"),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_the_mend(old: str, new: str, line: int, mend: str) -> None:
    assert old in MINIMAL
    with pytest.raises(OntologyError) as caught:
        parse_ontology(MINIMAL.replace(old, new), "shop.yaml")
    assert f"shop.yaml line {line}:" in caught.value.message
    assert mend in caught.value.message


@pytest.mark.parametrize("text", ["", "a: [", "- a"], ids=["empty", "broken", "list"])
def test_what_is_no_ontology_at_all_is_refused(text: str) -> None:
    with pytest.raises(OntologyError):
        parse_ontology(text, "shop.yaml")


def test_a_missing_file_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(OntologyError) as caught:
        load_ontology(tmp_path / "none.yaml")
    assert str(tmp_path) not in caught.value.message
