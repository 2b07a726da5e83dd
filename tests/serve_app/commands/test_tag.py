import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from serve_app.cli import app, main
from tests.fakes import photo_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(photo_bytes((100, 120)))
    (tmp_path / "b.jpg").write_bytes(b"no picture at all")
    (tmp_path / "notes.txt").write_text("not a photo")
    return tmp_path


def test_a_folder_is_tagged_by_a_service_and_one_bad_photo_stops_nothing(url: str, folder: Path) -> None:
    done = CliRunner().invoke(app, ["tag", str(folder), "--url", url, "--json", "--draw", str(folder / "drawn")])
    assert done.exit_code == 1
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert good["file"] == str(folder / "a.png")
    assert [garment["category"] for garment in good["garments"]] == ["dress"]
    assert bad["file"] == str(folder / "b.jpg")
    assert bad["error"]["code"] == "image_unreadable"
    drawn = [path.name for path in (folder / "drawn").iterdir()]
    assert drawn == ["a.png"]
    with Image.open(folder / "drawn" / "a.png") as picture:
        assert picture.width > 120, "photo and a column of tags"


def test_the_table_for_people_names_garments_and_values(url: str, folder: Path) -> None:
    done = CliRunner().invoke(app, ["tag", str(folder / "a.png"), "--url", url])
    assert done.exit_code == 0, done.output
    assert "dress" in done.stdout and "neckline round 0.90" in done.stdout


def test_a_photo_without_garments_is_a_line_and_no_table(url: str, folder: Path) -> None:
    done = CliRunner().invoke(app, ["tag", str(folder / "a.png"), "--url", url, "--min-score", "1"])
    assert (done.exit_code, done.stdout) == (0, "a.png: no garment found\n")


def test_an_error_of_ours_is_a_sentence_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["fashion-tagger", "bundle", "verify", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error:") and "Traceback" not in said


def test_names_come_in_the_language_asked_for_and_an_unknown_one_is_refused(url: str, folder: Path) -> None:
    done = CliRunner().invoke(app, ["tag", str(folder / "a.png"), "--url", url, "--lang", "de"])
    assert done.exit_code == 0, done.output
    assert "Kleid" in done.stdout
    refused = CliRunner().invoke(app, ["tag", str(folder / "a.png"), "--url", url, "--lang", "tlh"])
    assert refused.exit_code == 1
    assert "known: " in refused.stderr
