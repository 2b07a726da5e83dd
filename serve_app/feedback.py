"""Corrections of answers: checked against the ontology, and appended to a file so that they outlive a crash.

Every router has a file of its own in one folder, so that none waits for another, on a shared volume either. A line is
on disk before it is confirmed. `fashion-tagger data convert --mapping feedback` makes a training set of the folder.
"""

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from starlette.requests import Request

from models.errors import ImageTooLarge
from serve_app.bundle_facts import BundleFacts
from serve_app.errors import BadRequest, FeedbackUnavailable, NotFound
from serve_app.metrics import FEEDBACK, Meter
from serve_app.schemas import CATEGORY_CORRECTION, FeedbackRequest
from serve_app.upload import parse_json, read_body

_MAX_BODY_BYTES = 16 * 1024
MAX_FILE_BYTES = 256 * 2**20


class FeedbackTaker:
    """Takes corrections.

    Args:
        folder: where they are kept; None: none are taken.
        bundle: knows the names, and is named in every line.
        upload_deadline_s: for the body.
        meter: counts them.
        max_file_bytes: of this router's file; after that none are taken until somebody moves it away.
    """

    def __init__(
        self,
        folder: Path | None,
        bundle: BundleFacts,
        upload_deadline_s: float,
        meter: Meter,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._folder = folder
        self._bundle = bundle
        self._upload_deadline_s = upload_deadline_s
        self._meter = meter
        self._max_file_bytes = max_file_bytes
        self._lock = Lock()

    async def take(self, request: Request) -> None:
        """Check and keep the correction in a request.

        Raises:
            NotFound: if this service keeps none.
            BadRequest: if it does not fit the interface or the ontology.
            UploadTimeout: if the body is late.
            FeedbackUnavailable: if it cannot be kept.
        """
        if self._folder is None:
            raise NotFound("this service takes no feedback")
        feedback = await self._receive(request)
        self._check(feedback)
        category = feedback.garment.category
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "bundle": self._bundle.label,
            "request_id": feedback.request_id,
            "photo": feedback.photo,
            "category": category,
            "box": [round(side, 2) for side in feedback.garment.box],
            "attribute": feedback.attribute,
            "values": feedback.values,
        }
        await asyncio.to_thread(self._append, self._folder, record)
        self._meter.count(FEEDBACK, category=category, attribute=feedback.attribute)

    async def _receive(self, request: Request) -> FeedbackRequest:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise BadRequest("feedback is taken as application/json")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise BadRequest("compressed bodies are not accepted")
        too_large = f"feedback has at most {_MAX_BODY_BYTES} bytes"
        try:
            body = await read_body(request, _MAX_BODY_BYTES, self._upload_deadline_s, too_large)
        except ImageTooLarge as exc:
            raise BadRequest(exc.message) from exc
        return parse_json(body, FeedbackRequest)

    def _check(self, feedback: FeedbackRequest) -> None:
        categories = self._bundle.ontology.category_names
        category, name, values = feedback.garment.category, feedback.attribute, feedback.values
        _known("category", category, categories)
        if name == CATEGORY_CORRECTION:
            is_single, known = True, categories
        else:
            _known("attribute", name, (*self._bundle.attributes_of(category), CATEGORY_CORRECTION))
            attribute = self._bundle.attributes_of(category)[name]
            is_single, known = attribute.is_single, attribute.values
        for value in values:
            _known(name, value, known)
        if (is_single and len(values) > 1) or len(set(values)) < len(values):
            raise BadRequest(f"{name} takes one value" if is_single else f"a value of {name} is given twice")
        x1, y1, x2, y2 = feedback.garment.box
        if not (x1 < x2 and y1 < y2):
            raise BadRequest("the box of the garment needs x1 < x2 and y1 < y2, as it was answered")
        if feedback.photo is not None and not _is_plain_path(feedback.photo):
            raise BadRequest("photo needs to be a relative path without .. in it")

    def _append(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Write one line and wait until it is on disk; a line that cannot be written whole is taken back."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        path = folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        try:
            with self._lock:
                folder.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    self._write(descriptor, line)
                finally:
                    os.close(descriptor)
        except OSError as exc:
            raise FeedbackUnavailable("feedback cannot be kept now; try again", repr(exc)) from exc

    def _write(self, descriptor: int, line: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size + len(line) > self._max_file_bytes:
            raise FeedbackUnavailable("the store of feedback is full")
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # a crash cut the last line short; it shall not spoil this one
        try:
            written = 0
            while written < len(line):
                written += os.write(descriptor, line[written:])
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise


def _known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise BadRequest(f"{what} does not know {name[:60]!r}; known: {', '.join(known)}")


def _is_plain_path(text: str) -> bool:
    path = PurePosixPath(text)
    return text.isprintable() and "\\" not in text and not path.is_absolute() and ".." not in path.parts
