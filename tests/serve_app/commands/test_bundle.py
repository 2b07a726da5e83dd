from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.cli import app
from tests.models.test_bundle import write_results


def test_a_bundle_in_a_folder_named_like_the_shipped_one_is_the_one_that_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, classifiers = write_results(tmp_path)
    monkeypatch.chdir(tmp_path)
    parts = ["--detector", str(detector), "--classifiers", str(classifiers)]
    result = CliRunner().invoke(app, ["bundle", "build", "demo", *parts, "--name", "tiny", "--version", "1.2.0"])
    assert result.exit_code == 0
    assert "tiny@1.2.0 is whole" in result.output
