"""Running a plan on Ray Data: actors hold the models, and each row of the data set is one part of the plan.

Pixels never leave the process that tags them: an actor reads, decodes, tags and writes a part, and what goes through
Ray is its number. So a run needs no object store to speak of, and what is done is on disk and nowhere else.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from models.errors import ImageUnreadable, TaggingError
from serve_app.catalog.attempts import Attempts
from serve_app.catalog.plan import CatalogError, Plan, is_stopped, part_name, parts_done, photos_of, state_of
from serve_app.catalog.rows import Outcome, write_rows
from serve_app.catalog.sources import photo_uri, read_photo
from serve_app.catalog.storage import Folder
from serve_app.catalog.tagger import CatalogTagger, Read, Unwanted
from serve_app.config import TaggerArgs
from serve_app.query import TagOptions

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Workers:
    """The actors of a run.

    Args:
        number: how many.
        num_cpus: logical cores that each is placed by.
        num_gpus: GPUs that each is placed by.
        is_idle_only: compute only while nothing else on the machine wants to; for runs beside online traffic.
    """

    number: int
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    is_idle_only: bool = False


class PartWorker:
    """Does parts of a plan; what the actors are, and what tests call without them.

    Args:
        folder: of the plan, and where the parts go.
        plan: what to do.
        tagger: with the bundle of the plan.
    """

    def __init__(self, folder: Folder, plan: Plan, tagger: CatalogTagger) -> None:
        self._folder = folder
        self._plan = plan
        self._tagger = tagger
        said = plan.options.min_score
        self._options = TagOptions(tagger.min_score if said is None else said, category=plan.options.category)
        self._look_at = 0.0
        self._is_stopped = False

    def do(self, part: int) -> None:
        """Tag the photos of a part and write their outcomes; neither, once the plan is stopped.

        Raises:
            StorageError: if they cannot be written.
        """
        with suppress(Unwanted):
            if self._is_wanted():
                self._do(part)

    def _do(self, part: int) -> None:
        attempts = Attempts(state_of(self._folder), part)
        attempts.begin()
        kind = self._plan.options.rows
        names = photos_of(self._folder, part)
        photos = [photo_uri(self._plan.base, name) for name in names]
        if attempts.is_careful:
            outcomes = [self._tag_alone(attempts, row, photo) for row, photo in enumerate(photos)]
        else:
            outcomes = self._tagger.tag(photos, self._options, self._is_wanted)
        content = write_rows(kind, part * self._plan.part_photos, names, outcomes)
        self._folder.write(part_name(part), lambda file: file.write(content))
        attempts.end()

    def _tag_alone(self, attempts: Attempts, row: int, photo: str) -> Outcome:
        if not attempts.begin_photo(row):
            return ImageUnreadable("the picture breaks what reads it")
        (outcome,) = self._tagger.tag([photo], self._options, self._is_wanted)
        attempts.end_photo(row)
        return outcome

    def _is_wanted(self) -> bool:
        """Whether the plan goes on, looked up once in a while: it may lie in a bucket."""
        if time.monotonic() >= self._look_at:
            self._is_stopped = is_stopped(self._folder)
            self._look_at = time.monotonic() + _LOOK_EVERY_S
        return not self._is_stopped


def compute_when_idle() -> None:
    """Leave the cores to everything else, in this thread and in those that it starts; where the system knows how."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class _Actor:
    """What Ray Data makes of a PartWorker."""

    def __init__(self, folder: Folder, plan: Plan, args: TaggerArgs, read: Read, is_idle_only: bool) -> None:
        if is_idle_only:
            compute_when_idle()
        tagger = CatalogTagger.load(args, plan.options.bundle.rpartition(" ")[2], read)
        self._worker = PartWorker(folder, plan, tagger)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for part in batch["part"]:
            self._worker.do(int(part))
        return batch


def run_plan(folder: Folder, plan: Plan, args: TaggerArgs, workers: Workers, read: Read = read_photo) -> Iterator[int]:
    """Do the parts that are not there yet, on the Ray instance that this process is connected to.

    Args:
        folder: of the plan.
        plan: what to do.
        args: bundle, device, threads and limits.
        workers: how many actors, of which size.
        read: fetches a photo; travels to the actors.

    Yields:
        Every part once it is written, until the plan is stopped. Closing the iterator stops the run too.

    Raises:
        CatalogError: if the run as a whole cannot go on, such as where the output cannot be written.
    """
    import ray.data
    from ray.exceptions import RayError

    todo = sorted(set(range(plan.num_parts)) - parts_done(folder))
    if not todo:
        return
    _keep_quiet()
    parts = ray.data.from_items([{"part": part} for part in todo], override_num_blocks=len(todo)).map_batches(
        _Actor,
        batch_size=1,
        fn_constructor_args=(folder, plan, args, read, workers.is_idle_only),
        compute=ray.data.ActorPoolStrategy(size=min(workers.number, len(todo)), max_tasks_in_flight_per_actor=2),
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
    )
    try:
        for batch in parts.iter_batches(batch_size=None, prefetch_batches=0):
            if is_stopped(folder):
                return
            yield from (int(part) for part in batch["part"])
    except (RayError, TaggingError) as exc:
        raise _reason(exc) from exc


def _keep_quiet() -> None:
    """Ray Data reports to people at a terminal; ours have a progress bar."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a part may take long
    for name in ("ray.data", "ray.data._internal.execution.streaming_executor"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _reason(exc: BaseException) -> CatalogError:
    """The sentence of ours that lies under what Ray made of it."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, TaggingError):
            return CatalogError(cause.message, cause.detail)
        cause = getattr(cause, "cause", None) or cause.__cause__
    return CatalogError("the run stopped; the same command takes it up again", repr(exc))
