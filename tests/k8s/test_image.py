"""What can be held of the image without building it, and the command that a stopping pod runs in it."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer.main
from ray.scripts.scripts import drain_node

from serve_app.cli import app
from serve_app.start import _ENVIRONMENT
from tests.k8s.checks import Objects, of_kind, ray_service

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "k8s" / "Dockerfile").read_text(encoding="utf-8")
FINAL_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]
SINGLE_MACHINE = {  # where Ray starts inside our process, beside whatever else the machine does
    "RAY_AUTH_MODE",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    "RAY_DEDUP_LOGS_SKIP_REGEX",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S",
    "RAY_agent_register_timeout_ms",
    "RAY_raylet_start_wait_time_s",
}


def test_runs_as_the_user_that_the_manifests_name() -> None:
    assert FINAL_STAGE.rstrip().endswith("USER 1000:100")
    assert "useradd --uid 1000 --gid 100" in FINAL_STAGE


def test_has_what_the_probes_of_kuberay_run() -> None:
    assert re.search(r"apt-get install .*\bwget\b", FINAL_STAGE)  # bash and grep are in the base


def test_python_is_that_of_the_lock() -> None:
    version = re.search(r"python:(\d\.\d+)-", DOCKERFILE)
    locked = re.search(r"--python-version (\d\.\d+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert version and locked and version[1] == locked[1]


def test_environment_is_that_of_a_local_start() -> None:
    local = {name: value for name, value in _ENVIRONMENT.items() if name not in SINGLE_MACHINE}
    assert dict(re.findall(r"\b((?:RAY|MALLOC)_\w+)=(\S+)", FINAL_STAGE)) == local


def test_everything_copied_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert list(ROOT.glob(source)), source
        assert f"!{source.split('/')[0]}" in ignored


def test_code_has_all_packages_of_models() -> None:
    copied = set(re.findall(r"^COPY models/(\w+) ", FINAL_STAGE, re.MULTILINE))
    packages = {path.name for path in (ROOT / "models").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert copied | {"demo"} == packages | {"demo"}


def test_the_catalogue_job_runs_a_command_with_options_that_it_has(manifests: Mapping[str, Objects]) -> None:
    (job,) = of_kind(manifests["gpu-prod"], "CronJob")
    container = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["fashion-tagger"] and "/usr/local/bin/fashion-tagger" in FINAL_STAGE
    name, *arguments = container["args"]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    context = commands[name].make_context(name, list(arguments))
    assert context.params["source"] and context.params["to"]


@pytest.mark.parametrize("overlay", ["kind-cpu", "gpu-prod"])
def test_a_stopping_pod_uses_options_that_ray_has(manifests: Mapping[str, Objects], overlay: str) -> None:
    known = {option for parameter in drain_node.params for option in parameter.opts}
    for group in ray_service(manifests[overlay])["rayClusterConfig"]["workerGroupSpecs"]:
        command = group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
        words = shlex.split(command.partition("&&")[0])
        assert words[:2] == ["ray", "drain-node"]
        assert {word for word in words if word.startswith("--")} <= known
