import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.errors import InputError
from models.ontology import load_ontology
from serve_app.cli import app
from serve_app.commands.loadtest import _photo, _rendered, _spread
from serve_app.loadtest import LoadPhoto
from tests.fakes import photo_bytes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo_bytes())
    (tmp_path / "photos" / "b.jpg").write_bytes(b"no picture at all")
    return tmp_path / "photos"


def test_an_open_loop_writes_figures_and_a_plot(url: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["loadtest", url, "--rate", "40x0.5", "--photos", str(photos), "--out", str(out)])
    assert done.exit_code == 0, done.output
    summary = json.loads((out / "load.json").read_text())
    assert summary["by_code"].keys() == {"ok", "image_unreadable"}
    assert summary["latency_ms"]["corrected"]["p50"] <= summary["latency_ms"]["corrected"]["max"]
    assert (out / "load.png").exists()
    assert "image_unreadable" in done.stdout and "p99.9" in done.stdout


def test_a_closed_loop(url: str, photos: Path) -> None:
    done = CliRunner().invoke(app, ["loadtest", url, "--callers", "2", "--duration", "0.1", "--photos", str(photos)])
    assert done.exit_code == 0, done.output
    assert "closed, 2 callers" in done.stdout


def test_a_mix_draws_until_each_category_has_photos_and_keeps_the_shares() -> None:
    drawn = [LoadPhoto(bytes([place])) for place in range(256)]
    largest = ["top", "dress", "none", "trousers"]
    chosen = _rendered("dress=3,trousers=1", lambda index: (drawn[index], largest[index % 4]))
    categories = [largest[photo.body[0] % 4] for photo in chosen]
    assert categories.count("dress") == 3 * categories.count("trousers") == 9
    assert len(set(chosen)) == 6


def test_a_category_that_is_never_drawn_is_said() -> None:
    with pytest.raises(InputError, match="skirt"):
        _rendered("skirt=1", lambda index: (LoadPhoto(b""), "dress"))


def test_a_drawn_photo_is_a_picture() -> None:
    photo, largest = _photo(0)
    assert photo.body.startswith(b"\xff\xd8\xff") and largest in {"none", *load_ontology().category_names}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["http://192.0.2.1:8000"], "i-own-this-host", id="another_machine"),
        pytest.param(["http://0.0.0.0:8000"], "i-own-this-host", id="every_address"),
        pytest.param(["127.0.0.1:8000"], "no address", id="no_scheme"),
        pytest.param(["http://127.0.0.1:8000", "--rate", "much"], "RATExSECONDS", id="no_rate"),
        pytest.param(["http://127.0.0.1:8000", "--mix", "kilt=1"], "shares of", id="no_category"),
        pytest.param(["http://127.0.0.1:8000", "--mix", "dress"], "no mix", id="no_share"),
    ],
)
def test_what_is_refused(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["loadtest", *arguments])
    assert isinstance(done.exception, InputError) and says in done.exception.message


def test_shares_hold_at_every_length() -> None:
    order = _spread({"dress": 3, "trousers": 1}, 12)
    for length in (4, 8, 12):
        assert order[:length].count("dress") == length * 3 // 4
