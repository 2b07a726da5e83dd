"""The engine without Ray: every photo has exactly one outcome, whatever is broken and whenever it is killed."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from models.errors import TaggingError
from models.ontology import load_ontology
from models.types import AttributeScores
from serve_app.catalog import engine
from serve_app.catalog.engine import PartWorker, compute_when_idle
from serve_app.catalog.plan import (
    CatalogError,
    CatalogOptions,
    Plan,
    counts_of,
    open_plan,
    part_name,
    parts_done,
    stop_plan,
)
from serve_app.catalog.rows import row_schema
from serve_app.catalog.sources import read_photo
from serve_app.catalog.storage import Folder
from serve_app.catalog.tagger import CatalogTagger
from serve_app.config import TaggerArgs
from serve_app.query import TagOptions
from tests.fakes import DRESS, SKIRT, FakeClassifier, FakeDetector, facts, photo_bytes

NUM_PHOTOS = 10
PART_PHOTOS = 4


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "b").mkdir(parents=True)
    for index in range(NUM_PHOTOS):
        (folder / ("b" if index % 2 else "") / f"{index}.png").write_bytes(photo_bytes((80 + index, 120)))
    (folder / "0.png").write_bytes(b"no picture at all")
    (folder / "2.png").write_bytes(photo_bytes()[:60])
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def tagger() -> Iterator[CatalogTagger]:
    models = {name: FakeClassifier(name) for name in load_ontology().category_names}
    tagger = CatalogTagger(TaggerArgs.model_validate({}), facts(), FakeDetector([DRESS, SKIRT]), models, read_photo)
    yield tagger
    tagger.close()


def _options(source: Path | str, **chosen: object) -> CatalogOptions:
    return CatalogOptions(source=str(source), bundle="fake@1.0.0 0", **chosen)  # type: ignore[arg-type]


def _plan(shop: Path, **chosen: object) -> tuple[Folder, Plan]:
    folder = Folder(str(shop.parent / "out"))
    return folder, open_plan(folder, _options(shop, **chosen), PART_PHOTOS)


def _do(folder: Folder, plan: Plan, tagger: CatalogTagger, parts: set[int]) -> None:
    worker = PartWorker(folder, plan, tagger)
    for part in sorted(parts - parts_done(folder)):
        worker.do(part)


def test_models_compute_in_turn(shop: Path) -> None:
    computing, met = threading.Lock(), threading.Event()

    class Lonely(FakeClassifier):
        def classify(self, crops: NDArray[np.uint8]) -> list[AttributeScores]:
            if not computing.acquire(blocking=False):
                met.set()
                return super().classify(crops)
            met.wait(0.3)  # the other category of the photo would come meanwhile
            computing.release()
            return super().classify(crops)

    models = {name: Lonely(name) for name in load_ontology().category_names}
    tagger = CatalogTagger(TaggerArgs(), facts(), FakeDetector([DRESS, SKIRT]), models, read_photo)
    (outcome,) = tagger.tag([str(shop / "4.png")], TagOptions(0.5))
    tagger.close()
    assert not isinstance(outcome, TaggingError) and len(outcome.garments) == 2
    assert not met.is_set()


def test_every_photo_has_its_row_and_broken_ones_say_why(shop: Path, tagger: CatalogTagger) -> None:
    folder, plan = _plan(shop, rows="photo")
    assert (plan.num_photos, plan.num_parts) == (NUM_PHOTOS, 3)
    _do(folder, plan, tagger, {0, 1, 2})
    table = pq.read_table(folder.uri)
    assert table.schema.remove_metadata() == row_schema("photo")
    rows = table.to_pylist()
    assert [row["row"] for row in rows] == list(range(NUM_PHOTOS))
    assert [row["photo"] for row in rows] == [f"{n}.png" for n in range(0, 10, 2)] + [
        f"b/{n}.png" for n in range(1, 10, 2)
    ]
    failed = {row["photo"]: row["error_code"] for row in rows if row["error_code"]}
    assert failed == {"0.png": "image_unreadable", "2.png": "image_truncated"}
    assert {row["image"]["width"] for row in rows if row["image"]} == {80 + n for n in range(10) if n not in (0, 2)}
    counts = sum((counts_of(folder, part) for part in (1, 2)), counts_of(folder, 0))
    assert (counts.photos, counts.garments, dict(counts.errors)) == (
        NUM_PHOTOS,
        16,
        {"image_unreadable": 1, "image_truncated": 1},
    )


def test_garments_count_from_the_score_that_the_bundle_says(shop: Path) -> None:
    models = {name: FakeClassifier(name) for name in load_ontology().category_names}
    bundle = replace(facts(), min_score=0.75)  # the skirt is less sure than that
    tagger = CatalogTagger(TaggerArgs(), bundle, FakeDetector([DRESS, SKIRT]), models, read_photo)
    folder, plan = _plan(shop, rows="photo")
    _do(folder, plan, tagger, {0})
    tagger.close()
    assert counts_of(folder, 0).garments == 2


def test_one_row_a_garment_keeps_photos_without_any(shop: Path, tagger: CatalogTagger) -> None:
    folder, plan = _plan(shop, min_score=0.75)  # the skirt is less sure than that
    _do(folder, plan, tagger, {0, 1, 2})
    rows = pq.read_table(folder.uri).to_pylist()
    assert len(rows) == NUM_PHOTOS
    good = next(row for row in rows if row["photo"] == "4.png")
    assert (good["garment"], good["category"], good["box"]) == (0, "dress", [12.5, 12.5, 75.0, 112.5])
    assert dict(good["attributes"])["neckline"] == [{"value": "round", "score": 0.9}]
    assert [row["garment"] for row in rows if row["error_code"]] == [None, None]


def test_a_run_that_was_killed_goes_on_with_what_is_missing(shop: Path, tagger: CatalogTagger) -> None:
    folder, plan = _plan(shop)
    _do(folder, plan, tagger, {1})
    written = Path(folder.uri, part_name(1)).stat().st_mtime_ns
    Path(folder.uri, ".part-000002.parquet.1234").write_bytes(b"half a file")
    (shop / "a-new-one.png").write_bytes(photo_bytes())
    again, plan_again = _plan(shop)
    assert plan_again == plan and parts_done(again) == {1}
    assert again.names() == ["_catalog", part_name(1)], "half files are gone"
    _do(again, plan_again, tagger, {0, 1, 2})
    assert Path(folder.uri, part_name(1)).stat().st_mtime_ns == written
    rows = pq.read_table(folder.uri, columns=["row"]).column("row").to_pylist()
    assert sorted(set(rows)) == list(range(NUM_PHOTOS))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        pytest.param({"bundle": "fake@2.0.0 1"}, "bundle was 'fake@1.0.0 0' and is now 'fake@2.0.0 1'", id="bundle"),
        pytest.param({"min_score": 0.7}, "min_score was None and is now 0.7", id="min_score"),
        pytest.param({"rows": "photo"}, "rows was 'garment'", id="rows"),
        pytest.param({"source": "/elsewhere"}, "source was", id="source"),
    ],
)
def test_a_run_with_other_options_is_not_taken_up(shop: Path, changed: dict[str, str], says: str) -> None:
    folder, plan = _plan(shop)
    options = {**{name: getattr(plan.options, name) for name in ("source", "bundle", "rows")}, **changed}
    with pytest.raises(CatalogError, match="same ones, or a new folder") as refused:
        open_plan(folder, CatalogOptions(**options))
    assert says in refused.value.message


def test_a_folder_with_other_files_is_left_alone(shop: Path) -> None:
    with pytest.raises(CatalogError, match="holds other files"):
        open_plan(Folder(str(shop)), _options(shop))


def test_a_plan_that_was_not_finished_is_made_anew(shop: Path) -> None:
    state = shop.parent / "out" / "_catalog"
    state.mkdir(parents=True)
    (state / "photos.parquet").write_bytes(b"half a file")
    (state / ".plan.json.1234").write_bytes(b"{")
    folder, plan = _plan(shop)
    assert plan.num_photos == NUM_PHOTOS
    assert (folder / "_catalog").names() == ["photos.parquet", "plan.json"]


def test_a_stopped_plan_drops_the_part_in_hand_and_all_others(
    shop: Path, tagger: CatalogTagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOOK_EVERY_S", 0.0)
    folder, plan = _plan(shop)
    worker = PartWorker(folder, plan, tagger)
    worker.do(0)
    read: list[str] = []

    async def read_and_stop(uri: str, max_bytes: int) -> bytes:
        read.append(uri)
        stop_plan(folder)
        return await read_photo(uri, max_bytes)

    tagger._read = read_and_stop
    worker.do(1)
    worker.do(2)
    assert parts_done(folder) == {0}
    assert len(read) < PART_PHOTOS


class Killed(BaseException):
    """What ends a process; nothing catches it."""


class MortalTagger:
    """Dies of one photo, whatever else it is given with it."""

    min_score = 0.5

    def __init__(self) -> None:
        self.num_deaths = 0

    def tag(self, photos: Sequence[str], options: TagOptions, is_wanted: Callable[[], bool]) -> list[TaggingError]:
        if any(photo.endswith("4.png") for photo in photos):
            self.num_deaths += 1
            raise Killed
        return [TaggingError("no") for _ in photos]


def test_any_fsspec_url_is_a_destination(shop: Path, tagger: CatalogTagger) -> None:
    folder = Folder("memory://tagged")
    plan = open_plan(folder, _options(shop, rows="photo"), PART_PHOTOS)
    _do(folder, plan, tagger, {1})
    _do(folder, open_plan(folder, _options(shop, rows="photo")), tagger, {0, 1, 2})
    assert folder.names() == ["_catalog", *map(part_name, range(3))]
    assert sum((counts_of(folder, part) for part in (1, 2)), counts_of(folder, 0)).photos == NUM_PHOTOS
    folder.remove_all()
    assert folder.names() == []


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="a scheduling class of Linux")
def test_what_runs_beside_online_traffic_computes_when_nothing_else_does() -> None:
    def scheduler() -> int:
        return os.sched_getscheduler(0)  # of the thread that asks

    def become_idle() -> int:
        compute_when_idle()
        with ThreadPoolExecutor(1) as models:
            return models.submit(scheduler).result()

    with ThreadPoolExecutor(1) as worker:
        assert worker.submit(become_idle).result() == os.SCHED_IDLE
    assert scheduler() != os.SCHED_IDLE


def test_a_photo_that_kills_its_process_is_found_and_left_out(shop: Path) -> None:
    folder, plan = _plan(shop, rows="photo")
    tagger = MortalTagger()
    worker = PartWorker(folder, plan, tagger)  # type: ignore[arg-type]
    while not parts_done(folder):
        with suppress(Killed):
            worker.do(0)
        assert tagger.num_deaths < 10
    rows = pq.read_table(folder.uri, columns=["photo", "error_code"]).to_pylist()
    assert {row["photo"]: row["error_code"] for row in rows} == {
        "0.png": "internal",
        "2.png": "internal",
        "4.png": "image_unreadable",
        "6.png": "internal",
    }
    assert (folder / "_catalog").names() == ["photos.parquet", "plan.json"]


def test_columns_hold_every_field_of_an_answer_that_no_request_asks_for() -> None:
    from serve_app.schemas import Garment, TagResponse

    assert set(row_schema("garment").names) >= set(Garment.model_fields) - {"probabilities", "label"}
    photo = set(row_schema("photo").names)
    assert photo == {"row", "photo", "error_code", "error_message", *TagResponse.model_fields} - {
        "request_id",
        "timing_ms",
    }
    assert row_schema("photo").field("tags").type == pa.list_(pa.string())
