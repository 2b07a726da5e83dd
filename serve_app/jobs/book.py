"""The jobs of a service: taken, queued, run one after the other by a thread, kept across restarts."""

import hashlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from models.errors import TaggingError
from serve_app.catalog import Counts
from serve_app.catalog.plan import (
    CatalogOptions,
    Plan,
    counts_of,
    part_name,
    parts_done,
    read_plan,
    stop_plan,
    write_plan,
)
from serve_app.catalog.sources import Source
from serve_app.catalog.storage import Folder, StorageError
from serve_app.config import TaggerArgs
from serve_app.errors import Conflict, NotFound, Overloaded
from serve_app.jobs.store import ENDED, Job, JobSpec, JobStore

RunPlan = Callable[[Folder, Plan, str], Iterator[int]]
"""(folder, plan, address of the bundle) -> every part once it is written; stopping the plan or closing it ends it."""

MAX_WAITING = 100
_TRIES = 3
_PAUSE_S = 5.0
_DAY_S = 86_400.0
_STOP_LIMIT_S = 1.0
_LOOK_EVERY_S = 600.0  # for jobs that are to be removed
_PART_PHOTOS = (8, 250)  # a page of the result is a part
_PARTS_WANTED = 20
_log = logging.getLogger("ray.serve")


class JobBook:
    """Everything the service knows about its jobs; safe to call from threads.

    Args:
        args: where and how long jobs are kept; the address of the bundle; the score for jobs that name none.
        bundle: label and digest of the bundle that answers new jobs.
        run: does a plan.
    """

    def __init__(self, args: TaggerArgs, bundle: str, run: RunPlan) -> None:
        self._store = JobStore(Folder(args.jobs_dir))
        self._bundle = bundle
        self._bundle_uri = args.bundle_uri
        self._min_score = args.min_score
        self._keep_s = args.jobs_keep_days * _DAY_S
        self._run_plan = run
        self._lock = threading.Lock()
        self.changed = threading.Condition(self._lock)
        self._is_stopping = False
        self._jobs = {job.id: job for job in self._store.load_all()}  # in the order they came
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin with the jobs that wait."""
        self._thread.start()

    def stop(self) -> None:
        """Take up no further part; what is unfinished goes on after the next start."""
        self._is_stopping = True
        # While an interpreter ends, the thread may be gone with the lock in its hands.
        if self._lock.acquire(timeout=_STOP_LIMIT_S):
            self.changed.notify_all()
            self._lock.release()

    def check_alive(self) -> None:
        """Raise RuntimeError if the thread has ended."""
        if not self._thread.is_alive():
            raise RuntimeError("the thread that runs jobs has ended")

    def submit(self, photos: Sequence[str], spec: JobSpec, key: str | None) -> Job:
        """Take a job; once this returns it survives a restart.

        Args:
            photos: checked already, at least one.
            spec: how they are answered.
            key: of the caller, against taking a repeated request twice.

        Raises:
            Conflict: if the key came with another request before.
            Overloaded: if too many jobs wait.
            StorageError: if the job cannot be written down.
        """
        job_id = hashlib.sha256(key.encode()).hexdigest()[:32] if key else uuid.uuid4().hex
        digest = hashlib.sha256(json.dumps(asdict(spec)).encode())
        for photo in photos:
            digest.update(photo.encode(errors="surrogatepass") + b"\n")
        with self._lock:
            if (known := self._jobs.get(job_id)) is not None:
                if known.fingerprint != digest.hexdigest():
                    raise Conflict("this idempotency key came with another request before; give every job its own")
                return known
            if sum(job.status not in ENDED for job in self._jobs.values()) >= MAX_WAITING:
                raise Overloaded("too many jobs wait; try again later")
            options = CatalogOptions(
                source="job",
                bundle=self._bundle,
                rows=spec.rows,
                min_score=self._min_score if spec.min_score is None else spec.min_score,
                category=spec.category,
            )
            smallest, largest = _PART_PHOTOS
            size = min(largest, max(smallest, len(photos) // _PARTS_WANTED))
            plan = write_plan(self._store.output(job_id), options, Source("", lambda: iter(photos)), size)
            job = Job(job_id, spec, digest.hexdigest(), self._bundle_uri, time.time(), plan.num_photos, plan.num_parts)
            self._store.save(job)
            self._jobs[job_id] = job
            self.changed.notify_all()
            return job

    def get(self, job_id: str) -> Job:
        """Raises NotFound if there is no such job."""
        with self._lock:
            return self._get(job_id)

    def recent(self, limit: int, after: str | None) -> tuple[list[Job], bool]:
        """Jobs from the newest to the oldest, those behind `after`, and whether more follow; may raise NotFound."""
        with self._lock:
            jobs = [*reversed(self._jobs.values())]
            begin = 0 if after is None else 1 + jobs.index(self._get(after))
            return jobs[begin : begin + limit], len(jobs) > begin + limit

    def cancel(self, job_id: str) -> Job:
        """End a job within seconds; results so far stay. An ended job is left as it is."""
        with self._lock:
            job = self._get(job_id)
            if job.status not in ENDED:
                job = self._change(job_id, status="cancelled", rate=None)
                stop_plan(self._store.output(job_id))  # afterwards, so that no restart takes it for a job to do
            return job

    def page(self, job_id: str, page: int) -> bytes:
        """The Parquet file of a page of the result.

        Raises:
            NotFound: if there is no such job or page.
            Conflict: if the page is not there yet.
        """
        job = self.get(job_id)
        if not 0 <= page < job.num_pages:
            raise NotFound(f"the result of this job has pages 0 to {job.num_pages - 1}")
        content = self._store.output(job_id).read(part_name(page))
        if content is None and job.status in ENDED:
            raise NotFound("the job ended before this page")
        if content is None:
            raise Conflict("this page of the result is not there yet")
        return content

    def _get(self, job_id: str) -> Job:
        if job_id not in self._jobs:
            raise NotFound("there is no such job")
        return self._jobs[job_id]

    def _change(self, job_id: str, **changes: Any) -> Job:
        """Change a job under the lock; only what ends it is written down, the rest follows from its parts."""
        if changes.get("status") in ENDED:
            changes["expires_at"] = time.time() + self._keep_s
        job = self._jobs[job_id] = replace(self._jobs[job_id], **changes)
        self.changed.notify_all()
        if job.status in ENDED:
            self._store.save(job)
        return job

    def _work(self) -> None:
        while not self._is_stopping:
            self._remove_old()
            if (job := self._next()) is not None:
                self._run(job)

    def _next(self) -> Job | None:
        """The oldest job that waits; None if there was none for a while, or when stopping."""
        with self.changed:
            self.changed.wait_for(lambda: self._is_stopping or self._oldest() is not None, _LOOK_EVERY_S)
            job = self._oldest()
            return None if self._is_stopping or job is None else self._change(job.id, status="running")

    def _oldest(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.status == "queued"), None)

    def _remove_old(self) -> None:
        """Remove the jobs that ended long ago; under the lock, since the key of one may be used anew."""
        with self.changed:
            for job in [*self._jobs.values()]:
                if job.expires_at is not None and job.expires_at < time.time():
                    try:
                        self._store.remove(job.id)
                    except StorageError:
                        _log.exception("job %s cannot be removed; that is tried again later", job.id)
                    else:
                        del self._jobs[job.id]
                        self.changed.notify_all()

    def _run(self, job: Job) -> None:
        for left in reversed(range(_TRIES)):
            try:
                if self._run_once(job):
                    self._end(job.id, "succeeded", None)
                return
            except Exception as exc:  # whatever the engine raises must not end the thread
                _log.exception("job %s stopped", job.id)
                message = exc.message if isinstance(exc, TaggingError) else "the job stopped; the log says why"
                with self.changed:
                    if self._is_stopping or self.changed.wait_for(lambda: self._is_stopping, _PAUSE_S):
                        return  # what fails while everything ends is no failure of the job
                if not left:
                    with suppress(StorageError):  # then it is tried again after a restart
                        self._end(job.id, "failed", message)

    def _run_once(self, job: Job) -> bool:
        """Whether the job was done to its end, and not cancelled or interrupted."""
        folder = self._store.output(job.id)
        plan = read_plan(folder)
        if plan is None:
            raise TaggingError("the plan of the job is gone from where jobs are kept")
        counted = parts_done(folder)
        done = _counts_of(folder, counted)
        with self._lock:
            self._change(job.id, counts=done)
        begin = time.monotonic()
        parts = self._run_plan(folder, plan, job.bundle_uri)
        try:
            for part in parts:
                counted.add(part)
                new = counts_of(folder, part)
                with self._lock:
                    if self._is_stopping or self._get(job.id).status != "running":
                        return False
                    counts = self._get(job.id).counts + new
                    rate = (counts.photos - done.photos) / max(time.monotonic() - begin, 1e-3)
                    self._change(job.id, counts=counts, rate=rate)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        # A service that is being replaced may have ended a part while this one began.
        missed = _counts_of(folder, parts_done(folder) - counted)
        with self._lock:
            if self._is_stopping or self._get(job.id).status != "running":
                return False
            self._change(job.id, counts=self._get(job.id).counts + missed)
            return True

    def _end(self, job_id: str, status: str, message: str | None) -> None:
        with self._lock:
            if self._get(job_id).status == "running":
                self._change(job_id, status=status, message=message, rate=None)


def _counts_of(folder: Folder, parts: Iterable[int]) -> Counts:
    return sum((counts_of(folder, part) for part in sorted(parts)), Counts())
