"""The operations of jobs in the OpenAPI document."""

from typing import Any, Literal

from serve_app.examples import JOB_EXAMPLE, JOB_PAGE_EXAMPLE
from serve_app.openapi_bodies import Json, Operation, json_content
from serve_app.schemas import JobListResponse, JobParameters, JobRequest

JOB_CODES = ("conflict", "jobs_unavailable")
"""Error codes that only jobs answer."""

_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_CODES = (
    *("key_missing", "key_refused", "bad_request", "not_found"),
    *("overloaded", "jobs_unavailable", "internal"),
)
_MANIFEST = "s3://shop/photos/1.jpg\ns3://shop/photos/2.jpg"


def _parameter(name: str, place: Literal["query", "path", "header"], description: str, schema: dict[str, Any]) -> Json:
    return {"name": name, "in": place, "required": place == "path", "description": description, "schema": schema}


_JOB = _parameter("id", "path", "Of the job.", _ID)

JOB_OPERATIONS = (
    Operation(
        "post",
        "/v1/jobs",
        "submitJob",
        "Tag up to a million photos in the background",
        JOB_EXAMPLE,
        (*_CODES, "conflict", "upload_timeout"),
        parameters=JobParameters,
        body={
            "required": True,
            "description": "The manifest: JSON, or text with a photo a line.",
            "content": {
                **json_content(JobRequest, {"bucket": JobRequest(photos=_MANIFEST.split("\n"))}),
                "text/plain": {"schema": {"type": "string"}, "example": _MANIFEST},
            },
        },
        status=202,
        other_parameters=(
            _parameter(
                "Idempotency-Key",
                "header",
                "Of your own; the same request with the same key is the same job.",
                {"type": "string", "pattern": "^[!-~]{1,128}$"},
            ),
        ),
    ),
    Operation(
        "get",
        "/v1/jobs",
        "listJobs",
        "Jobs, newest first",
        JobListResponse(jobs=[JOB_EXAMPLE], next=None),
        _CODES,
        other_parameters=(
            _parameter("limit", "query", "Jobs in this answer.", {"type": "integer", "minimum": 1, "maximum": 100}),
            _parameter("after", "query", "`next` of the answer before.", _ID),
        ),
    ),
    Operation("get", "/v1/jobs/{id}", "readJob", "How far a job is", JOB_EXAMPLE, _CODES, other_parameters=(_JOB,)),
    Operation(
        "post",
        "/v1/jobs/{id}/cancel",
        "cancelJob",
        "End a job; what is done of it stays",
        JOB_EXAMPLE,
        _CODES,
        other_parameters=(_JOB,),
    ),
    Operation(
        "get",
        "/v1/jobs/{id}/results",
        "readJobResults",
        "A page of a job's result, as soon as it is there",
        JOB_PAGE_EXAMPLE,
        (*_CODES, "conflict"),
        other_parameters=(
            _JOB,
            _parameter("page", "query", "Which page.", {"type": "integer", "minimum": 0, "maximum": 999_999}),
            _parameter("format", "query", "Of the page.", {"type": "string", "enum": ["json", "parquet"]}),
        ),
        other_answers={"application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}}},
    ),
)
