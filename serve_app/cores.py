"""How many cores are ours."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def num_cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may keep busy, at least one.

    `os.cpu_count` says those of the machine, also in a container that is limited to two of its 64: computing as if it
    had them all, the container is stopped for most of every period.

    Args:
        quota: the file of the container's own control group (version 2): microseconds of CPU time per period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed_us, period_us = quota.read_text().split()
        return max(1, min(cores, int(allowed_us) // int(period_us)))
    except (OSError, ValueError):  # there is none, or it says "max"
        return cores
