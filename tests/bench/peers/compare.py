"""The benchmark `peers`: the same models and photos in other servers, each in its own environment, against ours."""

import base64
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from models.bundle import Bundle
from tests.bench.http_speed import with_replicas
from tests.bench.load import Answers, Wire, closed_loop, open_loop, post
from tests.bench.peers.steps import BUNDLE_VARIABLE, PORT_VARIABLE
from tests.bench.photos import jpegs
from tests.bench.report import publish
from tests.bench.serving import Setup, Side, family_cpu_s, family_ticks, free_port

PACKAGES = {"fastapi": "fastapi", "litserve": "litserve", "bentoml": "bentoml", "triton": "nvidia-pytriton"}
CALLERS = (16, 32)
SHARES = (0.3, 0.7)
_START_LIMIT_S, _STOP_LIMIT_S = 240.0, 30.0


def _json_wire(host: str, photo: bytes) -> bytes:
    body = json.dumps({"image_data": base64.b64encode(photo).decode()}).encode()
    return post(host, body, headers="Content-Type: application/json")


def _triton_wire(host: str, photo: bytes) -> bytes:
    """Triton's binary tensor data: JSON first, then the one element with its length before it."""
    tensor = struct.pack("<I", len(photo)) + photo
    size = {"binary_data_size": len(tensor)}
    photo_facts = {"name": "PHOTO", "shape": [1, 1], "datatype": "BYTES", "parameters": size}
    head = json.dumps({"inputs": [photo_facts]}).encode()
    headers = f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {len(head)}"
    return post(host, head + tensor, "/v2/models/tagger/infer", headers)


WIRES: Mapping[str, Wire] = {"litserve": _json_wire, "triton": _triton_wire}


class PeerSide:
    """A running peer, as a context: `url`, `cpu_s` of all its processes, `versions` of its packages."""

    def __init__(self, name: str, python: str, bundle: Bundle, photo: bytes) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="peer-", dir="/tmp"))
        self.versions = _versions(python, PACKAGES[name])
        number = free_port()
        self.url = f"http://127.0.0.1:{number}"
        own = {BUNDLE_VARIABLE: str(bundle.dir.resolve()), PORT_VARIABLE: str(number), "PYTHONPATH": os.getcwd()}
        command = [python, "-m", f"tests.bench.peers.{name}_side", str(self._dir)]
        with (self._dir / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1", **own},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._first_answer(WIRES.get(name, post), photo)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def cpu_s(self) -> float:
        return family_cpu_s(self._process.pid)

    def _first_answer(self, wire: Wire, photo: bytes) -> None:
        until = time.monotonic() + _START_LIMIT_S
        while self._process.poll() is None and time.monotonic() < until:
            with suppress(OSError, HTTPException, ValueError, LookupError):
                _categories(self.url, wire, photo)
                return
            time.sleep(0.5)
        raise RuntimeError("\n".join((self._dir / "log").read_text(errors="replace").splitlines()[-20:]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = set(family_ticks(self._process.pid))  # some start sessions of their own
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_LIMIT_S)
        for number in family:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._dir, ignore_errors=True)


def _versions(python: str, package: str) -> dict[str, str]:
    names = (package, "torch", "numpy")
    code = f"import sys; from importlib.metadata import version as v; print(sys.version.split()[0], *map(v, {names}))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(("python", *names), found, strict=True))


def peers(
    bundle: Bundle, out_dir: Path, *, seconds: float, rounds: int, setup: Setup, pythons: Mapping[str, str]
) -> None:
    """Saturation of each, then its latency at shares of its own saturation; `pythons` names the interpreter of each."""
    for name in set(PACKAGES) - set(pythons):
        print(f"skipped {name}: name the interpreter of an environment that has {PACKAGES[name]}")
    bodies = jpegs(64)
    setup = with_replicas(setup, 1)
    rows: list[dict[str, Any]] = []
    versions: dict[str, Mapping[str, str]] = {}
    for number in range(rounds):
        for name in ("ours", *(name for name in PACKAGES if name in pythons)):
            wire = WIRES.get(name, post)
            side: Any = Side(setup, bodies[0]) if name == "ours" else PeerSide(name, pythons[name], bundle, bodies[0])
            with side:
                found = [_categories(side.url, wire, body) for body in bodies]
                if name == "ours":
                    expected = found
                else:
                    versions[name] = side.versions
                same = sum(own == theirs for own, theirs in zip(expected, found, strict=True))
                for row in _measured(side, bodies, seconds, wire):
                    rows.append({"side": name, "round": number, **row, "same_categories": same})
    sent = {"count": len(bodies), "mean_kb": round(sum(map(len, bodies)) / len(bodies) / 1000)}
    facts = {"bundle": {"label": bundle.label, "digest": bundle.digest}, "photos": sent, "versions": versions}
    publish("peers", rows, facts, out_dir)


def _categories(url: str, wire: Wire, photo: bytes) -> list[str]:
    """What is found in a photo."""
    place = urlsplit(url)
    with socket.create_connection((str(place.hostname), place.port or 80), 60) as connection:
        connection.sendall(wire(place.netloc, photo))
        response = HTTPResponse(connection, method="POST")
        response.begin()
        answer = json.loads(response.read())
    garments = json.loads(answer["outputs"][0]["data"][0]) if "outputs" in answer else answer["garments"]
    return sorted(each["category"] for each in garments)


def _measured(side: Any, bodies: Sequence[bytes], seconds: float, wire: Wire) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def note(load: str, measure: Callable[[], Answers]) -> float:
        before, answers = side.cpu_s, measure()
        cpu_ms = round(1000 * (side.cpu_s - before) / max(1, answers.num_sent), 2)
        rows.append({"load": load, **answers.summary(), "cpu_ms": cpu_ms})
        return answers.per_second

    closed_loop(side.url, bodies, 8, seconds / 2, 0.0, wire)  # BentoML's batching learns from it
    loop = partial(closed_loop, side.url, bodies, seconds=seconds, wire=wire)
    most = max(note(f"{callers} callers", partial(loop, num_callers=callers)) for callers in CALLERS)
    for share in SHARES:
        note(f"{share:.0%}", partial(open_loop, side.url, bodies, share * most, 2 * seconds, wire))
    return rows
