"""Cores are counted as the container has them, not the machine."""

import os
from pathlib import Path

import pytest

from serve_app.cores import num_cores


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 4),
        ("max 100000\n", 4),
    ],
)
def test_a_quota_limits_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 6}, raising=False)
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert num_cores(path) == expected


def test_without_a_quota_the_process_has_the_cores_it_may_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert num_cores(tmp_path / "absent") == 1
