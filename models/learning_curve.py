"""The course of a run as CSV, as TensorBoard's logs and as a plot."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

CURVE_FILE = "curve.csv"


class LearningCurve:
    """One row per report; a resumed run goes on where its checkpoint was, whatever was reported after it.

    Args:
        run_dir: gets curve.csv and the folder `tensorboard`.
        columns: all it can hold; what a row lacks stays empty.
        step: rows after it are dropped.
    """

    def __init__(self, run_dir: Path, columns: tuple[str, ...], step: int = 0) -> None:
        self._path = run_dir / CURVE_FILE
        self._columns = columns
        run_dir.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_curve(run_dir) if row["step"] <= step]
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(_shortened(row) for row in kept)
        self._logs_dir, self._from_step = run_dir / "tensorboard", step
        self._logs: SummaryWriter | None = None

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row.

        Raises:
            ValueError: if it holds a column that was not declared.
        """
        from tensorboardX import SummaryWriter

        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(_shortened(row))
        if self._logs is None:
            self._logs = SummaryWriter(str(self._logs_dir), purge_step=self._from_step + 1)
        for name, value in row.items():
            if name != "step":
                self._logs.add_scalar(name, value, int(row["step"]))
        self._logs.flush()

    def close(self) -> None:
        """End the writing of logs; the next row would begin it anew."""
        if self._logs is not None:
            self._logs.close()
            self._logs = None


def _shortened(row: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.6g}" for name, value in row.items()}


def read_curve(run_dir: Path) -> list[dict[str, float]]:
    """The rows so far, without what is empty in them; none before the first."""
    path = run_dir / CURVE_FILE
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def draw_curve(run_dir: Path) -> None:
    """Draw curve.png: losses on the left, validation on the right, over what was seen."""
    from matplotlib.figure import Figure

    rows = read_curve(run_dir)
    names = list(dict.fromkeys(name for row in rows for name in row))
    panels = [[name for name in names if name.startswith(start)] for start in ("loss", "val_")]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, 2), panels, strict=True):
        for name in panel:
            points = [(row["seen"], row[name]) for row in rows if name in row and not math.isnan(row[name])]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=name, marker=".", lw=1)
        axes.set(xlabel="seen", ylim=(0, None))
        if panel:
            axes.legend(frameon=False)
    figure.savefig(run_dir / "curve.png", dpi=110)
