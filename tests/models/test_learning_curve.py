from pathlib import Path

import pytest

from models.learning_curve import LearningCurve, draw_curve, read_curve

COLUMNS = ("step", "seen", "loss", "val_score")


def test_a_resumed_curve_forgets_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    first = LearningCurve(tmp_path, COLUMNS)
    for step in (1.0, 2.0, 3.0):
        first.add({"step": step, "seen": 8 * step, "loss": 1 / step})
    first.close()
    resumed = LearningCurve(tmp_path, COLUMNS, step=2)
    resumed.add({"step": 3.0, "seen": 24.0, "loss": 0.25, "val_score": 0.5})
    resumed.close()
    assert (tmp_path / "curve.csv").read_text().splitlines() == [
        "step,seen,loss,val_score", "1,8,1,", "2,16,0.5,", "3,24,0.25,0.5",
    ]  # fmt: skip
    assert read_curve(tmp_path)[-1] == {"step": 3, "seen": 24, "loss": 0.25, "val_score": 0.5}
    draw_curve(tmp_path)
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_column_that_nobody_declared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bogus"):
        LearningCurve(tmp_path, COLUMNS).add({"step": 1.0, "bogus": 1.0})


def test_a_run_without_reports_has_a_plot_too(tmp_path: Path) -> None:
    draw_curve(tmp_path)
    assert (tmp_path / "curve.png").exists()
