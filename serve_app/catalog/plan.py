"""The plan of a run: which photos, in which parts, answered how; written once at the start and kept to ever after.

    DST/_catalog/photos.parquet   names of the photos, a row group for each part
    DST/_catalog/plan.json        everything else; it is written last, so a plan that is there is whole
    DST/_catalog/stop             once it is there, workers drop what they have in hand
    DST/part-000007.parquet       outcomes of part 7; it appears as a whole, so a part that is there is done

A run that is killed has lost what its unfinished parts had in hand, and nothing else: the next one does exactly the
parts that are not there, with the photos of the plan, whatever the source holds by then.
"""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import TaggingError
from serve_app.catalog import Counts, RowKind
from serve_app.catalog.rows import read_counts
from serve_app.catalog.sources import Source, open_source
from serve_app.catalog.storage import Folder

_STATE = "_catalog"  # readers of Parquet folders skip names that begin so
_PLAN, _PHOTOS, _STOP = "plan.json", "photos.parquet", "stop"
_PART = re.compile(r"part-(\d{6,})\.parquet")
_FORMAT = 1
_PARTS_WANTED = 100
_PART_PHOTOS = (64, 1000)


class CatalogError(TaggingError):
    """A run cannot begin or go on; the message says what to do."""

    code = "bad_request"


@dataclass(frozen=True)
class CatalogOptions:
    """What decides the rows; a run that is taken up again needs the same.

    Args:
        source: where the photos come from, as given.
        bundle: label and digest of the bundle that answers.
        rows: one row a garment or a photo.
        min_score: detections below it are dropped; None: as the bundle says.
        category: every photo as a whole shows this one; None: detect.
        column: of the table that names the photos; None: the first known.
    """

    source: str
    bundle: str
    rows: RowKind = "garment"
    min_score: float | None = None
    category: str | None = None
    column: str | None = None


@dataclass(frozen=True)
class Plan:
    """A run: its options and how its photos are divided."""

    options: CatalogOptions
    base: str
    num_photos: int
    part_photos: int

    @property
    def num_parts(self) -> int:
        """Parts in all."""
        return -(-self.num_photos // self.part_photos)


def part_name(part: int) -> str:
    """File name of a part."""
    return f"part-{part:06d}.parquet"


def open_plan(folder: Folder, options: CatalogOptions, part_photos: int | None = None) -> Plan:
    """Take up the run in a folder, or plan one.

    Args:
        folder: where the output goes.
        options: have to be those of the run that is there.
        part_photos: photos of a part; None for a size by their number.

    Raises:
        CatalogError: if the folder holds something else, or a run with other options; or if there are no photos.
        DatasetError: if the source cannot be read.
    """
    plan = read_plan(folder)
    if plan is None:
        if any(not name.startswith((".", "_")) for name in folder.names()):
            raise CatalogError(f"{folder.uri} holds other files; give an empty or a new folder")
        return write_plan(folder, options, open_source(options.source, options.column), part_photos)
    if plan.options != options:
        differing = [
            each.name for each in fields(options) if getattr(options, each.name) != getattr(plan.options, each.name)
        ]
        said = "; ".join(
            f"{name} was {getattr(plan.options, name)!r} and is now {getattr(options, name)!r}" for name in differing
        )
        raise CatalogError(f"{folder.uri} holds a run with other options: {said}; give the same ones, or a new folder")
    if part_photos not in (None, plan.part_photos):
        raise CatalogError(f"{folder.uri} holds a run with {plan.part_photos} photos a part; leave the option out")
    folder.remove_partials()
    return plan


def read_plan(folder: Folder) -> Plan | None:
    """The plan in a folder; None where there is none.

    Raises:
        CatalogError: if it was written by another version.
    """
    content = state_of(folder).read(_PLAN)
    if content is None:
        return None
    try:
        facts: dict[str, Any] = json.loads(content)
        if facts.pop("format") != _FORMAT:
            raise ValueError("another format")
        return Plan(CatalogOptions(**facts.pop("options")), **facts)
    except (ValueError, KeyError, TypeError) as exc:
        raise CatalogError(
            f"{folder.uri} was begun by another version of fashion-tagger; give a new folder", repr(exc)
        ) from exc


def write_plan(folder: Folder, options: CatalogOptions, source: Source, part_photos: int | None = None) -> Plan:
    """List the photos and divide them.

    Raises:
        CatalogError: if there are none.
    """
    # Parts follow from the number of photos, which is known once they are listed; so they are listed into memory up to
    # what makes the largest parts, and streamed from there on.
    names = source.names()
    smallest, largest = _PART_PHOTOS
    head = list(itertools.islice(names, largest * _PARTS_WANTED))
    if not head:
        raise CatalogError(f"there are no photos at {options.source}")
    size = part_photos or min(largest, max(smallest, len(head) // _PARTS_WANTED))
    state = state_of(folder)
    state.remove_partials()
    num_photos = 0

    def counted() -> Iterator[str]:
        nonlocal num_photos
        for name in itertools.chain(head, names):
            num_photos += 1
            yield name

    state.write(_PHOTOS, lambda file: _write_photos(file, counted(), size))
    plan = Plan(options, source.base, num_photos, size)
    facts = json.dumps({"format": _FORMAT, **asdict(plan)}, indent=2)
    state.write(_PLAN, lambda file: file.write(facts.encode()))
    return plan


def state_of(folder: Folder) -> Folder:
    """Where a run keeps what is not its output."""
    return folder / _STATE


def stop_plan(folder: Folder) -> None:
    """Have the run end within seconds, wherever its workers are, and never go on.

    Raises:
        StorageError: if that cannot be written.
    """
    state_of(folder).write(_STOP, lambda file: None)


def is_stopped(folder: Folder) -> bool:
    """Whether the run is to end."""
    return state_of(folder).read(_STOP) is not None


def photos_of(folder: Folder, part: int) -> list[str]:
    """Names of the photos of a part."""
    with state_of(folder).open(_PHOTOS) as file:
        return [str(name) for name in pq.ParquetFile(file).read_row_group(part).column(0).to_pylist()]


def parts_done(folder: Folder) -> set[int]:
    """Parts that need not be done any more."""
    return {int(found[1]) for name in folder.names() if (found := _PART.fullmatch(name))}


def counts_of(folder: Folder, part: int) -> Counts:
    """What became of the photos of a part that is done."""
    with folder.open(part_name(part)) as file:
        return read_counts(file)


def _write_photos(file: Any, names: Iterator[str], part_photos: int) -> None:
    schema = pa.schema([("photo", pa.string())])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(itertools.islice(names, part_photos)):
            writer.write_table(pa.table({"photo": group}, schema=schema), row_group_size=part_photos)
