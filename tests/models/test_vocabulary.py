"""Languages fit the ontology; profiles that do not are refused with a sentence."""

from pathlib import Path

import pytest

from models.errors import OntologyError
from models.ontology import load_ontology
from models.vocabulary import Vocabulary, load_languages, load_profiles, problems

ONTOLOGY = load_ontology()


@pytest.mark.parametrize("code", ["en", "de", "fr"])
def test_a_shipped_language_names_everything_and_nothing_else(code: str) -> None:
    language = load_languages()[code]
    assert list(problems(language, ONTOLOGY)) == []
    assert set(language.categories) == set(ONTOLOGY.category_names)
    for category in ONTOLOGY.categories.values():
        for attribute in category.attributes.values():
            assert attribute.name in language.attributes
            assert set(attribute.values) <= set(language.values[attribute.name])
            names = [language.values[attribute.name][value] for value in attribute.values]
            assert len(set(names)) == len(names), f"two values of {attribute.name} have one name"


def test_there_are_no_other_languages() -> None:
    assert set(load_languages()) == {"en", "de", "fr"}


def test_profiles_are_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("categories: {top: Shirts}\nvalues: {colour: {navy: Blue, black: null}}")
    (tmp_path / "notes.txt").write_text("no profile")
    shop = Vocabulary("shop", {"top": "Shirts"}, {}, {"colour": {"navy": "Blue", "black": None}})
    assert load_profiles(str(tmp_path), ONTOLOGY) == {"shop": shop}
    assert load_profiles(f"file://{tmp_path}", ONTOLOGY) == {"shop": shop}
    assert load_profiles("", ONTOLOGY) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("categories: {hat: Hats}", "no category hat", id="category"),
        pytest.param("attributes: {color: Colour}", "no attribute color", id="attribute"),
        pytest.param("values: {color: {red: Red}}", "no attribute color", id="attribute_of_values"),
        pytest.param("values: {colour: {crimson: Red}}", "no value crimson", id="value"),
        pytest.param("attributes: {pattern: texture}", "two attributes of top", id="two_of_one_name"),
        pytest.param("colours: {}", "nothing but", id="key"),
        pytest.param("categories: [top]", "mapping", id="list"),
        pytest.param("categories: {top: }", "no name", id="no_name"),
        pytest.param('categories: {top: "a\\nb"}', "no name", id="line_break"),
        pytest.param("values: {colour: {no: No}}", "mapping", id="yaml_s_no"),
        pytest.param("a: b: c", "no valid YAML", id="yaml"),
        pytest.param("", "nothing but", id="empty"),
    ],
)
def test_what_a_profile_gets_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "shop.yaml").write_text(text)
    with pytest.raises(OntologyError, match=says) as caught:
        load_profiles(str(tmp_path), ONTOLOGY)
    assert "shop.yaml" in caught.value.message and str(tmp_path) not in caught.value.message


def test_a_missing_folder_is_named_as_that(tmp_path: Path) -> None:
    with pytest.raises(OntologyError, match="cannot be read"):
        load_profiles(str(tmp_path / "gone"), ONTOLOGY)
