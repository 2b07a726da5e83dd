"""The README names everything that exists, and nothing that does not."""

import re
from pathlib import Path

import pytest
import typer.main

from models.bundle import load_bundle
from serve_app.cli import app
from serve_app.config import TaggerArgs
from serve_app.errors import STATUS_BY_CODE
from serve_app.metrics import ALL_METRICS
from serve_app.query import PARAMETERS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FEATURES = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")


def _first_cells(heading: str) -> set[str]:
    """Names in backticks in the first column of the first table under a heading."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_every_argument_stands_in_its_table_and_no_other() -> None:
    assert _first_cells("Arguments") == set(TaggerArgs.model_fields)


def test_every_default_is_the_one_in_the_code() -> None:
    for name, field in TaggerArgs.model_fields.items():
        assert f"| `{name}` | `{field.default}` |" in README


def test_every_metric_stands_in_its_table_and_no_other() -> None:
    assert _first_cells("Metrics") == {metric.name for metric in ALL_METRICS}


def test_every_error_code_and_query_parameter_is_named() -> None:
    section = README.split("\n## HTTP interface\n", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"`([a-z_]+)", section))
    assert set(STATUS_BY_CODE) <= named
    assert set(PARAMETERS) <= named


def test_every_command_is_named() -> None:
    cells = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
    words = [re.findall(r"[a-z]+", cell) for cell in cells]
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        for needed in [{name, sub} for sub in getattr(command, "commands", {})] or [{name}]:
            assert any(row[0] == name and needed <= set(row) for row in words if row), needed


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


def test_the_demo_bundle_is_the_one_described() -> None:
    bundle = load_bundle(TaggerArgs().bundle_uri)
    assert bundle.digest[:12] in README


def test_every_feature_that_we_claim_is_held_by_tests_that_exist() -> None:
    rows = [line.split("|")[1:-1] for line in FEATURES.splitlines() if line.startswith("| ")]
    claimed = {row[0].strip() for row in rows if row[1].strip().startswith("●")}
    tests_by_feature = {row[0].strip(): re.findall(r"`(tests/[^`]+)`", row[-1]) for row in rows}
    assert len(claimed) > 15
    assert [feature for feature in claimed if not tests_by_feature[feature]] == []
    for path, name in (test.split("::") for tests in tests_by_feature.values() for test in tests):
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name
