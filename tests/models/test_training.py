from pathlib import Path

import pytest
import torch
from torch import nn

from models.training import (
    AveragedWeights,
    cosine_rate,
    load_checkpoint,
    run_share,
    save_checkpoint,
)


@pytest.mark.parametrize(
    ("step", "total", "elapsed_s", "budget_s", "share"),
    [
        pytest.param(5, 10, 0.0, None, 0.5, id="by_steps"),
        pytest.param(5, None, 30.0, 40.0, 0.75, id="by_time"),
        pytest.param(5, 10, 30.0, 40.0, 0.75, id="whichever_is_further"),
        pytest.param(50, 10, 0.0, None, 1.0, id="never_beyond_the_end"),
    ],
)
def test_share_of_a_run(step: int, total: int | None, elapsed_s: float, budget_s: float | None, share: float) -> None:
    assert run_share(step, total, elapsed_s, budget_s) == pytest.approx(share)


def test_a_run_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="give one"):
        run_share(1, None, 1.0, None)


@pytest.mark.parametrize(
    ("share", "rate"),
    [
        pytest.param(0.0, 0.01, id="starts_low"),
        pytest.param(0.05, 0.5, id="warms_up"),
        pytest.param(0.1, 1.0, id="peak"),
        pytest.param(0.55, 0.5, id="half_way_down"),
        pytest.param(1.0, 0.0, id="ends_at_the_floor"),
    ],
)
def test_learning_rate(share: float, rate: float) -> None:
    assert cosine_rate(share, 1.0, 0.1) == pytest.approx(rate)


def test_averaged_weights_follow_weights_and_buffers() -> None:
    module = nn.BatchNorm1d(1)
    average = AveragedWeights(module, 0.5)
    nn.init.constant_(module.weight, 3.0)
    module.running_mean.fill_(2.0)
    module.num_batches_tracked.fill_(7)
    for _ in range(30):
        average.update(module)
    assert average.module.weight.item() == pytest.approx(3.0, abs=1e-4)
    assert average.module.running_mean.item() == pytest.approx(2.0, abs=1e-4)
    assert average.module.num_batches_tracked.item() == 7
    assert not average.module.weight.requires_grad


def test_a_checkpoint_comes_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoint.pt"
    assert load_checkpoint(path) is None
    save_checkpoint(path, {"step": 1, "weights": torch.ones(2)})
    save_checkpoint(path, {"step": 2, "weights": torch.zeros(2)})
    state = load_checkpoint(path)
    assert state is not None
    assert state["step"] == 2
    assert [each.name for each in path.parent.iterdir()] == ["checkpoint.pt"]
