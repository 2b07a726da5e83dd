"""Answers as rows of a Parquet file; the columns follow from the schema classes of the HTTP interface."""

import io
import json
import types
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from models.errors import TaggingError
from serve_app.catalog import Counts, RowKind
from serve_app.errors import INTERNAL_MESSAGE
from serve_app.schemas import Garment, TagResponse

Outcome = TagResponse | TaggingError

_UNASKED = {"probabilities", "label", "request_id", "timing_ms"}
"""Fields that belong to a request: asked for by it, or measured of it."""

_SCALARS: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_COUNTS_KEY = b"fashion_tagger.counts"


def row_schema(kind: RowKind) -> pa.Schema:
    """Columns of the output.

    Every photo has at least one row: `row` is its place in the source, `photo` its name there. With kind `garment` a
    photo has a row for each garment, numbered by `garment`, and one without any where none was found or an error came.
    """
    head: list[pa.Field[Any]] = [pa.field("row", pa.int64()), pa.field("photo", pa.string())]
    errors = [pa.field("error_code", pa.string()), pa.field("error_message", pa.string())]
    if kind == "photo":
        return pa.schema([*head, *errors, *_fields(TagResponse)])
    whole = [each for each in _fields(TagResponse) if each.name not in ("garments", "tags")]
    return pa.schema([*head, *errors, *whole, pa.field("garment", pa.int64()), *_fields(Garment)])


def write_rows(kind: RowKind, first_row: int, photos: Sequence[str], outcomes: Sequence[Outcome]) -> bytes:
    """A Parquet file with the outcome of every photo.

    Args:
        kind: one row a garment or a photo.
        first_row: place of the first photo in the source.
        photos: their names there.
        outcomes: answer or error of each.
    """
    rows: list[dict[str, Any]] = []
    counts = Counts()
    for row, (photo, outcome) in enumerate(zip(photos, outcomes, strict=True), start=first_row):
        head = {"row": row, "photo": photo}
        if isinstance(outcome, TaggingError):
            message = INTERNAL_MESSAGE if outcome.code == "internal" else outcome.message
            rows.append({**head, "error_code": outcome.code, "error_message": message})
            counts += Counts(1, 0, Counter([outcome.code]))
        else:
            rows.extend({**head, **answered} for answered in _answered(kind, outcome))
            counts += Counts(1, len(outcome.garments))
    facts = json.dumps({"photos": counts.photos, "garments": counts.garments, "errors": counts.errors})
    table = pa.Table.from_pylist(rows, schema=row_schema(kind).with_metadata({_COUNTS_KEY: facts.encode()}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_counts(file: Any) -> Counts:
    """What a file of `write_rows` counts, from its footer."""
    facts = json.loads(pq.read_schema(file).metadata[_COUNTS_KEY])
    return Counts(facts["photos"], facts["garments"], Counter(facts["errors"]))


def _answered(kind: RowKind, response: TagResponse) -> list[dict[str, Any]]:
    whole = response.model_dump(mode="json")
    if kind == "photo":
        return [whole]
    garments = whole.pop("garments")
    return [{**whole, "garment": at, **garment} for at, garment in enumerate(garments)] or [whole]


def _fields(schema: type[BaseModel]) -> "list[pa.Field[Any]]":
    return [
        pa.field(name, arrow_type(info.annotation))
        for name, info in schema.model_fields.items()
        if name not in _UNASKED
    ]


def arrow_type(annotation: Any) -> pa.DataType:
    """The column type of a field: structs for schema classes, maps for objects with open keys, lists for arrays.

    Raises:
        TypeError: if a field is of a kind that no column holds.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        (present,) = (each for each in args if each is not type(None))
        return arrow_type(present)
    if origin is Literal:
        return arrow_type(type(args[0]))
    if origin in (list, tuple):
        return pa.list_(arrow_type(args[0]))
    if origin is dict:
        return pa.map_(pa.string(), arrow_type(args[1]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct(_fields(annotation))
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    raise TypeError(f"no column type for {annotation}")
