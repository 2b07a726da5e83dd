"""`python -m tests.bench.jobs PHOTOS`: a job over HTTP with the service restarted in its middle, beside online traffic.

The same traffic is offered before the job, during it, after the restart and after its end. In the end every photo of
the manifest has to be in the result exactly once.
"""

import asyncio
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


def main(
    photos: Annotated[Path, typer.Argument(help="Folder of JPEG files.")],
    count: Annotated[int, typer.Option(help="Photos of the job.")] = 5000,
    rate: Annotated[str, typer.Option(help="Online traffic in each phase, requests per second x seconds.")] = "2x120",
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
        with _service(config_file) as url:
            rows.append({"phase": "before the job", **_traffic(url, rate, online)})
            manifest = "\n".join(map(str, sorted(shop.iterdir())))
            text = {"content-type": "text/plain"}
            taken = httpx.post(f"{url}/v1/jobs?rows=photo", content=manifest, headers=text, timeout=60)
            path = taken.raise_for_status().headers["location"]
            _wait(url, path, lambda job: job["num_done"] > 0)
            rows.append({"phase": "during it", **_traffic(url, rate, online), **_progress(url, path)})
            _wait(url, path, lambda job: job["num_done"] >= count / 3)
        with _service(config_file) as url:
            _wait(url, path, lambda job: job["status"] == "running" and job["num_done"] > count / 3)
            rows.append({"phase": "after the restart", **_traffic(url, rate, online), **_progress(url, path)})
            job = _wait(url, path, lambda job: job["status"] in _ENDED)
            rows.append({"phase": "after its end", **_traffic(url, rate, online), **_progress(url, path)})
            found = _result(url, path)
    facts = {
        "bundle": loaded.digest,
        "photos": count,
        "status": job["status"],
        "errors": job["errors"],
        "every photo once": found == manifest.split("\n"),
    }
    publish("jobs", rows, facts, out)
    print(facts)


@contextmanager
def _service(config: Path) -> Iterator[str]:
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
            process.terminate()
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


def _traffic(url: str, rate: str, photos: list[LoadPhoto]) -> dict[str, Any]:
    records: list[Record] = []
    asyncio.run(open_loop(url, poisson(parse_profile(rate), 0), photos, timeout_s=60, note=records.append))
    summary = summarize(records)
    return {"requests": len(records), "answered": summary["answered"], **summary["latency_ms"]["corrected"]}


def _progress(url: str, path: str) -> dict[str, Any]:
    job = httpx.get(f"{url}{path}", timeout=60).json()
    return {"done": job["num_done"], "job photos/s": job.get("rate_per_s", "")}


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
