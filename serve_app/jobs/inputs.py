"""What jobs may read: files below roots that the operator named, and addresses of hosts that photos may come from.

A manifest is checked when it is posted; a file on local disk is checked again when it is opened, since what a path
leads to may have changed by then.
"""

import asyncio
import os
import posixpath
import re
import stat
from collections.abc import Sequence
from typing import Any

from serve_app.catalog.sources import PhotoUnavailable, read_photo
from serve_app.config import TaggerArgs
from serve_app.download import MAX_URL_LENGTH, Downloader
from serve_app.errors import BadRequest

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_LOCAL = ("file://", "local://")
_FETCH_LIMIT_S = 20.0
_MAX_SHOWN = 80


class JobInputs:
    """Checks and reads the photos of jobs; picklable, its connections are made in each process.

    Args:
        args: the roots and hosts that are allowed.
    """

    def __init__(self, args: TaggerArgs) -> None:
        self._roots = tuple(_plain(root).rstrip("/") for root in args.jobs_roots)
        self._hosts = args.image_url_hosts
        self._allows_http = args.image_url_allows_http
        self._max_bytes = args.max_image_bytes
        self._downloader: Downloader | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_downloader": None}

    def check(self, photos: Sequence[str]) -> None:
        """Refuse a manifest with a photo that no job may read.

        Raises:
            BadRequest: naming the first such photo as the caller wrote it.
        """
        for line, photo in enumerate(photos, start=1):
            if not self._is_allowed(photo):
                raise BadRequest(
                    f"photo {line} of the manifest, {photo[:_MAX_SHOWN]!r}, is not below a place that this service "
                    "reads from for jobs"
                )

    async def read(self, photo: str, max_bytes: int) -> bytes:
        """Read a photo, at most one byte more than the limit.

        Raises:
            InputError: if it cannot be read, or may not be.
        """
        if _is_web(photo):
            if self._downloader is None:
                self._downloader = Downloader(self._hosts, self._max_bytes, allows_http=self._allows_http)
            data, _ = await self._downloader.fetch(photo, _FETCH_LIMIT_S)
            return data
        if not self._is_allowed(photo):
            raise PhotoUnavailable("the photo is not below a place that jobs read from")
        if _SCHEME.match(_plain(photo)):
            return await read_photo(photo, max_bytes)
        return await asyncio.to_thread(self._read_file, _plain(photo), max_bytes)

    def _is_allowed(self, photo: str) -> bool:
        if not 0 < len(photo) <= MAX_URL_LENGTH or not photo.isprintable() or "\\" in photo or "::" in photo:
            return False  # with :: fsspec puts one file system into another
        if _is_web(photo):
            return bool(self._hosts)  # which host it is, and where that leads, is checked by the download
        place = _plain(photo)
        scheme = _SCHEME.match(place)
        path = place[scheme.end() :] if scheme else place
        is_plain = not {"", ".", ".."} & set(path.removeprefix("/").split("/"))
        return is_plain and any(place.startswith(f"{root}/") for root in self._roots)

    def _read_file(self, path: str, max_bytes: int) -> bytes:
        """Read a file that lies below a root with all links resolved, and is a file: no device, no pipe."""
        real = os.path.realpath(path)
        if not any(real.startswith(f"{os.path.realpath(root)}/") for root in self._roots if root.startswith("/")):
            raise PhotoUnavailable("the photo is not below a place that jobs read from", path)
        try:
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError as exc:
            raise PhotoUnavailable("there is no such photo") from exc
        except OSError as exc:
            raise PhotoUnavailable("the photo cannot be read", repr(exc)) from exc
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise PhotoUnavailable("the photo is no file", path)
        with open(descriptor, "rb") as file:
            return file.read(max_bytes + 1)


def _is_web(photo: str) -> bool:
    return photo.startswith(("http://", "https://"))


def _plain(place: str) -> str:
    """A local place without its scheme, so that each has one spelling."""
    for scheme in _LOCAL:
        if place.startswith(scheme):
            return posixpath.join("/", place.removeprefix(scheme))
    return place
