from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DatasetError, TaggingError
from serve_app.catalog.sources import PhotoUnavailable, open_source, photo_uri, read_photo


def _uris(uri: Path | str, column: str | None = None) -> list[str]:
    source = open_source(str(uri), column)
    return [photo_uri(source.base, name).removeprefix("file://") for name in source.names()]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "deep/notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text("sku,photo\n1,b.jpg\n2,\n3,/else/where.jpg\n4,s3://bucket/d.jpg\n")
    pq.write_table(pa.table({"sku": [1, 2], "url": ["b.jpg", None]}), tmp_path / "list.parquet")
    return tmp_path


def test_a_folder_is_searched_in_full_and_in_order(shop: Path) -> None:
    assert _uris(shop) == [str(shop / name) for name in ("a.PNG", "b.jpg", "deep/er/c.webp")]


def test_a_glob_and_a_single_photo(shop: Path) -> None:
    assert _uris(shop / "*.jpg") == [str(shop / "b.jpg")]
    assert _uris(shop / "**" / "*.webp") == [str(shop / "deep/er/c.webp")]
    assert _uris(shop / "b.jpg") == [str(shop / "b.jpg")]


def test_tables_name_photos_relative_to_themselves_or_in_full(shop: Path) -> None:
    assert _uris(shop / "list.csv") == [str(shop / "b.jpg"), str(shop) + "/", "/else/where.jpg", "s3://bucket/d.jpg"]
    assert _uris(shop / "list.parquet") == [str(shop / "b.jpg"), str(shop) + "/"]
    assert _uris(shop / "list.csv", "sku")[0] == str(shop / "1")


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        pytest.param("nothing", None, "nothing at", id="missing"),
        pytest.param("list.csv", "img", "no column img; it has sku, photo", id="column"),
        pytest.param("broken.parquet", None, "cannot be read", id="no_parquet"),
        pytest.param("odd://x/y", None, "cannot be reached", id="protocol"),
    ],
)
def test_unusable_sources_are_refused_with_a_sentence(shop: Path, name: str, column: str | None, says: str) -> None:
    (shop / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(TaggingError, match=says):
        _uris(name if "://" in name else shop / name, column)


async def test_any_fsspec_url_is_a_source() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe({"/shop/x.jpg": b"1234", "/shop/y.png": b"5"})
    assert _uris("memory://shop") == ["memory:///shop/x.jpg", "memory:///shop/y.png"]
    assert await read_photo("memory:///shop/x.jpg", 2) == b"123", "one byte more than the limit shows that it is passed"
    fs.rm("/shop", recursive=True)


@pytest.mark.parametrize("uri", ["", "/no/such/photo.jpg", "odd://x", "/tmp", "memory:///none"])
async def test_photos_that_cannot_be_read_are_an_error_without_a_path(uri: str) -> None:
    with pytest.raises(PhotoUnavailable) as refused:
        await read_photo(uri, 100)
    assert not uri or uri not in refused.value.message


def test_dataset_errors_are_ours() -> None:
    assert issubclass(DatasetError, TaggingError)
