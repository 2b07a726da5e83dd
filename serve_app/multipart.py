"""The parts of a multipart body that was received whole. Pure; blocking, so it belongs into a thread."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from serve_app.errors import BadRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass(slots=True)
class Part:
    """One part as it came."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    is_complete: bool = False

    @property
    def content_type(self) -> str | None:
        """The declared type, None if there is none."""
        return self.headers.get(b"content-type", b"").decode("latin-1") or None

    def option(self, name: bytes) -> str:
        """A parameter of the content disposition, such as `name` and `filename`; empty if it is missing."""
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        return options.get(name, b"").decode("utf-8", "replace")


def parse_multipart(body: bytes, content_type: str, name: str, max_parts: int) -> list[Part]:
    """Take a body apart.

    Args:
        body: all of it.
        content_type: names the boundary.
        name: that every part needs to have.
        max_parts: at most so many.

    Returns:
        At least one part.

    Raises:
        BadRequest: saying what is wrong with the body.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequest("the multipart content type names no boundary")
    collector = _PartCollector(name, max_parts)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise BadRequest("the multipart body is malformed") from exc
    if not collector.parts:
        raise BadRequest(f"the multipart body has no part named {name}")
    if not all(part.is_complete for part in collector.parts):
        raise BadRequest("the multipart body ends before its closing boundary")
    return collector.parts


class _PartCollector:
    """Receives the parser's callbacks; holds views of nothing, so the body may go."""

    def __init__(self, name: str, max_parts: int) -> None:
        self.parts: list[Part] = []
        self._part_name = name
        self._max_parts = max_parts
        self._name = b""
        self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": lambda: self.parts.append(Part()),
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": lambda data, start, end: self.parts[-1].data.extend(memoryview(data)[start:end]),
            "on_part_end": self._on_part_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        if self.parts[-1].option(b"name") != self._part_name:
            raise BadRequest(f"the multipart body has an unknown part; every part is named {self._part_name}")
        if len(self.parts) > self._max_parts:
            raise BadRequest(f"the multipart body has more than {self._max_parts} {self._part_name} parts")

    def _on_part_end(self) -> None:
        self.parts[-1].is_complete = True
