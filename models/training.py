"""What a training run is made of: settings, the rate's schedule, averaged weights, checkpoints, workers that agree."""

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from models.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every run has.

    Attributes:
        epochs: passes over the data, or None if only the clock ends the run.
        max_minutes: wall-clock budget, validation included, loading not; None for no budget.
        sizes: (share of the run, side in pixels) pairs, growing; () for the full size throughout. Small pictures first
            learn most of it at a fraction of the cost.
        warmup_share: of the run, in which the rate rises to its peak.
        average_decay: of the averaged weights, which are those that are measured and kept.
        frozen_share: of the run, in which only what is new learns; then the upper half of the pretrained body thaws,
            and after as much again the rest. 0 when training from nothing.
        patience: validations without a better score that end the run; None never ends it early.
        report_s: seconds between rows of the learning curve.
    """

    epochs: float | None = None
    max_minutes: float | None = None
    sizes: tuple[tuple[float, int], ...] = ()
    warmup_share: float = 0.05
    average_decay: float = 0.998
    frozen_share: float = 0.0
    patience: int | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int = 2
    report_s: float = 15.0
    checkpoint_minutes: float = 5.0
    validate_minutes: float = 10.0

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_minutes is None:
            raise ValueError("a run needs epochs or max_minutes; give one")
        if not 0 <= self.frozen_share < 0.5:
            raise ValueError(f"frozen_share needs to be in [0, 0.5), got {self.frozen_share}")

    def size_at(self, share: float, full_px: int) -> int:
        """Side of the pictures at a share of the run."""
        return next((side for start, side in reversed(self.sizes) if share >= start), full_px)


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a run stands, for whoever shows it."""

    share: float
    step: int
    elapsed_s: float
    metrics: Mapping[str, float]


ProgressCallback = Callable[[TrainingProgress], None]


class RunClock:
    """Wall-clock seconds of a run, those before an interruption included."""

    def __init__(self, elapsed_s: float = 0.0) -> None:
        self._started_s = time.monotonic() - elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started_s


def run_share(step: int, total_steps: int | None, elapsed_s: float, budget_s: float | None) -> float:
    """Share of a run that is done: by steps or by time, whichever is further; 1 ends it.

    Raises:
        ValueError: if neither limit is given.
    """
    if total_steps is None and budget_s is None:
        raise ValueError("a run needs a number of steps or a time budget; give one")
    by_steps = step / total_steps if total_steps else 0.0
    by_time = elapsed_s / budget_s if budget_s else 0.0
    return min(1.0, max(by_steps, by_time))


def cosine_rate(share: float, peak: float, warmup_share: float, floor: float = 0.0) -> float:
    """Learning rate at a share of the run: linear from a hundredth of the peak, then half a cosine down to the floor.

    Args:
        share: in [0, 1].
        peak: the highest rate.
        warmup_share: in [0, 1), where the peak is reached.
        floor: the last rate.
    """
    if share < warmup_share:
        return peak * max(0.01, share / warmup_share)
    falling = (share - warmup_share) / (1 - warmup_share)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * falling))


class AveragedWeights:
    """An exponential moving average of a module's weights and buffers; short at first, so that it starts unbiased.

    Args:
        module: what is averaged; `self.module` is a copy of it in evaluation mode.
        decay: kept share per update in the long run, in [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval()
        self.module.requires_grad_(False)
        self.num_updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present state."""
        self.num_updates += 1
        decay = min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))
        source = module.state_dict()
        floats = [(kept, source[name]) for name, kept in self.module.state_dict().items() if kept.is_floating_point()]
        torch._foreach_lerp_([kept for kept, _ in floats], [new for _, new in floats], 1 - decay)
        for name, kept in self.module.state_dict().items():
            if not kept.is_floating_point():
                kept.copy_(source[name])


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint of `save_checkpoint`; None if there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def check_identity(state: Mapping[str, Any], identity: Mapping[str, str], name: str) -> None:
    """Refuse to resume a run that was begun with something else.

    Args:
        state: of the checkpoint.
        identity: what has to be the same, by name, as JSON text.
        name: of the run, for the message.

    Raises:
        DatasetError: naming what differs.
    """
    for key, mine in identity.items():
        if state[key] != mine:
            raise DatasetError(
                f"{name} holds a run with another {key}; resume with the same one, or give a new output directory",
                f"{state[key]} != {mine}",
            )


class LossReporter:
    """Gathers the losses of every step until a report is due.

    Args:
        clock: of the run.
        step: the next step.
        interval_s: seconds between reports.
    """

    def __init__(self, clock: RunClock, step: int, interval_s: float) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._since_s, self._since_step = clock.elapsed_s, step
        self._losses: list[dict[str, float]] = []

    @property
    def is_due(self) -> bool:
        """Whether the interval has passed."""
        return self._clock.elapsed_s - self._since_s >= self._interval_s

    def add(self, losses: dict[str, float]) -> None:
        """Take in a step's losses by name."""
        self._losses.append(losses)

    def take(self, step: int, batch: int) -> dict[str, float]:
        """Mean losses and `seen_per_s` since the last report; `batch` samples a step."""
        means = {name: float(np.mean([losses[name] for losses in self._losses])) for name in self._losses[0]}
        speed = (step - self._since_step) * batch / max(self._clock.elapsed_s - self._since_s, 1e-9)
        self._since_s, self._since_step, self._losses = self._clock.elapsed_s, step, []
        return means | {"seen_per_s": speed}


def num_workers() -> int:
    """Processes that train together; 1 unless torch.distributed was set up by whoever launched us."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def worker_rank() -> int:
    """Which of them this is; 0 writes the files."""
    return dist.get_rank() if num_workers() > 1 else 0


def agreed(value: float) -> float:
    """The first worker's value of something that the clock decides, so that all workers take the same turn."""
    if num_workers() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the workers; a head that saw no row on one of them counts as zero."""
    if num_workers() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    flat = torch.cat(
        [torch.zeros_like(each).flatten() if each.grad is None else each.grad.flatten() for each in trained]
    )
    dist.all_reduce(flat)
    flat /= num_workers()
    at = 0
    for parameter in trained:
        parameter.grad = flat[at : at + parameter.numel()].view_as(parameter).clone()
        at += parameter.numel()
