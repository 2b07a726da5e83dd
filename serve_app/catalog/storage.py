"""A folder on local disk or behind any fsspec URL, whose files appear as a whole or not at all."""

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from models.errors import TaggingError

FAILURES = (OSError, ValueError, ImportError)
"""What fsspec raises where storage cannot be reached, a URL is none, or its protocol needs another package."""


class StorageError(TaggingError):
    """A place cannot be read or written; the message names it, so it is for those who run us, not for callers."""


def open_filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it.

    Raises:
        StorageError: if there is no such protocol, or it needs another package.
    """
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except FAILURES as exc:
        raise StorageError(f"{uri} cannot be reached: {exc}") from exc
    return fs, str(path)


class Folder:
    """A folder that is written by several processes; picklable, since it is only its address.

    Args:
        uri: path or fsspec URL; made with its first file.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") if "://" in uri else os.path.abspath(os.path.expanduser(uri))

    def __getstate__(self) -> dict[str, str]:
        return {"uri": self.uri}

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri}/{name}")

    @cached_property
    def _place(self) -> tuple[Any, str]:
        return open_filesystem(self.uri)

    def names(self) -> list[str]:
        """Names of what lies in it, sorted; none where it does not exist."""
        fs, path = self._place
        try:
            fs.invalidate_cache()  # other processes write here
            return sorted(str(entry).rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False))
        except FileNotFoundError:
            return []
        except FAILURES as exc:
            raise StorageError(f"{self.uri} cannot be listed: {exc}") from exc

    def read(self, name: str) -> bytes | None:
        """Content of a file; None where there is none."""
        fs, path = self._place
        try:
            content: bytes = fs.cat_file(f"{path}/{name}")
            return content
        except FileNotFoundError:
            return None
        except FAILURES as exc:
            raise StorageError(f"{self.uri}/{name} cannot be read: {exc}") from exc

    def open(self, name: str) -> Any:
        """Open a file for reading at any place in it."""
        fs, path = self._place
        try:
            return fs.open(f"{path}/{name}", "rb")
        except FAILURES as exc:
            raise StorageError(f"{self.uri}/{name} cannot be read: {exc}") from exc

    def write(self, name: str, fill: Callable[[Any], object]) -> None:
        """Write a file beside its place and move it there, so that being killed leaves the old one or the new one.

        Args:
            name: of the file.
            fill: writes the content into the open file that it is given.

        Raises:
            StorageError: if the folder cannot be written.
        """
        fs, path = self._place
        partial = f"{path}/.{name}.{uuid.uuid4().hex}"
        try:
            fs.makedirs(path, exist_ok=True)
            with fs.open(partial, "wb") as file:
                fill(file)
                if isinstance(fs, LocalFileSystem):  # rename may reach the disk before the content does
                    file.flush()
                    os.fsync(file.fileno())
            if isinstance(fs, LocalFileSystem):
                os.replace(partial, f"{path}/{name}")
            else:
                fs.mv(partial, f"{path}/{name}")
        except FAILURES as exc:
            raise StorageError(f"{self.uri}/{name} cannot be written: {exc}") from exc

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is fine."""
        fs, path = self._place
        with suppress(FileNotFoundError):
            fs.rm_file(f"{path}/{name}")

    def remove_all(self) -> None:
        """Remove the folder with all that is in it; one that is gone already is fine.

        Raises:
            StorageError: if it cannot be removed.
        """
        fs, path = self._place
        try:
            with suppress(FileNotFoundError):
                fs.rm(path, recursive=True)
        except FAILURES as exc:
            raise StorageError(f"{self.uri} cannot be removed: {exc}") from exc

    def remove_partials(self) -> None:
        """Remove what writers that were killed have left; only while nobody writes."""
        for name in self.names():
            if name.startswith("."):
                self.remove(name)
