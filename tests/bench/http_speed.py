"""The benchmarks over HTTP: `efficiency`, `overhead`, `payload`, `mix`, `scale` and `start`."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle
from tests.bench.bare import bare_rate
from tests.bench.load import Answers, closed_loop
from tests.bench.photos import jpegs
from tests.bench.report import publish, spread
from tests.bench.serving import Setup, Side

CONCURRENCIES = (1, 8, 32, 64)
_CORES = os.cpu_count() or 1


def with_replicas(setup: Setup, count: int) -> Setup:
    """So many of each kind throughout, unless the setup says otherwise: a replica that starts takes measured cores."""
    own = {"autoscaling_config": None, "num_replicas": count}
    return replace(setup, options={**dict.fromkeys(("router", "detector", "classifier"), own), **setup.options})


def efficiency(bundle: Bundle, out_dir: Path, *, seconds: float, rounds: int, setup: Setup) -> None:
    """HTTP at saturation against the bare loop, one round after the other; where the time of a request goes."""
    bodies = jpegs(64)
    rows: list[dict[str, Any]] = []
    setup = with_replicas(setup, 1)
    with tempfile.TemporaryDirectory() as directory, Side(setup, bodies[0]) as side:
        closed_loop(side.url, bodies, 8, 2)
        for number, body in enumerate(bodies):
            (Path(directory) / f"{number:03}.jpg").write_bytes(body)
        for number in range(rounds):
            for processes, threads, batch in (
                (1, _CORES, 1),
                (1, 1, 1),
                (1, _CORES, 8),
                (_CORES, 1, 8),
                (_CORES, 1, 32),
            ):
                rate = bare_rate(
                    setup.bundle,
                    Path(directory),
                    processes=processes,
                    threads=threads,
                    batch=batch,
                    seconds=seconds / 2,
                )
                rows.append({"side": f"bare {processes} x {threads} threads, batch {batch}", "round": number, **rate})
            best = max(row["photos_per_s"] for row in rows if row["round"] == number)
            least = min(row["cpu_ms"] for row in rows if row["round"] == number)
            for callers in CONCURRENCIES:
                before, batches = side.cpu_s, side.num_batches
                answers = closed_loop(side.url, bodies, callers, seconds, warm_up_s=0)
                cpu_ms = 1000 * (side.cpu_s - before) / max(1, answers.num_sent)
                rows.append(
                    {"side": f"http, {callers} callers", "round": number, **answers.summary(), **_stages(answers)}
                    | {"cpu_ms": round(cpu_ms, 2), "of_bare": round(answers.per_second / best, 3)}
                    | {"of_bare_cpu": round(least / cpu_ms, 3)}
                    | {"mean_batch": round(answers.num_sent / max(1, side.num_batches - batches), 2)}
                )
        start = {"first_answer_s": side.start_s, "steps_s": side.steps_s, "memory_mb": side.replica_memory_mb()}
    publish("efficiency", rows, {**_facts(bundle, bodies), **start}, out_dir)
    print(start)


def _stages(answers: Answers) -> dict[str, float]:
    """Mean ms of each stage, and what lies between the router and the caller."""
    if not answers.timings:
        return {}
    names = ("decode", "detect", "classify", "total")
    stages = {f"{name}_ms": round(float(np.mean([each[name] for each in answers.timings])), 2) for name in names}
    stages["outside_ms"] = round(float(np.mean(answers.latencies_ms)) - stages["total_ms"], 2)
    return stages


def overhead(bundle: Bundle, out_dir: Path, *, seconds: float, rounds: int, setup: Setup) -> None:
    """Models that do nothing: ours, Ray Serve's defaults, those with room for a hundred calls, uvicorn per core."""
    bodies = jpegs(32, long_side_px=640, num_bytes=80_000)
    rows: list[dict[str, Any]] = []
    setup = with_replicas(replace(setup, detector="nothing", classifiers="nothing"), 1)
    for number in range(rounds):
        for kind in ("ours", "defaults", "roomy", "uvicorn"):
            with Side(replace(setup, kind=kind), bodies[0]) as side:
                closed_loop(side.url, bodies, 8, 1)
                for callers in (1, 32):
                    before = side.cpu_s
                    answers = closed_loop(side.url, bodies, callers, seconds)
                    cpu_ms = round(1000 * (side.cpu_s - before) / max(1, answers.num_sent), 2)
                    rows.append(
                        {"side": kind, "callers": callers, "round": number, **answers.summary(), "cpu_ms": cpu_ms}
                    )
    publish("overhead", rows, _facts(bundle, bodies), out_dir)


def payload(bundle: Bundle, out_dir: Path, *, seconds: float, rounds: int, setup: Setup) -> None:
    """Photos of 20 kB to 5 MB each by themselves, then large ones in the stream of small ones."""
    small, large = jpegs(16, 360), jpegs(4, 3000, 5_000_000)
    kinds = {"20 kB": small, "80 kB": jpegs(16, 640, 80_000), "500 kB": jpegs(8, 1400, 500_000), "5 MB": large}
    rows: list[dict[str, Any]] = []
    with Side(with_replicas(setup, 1), small[0]) as side:
        for number in range(rounds):
            for name, bodies in kinds.items():
                answers = closed_loop(side.url, bodies, 8, seconds)
                rows.append({"photos": name, "round": number, "kB": _kb(bodies), **answers.summary()})
            mixed = small * 3 + large[:2]  # 2 of 50 are large
            answers = closed_loop(side.url, mixed, 8, seconds)
            small_ms = [
                each for each, index in zip(answers.latencies_ms, answers.body_index, strict=True) if index < 48
            ]
            p99_ms = round(float(np.percentile(small_ms, 99)), 2)
            rows.append({"photos": "20 kB of a mix", "round": number, "kB": _kb(small), "p99_ms": p99_ms})
    publish("payload", rows, _facts(bundle, small), out_dir)


def mix(bundle: Bundle, out_dir: Path, *, seconds: float, rounds: int, setup: Setup) -> None:
    """Uniform and skewed categories, few and many garments: the detector draws lots, the classifiers are real."""
    bodies = jpegs(32)
    rows: list[dict[str, Any]] = []
    for name, garments in (("uniform", (0, 3)), ("skewed", (0, 3)), ("uniform", (0, 12)), ("skewed", (0, 12))):
        own = replace(setup, detector="nothing", num_garments=garments, mix=name)
        with Side(with_replicas(own, 1), bodies[0]) as side:
            for number in range(rounds):
                answers = closed_loop(side.url, bodies, 32, seconds)
                per_photo = float(np.mean(answers.num_garments)) if answers.num_garments else 0.0
                rows.append(
                    {"mix": name, "garments": f"{garments[0]} to {garments[1]}", "round": number, **answers.summary()}
                    | {"garments_per_s": round(per_photo * answers.per_second, 1)}
                )
    publish("mix", rows, _facts(bundle, bodies), out_dir)


def scale(bundle: Bundle, out_dir: Path, *, seconds: float, rounds: int, setup: Setup) -> None:
    """One to N replicas of each deployment."""
    bodies = jpegs(64)
    rows: list[dict[str, Any]] = []
    for count in range(1, min(_CORES, 4) + 1):
        with Side(with_replicas(setup, count), bodies[0]) as side:
            closed_loop(side.url, bodies, 8, 1)
            for number in range(rounds):
                answers = closed_loop(side.url, bodies, 32, seconds)
                rows.append({"replicas": count, "round": number, **answers.summary()})
    publish("scale", rows, _facts(bundle, bodies), out_dir)


def start(bundle: Bundle, out_dir: Path, *, seconds: float, rounds: int, setup: Setup) -> None:
    """From the command to the first answer, step by step, and the memory of each replica, by number of categories."""
    bodies = jpegs(1)
    rows: list[dict[str, Any]] = []
    num_all = len(bundle.ontology.category_names)
    for number in range(rounds):
        for count in (num_all, num_all - 1):
            with Side(replace(setup, categories=count), bodies[0]) as side:
                memory = side.replica_memory_mb()
                heads = [value for name, value in memory.items() if "classifier" in name.lower()]
                rows.append(
                    {"categories": count, "round": number, "first_answer_s": round(side.start_s, 1)}
                    | {f"{name}_s": value for name, value in side.steps_s.items()}
                    | {
                        "classifier_mb": spread(heads) if heads else 0,
                        "all_mb": sum(memory.values()),
                        "replicas": memory,
                    }
                )
    publish("start", rows, _facts(bundle, bodies), out_dir)


def _kb(bodies: Sequence[bytes]) -> int:
    return round(float(np.mean([len(body) for body in bodies])) / 1000)


def _facts(bundle: Bundle, bodies: Sequence[bytes]) -> dict[str, Any]:
    return {
        "bundle": {"label": bundle.label, "digest": bundle.digest},
        "photos": {"count": len(bodies), "mean_kb": _kb(bodies)},
    }
