"""The file of API keys: what it holds, who may read it, and that a change counts without a restart."""

import logging
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.errors import KeyFileError
from serve_app.keys import Key, KeyRing, digest_of, new_key, read_keys, write_keys


def _key(name: str, secret: str) -> Key:
    return Key(name=name, sha256=digest_of(secret))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "api-keys.yaml"
    write_keys(path, [_key("shop", "first")])
    return path


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_that_is_added_counts_and_one_that_is_removed_stops_without_a_restart(file: Path) -> None:
    clock = Clock()
    ring = KeyRing(file, clock)
    assert ring.find("first") is not None and ring.find("second") is None
    write_keys(file, [_key("other", "second")])
    assert ring.find("second") is None, "the file is looked at once a second at most"
    clock.now = 1.0
    found = ring.find("second")
    assert found is not None and found.name == "other"
    assert ring.find("first") is None


def test_a_mounted_secret_is_a_link_that_is_swapped(tmp_path: Path) -> None:
    clock = Clock()
    for number, secret in enumerate(("first", "second")):
        (tmp_path / str(number)).mkdir()
        write_keys(tmp_path / str(number) / "keys", [_key("shop", secret)])
    link = tmp_path / "keys"
    link.symlink_to("0/keys")
    ring = KeyRing(link, clock)
    link.unlink()
    link.symlink_to("1/keys")
    clock.now = 1.0
    assert ring.find("second") is not None and ring.find("first") is None


@pytest.mark.parametrize("text", ["keys: [", "keys: [{name: a}]", None], ids=["no_yaml", "malformed", "gone"])
def test_a_file_that_breaks_changes_nothing_and_is_refused_at_a_start(
    file: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    ring = KeyRing(file, clock)
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")
    clock.now = 1.0
    with caplog.at_level(logging.ERROR, "ray.serve"):
        logging.getLogger("ray.serve").propagate = True
        assert ring.find("first") is not None
    assert "stay in use" in caplog.text
    with pytest.raises(KeyFileError):
        KeyRing(file)


def test_a_key_pasted_in_place_of_its_digest_is_not_repeated(file: Path) -> None:
    file.write_text("keys: [{name: shop, sha256: ftk_secret}]", encoding="utf-8")
    with pytest.raises(KeyFileError) as caught:
        read_keys(file)
    assert "sha256" in caught.value.detail
    assert "ftk_secret" not in repr(caught.value) + str(caught.value.__cause__)


def test_two_keys_of_one_name_are_refused(file: Path) -> None:
    write_keys(file, [_key("shop", "a"), _key("shop", "b")])
    with pytest.raises(KeyFileError):
        read_keys(file)


def test_the_command_prints_a_key_once_and_the_file_has_only_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    run = CliRunner().invoke
    made = run(
        app, ["keys", "add", "shop", "--scope", "tag", "--scope", "jobs", "--per-second", "5", "--file", str(file)]
    )
    secret = made.stdout.strip()
    assert made.exit_code == 0 and len(secret) > 40
    assert secret not in file.read_text() and stat.S_IMODE(os.stat(file).st_mode) == 0o600
    ring = KeyRing(file)
    found = ring.find(secret)
    assert found is not None and (found.name, found.scopes, found.per_second) == ("shop", ("tag", "jobs"), 5.0)
    listed = run(app, ["keys", "list", "--file", str(file)]).stdout
    assert "shop" in listed and secret not in listed and found.sha256 not in listed
    assert run(app, ["keys", "remove", "shop", "--file", str(file)]).exit_code == 0
    assert read_keys(file) == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["keys", "add", "shop"], "already", id="name_taken"),
        pytest.param(["keys", "add", "Our Shop"], "name", id="name_for_no_metric"),
        pytest.param(["keys", "add", "new", "--scope", "everything"], "scopes", id="unknown_scope"),
        pytest.param(["keys", "add", "new", "--per-day", "0"], "per_day", id="no_quota"),
        pytest.param(["keys", "remove", "nobody"], "no key named", id="nobody"),
    ],
)
def test_refusals_leave_the_file_alone(file: Path, arguments: list[str], says: str) -> None:
    before = file.read_bytes()
    result = CliRunner().invoke(app, [*arguments, "--file", str(file)])
    assert result.exit_code == 1
    assert says in str(result.exception)
    assert file.read_bytes() == before


def test_keys_differ_and_can_be_recognised() -> None:
    assert new_key() != new_key()
    assert new_key().startswith("ftk_")
