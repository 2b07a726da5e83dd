"""`python -m tests.bench.catalog PHOTOS`: a catalogue with broken files, killed twice, against a bare loop.

Between the stretches of the catalogue, on the same cores, a bare loop over the same photos is timed, so that both sides
see the same machine. The rate of a stretch is taken between its parts, so without the start of its processes, which is
said beside it; CPU time of a photo, of all processes together, likewise: on a busy machine it says more than the clock.
What comes out in the end is checked: every photo has exactly one outcome.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from models.bundle import load_bundle
from serve_app.catalog.plan import parts_done, read_plan
from serve_app.catalog.storage import Folder
from serve_app.config import TaggerArgs
from tests.bench.bare import bare_rate
from tests.bench.report import publish, spread
from tests.bench.serving import family_cpu_s

_BROKEN_PER = 100


def main(
    photos: Annotated[Path, typer.Argument(help="Folder of JPEG files.")],
    count: Annotated[int, typer.Option(help="Photos of the catalogue.")] = 5000,
    kills: Annotated[int, typer.Option(help="How often it is killed.")] = 2,
    bundle: Annotated[str, typer.Option(help="Path or URL of the bundle.")] = "demo",
    seconds: Annotated[float, typer.Option(help="Of the bare loop between stretches.")] = 30.0,
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("out/bench"),
) -> None:
    """Run the benchmark."""
    cores = os.cpu_count() or 1
    rows: list[dict[str, Any]] = []
    bare: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="catalog-") as directory:
        shop, to = Path(directory, "shop"), Path(directory, "out")
        fill_shop(shop, sorted(photos.glob("*.jpg"))[:count])
        for stretch in range(kills + 1):
            bare.append(_bare(shop, bundle, cores, seconds))
            share = (stretch + 1) / (kills + 1)
            rows.append({"stretch": stretch + 1, **_stretch(shop, to, bundle, share)})
            rows[-1] |= {f"bare {name}": bare[-1][name] for name in ("photos_per_s", "cpu_ms")}
        bare.append(_bare(shop, bundle, cores, seconds))
        outcomes = _outcomes(to)
    facts: dict[str, Any] = {"bundle": load_bundle(TaggerArgs(bundle=bundle).bundle_uri).digest, "photos": count}
    for name in ("photos_per_s", "cpu_ms"):
        sides = spread([each[name] for each in bare]), spread([row[name] for row in rows])
        ratio = round(sides[1]["median"] / sides[0]["median"], 3)
        facts[name] = {"bare": sides[0], "catalog": sides[1], "ratio": ratio}
    facts |= outcomes
    publish("catalog", rows, facts, out)
    print({name: value for name, value in facts.items() if name != "bundle"})


def fill_shop(shop: Path, files: list[Path]) -> None:
    """Links to the photos; every hundredth is text, or ends too early, in turn."""
    shop.mkdir()
    for index, file in enumerate(files):
        place = shop / f"{index:06d}.jpg"
        if index % _BROKEN_PER:
            place.symlink_to(file.resolve())
        else:
            place.write_bytes(b"no picture" if index % (2 * _BROKEN_PER) else file.read_bytes()[:2000])


def _bare(shop: Path, bundle: str, cores: int, seconds: float) -> dict[str, float]:
    """A loop on each core, with a thread, over whole photos.

    Each is held on its core: two busy processes on a machine with others were seen to share one for minutes.
    """
    whole = shop.parent / "whole"
    if not whole.exists():
        whole.mkdir()
        for place in sorted(shop.iterdir())[: 2 * _BROKEN_PER]:
            if place.is_symlink():
                (whole / place.name).symlink_to(place.resolve())
    return bare_rate(bundle, whole, processes=cores, threads=1, batch=8, seconds=seconds, is_pinned=True)


def _stretch(shop: Path, to: Path, bundle: str, share: float) -> dict[str, Any]:
    """Run the command until a share of the parts is there, and kill it; to its end where the share is one."""
    begin = time.time()
    command = "from serve_app.cli import main; main()"
    arguments = [str(shop), "--out", str(to), "--bundle", bundle, "--rows", "photo"]
    process = subprocess.Popen([sys.executable, "-c", command, "catalog", *arguments])
    workers = os.cpu_count() or 1  # of the first part of each the time is not known
    before = parts_done(Folder(str(to)))
    cpu_s: list[tuple[int, float]] = []
    while process.poll() is None:
        plan, done = read_plan(Folder(str(to))), parts_done(Folder(str(to)))
        if len(done - before) >= workers:
            cpu_s.append((len(done), family_cpu_s(process.pid)))
        if share < 1 and plan is not None and len(done) >= share * plan.num_parts:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.2)
    new = sorted(path for path in to.glob("part-*.parquet") if int(path.stem[-6:]) not in before)
    ends = sorted((path.stat().st_mtime, pq.read_metadata(path).num_rows) for path in new)
    tagged = sum(num_rows for _, num_rows in ends[workers:])
    return {
        "status": process.returncode,
        "photos": sum(num_rows for _, num_rows in ends),
        "photos_per_s": round(tagged / (ends[-1][0] - ends[workers - 1][0]), 2),
        "cpu_ms": _per_photo_ms(cpu_s, ends[0][1]),
        "first part after s": round(ends[0][0] - begin, 1),
    }


def _per_photo_ms(cpu_s: list[tuple[int, float]], part_photos: int) -> float:
    """Between the first moment that is known and the last at which a part was finished."""
    first, last = cpu_s[0], next(each for each in cpu_s if each[0] == cpu_s[-1][0])
    return round(1000 * (last[1] - first[1]) / ((last[0] - first[0]) * part_photos), 2)


def _outcomes(to: Path) -> dict[str, Any]:
    """Counts of the output, and whether every photo is in it once."""
    table = pq.read_table(to, columns=["row", "error_code"])
    numbers = table.column("row").to_pylist()
    codes = [code for code in table.column("error_code").to_pylist() if code]
    return {
        "rows": len(numbers),
        "every photo once": sorted(numbers) == list(range(len(numbers))),
        "errors": {code: codes.count(code) for code in sorted(set(codes))},
    }


if __name__ == "__main__":
    typer.run(main)
