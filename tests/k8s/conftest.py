"""The manifests of both overlays, rendered once."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = ("kind-cpu", "gpu-prod")


@pytest.fixture(scope="session")
def manifests() -> Mapping[str, list[dict[str, Any]]]:
    """Objects of each overlay by its name; not to be changed."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders the manifests, is not here")
    return {overlay: _rendered(ROOT / "k8s" / "overlays" / overlay) for overlay in OVERLAYS}


def _rendered(overlay: Path) -> list[dict[str, Any]]:
    result = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))
