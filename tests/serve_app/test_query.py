"""Query parameters: what is understood, and the sentence for what is not."""

import pytest

from models.ontology import load_ontology
from models.vocabulary import Vocabulary
from serve_app.errors import BadRequest
from serve_app.naming import Names, Naming
from serve_app.query import TagOptions, parse_query

ONTOLOGY = load_ontology()
GERMAN, SHOP = Vocabulary("Deutsch"), Vocabulary("shop")
NAMES = Names({"de": GERMAN}, {"shop": SHOP})


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param([], TagOptions(0.5), id="nothing"),
        pytest.param([("min_score", "0")], TagOptions(0.0), id="lowest_score"),
        pytest.param([("min_score", "1")], TagOptions(1.0), id="highest_score"),
        pytest.param([("top_k", "3")], TagOptions(0.5, top_k=3), id="top_k"),
        pytest.param(
            [("categories", "dress,skirt,dress")], TagOptions(0.5, categories=frozenset({"dress", "skirt"})), id="list"
        ),
        pytest.param([("attributes", "colour")], TagOptions(0.5, attributes=frozenset({"colour"})), id="attributes"),
        pytest.param([("category", "dress")], TagOptions(0.5, category="dress"), id="category"),
        pytest.param([("garments", "largest")], TagOptions(0.5, is_largest_only=True), id="largest"),
        pytest.param([("garments", "all")], TagOptions(0.5), id="all_garments"),
        pytest.param([("lang", "de")], TagOptions(0.5, naming=Naming(language=GERMAN)), id="lang"),
        pytest.param([("profile", "shop")], TagOptions(0.5, naming=Naming(profile=SHOP)), id="profile"),
        pytest.param([("include", "probabilities")], TagOptions(0.5, has_probabilities=True), id="include"),
    ],
)
def test_parameters_are_understood(pairs: list[tuple[str, str]], expected: TagOptions) -> None:
    assert parse_query(pairs, ONTOLOGY, default_min_score=0.5, names=NAMES) == expected


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        pytest.param([("minscore", "0.5")], "unknown query parameter 'minscore'", id="unknown"),
        pytest.param([("top_k", "1"), ("top_k", "2")], "top_k is given twice", id="repeated"),
        pytest.param([("min_score", "1.01")], "from 0 to 1", id="score_above"),
        pytest.param([("min_score", "nan")], "from 0 to 1", id="score_nan"),
        pytest.param([("min_score", "")], "from 0 to 1", id="score_empty"),
        pytest.param([("top_k", "-1")], "from 1 to 100", id="top_k_negative"),
        pytest.param([("top_k", "0")], "from 1 to 100", id="top_k_zero"),
        pytest.param([("top_k", "101")], "from 1 to 100", id="top_k_too_large"),
        pytest.param([("top_k", "9" * 5000)], "from 1 to 100", id="top_k_huge"),
        pytest.param([("top_k", "\uff12")], "from 1 to 100", id="top_k_fullwidth"),
        pytest.param([("categories", "dress,hat")], "does not know 'hat'; known: top", id="category_in_list"),
        pytest.param([("categories", "")], "does not know ''", id="empty_list"),
        pytest.param([("category", "dress,skirt")], "does not know 'dress,skirt'", id="two_in_category"),
        pytest.param([("attributes", "color")], "does not know 'color'", id="attribute"),
        pytest.param([("include", "everything")], "known: probabilities", id="include"),
        pytest.param([("garments", "smallest")], "known: largest, all", id="garments"),
        pytest.param([("lang", "tlh")], "known: de", id="lang"),
        pytest.param([("profile", "../shop")], "known: shop", id="profile"),
        pytest.param([("category", "dress"), ("categories", "dress")], "one of the two", id="both"),
    ],
)
def test_mistakes_are_named(pairs: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query(pairs, ONTOLOGY, default_min_score=0.5, names=NAMES)
    assert says in caught.value.message
    assert len(caught.value.message) < 300
