"""What a load test found: percentiles that hide no stall, errors by code, a table for a terminal and a picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from serve_app.loadtest import Record

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
_COLOURS = ("#1b7a48", "#d98a00", "#c0392b", "#7b3fa0", "#31688e", "#555555")


def corrected_s(latency_s: NDArray[np.float64], interval_s: float) -> NDArray[np.float64]:
    """Latencies of a closed loop, with those added that its callers did not ask for while they waited.

    A caller that waits 3 s asks nothing meanwhile; others like it would have, every `interval_s`, and would have waited
    the rest of the 3 s. As HdrHistogram corrects: https://hdrhistogram.github.io/HdrHistogram/

    Args:
        latency_s: (N,).
        interval_s: between two requests of a caller when nothing stalls, > 0.
    """
    missed = np.floor(latency_s / interval_s).astype(int) - 1
    added = [each - interval_s * np.arange(1, count + 1) for each, count in zip(latency_s, missed, strict=True)]
    return np.concatenate([latency_s, *added])


def summarize(records: Sequence[Record], num_callers: int | None = None) -> dict[str, Any]:
    """Figures of a run, for JSON.

    Latency is that of answered requests, in milliseconds, `corrected` for coordinated omission: in an open loop it
    counts from when the schedule wanted the request to leave, in a closed loop missed requests are added, a caller's
    median wait taken as its interval. `uncorrected` counts from when a request left.

    Args:
        records: of the run; not empty.
        num_callers: of a closed loop; None for an open one.
    """
    answered = [record for record in records if record.is_answered]
    sent = np.array([record.end_s - record.sent_s for record in answered])
    if num_callers is None:
        corrected = np.array([record.latency_s for record in answered])
    else:
        corrected = corrected_s(sent, max(1e-3, float(np.median(sent)))) if answered else sent
    elapsed_s = max(record.end_s for record in records)
    return {
        "loop": "open" if num_callers is None else f"closed, {num_callers} callers",
        "requests": len(records),
        "answered": len(answered),
        "elapsed_s": round(elapsed_s, 2),
        "answered_per_s": round(len(answered) / elapsed_s, 2),
        "by_code": dict(Counter(record.code for record in records).most_common()),
        "latency_ms": {"corrected": _percentiles(corrected), "uncorrected": _percentiles(sent)},
        # a sender that is late by more than a few milliseconds is itself the bottleneck
        "sender_late_ms": round(1000 * max(record.sent_s - record.due_s for record in records), 1),
    }


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The figures for a terminal."""
    title = (
        f"{summary['requests']} requests in {summary['elapsed_s']:.1f} s ({summary['loop']}), "
        f"{summary['answered_per_s']:.1f} answered per second"
    )
    table = Table(title=title, title_justify="left")
    corrected, uncorrected = summary["latency_ms"]["corrected"], summary["latency_ms"]["uncorrected"]
    table.add_column("latency, ms")
    for name in corrected:
        table.add_column(name, justify="right")
    table.add_row("corrected", *(f"{value:.0f}" for value in corrected.values()))
    table.add_row("from leaving", *(f"{value:.0f}" for value in uncorrected.values()), style="dim")
    codes = ", ".join(f"{code} {count}" for code, count in summary["by_code"].items())
    table.caption = f"{codes}; sender late by {summary['sender_late_ms']:.0f} ms at most"
    table.caption_justify = "left"
    return table


def draw_load(records: Sequence[Record], summary: Mapping[str, Any], path: Path) -> None:
    """Draw latency and outcome of every request over time, below it what was offered and answered each second."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for colour, code in zip(_COLOURS, summary["by_code"], strict=False):
        chosen = [record for record in records if record.code == code]
        above.plot(
            [record.due_s for record in chosen],
            [1000 * record.latency_s for record in chosen],
            ".",
            color=colour,
            markersize=4,
            label=f"{code} ({len(chosen)})",
        )
    for name, value in summary["latency_ms"]["corrected"].items():
        if name in ("p50", "p99"):
            above.axhline(value, color="#888888", linewidth=0.8, linestyle="--")
            above.annotate(f"{name} {value:.0f} ms", (1, value), xycoords=("axes fraction", "data"), fontsize=8)
    above.set(ylabel="latency, ms", yscale="log", title=f"{summary['requests']} requests, {summary['loop']} loop")
    above.legend(loc="upper left", fontsize=8)
    end_s = int(summary["elapsed_s"]) + 1
    due = np.bincount([int(record.due_s) for record in records], minlength=end_s)
    answered = np.bincount([int(record.end_s) for record in records if record.is_answered], minlength=end_s)
    below.stairs(due, range(len(due) + 1), color="#888888", label="offered")
    below.stairs(answered, range(len(answered) + 1), color=_COLOURS[0], label="answered")
    below.set(xlabel="seconds", ylabel="requests per second", ylim=(0, None))
    below.legend(loc="upper left", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _percentiles(latency_s: NDArray[np.float64]) -> dict[str, float]:
    if not len(latency_s):
        return {}
    values = np.percentile(1000 * latency_s, PERCENTILES, method="higher")
    named = {f"p{percentile:g}": round(float(value), 1) for percentile, value in zip(PERCENTILES, values, strict=True)}
    return {**named, "max": round(float(1000 * latency_s.max()), 1)}
