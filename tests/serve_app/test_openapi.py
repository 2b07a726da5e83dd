import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import TypeAdapter
from starlette.applications import Starlette

import serve_app.schemas
from models.errors import TaggingError
from models.ontology import load_ontology
from models.vocabulary import Vocabulary, load_languages
from serve_app.errors import RETRY_AFTER_S_BY_CODE, STATUS_BY_CODE
from serve_app.naming import Names
from serve_app.openapi import MEANING_BY_CODE, openapi_document, openapi_routes
from serve_app.query import PARAMETERS, parse_query

DOCUMENT = openapi_document()
OPERATIONS = [
    pytest.param(path, method, id=f"{method} {path}")
    for path in DOCUMENT["paths"]
    for method in DOCUMENT["paths"][path]
]
TAG = DOCUMENT["paths"]["/v1/tag"]["post"]


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _objects(item)


def test_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()


def test_every_reference_leads_somewhere_and_no_schema_is_idle() -> None:
    referred = {node["$ref"].removeprefix("#/components/schemas/") for node in _objects(DOCUMENT) if "$ref" in node}
    assert referred == set(DOCUMENT["components"]["schemas"])


def test_every_code_of_the_table_has_a_meaning() -> None:
    assert set(MEANING_BY_CODE) == set(STATUS_BY_CODE)
    for code, status in STATUS_BY_CODE.items():
        assert f"`{code}` ({status}): {MEANING_BY_CODE[code]}" in DOCUMENT["info"]["description"]


def test_tagging_names_every_error_under_its_status() -> None:
    named = {
        code: int(status)
        for status, response in TAG["responses"].items()
        if status != "200"
        for code in response["content"]["application/json"]["examples"]
    }
    others = {"not_found", "method_not_allowed", "feedback_unavailable", "conflict", "jobs_unavailable"}
    assert named == {code: status for code, status in STATUS_BY_CODE.items() if code not in others}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_examples_are_objects_of_the_schema_named_beside_them(path: str, method: str) -> None:
    for response in DOCUMENT["paths"][path][method]["responses"].values():
        content = response["content"]["application/json"]
        schema = getattr(serve_app.schemas, content["schema"]["$ref"].rpartition("/")[2])
        assert content["examples"]
        for example in content["examples"].values():
            schema.model_validate(example["value"])


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_retry_after_stands_exactly_where_it_is_sent(path: str, method: str) -> None:
    for status, response in DOCUMENT["paths"][path][method]["responses"].items():
        is_sent = int(status) in {STATUS_BY_CODE[code] for code in RETRY_AFTER_S_BY_CODE}
        assert ("Retry-After" in response.get("headers", {})) is is_sent


def test_parameters_are_those_that_the_service_knows() -> None:
    assert [parameter["name"] for parameter in TAG["parameters"]] == list(PARAMETERS)


def test_example_of_every_parameter_is_accepted() -> None:
    for parameter in TAG["parameters"]:
        for example in parameter["schema"]["examples"]:
            text = ",".join(example) if isinstance(example, list) else str(example)
            names = Names(load_languages(), {"shop": Vocabulary("shop")})
            parse_query([(parameter["name"], text)], load_ontology(), 0.5, names)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        pytest.param("top_k", ("1", "100"), ("0", "101"), id="top_k"),
        pytest.param("min_score", ("0", "1"), ("-0.01", "1.01"), id="min_score"),
    ],
)
def test_limits_are_those_that_the_service_holds(name: str, inside: tuple[str, ...], outside: tuple[str, ...]) -> None:
    schema = next(parameter["schema"] for parameter in TAG["parameters"] if parameter["name"] == name)
    assert (schema["minimum"], schema["maximum"]) == tuple(TypeAdapter(float).validate_python(text) for text in inside)
    for text in inside:
        parse_query([(name, text)], load_ontology(), 0.5)
    for text in outside:
        with pytest.raises(TaggingError):
            parse_query([(name, text)], load_ontology(), 0.5)


def test_photo_comes_in_three_forms() -> None:
    assert set(TAG["requestBody"]["content"]) == {
        "image/jpeg",
        "image/png",
        "image/webp",
        "multipart/form-data",
        "application/json",
    }


@pytest.mark.parametrize(
    ("path", "media_type"),
    [pytest.param("/openapi.json", "application/json", id="json"), pytest.param("/docs", "text/html", id="docs")],
)
async def test_document_and_page_are_served(path: str, media_type: str) -> None:
    transport = httpx.ASGITransport(Starlette(routes=openapi_routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://tagger") as client:
        response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media_type)
    assert response.headers["x-content-type-options"] == "nosniff"
