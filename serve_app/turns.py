"""Turns of the models of one machine at its cores: no more compute at once than there are cores for.

Replicas are processes of their own and know nothing of each other. Six models at once on two cores take each other's
caches, and each begins with the one photo it has, where a moment later it would have found three. So they take turns,
and a turn that comes free goes to who has the most to compute at once: batches grow where a queue is.
"""

import fcntl
import mmap
import os
import select
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.cores import num_cores

_PLACES = 64
"""Models that may wait at once; one more takes no turns."""
_LOOK_S = 0.02  # without being called: who was to call may have died
_FRESH_S = 0.2  # who has not looked for so long is dead, or busy
# A replica that hangs keeps its turn until it is replaced, half a minute; another has the like of it meanwhile.
_LONGEST_TURN_S = 1.0
# A second of waiting counts like so many pictures: a rare category is not kept from computing by larger queues.
_PICTURES_PER_S = 8.0


class Turn(Protocol):
    """What a model has while it computes."""

    def acquire(self, size_of_batch: Callable[[], int]) -> None:
        """Wait for it; called in the model thread. `size_of_batch` is what could be computed now."""

    def release(self) -> None:
        """Let the next one have it; never blocks."""


class LockTurn:
    """A turn that is shared by handing it around, within a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, size_of_batch: Callable[[], int]) -> None:
        """Wait for it."""
        self._lock.acquire()

    def release(self) -> None:
        """Let the next one have it."""
        self._lock.release()


class CoreTurn:
    """One of as many turns as a machine has cores for; by locks on files, which end with the process that holds them.

    Who waits says so on a board that all share, a file in memory, and is called by a pipe. Both only make it quick and
    fair: what they say of a process that has died is soon too old to count.

    Args:
        num_threads: cores that a model takes while it computes.
        folder: of the files, shared by all who take turns; None for this user's on this machine.
        num_turns: how many compute at once; None for as many as there are cores for.
    """

    def __init__(self, num_threads: int, folder: Path | None = None, num_turns: int | None = None) -> None:
        self._files = _Files.open(
            folder or Path(tempfile.gettempdir()) / f"fashion-tagger-turns-{os.getuid()}",
            num_turns or max(1, num_cores() // num_threads),
        )
        self._held: int | None = None
        self._has_lock = False

    def acquire(self, size_of_batch: Callable[[], int] = lambda: 1) -> None:
        """Wait for a turn; at once where the files cannot be had."""
        if (files := self._files) is None:
            return
        begin = time.monotonic()
        while True:
            now = time.monotonic()
            files.board[files.place] = now, size_of_batch() + _PICTURES_PER_S * (now - begin)
            if files.first(now) == files.place and self._take(files, now):
                files.board[files.place] = 0.0
                if not files.taken_at.all():  # two came free at once, and called the same one
                    files.call_first()
                return
            files.wait()

    def _take(self, files: "_Files", now: float) -> bool:
        for number, lock in enumerate(files.locks):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if now - files.taken_at[number] < _LONGEST_TURN_S:
                    continue
                self._has_lock = False
            else:
                self._has_lock = True
            files.taken_at[number] = now
            self._held = number
            return True
        return False

    def release(self) -> None:
        """Give the turn back, if there was one, and call who is to have it."""
        files, number = self._files, self._held
        if files is None or number is None:
            return
        self._held = None
        files.taken_at[number] = 0.0
        if self._has_lock:
            fcntl.flock(files.locks[number], fcntl.LOCK_UN)
        files.call_first()


class _Files:
    """A taker's view of the files that all share: locks, board, and the pipes by which they call each other."""

    def __init__(self, folder: Path, num_turns: int) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to somebody else")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self.locks = [os.open(folder / str(number), flags, 0o600) for number in range(num_turns)]
        self._pipes: dict[int, int] = {}
        self.place = self._free_place()
        shared = _shared_floats(folder / "board", 2 * _PLACES + num_turns)
        self.board = shared[: 2 * _PLACES].reshape(_PLACES, 2)
        """Of each place: when its owner last looked, and how urgent its turn is; zeros where nobody waits."""
        self.taken_at = shared[2 * _PLACES :]
        """Of each turn: when it was last taken; 0 once it was given back."""

    @classmethod
    def open(cls, folder: Path, num_turns: int) -> "_Files | None":
        """None where they cannot be had, or belong to somebody else."""
        try:
            return cls(folder, num_turns)
        except OSError:
            return None

    def _free_place(self) -> int:
        for place in range(_PLACES):
            pipe = self._pipe(place)
            try:
                fcntl.flock(pipe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return place
        raise OSError("too many take turns")

    def _pipe(self, place: int) -> int:
        if place not in self._pipes:
            path = self._folder / f"call-{place}"
            with suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            self._pipes[place] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return self._pipes[place]

    def first(self, now: float) -> int:
        """The place whose turn is the most urgent; 0 if nobody waits."""
        return int(np.where(self.board[:, 0] > now - _FRESH_S, self.board[:, 1], 0.0).argmax())

    def call_first(self) -> None:
        """Call whose turn is the most urgent."""
        place = self.first(time.monotonic())
        if place != self.place:
            with suppress(OSError):  # full of calls already
                os.write(self._pipe(place), b"!")

    def wait(self) -> None:
        """Return when called, or after a while."""
        pipe = self._pipes[self.place]
        if select.select([pipe], [], [], _LOOK_S)[0]:
            os.read(pipe, 4096)


def _shared_floats(path: Path, count: int) -> NDArray[np.float64]:
    """Zeros, or what others have written there."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, 8 * count)  # never shrinks what others have mapped
        return np.frombuffer(mmap.mmap(file, 8 * count), np.float64)
    finally:
        os.close(file)
