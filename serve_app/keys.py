"""API keys: a file of names, digests, scopes and limits, which routers read again whenever it changes.

A key is 256 random bits, so its SHA-256 needs neither salt nor stretching: nobody finds a key from its digest. A key
that comes in is digested and compared with every digest in constant time, so the time of a refusal tells nothing.
"""

import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serve_app.errors import KeyFileError

Scope = Literal["tag", "jobs", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_PREFIX = "ftk_"  # lets scanners of repositories and logs recognise a leaked key
_CHECK_EVERY_S = 1.0
_log = logging.getLogger("ray.serve")


class Key(BaseModel):
    """What the file says of one key; the key itself stands nowhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="Stands in metrics and logs.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of the key.")
    scopes: tuple[Scope, ...] = Field(("tag",), min_length=1, description="What it opens; admin opens everything.")
    per_second: float | None = Field(None, gt=0, description="Photos per second and router; bursts of twice as many.")
    per_day: int | None = Field(None, gt=0, description="Photos per UTC day and router.")

    def opens(self, scope: Scope) -> bool:
        """Whether the key may be used for this."""
        return scope in self.scopes or "admin" in self.scopes


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [key.name for key in self.keys]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two keys are named {', '.join(sorted(twice))}")
        return self


def new_key() -> str:
    """A fresh key; show it once and keep only its digest."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """What the file keeps of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read the file.

    Raises:
        KeyFileError: if it is missing or not what it has to be.
    """
    try:
        return KeyFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {}).keys
    except OSError as exc:
        raise KeyFileError(
            "the file of API keys cannot be read; `fashion-tagger keys add` makes one", str(exc)
        ) from exc
    except ValidationError as exc:
        # What pydantic prints holds the input, and the input may be a key that somebody pasted in place of its digest.
        errors = exc.errors(include_input=False, include_url=False)
        places = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors[:3])
        raise KeyFileError("the file of API keys is malformed", places) from None
    except (yaml.YAMLError, ValueError) as exc:
        raise KeyFileError("the file of API keys is no YAML", type(exc).__name__) from None


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file in one step, readable by its owner alone."""
    entries = [key.model_dump(mode="json", exclude_none=True) for key in keys]
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        yaml.safe_dump({"keys": entries}, file, sort_keys=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


class KeyRing:
    """The keys that count now.

    A change of the file is seen within a second. A file that became unreadable or malformed changes nothing: the keys
    before stay, and the log says so at every look. At the start such a file is refused.

    Args:
        path: the file.
        clock: seconds of a clock that never goes back.

    Raises:
        KeyFileError: if the file cannot be used.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._stamp = self._stamp_now()
        self._keys = read_keys(path)
        self._look_at = clock() + _CHECK_EVERY_S

    def find(self, presented: str) -> Key | None:
        """The key whose digest is that of the presented text; takes equally long whichever it is, or none."""
        self._look()
        digest = digest_of(presented).encode()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256.encode(), digest):
                found = key
        return found

    def _look(self) -> None:
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + _CHECK_EVERY_S
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            self._keys = read_keys(self._path)
        except KeyFileError as exc:
            _log.error("the keys before stay in use: %s", exc)
            return
        self._stamp = stamp

    def _stamp_now(self) -> tuple[int, ...] | None:
        try:
            stat = self._path.stat()  # follows links, as a mounted Secret is one that is swapped
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns
