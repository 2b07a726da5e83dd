"""The jobs deployment: one replica that keeps the book of jobs and drives Ray Data; it loads no model itself."""

import asyncio
import io
from collections.abc import Iterator

import pyarrow.parquet as pq

from serve_app.catalog.engine import Workers, run_plan
from serve_app.catalog.plan import Plan
from serve_app.catalog.storage import Folder
from serve_app.config import TaggerArgs
from serve_app.jobs.book import JobBook, RunPlan
from serve_app.jobs.inputs import JobInputs
from serve_app.jobs.store import Job, JobSpec, PageForm
from serve_app.schemas import JobPageResponse


class JobsDeployment:
    """The one replica of the jobs.

    Args:
        args: where jobs are kept, what they may read, how many workers they have.
        bundle: label and digest of the bundle that answers new jobs.
        run: does a plan; None: with Ray Data.
    """

    def __init__(self, args: TaggerArgs, bundle: str, run: RunPlan | None = None) -> None:
        inputs = JobInputs(args)
        # A card knows no priorities: a worker for jobs has one of its own, and shares none with online traffic.
        workers = Workers(args.jobs_workers, num_gpus=1.0 if args.device == "cuda" else 0.0, is_idle_only=True)

        def run_on_ray(folder: Folder, plan: Plan, bundle_uri: str) -> Iterator[int]:
            return run_plan(folder, plan, args.model_copy(update={"bundle": bundle_uri}), workers, inputs.read)

        self._inputs = inputs
        self._book = JobBook(args, bundle, run or run_on_ray)
        self._book.start()

    async def submit(self, manifest: bytes, spec: JobSpec, key: str | None) -> Job:
        """Take a job.

        Args:
            manifest: photos, one a line.
            spec: how they are answered.
            key: of the caller, against taking a repeated request twice.

        Raises:
            BadRequest: if the service may not read one of the photos.
            Conflict: if the key came with another request before.
            Overloaded: if too many jobs wait.
        """
        return await asyncio.to_thread(self._submit, manifest, spec, key)

    def _submit(self, manifest: bytes, spec: JobSpec, key: str | None) -> Job:
        photos = manifest.decode().split("\n")
        self._inputs.check(photos)
        return self._book.submit(photos, spec, key)

    async def get(self, job_id: str) -> Job:
        """Raises NotFound if there is no such job."""
        return await asyncio.to_thread(self._book.get, job_id)

    async def recent(self, limit: int, after: str | None) -> tuple[list[Job], bool]:
        """Jobs from the newest to the oldest, those behind `after`, and whether more follow; may raise NotFound."""
        return await asyncio.to_thread(self._book.recent, limit, after)

    async def cancel(self, job_id: str) -> Job:
        """End a job; raises NotFound if there is none."""
        return await asyncio.to_thread(self._book.cancel, job_id)

    async def page(self, job_id: str, page: int, form: PageForm) -> tuple[bytes, int | None]:
        """A page of the result, and which page comes next; raises NotFound, or Conflict if it is not there yet."""
        return await asyncio.to_thread(_page, self._book, job_id, page, form)

    async def check_health(self) -> None:
        """Raise if the thread that runs jobs has ended."""
        self._book.check_alive()

    def __del__(self) -> None:
        if hasattr(self, "_book"):
            self._book.stop()


def _page(book: JobBook, job_id: str, page: int, form: PageForm) -> tuple[bytes, int | None]:
    content = book.page(job_id, page)
    num_pages = book.get(job_id).num_pages
    next_page = page + 1 if page + 1 < num_pages else None
    if form == "parquet":
        return content, next_page
    rows = pq.read_table(io.BytesIO(content)).to_pylist(maps_as_pydicts="strict")
    body = JobPageResponse(
        page=page,
        num_pages=num_pages,
        next_page=next_page,
        rows=[{name: value for name, value in row.items() if value is not None} for row in rows],
    )
    return body.model_dump_json(exclude_none=True).encode(), next_page
