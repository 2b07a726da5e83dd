"""The import rules: models knows no service, the base of models knows no torch, the router's process loads none."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = ("models.errors", "models.types", "models.ontology", "models.images", "models.boxes", "models.bundle")
NEVER_IN_MODELS = {"ray", "pydantic", "fastapi", "starlette", "serve_app", "typer"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda path: path.name)
def test_models_knows_neither_the_service_nor_its_libraries(path: Path) -> None:
    assert not _imports(path) & NEVER_IN_MODELS


@pytest.mark.parametrize("modules", [BASE, ("serve_app.router", "serve_app.app")], ids=["base", "router"])
def test_no_torch_is_loaded_by(modules: tuple[str, ...]) -> None:
    program = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "False"
