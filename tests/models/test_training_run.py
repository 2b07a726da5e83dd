"""The course of a run on a toy: one number is learnt, its validation is scripted."""

import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.errors import DatasetError
from models.learning_curve import read_curve
from models.ontology import load_ontology
from models.training import ProgressCallback, RunConfig, TrainingProgress
from models.training_run import TrainingRun

CONFIG = RunConfig(epochs=2, report_s=0.0, average_decay=0.0, validate_minutes=0.0, checkpoint_minutes=0.0)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low, self.high, self.new = (nn.Parameter(torch.ones(1)) for _ in range(3))


class ToyRun(TrainingRun[float]):
    """Four steps a pass; batch n is the number n."""

    score_name = "val_score"
    val_names = ("val_score",)

    def __init__(
        self, out: Path, config: RunConfig, scores: Sequence[float] = (), callback: ProgressCallback | None = None
    ) -> None:
        self._scores = list(scores)
        self.weights: list[tuple[float, float, float]] = []
        super().__init__(config, load_ontology(), out, callback)

    _peak_rate = 0.1  # type: ignore[assignment]
    _full_px = 64  # type: ignore[assignment]
    _batch_size = 2  # type: ignore[assignment]

    def _build(self) -> nn.Module:
        return Toy()

    def _body_of(self, model: Toy) -> Iterable[nn.Parameter]:
        return [model.low, model.high]

    def _build_optimizer(self, model: Toy) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": list(model.parameters()), "ratio": 1.0}], lr=0.1, momentum=0.9)

    def _prepare(self, step: int, size_px: int) -> float:
        return float(step)

    def _losses(self, batch: float) -> dict[str, Tensor]:
        noise = 1 + 0.1 * torch.rand(1)
        self.weights.append((self.model.low.item(), self.model.high.item(), self.model.new.item()))
        return {"loss": ((self.model.low + self.model.high + self.model.new) ** 2 * noise).sum()}

    def _validate(self, size_px: int) -> dict[str, float]:
        return {"val_score": self._scores.pop(0)} if self._scores else {}

    def _finish(self, figures: dict[str, float]) -> dict[str, float]:
        return {"val_score": self.average.module.new.item()}


def losses(out: Path) -> dict[float, float]:
    return {row["step"]: row["loss"] for row in read_curve(out) if "loss" in row}


def test_a_run_reports_every_step_and_ends(tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    run = ToyRun(tmp_path, CONFIG, callback=told.append)
    run.run(epoch_steps=4)
    assert list(losses(tmp_path)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (told[-1].share, told[-1].step, run.num_seen) == (1.0, 8, 16)
    assert (tmp_path / "curve.png").exists()
    again = ToyRun(tmp_path, CONFIG)
    again.run(epoch_steps=4)
    assert not again.weights and again.final == run.final  # it was done: nothing is trained again


def test_a_killed_run_resumes_at_its_checkpoint_and_ends_with_the_same_curve(tmp_path: Path) -> None:
    straight = ToyRun(tmp_path / "straight", CONFIG)
    straight.run(epoch_steps=4)

    def kill(progress: TrainingProgress) -> None:
        if progress.step == 5:  # reported, and not yet in the checkpoint
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        ToyRun(tmp_path / "killed", CONFIG, callback=kill).run(epoch_steps=4)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert list(losses(tmp_path / "killed"))[-1] == 5
    resumed = ToyRun(tmp_path / "killed", CONFIG)
    resumed.run(epoch_steps=4)
    assert len(resumed.weights) == 4
    assert losses(tmp_path / "killed") == losses(tmp_path / "straight")
    assert resumed.final == straight.final


@pytest.mark.parametrize(
    ("change", "what"),
    [pytest.param({"seed": 1}, "config", id="config"), pytest.param({"epochs": 3.0}, "config", id="length")],
)
def test_another_run_is_not_resumed(tmp_path: Path, change: dict[str, float], what: str) -> None:
    ToyRun(tmp_path, CONFIG).run(epoch_steps=1)
    with pytest.raises(DatasetError, match=f"another {what}"):
        ToyRun(tmp_path, replace(CONFIG, **change))


def test_the_best_weights_are_kept_and_patience_ends_the_run(tmp_path: Path) -> None:
    run = ToyRun(tmp_path, replace(CONFIG, patience=2), scores=[0.5, 0.7, 0.6, 0.65, 0.4])
    run.run(epoch_steps=4)
    assert len(run.weights) == 4  # two validations after the best one
    _, _, after_two_steps = run.weights[2]
    assert run.final == {"val_score": pytest.approx(after_two_steps)}


def test_a_pretrained_body_thaws_from_above(tmp_path: Path) -> None:
    run = ToyRun(tmp_path, replace(CONFIG, frozen_share=0.25, warmup_share=0.0))
    run.run(epoch_steps=4)
    low, high, new = zip(*run.weights, strict=True)
    assert len(set(new)) == 8
    assert len(set(high[:3])) == 1 and len(set(high[2:])) == 6
    assert len(set(low[:5])) == 1 and len(set(low[4:])) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"epochs": None}, "epochs or max_minutes", id="endless"),
        pytest.param({"frozen_share": 0.5}, "frozen_share", id="frozen_to_the_end"),
    ],
)
def test_unusable_configs_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
