"""Triton: the server that `nvidia-pytriton` carries, without pytriton: a model repository for its Python backend.

Every model batches dynamically and has one instance, the pipeline one per core.
"""

import os
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

from tests.bench.peers.steps import MAX_BATCH, bundle, port

_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {batch}
input [{{ name: "{input}" data_type: {type} dims: {dims} }}]
output [{{ name: "TAGS" data_type: TYPE_STRING dims: [1] }}]
instance_group [{{ count: {count} kind: KIND_CPU }}]
dynamic_batching {{}}
"""

# The server's Python runs isolated: it knows no environment and no PYTHONPATH.
_MODEL = """
import sys

sys.path[:0] = {paths}
from tests.bench.peers.triton_models import {kind} as TritonPythonModel
"""
_PACKAGES = Path(str(distribution("nvidia-pytriton").locate_file("")))


def _add_model(
    repository: Path, kind: str, name: str, input_: tuple[str, str, str], batch: int = MAX_BATCH, count: int = 1
) -> None:
    directory = repository / name / "1"
    directory.mkdir(parents=True)
    (directory / "model.py").write_text(_MODEL.format(paths=[os.getcwd(), str(_PACKAGES)], kind=kind))
    names = dict(zip(("input", "type", "dims"), input_, strict=True))
    (directory.parent / "config.pbtxt").write_text(_CONFIG.format(name=name, batch=batch, count=count, **names))


def main() -> None:
    """Write the repository into the directory named by the first argument and become the server."""
    directory, carried = Path(sys.argv[1]), _PACKAGES / "pytriton" / "tritonserver"
    repository, backends = directory / "models", directory / "backends"
    _add_model(repository, "Tagger", "tagger", ("PHOTO", "TYPE_STRING", "[1]"), count=os.cpu_count() or 1)
    _add_model(repository, "Detector", "detector", ("CANVAS", "TYPE_UINT8", "[-1, -1, 3]"))
    for category in bundle().ontology.category_names:
        _add_model(repository, "Classifier", category, ("CROPS", "TYPE_UINT8", "[-1, -1, 3]"), 4 * MAX_BATCH)
    shutil.copytree(carried / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(carried / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python")
    server = str(carried / "bin" / "tritonserver")
    options = [f"--model-repository={repository}", f"--backend-directory={backends}", "--disable-auto-complete-config"]
    options += ["--http-address=127.0.0.1", f"--http-port={port()}", "--allow-grpc=false", "--allow-metrics=false"]
    # The stub looks for its libraries beside the place it was copied from.
    environment = {**os.environ, "LD_LIBRARY_PATH": str(_PACKAGES / "nvidia_pytriton.libs")}
    os.execve(server, [server, *options], environment)


if __name__ == "__main__":
    main()
