"""What every benchmark writes: the machine, the versions, the counts, and medians with their spread."""

import json
import os
import platform
import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

_PACKAGES = ("torch", "torchvision", "ray", "pillow", "numpy")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cpu": facts.get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in facts.get("flags", "").split()],
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        **{name: version(name) for name in _PACKAGES},
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, and the range that four fifths of the values lie in."""
    low, median, high = np.percentile(values, (10, 50, 90))
    return {"median": round(float(median), 3), "p10": round(float(low), 3), "p90": round(float(high), 3)}


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run all sides in turn, once to warm up and then `rounds` times; seconds of CPU time that each run took.

    On one thread that is the time it takes on an idle core; on a shared machine the clock on the wall says little. The
    order is drawn anew each round: whoever always came behind the largest would always find its caches cold.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    order, chance = list(sides.items()), random.Random(0)
    for number in range(rounds + 1):
        chance.shuffle(order)
        for name, run in order:
            begin = time.process_time()
            run()
            if number:
                taken[name].append(time.process_time() - begin)
    return taken


def publish(name: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], out_dir: Path) -> None:
    """Print the rows as a table and write everything as JSON; a dict in a row is shown by its median."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=name)
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    Console(width=160).print(table)
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("median", value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
