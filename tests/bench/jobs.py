"""`python -m tests.bench.jobs PHOTOS`: a job over HTTP, its service killed midway; and jobs beside online traffic.

In each round the same traffic is offered twice, alone and beside a job, which is then cancelled; the order turns from
round to round. After the rounds a job is left to run, the service is killed with `kill -9` and started again, and in
the end every photo of the manifest has to be in the result exactly once.
"""

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
import yaml

from models.bundle import load_bundle
from serve_app.config import TaggerArgs
from serve_app.load_report import summarize
from serve_app.loadtest import LoadPhoto, Record, open_loop, parse_profile, poisson
from serve_app.serve_config import serve_config
from tests.bench.catalog import fill_shop
from tests.bench.report import publish

_ENDED = ("succeeded", "failed", "cancelled")
_REPEATED = 10
_WARM_UP = "4x10"
_SETTLE_S = 10.0  # after a job is cancelled its workers end within seconds


def main(
    photos: Annotated[Path, typer.Argument(help="Folder of JPEG files.")],
    count: Annotated[int, typer.Option(help="Photos of the job.")] = 5000,
    rate: Annotated[str, typer.Option(help="Online traffic of a window, requests per second x seconds.")] = "4x60",
    rounds: Annotated[int, typer.Option(help="Windows alone and beside a job.")] = 4,
    bundle: Annotated[str, typer.Option(help="Path or URL of the bundle.")] = "demo",
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("out/bench"),
) -> None:
    """Run the benchmark."""
    rows: list[dict[str, Any]] = []
    loaded = load_bundle(TaggerArgs(bundle=bundle).bundle_uri)
    with tempfile.TemporaryDirectory(prefix="jobs-") as directory:
        shop, jobs_dir = Path(directory, "shop"), Path(directory, "jobs")
        fill_shop(shop, sorted(photos.glob("*.jpg"))[:count])
        config = serve_config(loaded.ontology.category_names, bundle, "local")
        config["applications"][0]["args"] |= {
            "num_threads": 1,
            "jobs_dir": str(jobs_dir),
            "jobs_roots": [str(shop), str(photos.resolve())],  # the shop's photos are links
        }
        config_file = Path(directory, "serve.yaml")
        config_file.write_text(yaml.safe_dump(config), encoding="utf-8")
        online = [LoadPhoto(path.read_bytes()) for path in sorted(photos.glob("*.jpg"))[-32:]]
        manifest = "\n".join(map(str, sorted(shop.iterdir())))
        endless = "\n".join([manifest] * _REPEATED)  # no window may see its end
        windows: dict[str, list[Record]] = {"alone": [], "beside a job": []}
        with _service(config_file, signal.SIGKILL) as url:
            _traffic(url, _WARM_UP, online, 0)
            for number in range(rounds):
                for name in sorted(windows, reverse=bool(number % 2)):
                    row, records = _window(url, endless, name != "alone", rate, online, number)
                    windows[name] += records
                    rows.append({"window": name, **row})
            path = _submit(url, manifest)
            begin = time.monotonic()
            _wait(url, path, lambda job: job["num_done"] >= count / 2)
        with _service(config_file, signal.SIGTERM) as url:
            before = _wait(url, path, lambda job: job["num_done"] > 0)["num_done"]
            job = _wait(url, path, lambda job: job["status"] in _ENDED)
            seconds = time.monotonic() - begin
            found = _result(url, path)
    facts = {
        "bundle": loaded.digest,
        "photos": count,
        "status": job["status"],
        "errors": job["errors"],
        "done when seen after the restart": before,
        "every photo once": found == manifest.split("\n"),
        "job s, restart included": round(seconds),
        **_compared(windows),
    }
    publish("jobs", rows, facts, out)
    print({name: value for name, value in facts.items() if name != "bundle"})


def _window(
    url: str, manifest: str, is_beside: bool, rate: str, online: list[LoadPhoto], seed: int
) -> tuple[dict[str, Any], list[Record]]:
    """Traffic for a while; beside a job it begins once the job's first part is there."""
    if not is_beside:
        records = _traffic(url, rate, online, seed)
        return _summary(records), records
    path = _submit(url, manifest)
    before = _wait(url, path, lambda job: job["num_done"] > 0)["num_done"]
    records = _traffic(url, rate, online, seed)
    job = httpx.get(f"{url}{path}", timeout=60).json()
    if job["status"] != "running":
        raise RuntimeError(f"the job ended before the window did: {job}")
    httpx.post(f"{url}{path}/cancel", timeout=60).raise_for_status()
    time.sleep(_SETTLE_S)
    return {**_summary(records), "tagged by the job meanwhile": job["num_done"] - before}, records


def _compared(windows: dict[str, list[Record]]) -> dict[str, Any]:
    """Percentiles of both kinds of windows, and how far apart, with the range of 19 of 20 resampled runs."""
    alone, beside = ([1000 * record.latency_s for record in windows[name]] for name in sorted(windows))
    if not alone or not beside:
        return {}
    facts: dict[str, Any] = {"requests a side": len(alone), "unanswered": _num_unanswered(windows)}
    rng = np.random.default_rng(0)
    for percentile in (50, 95, 99):
        values = [np.percentile(each, percentile) for each in (alone, beside)]
        ratios = [
            np.percentile(rng.choice(beside, len(beside)), percentile)
            / np.percentile(rng.choice(alone, len(alone)), percentile)
            for _ in range(1000)
        ]
        facts[f"p{percentile} ms"] = {
            "alone": round(float(values[0]), 1),
            "beside": round(float(values[1]), 1),
            "ratio": round(float(values[1] / values[0]), 3),
            "range": [round(float(each), 3) for each in np.percentile(ratios, (2.5, 97.5))],
        }
    return facts


def _num_unanswered(windows: dict[str, list[Record]]) -> int:
    return sum(not record.is_answered for records in windows.values() for record in records)


def _submit(url: str, manifest: str) -> str:
    text = {"content-type": "text/plain"}
    taken = httpx.post(f"{url}/v1/jobs?rows=photo", content=manifest, headers=text, timeout=60)
    return str(taken.raise_for_status().headers["location"])


@contextmanager
def _service(config: Path, ended_by: signal.Signals) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = "from serve_app.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", "--config", str(config), "--port", str(port)]
    with subprocess.Popen(command) as process:
        url = f"http://127.0.0.1:{port}"
        while process.poll() is None and not _is_ready(url):
            time.sleep(0.5)
        try:
            yield url
        finally:
            process.send_signal(ended_by)
            process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(url: str, path: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while True:
        response = httpx.get(f"{url}{path}", timeout=60)
        if response.status_code == 200 and (holds(response.json()) or response.json()["status"] in _ENDED):
            return dict(response.json())
        time.sleep(0.5)


def _traffic(url: str, rate: str, photos: list[LoadPhoto], seed: int) -> list[Record]:
    return asyncio.run(open_loop(url, poisson(parse_profile(rate), seed), photos, timeout_s=60))


def _summary(records: list[Record]) -> dict[str, Any]:
    summary = summarize(records)
    return {"requests": len(records), "answered": summary["answered"], **summary["latency_ms"]["corrected"]}


def _result(url: str, path: str) -> list[str]:
    found: list[str] = []
    page: int | None = 0
    while page is not None:
        body = httpx.get(f"{url}{path}/results", params={"page": page}, timeout=60).raise_for_status().json()
        found += [row["photo"] for row in body["rows"]]
        page = body.get("next_page")
    return found


if __name__ == "__main__":
    typer.run(main)
