"""A training run from its first step to its last, whatever is trained: schedule, reports, checkpoints, early end.

The trainers derive from it and say what a batch is, what is lost on it and how good the weights are. It is one class of
some length, since steps, reports and checkpoints share its whole state.
"""

import json
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from models.learning_curve import LearningCurve, draw_curve
from models.ontology import Ontology
from models.training import (
    AveragedWeights,
    LossReporter,
    ProgressCallback,
    RunClock,
    RunConfig,
    TrainingProgress,
    agreed,
    average_gradients,
    check_identity,
    cosine_rate,
    load_checkpoint,
    num_workers,
    run_share,
    save_checkpoint,
    worker_rank,
)

Batch = TypeVar("Batch")


class TrainingRun(ABC, Generic[Batch]):
    """One model in training. Resumes from its checkpoint at once, if there is one.

    Args:
        config: the run.
        ontology: of the labels.
        run_dir: gets checkpoint.pt, best.pt, curve.csv, curve.png and TensorBoard's logs.
        callback: called now and then with the progress.

    Raises:
        DatasetError: if `run_dir` holds a run with another config or ontology.
    """

    score_name: str
    """The validation figure that decides which weights are best."""
    loss_names: tuple[str, ...] = ("loss",)
    largest_gradient: float | None = None

    def __init__(self, config: RunConfig, ontology: Ontology, run_dir: Path, callback: ProgressCallback | None) -> None:
        self._run_config = config
        self.ontology = ontology
        self.device = torch.device(config.device)
        self._run_dir = run_dir
        self._callback = callback
        self._identity = {
            "config": json.dumps(asdict(config), sort_keys=True),
            "ontology": json.dumps(ontology.to_dict(), sort_keys=True),
        }
        state = load_checkpoint(run_dir / "checkpoint.pt")
        if state is not None:
            check_identity(state, self._identity, run_dir.name)
        torch.manual_seed(config.seed)
        self.model = self._build().to(self.device).to(memory_format=torch.channels_last)
        self.average = AveragedWeights(self.model, config.average_decay)
        self._body = [each for each in self._body_of(self.model) if each.requires_grad]
        self._optimizer = self._build_optimizer(self.model)
        self._step, self._elapsed_s = 0, 0.0
        self._best_score, self._num_worse = float("-inf"), 0
        self.final: dict[str, float] | None = None
        if state is not None:
            self._resume(state)
        columns = ("step", "seen", "elapsed_s", "size_px", "rate", *self.loss_names, "seen_per_s", *self.val_names)
        self._curve = LearningCurve(run_dir, columns, self._step)

    # What a trainer says.

    val_names: tuple[str, ...]

    @property
    @abstractmethod
    def _peak_rate(self) -> float:
        """The highest learning rate; groups of the optimizer take `ratio` of it."""

    @property
    @abstractmethod
    def _full_px(self) -> int:
        """Side of the pictures that the finished model takes."""

    @property
    @abstractmethod
    def _batch_size(self) -> int:
        """Samples per step and worker."""

    @abstractmethod
    def _build(self) -> nn.Module:
        """The network as it starts."""

    @abstractmethod
    def _body_of(self, model: Any) -> Iterable[nn.Parameter]:
        """Its pretrained part, from the lowest layer up."""

    @abstractmethod
    def _build_optimizer(self, model: Any) -> torch.optim.Optimizer:
        """An optimizer whose groups carry their `ratio` of the rate."""

    @abstractmethod
    def _prepare(self, step: int, size_px: int) -> Batch:
        """This worker's batch of a step; follows from seed and step, so that a resumed run sees the same."""

    @abstractmethod
    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Losses by name; `loss` is what is learnt from."""

    @abstractmethod
    def _validate(self, size_px: int) -> dict[str, float]:
        """Figures of the averaged weights; empty without validation data."""

    @abstractmethod
    def _finish(self, figures: dict[str, float]) -> dict[str, float]:
        """Whatever is due once the averaged weights are final, and their figures then.

        Args:
            figures: of these weights as they are, if they have been measured.
        """

    # The run.

    def run(self, epoch_steps: int) -> None:
        """Train to the end of the budget; a run that ended is left as it is.

        Args:
            epoch_steps: steps of a pass over the data.
        """
        config = self._run_config
        if self.final is not None:
            return
        self._clock = RunClock(self._elapsed_s)
        total_steps = max(1, round(config.epochs * epoch_steps)) if config.epochs else None
        budget_s = config.max_minutes * 60 if config.max_minutes else None
        try:
            self._loop(total_steps, budget_s)
            if worker_rank() == 0:
                self._end()
        except KeyboardInterrupt:
            if worker_rank() == 0:
                self._save_checkpoint()
            raise
        finally:
            self._curve.close()

    def _loop(self, total_steps: int | None, budget_s: float | None) -> None:
        config = self._run_config
        checkpointed_s = validated_s = self._clock.elapsed_s
        reporter = LossReporter(self._clock, self._step, config.report_s)

        def share_at(step: int) -> float:
            is_over = config.patience is not None and self._num_worse >= config.patience
            return 1.0 if is_over else run_share(step, total_steps, self._clock.elapsed_s, budget_s)

        with ThreadPoolExecutor(1) as ahead:  # prepares the next batch while this one is learnt
            coming = ahead.submit(self._prepare, self._step, config.size_at(share_at(self._step), self._full_px))
            while (share := agreed(share_at(self._step))) < 1:
                ready, following = coming.result(), self._step + 1
                coming = ahead.submit(self._prepare, following, config.size_at(share_at(following), self._full_px))
                rate = cosine_rate(share, self._peak_rate, config.warmup_share)
                self._thaw(share)
                reporter.add(self._learn(ready, rate))
                if worker_rank() != 0:
                    continue
                size_px = config.size_at(share, self._full_px)
                if self._clock.elapsed_s - validated_s >= config.validate_minutes * 60:
                    row = self._scored(size_px)
                    self._report(share, {"size_px": size_px, "rate": rate, **self._taken(reporter), **row})
                    validated_s = self._clock.elapsed_s
                    reporter = LossReporter(self._clock, self._step, config.report_s)
                elif reporter.is_due:
                    self._report(share, {"size_px": size_px, "rate": rate, **self._taken(reporter)})
                if self._clock.elapsed_s - checkpointed_s >= config.checkpoint_minutes * 60:
                    self._save_checkpoint()
                    checkpointed_s = self._clock.elapsed_s

    def _learn(self, batch: Batch, rate: float) -> dict[str, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["ratio"]
        torch.manual_seed(hash((self._run_config.seed, self._step, worker_rank())))  # of whatever a network samples
        self.model.train()
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._losses(batch)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        average_gradients(self.model.parameters())
        if self.largest_gradient is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.largest_gradient)
        self._optimizer.step()
        self.average.update(self.model)
        self._step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _thaw(self, share: float) -> None:
        frozen_share, middle = self._run_config.frozen_share, len(self._body) // 2
        for at, parameter in enumerate(self._body):
            parameter.requires_grad_(share >= frozen_share * (1 if at >= middle else 2))

    def _scored(self, size_px: int) -> dict[str, float]:
        """Validate, and keep the averaged weights if they are the best so far."""
        row = self._validate(size_px)
        if self.score_name in row:
            self._num_worse += 1
            if row[self.score_name] > self._best_score:
                self._best_score, self._num_worse = row[self.score_name], 0
                save_checkpoint(self._run_dir / "best.pt", {"average": self.average.module.state_dict()})
        return row

    def _end(self) -> None:
        """Go back to the best weights, if an earlier validation found better ones than the last."""
        row = self._scored(self._full_px)
        if self._num_worse and (best := load_checkpoint(self._run_dir / "best.pt")) is not None:
            self.average.module.load_state_dict(best["average"])
            row = {}
        self.final = self._finish(row)
        self._report(1.0, {"size_px": self._full_px, **self.final})
        self._save_checkpoint()
        draw_curve(self._run_dir)

    def _taken(self, reporter: LossReporter) -> dict[str, float]:
        return reporter.take(self._step, self._batch_size * num_workers())

    def _report(self, share: float, row: Mapping[str, float]) -> None:
        full = {"step": float(self._step), "seen": float(self.num_seen), "elapsed_s": self._clock.elapsed_s, **row}
        self._curve.add(full)
        if self._callback:
            self._callback(TrainingProgress(share, self._step, self._clock.elapsed_s, full))

    @property
    def num_seen(self) -> int:
        """Samples learnt from, repeated ones included."""
        return self._step * self._batch_size * num_workers()

    def record(self) -> dict[str, Any]:
        """What is worth recording of a run that ended."""
        return {
            "workers": num_workers(),
            "steps": self._step,
            "elapsed_s": round(self._clock.elapsed_s if self.final is None else self._elapsed_s, 1),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {self.device}",
            "torch": torch.__version__,
        }

    def _save_checkpoint(self) -> None:
        self._elapsed_s = self._clock.elapsed_s
        save_checkpoint(
            self._run_dir / "checkpoint.pt",
            {
                **self._identity,
                "step": self._step,
                "elapsed_s": self._elapsed_s,
                "best_score": self._best_score,
                "num_worse": self._num_worse,
                "final": self.final,
                "model": self.model.state_dict(),
                "average": self.average.module.state_dict(),
                "updates": self.average.num_updates,
                "optimizer": self._optimizer.state_dict(),
            },
        )

    def _resume(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.module.load_state_dict(state["average"])
        self.average.num_updates = state["updates"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._elapsed_s, self.final = state["step"], state["elapsed_s"], state["final"]
        self._best_score, self._num_worse = state["best_score"], state["num_worse"]
