"""What stands nowhere in the code: loading that runs what it loads, secrets in the open, unchecked certificates."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("models", "serve_app") for path in (ROOT / package).rglob("*.py"))
_PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "_pickle"}
_KEYWORDS = {("verify", "False"), ("shell", "True")}
_CALLS = {"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "np.load", "os.system"}
_NAMES = {("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load"), ("numpy", "load"), ("os", "system")}


def _dangers(source: str) -> list[str]:
    """Imports and calls, as they are written, that may run what they read or trust anybody."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in _PICKLES]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found += [module] if module.split(".")[0] in _PICKLES else []
            found += [alias.name for alias in node.names if (module, alias.name) in _NAMES]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in _CALLS or called.endswith("read_pickle"):
                found.append(called)
            if called == "torch.load" and keywords.get("weights_only") != "True":
                found.append("torch.load without weights_only")
            found += [f"{name}={value}" for name, value in keywords.items() if (name, value) in _KEYWORDS]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_loaded_that_could_run(path: Path) -> None:
    assert not _dangers(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "from torch import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "np.load(path)",
        "pandas.read_pickle(path)",
        "eval(text)",
        "httpx.get(url, verify=False)",
        "run(line, shell=True)",
    ],
)
def test_what_could_run_is_found(source: str) -> None:
    assert _dangers(source)


@pytest.mark.parametrize("path", sorted((ROOT / "models" / "demo").iterdir()), ids=lambda path: path.name)
def test_the_bundle_has_nothing_but_tensors_and_text(path: Path) -> None:
    assert path.suffix in {".safetensors", ".json"}
    assert path.suffix == ".json" or path.read_bytes()[8:9] == b"{", "safetensors begin with a length and JSON"
