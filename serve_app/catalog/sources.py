"""Where the photos of a catalogue come from: a folder, a glob, one photo, a CSV or Parquet table, a plain list."""

import asyncio
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from models.errors import DatasetError, InputError
from models.image_headers import PHOTO_SUFFIXES
from serve_app.catalog.storage import FAILURES, open_filesystem

COLUMNS = ("photo", "image", "path", "file", "url", "uri")
"""Columns of a table that are taken for the photos, the first that is there."""

_GLOB = frozenset("*?[")
_BATCH_ROWS = 65_536


class PhotoUnavailable(InputError):
    """The photo cannot be read from where it should be."""

    code = "photo_unavailable"


@dataclass(frozen=True)
class Source:
    """Photos in a fixed order.

    Args:
        base: what relative names are joined to; empty where there are none.
        names: gives every photo as it is named there; once per call.
    """

    base: str
    names: Callable[[], Iterator[str]]


def open_source(uri: str, column: str | None = None) -> Source:
    """Find out what a source is; its photos are listed when they are asked for.

    Args:
        uri: path or fsspec URL of a folder (searched in full), a glob, a photo, a `.csv` or a `.parquet` table.
        column: of the table; None for the first of `COLUMNS`.

    Raises:
        DatasetError: if there is nothing, or the table has no such column.
        StorageError: if the URL cannot be used.
    """
    fs, path = open_filesystem(uri)
    parent = posixpath.dirname(fs.unstrip_protocol(path))
    try:
        if _GLOB & set(path):
            return Source("", lambda: map(fs.unstrip_protocol, sorted(fs.glob(path))))
        if fs.isdir(path):
            return Source(fs.unstrip_protocol(path), lambda: _walk(fs, path))
        if not fs.exists(path):
            raise DatasetError(f"there is nothing at {uri}; give a folder, a glob, a CSV or Parquet table, or a photo")
        if path.endswith((".csv", ".parquet")):
            return Source(parent, _table(fs, path, column))
    except FAILURES as exc:
        raise DatasetError(f"{uri} cannot be read", str(exc)) from exc
    return Source("", lambda: iter((fs.unstrip_protocol(path),)))


def photo_uri(base: str, name: str) -> str:
    """The full address of a photo that a source names."""
    return name if "://" in name or name.startswith("/") or not base else f"{base.rstrip('/')}/{name}"


async def read_photo(uri: str, max_bytes: int) -> bytes:
    """Read a photo file in a thread, at most one byte more than the limit.

    Raises:
        PhotoUnavailable: if it cannot be read; the message does not say where it should have been.
    """
    return await asyncio.to_thread(_read, uri, max_bytes)


def _read(uri: str, max_bytes: int) -> bytes:
    try:
        if not uri:
            raise ValueError("no photo is named")
        fs, path = open_filesystem(uri)
        with fs.open(path, "rb") as file:
            content: bytes = file.read(max_bytes + 1)
            return content
    except FileNotFoundError as exc:
        raise PhotoUnavailable("there is no such photo") from exc
    except Exception as exc:  # file systems raise whatever their libraries do, and a photo must not end the run
        raise PhotoUnavailable("the photo cannot be read", repr(exc)) from exc


def _walk(fs: Any, folder: str) -> Iterator[str]:
    """Photos below a folder, relative to it; sorted, folder by folder."""
    for root, folders, files in fs.walk(folder):
        folders.sort()
        relative = posixpath.relpath(root, folder)
        for name in sorted(files):
            if name.lower().endswith(PHOTO_SUFFIXES):
                yield name if relative == "." else f"{relative}/{name}"


def _table(fs: Any, path: str, column: str | None) -> Callable[[], Iterator[str]]:
    is_csv = path.endswith(".csv")
    with fs.open(path, "rb") as file:
        known = pyarrow.csv.open_csv(file).schema.names if is_csv else pq.ParquetFile(file).schema_arrow.names
    wanted = (column,) if column else COLUMNS
    chosen = next((name for name in wanted if name in known), None)
    if chosen is None:
        raise DatasetError(
            f"{posixpath.basename(path)} has no column {' or '.join(wanted)}; it has {', '.join(known)}; give --column"
        )

    def names() -> Iterator[str]:
        with fs.open(path, "rb") as file:
            for batch in _batches(file, chosen, is_csv):
                for name in batch.column(0).cast(pa.string()).to_pylist():
                    yield name or ""

    return names


def _batches(file: Any, column: str, is_csv: bool) -> Iterator[pa.RecordBatch]:
    if not is_csv:
        yield from pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=[column])
        return
    convert = pyarrow.csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()})
    yield from pyarrow.csv.open_csv(file, convert_options=convert)
