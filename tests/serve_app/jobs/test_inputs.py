"""What jobs may read: below the named roots and nothing else, however it is written."""

import os
import pickle
from pathlib import Path

import fsspec
import pytest

from models.errors import InputError
from serve_app.config import TaggerArgs
from serve_app.errors import BadRequest, ImageUrlRefused
from serve_app.jobs.inputs import JobInputs


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.jpg").write_bytes(b"photo")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "shop-secret").mkdir()
    (tmp_path / "shop-secret" / "x").write_bytes(b"secret")
    return folder


def _inputs(*roots: Path | str, hosts: tuple[str, ...] = ()) -> JobInputs:
    return JobInputs(TaggerArgs(jobs_roots=tuple(map(str, roots)), image_url_hosts=hosts))  # type: ignore[call-arg]


@pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}"])
async def test_files_below_a_root_are_read_whatever_their_scheme(shop: Path, form: str) -> None:
    for inputs in (_inputs(shop), _inputs(f"file://{shop}/")):
        photo = form.format(shop / "deep" / "a.jpg")
        inputs.check([photo])
        assert await pickle.loads(pickle.dumps(inputs)).read(photo, 3) == b"phot"


@pytest.mark.parametrize(
    "photo",
    [
        pytest.param("", id="nothing"),
        pytest.param("{shop}", id="the_root_itself"),
        pytest.param("{shop}/", id="the_root_with_a_slash"),
        pytest.param("{shop}/../secret", id="up"),
        pytest.param("{shop}/deep/../../secret", id="up_from_below"),
        pytest.param("{shop}/./deep/a.jpg", id="dot"),
        pytest.param("{shop}//deep/a.jpg", id="two_slashes"),
        pytest.param("{shop}-secret/x", id="a_name_that_begins_as_the_root"),
        pytest.param("/etc/passwd", id="elsewhere"),
        pytest.param("deep/a.jpg", id="relative"),
        pytest.param("file:{shop}/deep/a.jpg", id="scheme_without_slashes"),
        pytest.param("FILE://{shop}/deep/a.jpg", id="scheme_in_capitals"),
        pytest.param("file://localhost{shop}/deep/a.jpg", id="file_with_a_host"),
        pytest.param("file:///etc/passwd", id="file_elsewhere"),
        pytest.param("local:///etc/passwd", id="local_elsewhere"),
        pytest.param("simplecache::file:///etc/passwd", id="chained"),
        pytest.param("zip://x::{shop}/deep/a.jpg", id="chained_below_the_root"),
        pytest.param("memory://bucket/x", id="another_file_system"),
        pytest.param("s3://bucket/x", id="another_bucket"),
        pytest.param("s3://shop/photos/../keys", id="up_in_a_bucket"),
        pytest.param("s3://shop/photos2/x", id="bucket_prefix"),
        pytest.param("{shop}\\..\\secret", id="backslashes"),
        pytest.param("{shop}/a\x00.jpg", id="nul"),
        pytest.param("{shop}/a\n.jpg", id="line_break"),
        pytest.param("{shop}/" + "a" * 3000, id="long"),
        pytest.param("https://cdn.example/x.jpg", id="no_hosts_allowed"),
        pytest.param("ftp://cdn.example/x.jpg", id="ftp"),
        pytest.param("data:;base64,AAAA", id="data"),
        pytest.param("~/x", id="home"),
        pytest.param("$HOME/x", id="variable"),
    ],
)
async def test_everything_else_is_refused_when_posted_and_when_read(shop: Path, photo: str) -> None:
    inputs, photo = _inputs(shop, "s3://shop/photos"), photo.replace("{shop}", str(shop))
    with pytest.raises(BadRequest, match="photo 2 of the manifest"):
        inputs.check([str(shop / "deep" / "a.jpg"), photo])
    with pytest.raises(InputError):
        await inputs.read(photo, 100)


@pytest.mark.parametrize("kind", ["link_to_a_file", "link_to_a_folder", "pipe", "folder", "missing"])
async def test_what_a_path_leads_to_is_checked_when_it_is_opened(shop: Path, kind: str) -> None:
    photo = shop / "odd.jpg"
    if kind == "link_to_a_file":
        photo.symlink_to(shop.parent / "secret")
    elif kind == "link_to_a_folder":
        photo.symlink_to(shop.parent)
        photo = photo / "secret"
    elif kind == "pipe":
        os.mkfifo(photo)
    elif kind == "folder":
        photo.mkdir()
    inputs = _inputs(shop)
    inputs.check([str(photo)])
    with pytest.raises(InputError) as refused:
        await inputs.read(str(photo), 100)
    assert str(shop.parent) not in refused.value.message


async def test_a_link_within_the_root_is_followed(shop: Path) -> None:
    (shop / "b.jpg").symlink_to(shop / "deep" / "a.jpg")
    assert await _inputs(shop).read(str(shop / "b.jpg"), 100) == b"photo"


async def test_other_file_systems_are_read_below_their_roots() -> None:
    fsspec.filesystem("memory").pipe({"/jobs-shop/x.jpg": b"photo"})
    inputs = _inputs("memory://jobs-shop")
    inputs.check(["memory://jobs-shop/x.jpg"])
    assert await inputs.read("memory://jobs-shop/x.jpg", 100) == b"photo"


async def test_addresses_are_left_to_the_download_and_its_hosts() -> None:
    inputs = _inputs(hosts=("cdn.example",))
    inputs.check(["https://cdn.example/x.jpg"])
    with pytest.raises(ImageUrlRefused):
        await inputs.read("https://169.254.169.254/latest/meta-data", 100)


@pytest.mark.parametrize("root", ["photos", "https://cdn.example", "simplecache::s3://shop"])
def test_roots_are_places(root: str) -> None:
    with pytest.raises(ValueError, match="no absolute path and no fsspec URL"):
        _inputs(root)
