"""What the processes of a running service hold: memory, open files."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import processes

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Footprint:
    """Of one process: resident memory, the mapped parts of the object store among it, and open files."""

    memory_mb: float
    num_files: int


def footprints() -> dict[str, Footprint]:
    """Of all our descendants, by name and id: replicas, proxy, controller, and Ray's own."""
    found = {}
    for process in processes(""):
        folder = Path("/proc", str(process))
        try:
            name = _name(folder.joinpath("cmdline").read_text().split("\0"))
            pages = int(folder.joinpath("statm").read_text().split()[1])
            found[f"{name} {process}"] = Footprint(pages * _PAGE_MB, len(list(folder.joinpath("fd").iterdir())))
        except OSError:  # ended meanwhile
            continue
    return found


def _name(words: list[str]) -> str:
    """Of a process by its command line; what Ray puts behind a dot is the method that it runs at the moment."""
    if words[0].startswith("ray::"):
        return words[0].removeprefix("ray::").partition(".")[0]
    return Path(next((word for word in words if word.endswith(".py")), words[0])).name
