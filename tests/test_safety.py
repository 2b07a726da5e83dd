"""What stands nowhere in the code: loading that runs what it loads, secrets in the open, unchecked certificates."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("models", "serve_app") for path in (ROOT / package).rglob("*.py"))
_PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "_pickle"}
_RUNS_TEXT = {"eval", "exec", "compile", "__import__"}


def _calls(tree: ast.AST) -> set[str]:
    """Names called, as they are written: `torch.load`, `eval`."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_loaded_that_could_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & _PICKLES
    calls = _calls(tree)
    assert not calls & (_RUNS_TEXT | {"yaml.load", "yaml.unsafe_load", "np.load", "numpy.load", "os.system"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert keywords.get("weights_only") == "True", "torch.load runs what it loads otherwise"
        if isinstance(node, ast.keyword):
            assert (node.arg, ast.unparse(node.value)) not in {("verify", "False"), ("shell", "True")}


@pytest.mark.parametrize("path", sorted((ROOT / "models" / "demo").iterdir()), ids=lambda path: path.name)
def test_the_bundle_has_nothing_but_tensors_and_text(path: Path) -> None:
    assert path.suffix in {".safetensors", ".json"}
    assert path.suffix == ".json" or path.read_bytes()[8:9] == b"{", "safetensors begin with a length and JSON"
