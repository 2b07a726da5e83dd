"""The HTTP interface of jobs: taking them, saying how far they are, handing out their results page by page."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from models.ontology import Ontology
from serve_app.errors import BadRequest, NotFound, UploadTimeout
from serve_app.jobs.store import JOB_ID, Job, JobSpec, PageForm
from serve_app.schemas import JobListResponse, JobParameters, JobRequest, JobResponse

MAX_PHOTOS = 1_000_000
MAX_MANIFEST_BYTES = 128 * 2**20
PARQUET = "application/vnd.apache.parquet"
_KEY = re.compile(r"[!-~]{1,128}")
_NUMBER = re.compile(r"[0-9]{1,6}")
_MAX_LIMIT = 100
_NO_STORE = {"cache-control": "no-store"}
_Schema = TypeVar("_Schema", bound=BaseModel)


class Jobs(Protocol):
    """What `JobsDeployment` does; `JobsHandle` calls it."""

    async def submit(self, manifest: bytes, spec: JobSpec, key: str | None) -> Job:
        """Take a job of photos, one a line."""

    async def get(self, job_id: str) -> Job:
        """A job."""

    async def recent(self, limit: int, after: str | None) -> tuple[list[Job], bool]:
        """Jobs from the newest to the oldest, and whether more follow."""

    async def cancel(self, job_id: str) -> Job:
        """End a job."""

    async def page(self, job_id: str, page: int, form: PageForm) -> tuple[bytes, int | None]:
        """A page of the result, and which page comes next."""


def job_routes(jobs: Jobs | None, ontology: Ontology, upload_deadline_s: float) -> list[BaseRoute]:
    """The routes of jobs.

    Args:
        jobs: keeps them; None where the service takes none, which every route then says.
        ontology: names the categories that a job may say its photos show.
        upload_deadline_s: from the first byte of a manifest to the last.
    """
    endpoints = _Endpoints(jobs, ontology, upload_deadline_s)
    return [
        Route("/v1/jobs", endpoints.submit, methods=["POST"]),
        Route("/v1/jobs", endpoints.recent, methods=["GET"]),
        Route("/v1/jobs/{id}", endpoints.get, methods=["GET"]),
        Route("/v1/jobs/{id}/cancel", endpoints.cancel, methods=["POST"]),
        Route("/v1/jobs/{id}/results", endpoints.page, methods=["GET"]),
    ]


class _Endpoints:
    def __init__(self, jobs: Jobs | None, ontology: Ontology, upload_deadline_s: float) -> None:
        self._optional_jobs = jobs
        self._ontology = ontology
        self._upload_deadline_s = upload_deadline_s
        self._one_manifest = asyncio.Semaphore(1)  # each may take hundreds of megabytes while it is read

    @property
    def _jobs(self) -> Jobs:
        if self._optional_jobs is None:
            raise NotFound("this service takes no jobs; its operator has to name a place for them in jobs_dir")
        return self._optional_jobs

    async def submit(self, request: Request) -> Response:
        jobs = self._jobs
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise BadRequest("Idempotency-Key takes 1 to 128 visible ASCII characters")
        query = _validated(JobParameters, _query(request, tuple(JobParameters.model_fields)))
        if query.category is not None and query.category not in self._ontology.category_names:
            raise BadRequest(f"category takes one of {', '.join(self._ontology.category_names)}")
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        async with self._one_manifest:
            body = await _receive(request, self._upload_deadline_s)
            manifest = await asyncio.to_thread(_manifest, body, media_type == "text/plain")
            del body
            job = await jobs.submit(manifest, JobSpec(query.rows, query.min_score, query.category), key)
        return _json(job_response(job), 202, {"location": f"/v1/jobs/{job.id}"})

    async def recent(self, request: Request) -> Response:
        jobs = self._jobs
        query = _query(request, ("limit", "after"))
        limit = _number("limit", query.get("limit", "20"))
        if not 1 <= limit <= _MAX_LIMIT:
            raise BadRequest(f"limit takes a whole number from 1 to {_MAX_LIMIT}")
        after = _job_id(query["after"]) if "after" in query else None
        found, has_more = await jobs.recent(limit, after)
        return _json(
            JobListResponse(jobs=[job_response(job) for job in found], next=found[-1].id if has_more else None)
        )

    async def get(self, request: Request) -> Response:
        jobs = self._jobs
        _query(request, ())
        return _json(job_response(await jobs.get(_job_id(request.path_params["id"]))))

    async def cancel(self, request: Request) -> Response:
        jobs = self._jobs
        _query(request, ())
        return _json(job_response(await jobs.cancel(_job_id(request.path_params["id"]))))

    async def page(self, request: Request) -> Response:
        jobs = self._jobs
        query = _query(request, ("page", "format"))
        job_id, page = _job_id(request.path_params["id"]), _number("page", query.get("page", "0"))
        form: PageForm = "parquet" if query.get("format") == "parquet" else "json"
        if query.get("format", form) != form:
            raise BadRequest("format takes json or parquet")
        content, next_page = await jobs.page(job_id, page, form)
        headers = dict(_NO_STORE)
        if next_page is not None:
            headers["link"] = f'</v1/jobs/{job_id}/results?page={next_page}&format={form}>; rel="next"'
        if form == "json":
            return Response(content, headers=headers, media_type="application/json")
        headers["content-disposition"] = f'attachment; filename="{job_id}-{page:06d}.parquet"'
        return Response(content, headers=headers, media_type=PARQUET)


def job_response(job: Job) -> JobResponse:
    """A job as callers see it."""
    return JobResponse(
        id=job.id,
        status=job.status,
        created_at=datetime.fromtimestamp(job.created_at, UTC),
        rows=job.spec.rows,
        num_photos=job.num_photos,
        num_done=job.counts.photos,
        num_garments=job.counts.garments,
        num_failed=job.counts.errors.total(),
        errors=dict(job.counts.errors),
        num_pages=job.num_pages,
        rate_per_s=None if job.rate is None else round(job.rate, 2),
        eta_s=None if job.eta_s is None else round(job.eta_s, 1),
        message=job.message,
        expires_at=None if job.expires_at is None else datetime.fromtimestamp(job.expires_at, UTC),
    )


async def _receive(request: Request, deadline_s: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_MANIFEST_BYTES:
                    raise BadRequest(f"the manifest has more than {MAX_MANIFEST_BYTES} bytes; make several jobs of it")
    except TimeoutError as exc:
        raise UploadTimeout(f"the manifest did not arrive within {deadline_s:g} s") from exc
    except ClientDisconnect as exc:
        raise BadRequest("the connection closed before the whole manifest arrived") from exc
    return bytes(body)


def _manifest(body: bytes, is_text: bool) -> bytes:
    """The photos of a JSON body or of a text, one a line; blank lines of a text are ignored."""
    try:
        if is_text:
            photos = [line.strip() for line in body.decode().split("\n") if line.strip()]
        else:
            photos = _validated(JobRequest, body).photos
        if not 1 <= len(photos) <= MAX_PHOTOS:
            raise BadRequest(f"a job takes 1 to {MAX_PHOTOS} photos, got {len(photos)}")
        if any("\n" in photo for photo in photos):
            raise BadRequest("a photo of the manifest has a line break in its name")
        return "\n".join(photos).encode()
    except UnicodeError as exc:
        raise BadRequest("the manifest is not UTF-8 text") from exc


def _validated(schema: type[_Schema], data: bytes | dict[str, Any]) -> _Schema:
    try:
        return schema.model_validate_json(data) if isinstance(data, bytes) else schema.model_validate(data)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"][:4])
        raise BadRequest(f"the job is not well formed: {place or 'body'}: {first['msg'][:200]}") from exc


def _query(request: Request, known: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known or name in given:
            raise BadRequest(f"query parameter {name[:60]!r} is unknown here or given twice; known: {', '.join(known)}")
        given[name] = value
    return given


def _number(name: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise BadRequest(f"{name} takes a whole number, got {text[:60]!r}")
    return int(text)


def _job_id(text: str) -> str:
    if not JOB_ID.fullmatch(text):
        raise NotFound("there is no such job")
    return text


def _json(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = body.model_dump_json(exclude_none=True)
    return Response(content, status, {**_NO_STORE, **(headers or {})}, media_type="application/json")
