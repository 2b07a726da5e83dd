"""The OpenAPI document against the interface it describes: generated requests, right and wrong, over real HTTP."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from serve_app.openapi import openapi_document

OPERATIONS = [
    pytest.param(path, method, mode, id=f"{method}_{path}_{mode.name.lower()}")
    for path, item in openapi_document()["paths"].items()
    for method in item
    for mode in GenerationMode
    if {"parameters", "requestBody"} & set(item[method])
    or mode is GenerationMode.POSITIVE  # nothing can be wrong with nothing
]


def check_operation(url: str, path: str, method: str, mode: GenerationMode, max_examples: int) -> int:
    """Send generated requests to one operation of a service, hold every answer against the document, and count them."""
    num_sent = 0
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Case) -> None:
        # Which names exist is the ontology's to say, so a name of the right form may be refused.
        excluded = [positive_data_acceptance]
        if case.media_type == "multipart/form-data":
            excluded.append(negative_data_rejection)  # all is bytes there: a number is a list of one file, a broken one
        case.call_and_validate(excluded_checks=excluded)
        nonlocal num_sent
        num_sent += 1

    holds()
    return num_sent


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_answers_are_as_documented(url: str, path: str, method: str, mode: GenerationMode) -> None:
    check_operation(url, path, method, mode, max_examples=6)
