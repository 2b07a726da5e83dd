"""The OpenAPI document, generated from the schema classes and the table of errors, and the page that shows it.

pydantic writes every schema; this module only says which class stands where. Examples are objects of the same classes,
so none can contradict its schema.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from models import errors as model_errors
from serve_app import errors
from serve_app.errors import INTERNAL_MESSAGE, RETRY_AFTER_S_BY_CODE, STATUS_BY_CODE
from serve_app.examples import BATCH_EXAMPLE, BUNDLE_EXAMPLE, ONTOLOGY_EXAMPLE, TAG_EXAMPLE
from serve_app.jobs.operations import JOB_CODES, JOB_OPERATIONS
from serve_app.openapi_bodies import (
    Json,
    MultipartBatch,
    MultipartPhoto,
    Operation,
    TagParameters,
    batch_bodies,
    feedback_body,
    json_content,
    photo_bodies,
    query_parameters,
)
from serve_app.schemas import (
    BatchRequest,
    ErrorBody,
    ErrorResponse,
    FeedbackRequest,
    FeedbackResponse,
    HealthResponse,
    JobRequest,
    TagRequest,
)
from serve_app.web import page_endpoint

INTERFACE_VERSION = "1.1"
"""Grows with the interface, not with the package."""

_ERRORS: tuple[type[model_errors.TaggingError], ...] = (
    errors.BadRequest,
    errors.ImageUrlRefused,
    errors.ImageUrlFailed,
    errors.KeyMissing,
    errors.KeyRefused,
    errors.NotFound,
    errors.MethodNotAllowed,
    errors.Conflict,
    errors.UploadTimeout,
    model_errors.ImageTooLarge,
    model_errors.UnsupportedImageType,
    model_errors.ImageUnreadable,
    model_errors.ImageTruncated,
    errors.RateLimited,
    errors.Overloaded,
    errors.DetectorUnavailable,
    errors.FeedbackUnavailable,
    errors.JobsUnavailable,
    errors.DeadlineExceeded,
)
MEANING_BY_CODE = {error.code: (error.__doc__ or "").splitlines()[0] for error in _ERRORS} | {
    "internal": f"{INTERNAL_MESSAGE[0].upper()}{INTERNAL_MESSAGE[1:]}."
}
"""What every error code means, in the words of its class."""

_KEY = ("key_missing", "key_refused")
_ALWAYS = ("internal",)
_NOT_OF_TAGGING = ("not_found", "method_not_allowed", "feedback_unavailable", *JOB_CODES)
"""Answered on paths and methods that do not exist, or by other operations only."""

_ABOUT = f"""Finds the garments in a product photo and answers the catalogue attributes of each.

Every answer carries a `request_id`; send your own in the `X-Request-Id` header. Every error, on every path, has the
same body and one of these codes:

{{codes}}

A request for an unknown path answers {STATUS_BY_CODE["not_found"]}, one with an unknown method
{STATUS_BY_CODE["method_not_allowed"]}."""


_OPERATIONS = (
    Operation(
        "post",
        "/v1/tag",
        "tagPhoto",
        "Tag one photo",
        TAG_EXAMPLE,
        [code for code in STATUS_BY_CODE if code not in _NOT_OF_TAGGING],
        parameters=TagParameters,
        body=photo_bodies(),
    ),
    Operation(
        "post",
        "/v1/tag/batch",
        "tagBatch",
        "Tag up to 64 photos; each has its own result or error",
        BATCH_EXAMPLE,
        (
            *("bad_request", "upload_timeout", "image_too_large", "image_type_unsupported", "rate_limited"),
            *("overloaded", *_KEY, *_ALWAYS),
        ),
        parameters=TagParameters,
        body=batch_bodies(),
        line=BATCH_EXAMPLE.results[0],
    ),
    Operation(
        "post",
        "/v1/feedback",
        "giveFeedback",
        "Say what an attribute of a garment really is",
        FeedbackResponse(request_id=TAG_EXAMPLE.request_id, status="recorded"),
        ("bad_request", "not_found", "upload_timeout", "rate_limited", "feedback_unavailable", *_KEY, *_ALWAYS),
        body=feedback_body(),
    ),
    Operation(
        "get",
        "/v1/ontology",
        "readOntology",
        "Categories, attributes and values that can be answered",
        ONTOLOGY_EXAMPLE,
        (*_KEY, *_ALWAYS),
    ),
    Operation("get", "/v1/bundle", "readBundle", "The bundle that answers", BUNDLE_EXAMPLE, (*_KEY, *_ALWAYS)),
    *JOB_OPERATIONS,
    Operation("get", "/healthz", "checkHealth", "Whether the process answers", HealthResponse(status="ok"), _ALWAYS),
    Operation(
        "get",
        "/readyz",
        "checkReadiness",
        "Whether a photo could be tagged now",
        HealthResponse(status="ready"),
        ("detector_unavailable", "overloaded", "deadline_exceeded", *_ALWAYS),
    ),
)
_REQUESTS: tuple[type[BaseModel], ...] = (
    TagRequest,
    MultipartPhoto,
    BatchRequest,
    MultipartBatch,
    FeedbackRequest,
    JobRequest,
)


@cache
def openapi_document() -> Json:
    """The whole document, OpenAPI 3.1."""
    codes = "\n".join(f"- `{code}` ({STATUS_BY_CODE[code]}): {MEANING_BY_CODE[code]}" for code in STATUS_BY_CODE)
    paths: Json = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fashion Tagger",
            "version": INTERFACE_VERSION,
            "description": _ABOUT.format(codes=codes),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "Where this document came from."}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "Where keys are in use."}},
        },
    }


def openapi_routes() -> list[BaseRoute]:
    """`/openapi.json`, and `/docs`, a page of our own that shows it; both without a key, like the page at `/`."""
    content = json.dumps(openapi_document(), ensure_ascii=False).encode()
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}

    async def answer(request: Request) -> Response:
        return Response(content, headers=headers, media_type="application/json")

    return [Route("/openapi.json", answer), Route("/docs", page_endpoint("docs.html"), name="docs")]


def _schemas() -> Json:
    answers: list[type[BaseModel]] = [*(type(operation.answer) for operation in _OPERATIONS), ErrorResponse]
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(schema, "validation") for schema in _REQUESTS]
    modes += [(schema, "serialization") for schema in dict.fromkeys(answers)]
    _, definitions = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    schemas: Json = definitions["$defs"]
    return schemas


def _operation(operation: Operation) -> Json:
    ok: Json = {
        "description": "The answer.",
        "content": json_content(type(operation.answer), {"answer": operation.answer}),
    }
    if operation.line:
        ok["content"] |= json_content(type(operation.line), {"line": operation.line}, "application/x-ndjson")
    ok["content"] |= operation.other_answers
    by_status: dict[int, list[str]] = {}
    for code in operation.error_codes:
        by_status.setdefault(STATUS_BY_CODE[code], []).append(code)
    result: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            str(operation.status): ok,
            **{str(status): _error_response(codes) for status, codes in sorted(by_status.items())},
        },
    }
    if set(_KEY) <= set(operation.error_codes):
        result["security"] = [{}, {"key": []}]
    if operation.parameters:
        result["parameters"] = query_parameters(operation.parameters)
    if operation.other_parameters:
        result["parameters"] = [*result.get("parameters", ()), *operation.other_parameters]
    if operation.body:
        result["requestBody"] = operation.body
    return result


def _error_response(codes: Sequence[str]) -> Json:
    examples: dict[str, BaseModel] = {
        code: ErrorResponse(
            error=ErrorBody(code=code, message=MEANING_BY_CODE[code], request_id=TAG_EXAMPLE.request_id)
        )
        for code in codes
    }
    response: Json = {
        "description": " ".join(f"`{code}`: {MEANING_BY_CODE[code]}" for code in codes),
        "content": json_content(ErrorResponse, examples),
    }
    if all(code in RETRY_AFTER_S_BY_CODE for code in codes):
        seconds: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, description="Seconds to wait.")])
        response["headers"] = {"Retry-After": {"required": True, "schema": seconds.json_schema()}}
    return response
