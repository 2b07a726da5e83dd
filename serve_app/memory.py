"""Giving memory back: what photos of all sizes leave free in the allocator's heap, or to Python's collector."""

import ctypes
import gc
import threading
from collections.abc import Callable

_PERIOD_S = 5.0


def give_back_memory(period_s: float = _PERIOD_S) -> None:
    """From now on, as long as the process lives, return its free memory to the system now and then.

    glibc by itself returns only what is free at the end of its heap, so that a router of 230 MB grew by 80 MB within
    minutes. Returning takes 1 to 3 ms; mapping every large array instead costs a quarter more CPU per photo. Without
    glibc nothing happens.

    Before that Python's garbage is collected: refused photos in it, kept by their exceptions' frames, wait for a full
    collection, which Python makes the more rarely the longer a process lives (after 25 minutes 40 MB waited). What was
    there from the start is left out, so that a collection takes milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        threading.Thread(target=_work, args=(trim, period_s), name="memory", daemon=True).start()


def _work(trim: Callable[[int], int], period_s: float) -> None:
    never = threading.Event()
    never.wait(period_s)
    gc.collect()
    gc.freeze()
    while not never.wait(period_s):
        gc.collect()
        trim(0)
