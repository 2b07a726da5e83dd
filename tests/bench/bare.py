"""The limit that `efficiency` holds the service against: the same steps on the same photos in a plain loop.

`python -m tests.bench.bare` is one process of it: decode, letterbox, detect a batch, crop, colours, classify.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def bare_rate(
    bundle: str, photos: Path, *, processes: int, threads: int, batch: int, seconds: float, is_pinned: bool = False
) -> dict[str, float]:
    """Photos per second of all processes together, median time of one batch, and CPU time of a photo, both in ms.

    With `is_pinned` each process has a core to itself, the next one in turn.
    """
    setup = json.dumps({"bundle": bundle, "photos": str(photos), "threads": threads, "batch": batch})
    command = [sys.executable, "-m", "tests.bench.bare", setup, str(seconds)]
    loops = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    if is_pinned:
        cores = sorted(os.sched_getaffinity(0))
        for number, loop in enumerate(loops):
            os.sched_setaffinity(loop.pid, {cores[number % len(cores)]})
    for loop in loops:
        assert loop.stdout and loop.stdout.readline() == "ready\n"
    for loop in loops:
        assert loop.stdin
        loop.stdin.write("go\n")
        loop.stdin.flush()
    results = [json.loads(loop.communicate()[0]) for loop in loops]
    return {
        "photos_per_s": round(sum(each["photos_per_s"] for each in results), 2),
        "batch_ms": round(float(np.median([each["batch_ms"] for each in results])), 2),
        "cpu_ms": round(float(np.mean([each["cpu_ms"] for each in results])), 2),
    }


def main() -> None:
    """One process: load, say ready, wait for go, loop, print the rate."""
    import torch

    from models.bundle import load_bundle
    from models.colours import garment_colours
    from models.images import crop_square, decode_image, detector_canvas, letterbox
    from serve_app.config import TaggerArgs

    setup, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(setup["threads"])
    bundle = load_bundle(TaggerArgs(bundle=setup["bundle"]).bundle_uri)
    detector, classifiers = bundle.load_detector(), bundle.load_classifiers()
    files = [path.read_bytes() for path in sorted(Path(setup["photos"]).glob("*.jpg"))]

    def once(begin: int) -> None:
        images = [decode_image(files[(begin + row) % len(files)]) for row in range(setup["batch"])]
        boxed = [letterbox(each, detector_canvas(each.shape[:2], bundle.detector_long_side_px)) for each in images]  # type: ignore[arg-type]
        crops: dict[str, list[Any]] = {}
        for image, (_, scale), found in zip(
            images, boxed, detector.detect([each for each, _ in boxed], 0.5), strict=True
        ):
            for garment in found:
                x1, y1, x2, y2 = (side / scale for side in garment.box)
                box = (x1, y1, max(x1 + 1, x2), max(y1 + 1, y2))
                crop = crop_square(image, box, bundle.crop_size_px, bundle.crop_pad_ratio)
                crops.setdefault(garment.category, []).append(crop)
                colours = bundle.ontology.categories[garment.category].attributes["colour"].values
                garment_colours(image, box, colours)
        for category, own in crops.items():
            classifiers[category].classify(np.stack(own))

    once(0)
    once(0)
    print("ready", flush=True)
    sys.stdin.readline()
    taken, begin, begin_cpu = [], time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        started = time.perf_counter()
        once(len(taken) * setup["batch"])
        taken.append(time.perf_counter() - started)
    rate = len(taken) * setup["batch"] / (time.perf_counter() - begin)
    cpu_ms = 1000 * (time.process_time() - begin_cpu) / (len(taken) * setup["batch"])
    print(json.dumps({"photos_per_s": rate, "batch_ms": 1000 * float(np.median(taken)), "cpu_ms": cpu_ms}))


if __name__ == "__main__":
    main()
