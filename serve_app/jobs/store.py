"""What is kept of jobs, in a folder that outlives the service.

JOBS_DIR/<id>/job.json   what was asked and what came of it; written last when a job is taken, so it is whole then
JOBS_DIR/<id>/out/       a run of `serve_app.catalog`: its plan, and the parts that are done
"""

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from serve_app.catalog import Counts, RowKind
from serve_app.catalog.storage import Folder, StorageError

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
PageForm = Literal["json", "parquet"]
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
JOB_ID = re.compile(r"[0-9a-f]{32}")
_FILE = "job.json"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """How the photos of a job are answered.

    Args:
        rows: one row a garment or a photo.
        min_score: detections below it are dropped; None: as the service does.
        category: every photo as a whole shows this one; None: detect.
    """

    rows: RowKind = "garment"
    min_score: float | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job and how far it is.

    Args:
        id: 32 hexadecimal digits.
        spec: how its photos are answered.
        fingerprint: of spec and photos; tells a repeated request from another one with the same key.
        bundle_uri: of the bundle that answers, also if the service has another one by now.
        created_at: seconds since the epoch.
        num_photos: in all.
        num_pages: parts of the result, in all.
        status: where it stands.
        counts: what became of the photos that are done.
        message: why it failed.
        rate: photos per second of late; None before there is one.
        expires_at: seconds since the epoch, when it may be removed; None before it has ended.
    """

    id: str
    spec: JobSpec
    fingerprint: str
    bundle_uri: str
    created_at: float
    num_photos: int
    num_pages: int
    status: Status = "queued"
    counts: Counts = field(default_factory=Counts)
    message: str | None = None
    rate: float | None = None
    expires_at: float | None = None

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is done; None where nobody can tell."""
        if self.status != "running" or not self.rate:
            return None
        return (self.num_photos - self.counts.photos) / self.rate


class JobStore:
    """Reads and writes jobs.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def output(self, job_id: str) -> Folder:
        """Where the rows of a job go."""
        return self._folder / job_id / "out"

    def save(self, job: Job) -> None:
        """Write down a job; what runs is queued again after a restart.

        Raises:
            StorageError: if the folder cannot be written.
        """
        kept = replace(job, status="queued" if job.status == "running" else job.status, rate=None)
        counts = {"photos": job.counts.photos, "garments": job.counts.garments, "errors": dict(job.counts.errors)}
        content = json.dumps({**asdict(kept), "counts": counts}).encode()
        (self._folder / job.id).write(_FILE, lambda file: file.write(content))

    def remove(self, job_id: str) -> None:
        """Remove a job with its results, the results first, so that a kill in between leaves a job to remove.

        Raises:
            StorageError: if they cannot be removed.
        """
        self.output(job_id).remove_all()
        (self._folder / job_id).remove_all()

    def load_all(self) -> list[Job]:
        """Every job that was taken, oldest first."""
        jobs = [self._load(name) for name in self._folder.names() if JOB_ID.fullmatch(name)]
        return sorted((job for job in jobs if job is not None), key=lambda job: job.created_at)

    def _load(self, job_id: str) -> Job | None:
        content = (self._folder / job_id).read(_FILE)
        if content is None:  # the service ended before it had taken the job
            return None
        try:
            facts: dict[str, Any] = json.loads(content)
            counts = facts.pop("counts")
            counts = Counts(counts["photos"], counts["garments"], Counter(counts["errors"]))
            return Job(**{**facts, "spec": JobSpec(**facts["spec"]), "counts": counts})
        except (ValueError, KeyError, TypeError) as exc:
            raise StorageError(f"{job_id}/{_FILE} is not one of ours; take it out of the folder of jobs") from exc
