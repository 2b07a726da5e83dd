"""`fashion-tagger catalog` as a process of its own on the shared Ray instance: killed in the middle, taken up again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Cluster
from tests.fakes import photo_bytes

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parent.parent.parent
NUM_PHOTOS = 24
PART_PHOTOS = 2
BROKEN = {"000.jpg": "image_unreadable", "013.jpg": "image_truncated"}


def _start(shop: Path, out: Path) -> "subprocess.Popen[str]":
    from ray import get_runtime_context

    program = "from serve_app.cli import main; main()"
    options = ("--out", str(out), "--part-photos", str(PART_PHOTOS), "--rows", "photo", "--workers", "1")
    return subprocess.Popen(
        [sys.executable, "-c", program, "catalog", str(shop), *options],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": get_runtime_context().gcs_address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _parts(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}


def test_killed_in_the_middle_nothing_is_lost_or_done_twice(cluster: Cluster, tmp_path: Path) -> None:
    shop, out = tmp_path / "shop", tmp_path / "out"
    shop.mkdir()
    for index in range(NUM_PHOTOS):
        (shop / f"{index:03}.jpg").write_bytes(photo_bytes((96, 128), (8 * index, 90, 90), "JPEG"))
    (shop / "000.jpg").write_bytes(b"no picture at all")
    (shop / "013.jpg").write_bytes((shop / "012.jpg").read_bytes()[:400])
    with _start(shop, out) as first:
        while not _parts(out) and first.poll() is None:
            time.sleep(0.02)  # a file appears; nothing tells of it
        first.kill()
        said, _ = first.communicate()
    before = _parts(out)
    assert 0 < len(before) < NUM_PHOTOS / PART_PHOTOS, said
    with _start(shop, out) as second:
        said, _ = second.communicate()
    assert second.returncode == 0, said
    after = _parts(out)
    assert len(after) == NUM_PHOTOS / PART_PHOTOS
    assert {name: after[name] for name in before} == before
    rows = pq.read_table(out, columns=["row", "photo", "error_code"]).to_pylist()
    assert sorted(row["photo"] for row in rows) == [f"{index:03}.jpg" for index in range(NUM_PHOTOS)]
    assert {row["photo"]: row["error_code"] for row in rows if row["error_code"]} == BROKEN
    assert f"{NUM_PHOTOS} photos: {NUM_PHOTOS - 2} tagged" in said
