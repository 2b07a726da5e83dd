"""A side of a comparison in a process of its own: Ray reads its flags at import, so sides cannot share one.

`Side` starts `python -m tests.bench.serving`, which prints where it listens and stops when its input is closed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

_START_LIMIT_S = 240.0


@dataclass(frozen=True)
class Setup:
    """What a side runs.

    Attributes:
        kind: `ours`; `defaults`, the composition as Ray Serve's tutorials write it, `roomy` with 100 calls at once per
            replica; `uvicorn`, one process per core.
        bundle: gives the ontology, and the models where they are real.
        detector, classifiers: `real`, or `nothing`.
        num_garments: fewest and most per photo that a detector of nothing finds; `mix` is uniform or skewed.
        args: of the application, besides the bundle.
        options: of every deployment; replaces what the profile says.
        environment: flags, set before Ray is imported.
        categories: the first so many of the bundle; 0 for all.
    """

    kind: str = "ours"
    bundle: str = "demo"
    detector: str = "real"
    classifiers: str = "real"
    num_garments: tuple[int, int] = (1, 1)
    mix: str = "uniform"
    args: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    categories: int = 0


class Side:
    """A running side; `url`, `start_s` from command to first answer, `steps_s` of the start, `num_batches`."""

    def __init__(self, setup: Setup, photo: bytes) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
        begin = time.monotonic()
        command = [sys.executable, "-m", "tests.bench.serving", json.dumps(asdict(setup)), str(self._dir)]
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), **setup.environment}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        try:
            assert self._process.stdout
            # Ray writes its warnings there too.
            facts = json.loads(next((line for line in self._process.stdout if line.startswith("{")), "{}"))
            if not facts:
                raise RuntimeError(f"a side did not start: {setup}")
            self.url = str(facts["url"])
            self.steps_s: dict[str, float] = facts["steps_s"]
            self._first_answer(photo)
            self.start_s = time.monotonic() - begin
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def num_batches(self) -> int:
        """Batches that the detector has computed so far."""
        path = self._dir / "batches"
        return path.stat().st_size if path.exists() else 0

    @property
    def cpu_s(self) -> float:
        """CPU time that all its processes have taken so far."""
        return family_cpu_s(self._process.pid)

    def _first_answer(self, photo: bytes) -> None:
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until:
            try:
                if httpx.post(f"{self.url}/v1/tag", content=photo, timeout=60).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise RuntimeError("a side gave no answer")

    def replica_memory_mb(self) -> dict[str, float]:
        """Memory of each of its replicas that no other process shares (USS), in MB."""
        found: dict[str, float] = {}
        for number in family_ticks(self._process.pid):
            path = Path("/proc", str(number))
            try:
                title = (path / "cmdline").read_bytes().decode(errors="replace").rstrip("\0")
                if "ServeReplica" not in title:
                    continue
                rows = dict(line.split(":", 1) for line in (path / "smaps_rollup").read_text().splitlines()[1:])
            except OSError:  # it has just ended
                continue
            private_kb = sum(int(rows[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))
            found[f"{title.split(':')[4]}-{number}"] = round(private_kb / 1024)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=120)
        shutil.rmtree(self._dir, ignore_errors=True)


def family_cpu_s(pid: int) -> float:
    """CPU time of a process and of all that descend from it."""
    return sum(family_ticks(pid).values()) / os.sysconf("SC_CLK_TCK")


def family_ticks(pid: int) -> dict[int, int]:
    """The process and all that descend from it, with the ticks of CPU time that each has taken."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        number = int(path.parent.name)
        parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    own = {pid}
    while more := {number for number, parent in parents.items() if parent in own} - own:
        own |= more
    return {number: ticks.get(number, 0) for number in own}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bind(setup: Setup, directory: Path, options_of: Any) -> Any:
    """Our application with the models that the setup asks for."""
    from dataclasses import replace

    from models.bundle import load_bundle
    from models.ontology import Ontology
    from serve_app.app import bind_app
    from serve_app.bundle_facts import BundleFacts
    from serve_app.config import TaggerArgs
    from serve_app.loading import load_classifier, load_detector
    from tests.bench.stand_ins import load_counted, load_fixed, load_scripted, weights_of

    args = TaggerArgs(bundle=setup.bundle, **setup.args)
    bundle = BundleFacts.of(load_bundle(args.bundle_uri))
    if setup.categories:
        data = bundle.ontology.to_dict()
        data["categories"] = dict(list(data["categories"].items())[: setup.categories])
        bundle = replace(bundle, ontology=Ontology.from_dict(data))
    names = bundle.ontology.category_names
    load: Any = partial(load_detector, args=args)
    if setup.detector != "real":
        load = partial(load_scripted, setup.num_garments, weights_of(names, setup.mix))

    def classifier(category: str) -> Any:
        if setup.classifiers == "real":
            return partial(load_classifier, category=category, args=args)
        return partial(load_fixed, bundle.ontology.categories[category])

    counted = partial(load_counted, load, directory / "batches")
    return bind_app(args, bundle, counted, classifier, options_of)


def _serve_ours(setup: Setup, directory: Path) -> None:
    from serve_app.config import TaggerArgs
    from serve_app.deployments import deployment_options
    from serve_app.start import StartOptions, start_service

    def options_of(name: str) -> dict[str, Any]:
        return {**deployment_options(name), **setup.options.get(name.split("-")[0], {})}

    options = StartOptions(port=free_port(), temp_dir=directory / "ray", options_of=options_of)
    args = TaggerArgs(bundle=setup.bundle, **setup.args)
    with start_service(args, options, lambda text: None, lambda given: bind(setup, directory, given)) as service:
        _wait(service.url, service.durations_s)


def _wait(url: str, steps_s: Mapping[str, float]) -> None:
    print(json.dumps({"url": url, "steps_s": dict(steps_s)}), flush=True)
    sys.stdin.read()


def main() -> None:
    """Run one side until the input ends."""
    setup, directory = Setup(**json.loads(sys.argv[1])), Path(sys.argv[2])
    if setup.kind == "ours":
        _serve_ours(setup, directory)
    else:
        from tests.bench.rivals import serve_defaults, serve_uvicorn

        (serve_uvicorn if setup.kind == "uvicorn" else serve_defaults)(setup, directory, _wait)


if __name__ == "__main__":
    main()
