"""The book of jobs with an engine of its own: order, restarts, cancelling, idempotency."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import TaggingError
from serve_app.catalog.plan import Plan, is_stopped, part_name, parts_done, photos_of
from serve_app.catalog.rows import write_rows
from serve_app.catalog.storage import Folder
from serve_app.config import TaggerArgs
from serve_app.errors import Conflict, NotFound
from serve_app.jobs import book as book_module
from serve_app.jobs.book import JobBook
from serve_app.jobs.store import ENDED, Job, JobSpec
from serve_app.schemas import ImageSize, TagResponse, Timing

PHOTOS = [f"/shop/{number}.jpg" for number in range(10)]
ANSWER = TagResponse(
    request_id="",
    bundle="fake@1.0.0",
    image=ImageSize(width=1, height=1),
    garments=[],
    tags=[],
    timing_ms=Timing(decode=0, detect=0, classify=0, total=0),
)


class Engine:
    """Writes parts whose first photo failed, each only when it is let to; notes what it did."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.done: list[int] = []
        self.errors: list[Exception] = []
        self.bundles: list[str] = []
        self.of_another: list[int] = []  # parts that a service before this one still ends

    def __call__(self, folder: Folder, plan: Plan, bundle_uri: str) -> Iterator[int]:
        self.bundles.append(bundle_uri)
        if self.errors:
            raise self.errors.pop()
        for part in self.of_another:
            self._write(folder, plan, part)
        for part in sorted(set(range(plan.num_parts)) - parts_done(folder)):
            self.allowed.acquire()
            self._write(folder, plan, part)
            self.done.append(part)
            yield part

    def _write(self, folder: Folder, plan: Plan, part: int) -> None:
        photos = photos_of(folder, part)
        outcomes = [TaggingError("no"), *[ANSWER] * (len(photos) - 1)]
        content = write_rows(plan.options.rows, 0, photos, outcomes)
        folder.write(part_name(part), lambda file: file.write(content))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def open_book(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., JobBook]]:
    books: list[JobBook] = []
    monkeypatch.setattr(book_module, "_PART_PHOTOS", (4, 4))
    monkeypatch.setattr(book_module, "_PAUSE_S", 0.01)

    def open_one(is_started: bool = True, bundle: str = "fake@1.0.0 0", keep_days: float = 30) -> JobBook:
        args = TaggerArgs.model_validate(
            {"jobs_dir": str(tmp_path), "bundle": f"/bundles/{bundle[:10]}", "jobs_keep_days": keep_days}
        )
        book = JobBook(args, bundle, engine)
        books.append(book)
        if is_started:
            book.start()
        return book

    yield open_one
    for book in books:
        book.stop()
    for _ in range(20):
        engine.allowed.release()


def _wait(book: JobBook, job: Job, holds: Callable[[Job], bool]) -> Job:
    with book.changed:
        assert book.changed.wait_for(lambda: holds(book._jobs[job.id]), 30)
    return book.get(job.id)


def test_a_job_runs_to_its_end_and_hands_out_pages(open_book: Callable[..., JobBook], engine: Engine) -> None:
    book = open_book()
    job = book.submit(PHOTOS, JobSpec(rows="photo"), None)
    assert (job.status, job.num_photos, job.num_pages) == ("queued", 10, 3)
    with pytest.raises(Conflict, match="not there yet"):
        book.page(job.id, 2)
    engine.allowed.release()
    partly = _wait(book, job, lambda job: job.counts.photos == 4)
    assert partly.status == "running" and partly.rate is not None
    assert partly.eta_s == pytest.approx(6 / partly.rate), "six photos are left"
    for _ in range(2):
        engine.allowed.release()
    ended = _wait(book, job, lambda job: job.status in ENDED)
    assert (ended.status, ended.counts.photos, ended.counts.errors) == ("succeeded", 10, Counter(internal=3))
    assert book.page(job.id, 2)[:4] == b"PAR1"
    with pytest.raises(NotFound, match="pages 0 to 2"):
        book.page(job.id, 3)


def test_a_restart_goes_on_with_what_is_missing_and_the_bundle_it_began_with(
    open_book: Callable[..., JobBook], engine: Engine
) -> None:
    book = open_book()
    job = book.submit(PHOTOS, JobSpec(), "key")
    engine.allowed.release()
    _wait(book, job, lambda job: job.counts.photos == 4)
    book.stop()  # as a kill leaves it: the job's file still says that it waits
    again = open_book(bundle="fake@2.0.0 1")
    assert again.get(job.id).status in ("queued", "running")
    for _ in range(3):
        engine.allowed.release()
    ended = _wait(again, job, lambda job: job.status in ENDED)
    assert (ended.status, ended.counts.photos) == ("succeeded", 10)
    assert set(engine.done) == {0, 1, 2} and set(engine.bundles) == {"/bundles/fake@1.0.0"}
    assert open_book(is_started=False).get(job.id) == replace(ended, rate=None), "the end of it is kept too"


def test_a_part_that_the_service_before_ended_is_counted(open_book: Callable[..., JobBook], engine: Engine) -> None:
    engine.of_another = [1]
    book = open_book()
    job = book.submit(PHOTOS, JobSpec(), None)
    for _ in range(2):
        engine.allowed.release()
    ended = _wait(book, job, lambda job: job.status in ENDED)
    assert (engine.done, ended.counts.photos) == ([0, 2], 10)


def test_the_same_key_is_the_same_job_and_another_request_with_it_is_refused(open_book: Callable[..., JobBook]) -> None:
    book = open_book(is_started=False)
    job = book.submit(PHOTOS, JobSpec(), "key")
    assert book.submit(PHOTOS, JobSpec(), "key") == job
    again = open_book(is_started=False)
    assert again.submit(PHOTOS, JobSpec(), "key").id == job.id
    for photos, spec in ((PHOTOS[:-1], JobSpec()), (PHOTOS, JobSpec(rows="photo"))):
        with pytest.raises(Conflict, match="another request"):
            again.submit(photos, spec, "key")
    assert again.submit(PHOTOS, JobSpec(), None).id != job.id


def test_a_cancelled_job_stays_so_and_the_next_one_runs(
    open_book: Callable[..., JobBook], engine: Engine, tmp_path: Path
) -> None:
    book = open_book()
    first, second = (book.submit(PHOTOS, JobSpec(), key) for key in ("first", "second"))
    engine.allowed.release()
    _wait(book, first, lambda job: job.counts.photos == 4)
    assert book.cancel(first.id).status == "cancelled"
    assert is_stopped(Folder(str(tmp_path)) / first.id / "out"), "workers elsewhere have to hear of it"
    for _ in range(5):
        engine.allowed.release()
    assert _wait(book, second, lambda job: job.status in ENDED).status == "succeeded"
    assert book.cancel(second.id).status == "succeeded", "what has ended is left as it is"
    assert book.get(first.id).status == open_book(is_started=False).get(first.id).status == "cancelled"
    with pytest.raises(NotFound, match="ended before"):
        book.page(first.id, 2)


def test_stopping_waits_for_no_lock(open_book: Callable[..., JobBook], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_STOP_LIMIT_S", 0.01)
    book = open_book()
    stopping = threading.Thread(target=book.stop)
    with book.changed:
        stopping.start()
        stopping.join(30)
    assert not stopping.is_alive()


def test_a_failing_engine_is_tried_again_and_then_named(open_book: Callable[..., JobBook], engine: Engine) -> None:
    engine.errors = [TaggingError("the storage is full"), ValueError("secret"), ValueError("secret")]
    book = open_book()
    job = book.submit(PHOTOS, JobSpec(), None)
    ended = _wait(book, job, lambda job: job.status in ENDED)
    assert (ended.status, ended.message) == ("failed", "the storage is full")
    assert len(engine.bundles) == 3


def test_jobs_are_listed_from_the_newest_page_by_page(open_book: Callable[..., JobBook]) -> None:
    book = open_book(is_started=False)
    ids = [book.submit(PHOTOS[:1], JobSpec(), str(number)).id for number in range(5)]
    first, has_more = book.recent(3, None)
    assert ([job.id for job in first], has_more) == (ids[:1:-1], True)
    rest, has_more = open_book(is_started=False).recent(3, first[-1].id)
    assert ([job.id for job in rest], has_more) == (ids[1::-1], False)
    with pytest.raises(NotFound):
        book.recent(3, "0" * 32)


def test_jobs_that_ended_long_ago_are_removed_and_their_key_is_free(
    open_book: Callable[..., JobBook], engine: Engine, tmp_path: Path
) -> None:
    book = open_book(keep_days=1e-9)
    first, second = (book.submit(PHOTOS, JobSpec(), key) for key in ("first", "second"))
    for _ in range(4):
        engine.allowed.release()
    with book.changed:
        assert book.changed.wait_for(lambda: first.id not in book._jobs, 30)
    assert [job.id for job in book.recent(9, None)[0]] == [second.id], "what runs is kept"
    assert [path.name for path in tmp_path.iterdir()] == [second.id]
    assert book.submit(PHOTOS[:1], JobSpec(), "first").status == "queued"
    kept = open_book(is_started=False).submit(PHOTOS, JobSpec(), "kept")
    assert kept.expires_at is None
    assert open_book(is_started=False).cancel(kept.id).expires_at == pytest.approx(time.time() + 30 * 86_400, abs=60)
