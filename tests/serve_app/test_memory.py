"""Free memory that glibc keeps is returned, and garbage does not wait for Python to look."""

import ctypes
import subprocess
import sys

import pytest

_SCRIPT = """
import time
from pathlib import Path
from serve_app.memory import give_back_memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

blocks = [bytes(2**15) for _ in range(2**11)]
last = bytes(2**15)  # at the end of the heap, so that glibc keeps what is free below it
full = resident_mb()
blocks.clear()
kept = resident_mb()
give_back_memory(0.02)
until = time.monotonic() + 30
while resident_mb() > full - 48 and time.monotonic() < until:
    time.sleep(0.02)
print(full - kept, full - resident_mb())
"""

_GARBAGE = """
import gc, time, weakref
from serve_app.memory import give_back_memory

class Kept(Exception):
    pass

gc.disable()  # a full collection of a process that has lived for long is as far away
give_back_memory(0.02)
until = time.monotonic() + 30
while not gc.get_freeze_count() and time.monotonic() < until:
    time.sleep(0.02)
garbage = Kept()
garbage.itself = garbage
seen = weakref.ref(garbage)
del garbage
while seen() is not None and time.monotonic() < until:
    time.sleep(0.02)
print(seen())
"""
_NEEDS_GLIBC = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the allocator is not glibc's")


@_NEEDS_GLIBC
def test_garbage_is_collected() -> None:
    done = subprocess.run([sys.executable, "-c", _GARBAGE], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


@_NEEDS_GLIBC
def test_free_memory_is_given_back() -> None:
    words = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout.split()
    given_by_itself, given = map(float, words)
    assert given_by_itself < 16 and given > 48  # of 64 MB
