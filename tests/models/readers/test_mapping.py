from pathlib import Path

import pytest

import models
from models.errors import DatasetError
from models.ontology import load_ontology
from models.readers import READERS, load_mapping
from models.readers.mapping import ForeignGarment

ONTOLOGY = load_ontology()
HEAD = "format: csv\nfile_column: f\nlabel_column: l\n"


def written(directory: Path, text: str) -> Path:
    (directory / "shop.yaml").write_text(text)
    return directory / "shop.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("categories: {X: {category: hat}}", "unknown category hat", id="category"),
        pytest.param(
            "categories: {X: {category: top, attributes: {rise: low}}}", "top has no attribute rise", id="attribute"
        ),
        pytest.param(
            "categories: {X: {category: top, attributes: {pattern: zigzag}}}", "pattern has no value zigzag", id="value"
        ),
        pytest.param(
            "categories: {X: {category: top, attributes: {pattern: [solid, floral]}}}", "takes one value", id="several"
        ),
        pytest.param(
            "categories: {}\nattributes: {cut: {a: {length: endless}}}", "no category has length endless", id="no_value"
        ),
        pytest.param(
            "categories: {}\nattributes: {cut: {a: {length: [mini, midi]}}}",
            "of one category",
            id="two_of_one_category",
        ),
        pytest.param("categories: {}\nattributes: {black: {yes: {colour: black}}}", "quotes", id="yes_is_no_text"),
        pytest.param("category: {}", "is no mapping", id="no_categories"),
    ],
)
def test_a_mapping_that_the_ontology_does_not_know_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_mapping(written(tmp_path, HEAD + text), ONTOLOGY)


def test_labels_add_up_or_cancel(tmp_path: Path) -> None:
    mapping = load_mapping(
        written(
            tmp_path,
            HEAD + "categories:\n  gown: {category: dress, attributes: {length: maxi, sleeve_length: long}}\n"
            "attributes:\n"
            "  cut: {floor: {length: [maxi, full]}, short: {length: [mini, shorts]}}\n"
            "  paint: {rose: {colour: [red, pink]}, ink: {colour: black}}\n",
        ),
        ONTOLOGY,
    )

    def meant(*labels: tuple[str, str]) -> dict[str, tuple[str, ...]]:
        return mapping.attributes_of(ForeignGarment("gown", labels), ONTOLOGY.categories["dress"])

    assert meant() == {"length": ("maxi",), "sleeve_length": ("long",)}
    assert meant(("cut", "short"))["length"] == ("mini",)  # what is said outweighs what the category implies
    assert "length" not in meant(("cut", "floor"), ("cut", "short"))
    assert meant(("paint", "rose"), ("paint", "ink"))["colour"] == ("red", "pink", "black")
    assert meant(("paint", "mud"), ("smell", "rose")) == meant()


@pytest.mark.parametrize("path", sorted((Path(models.__path__[0]) / "mappings").iterdir()), ids=lambda path: path.stem)
def test_every_shipped_mapping_fits_the_embedded_ontology(path: Path) -> None:
    mapping = load_mapping(path, ONTOLOGY)
    assert mapping.format in READERS
    assert mapping.categories
