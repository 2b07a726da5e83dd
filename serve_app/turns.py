"""Turns of the models of one machine at its cores: no more compute at once than there are cores for.

Replicas are processes of their own and know nothing of each other. Six models at once on two cores take each other's
caches, and each begins with the one photo it has, where a moment later it would have found three. In turn they answer
a sixth more photos a second.
"""

import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import Protocol

# A replica that hangs keeps its turn until it is replaced, half a minute; the others go on without one.
_LIMIT_S = 0.25
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.004


class Turn(Protocol):
    """What a model has while it computes; a `threading.Lock` is one."""

    def acquire(self) -> object:
        """Wait for it; called in the model thread."""

    def release(self) -> None:
        """Let the next one have it; never blocks."""


class CoreTurn:
    """One of as many turns as a machine has cores for; by locks on files, which end with the process that holds them.

    Args:
        num_threads: cores that a model takes while it computes.
        folder: of the files, shared by all who take turns; None for this user's on this machine.
        num_turns: how many compute at once; None for as many as there are cores for.
    """

    def __init__(self, num_threads: int, folder: Path | None = None, num_turns: int | None = None) -> None:
        self._num_threads = num_threads
        self._folder = folder or Path(tempfile.gettempdir()) / f"fashion-tagger-turns-{os.getuid()}"
        self._num_turns = num_turns
        self._files: list[int] | None = None  # opened in the replica, not where the replica is described
        self._held: int | None = None

    def acquire(self) -> None:
        """Wait for a turn, a quarter of a second at most; without one the model computes all the same."""
        if self._files is None:
            self._files = self._open()
        until, pause_s = time.monotonic() + _LIMIT_S, _SHORTEST_PAUSE_S
        while not self._take_any(self._files) and time.monotonic() < until:
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    def release(self) -> None:
        """Give the turn back, if there was one."""
        if self._held is not None:
            fcntl.flock(self._held, fcntl.LOCK_UN)
            self._held = None

    def _take_any(self, files: list[int]) -> bool:
        for file in files:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            self._held = file
            return True
        return not files

    def _open(self) -> list[int]:
        """Descriptors of the files; none where they cannot be had, or belong to somebody else."""
        number = self._num_turns or max(1, (os.cpu_count() or 1) // self._num_threads)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._folder.stat().st_uid != os.getuid():
                return []
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            return [os.open(self._folder / str(place), flags, 0o600) for place in range(number)]
        except OSError:
            return []
