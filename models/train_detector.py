"""Trains the garment detector; the run ends by steps or by the clock, and resumes where it was interrupted.

Longer than most files: the run is one object, whose steps, reports and checkpoints share its whole state.
"""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.detector import Detector, DetectorSpec, GarmentDetector, Start, Target, build_detector
from models.detector_quality import measure_detector, quality_record
from models.errors import DatasetError
from models.metrics import DetectionQuality
from models.ontology import Ontology
from models.preprocess import normalise
from models.training import (
    AveragedWeights,
    LearningCurve,
    LossReporter,
    ProgressCallback,
    RunClock,
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
from models.types import LabelledPhoto
from models.views import PhotoSet, View, load_photos
from models.weights import save_weights

RESULT_FILE = "detector.json"
WEIGHTS_FILE = "detector.safetensors"
_LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
_CURVE = ("step", "photos", "elapsed_s", "rate", "loss", *_LOSSES, "photos_per_s", "val_ap", "val_ap50")
_LARGEST_GRADIENT = 10.0


@dataclass(frozen=True)
class DetectorTraining:
    """One run. The defaults train from nothing; with COCO weights give `rate` 0.005.

    Attributes:
        spec: shape of the network.
        weights: "none", "backbone" (ImageNet), "coco", or the path of a detector.safetensors to start from.
        epochs: passes over the photos, or None if only the clock ends the run.
        max_minutes: wall-clock budget, validation included, loading not; None for no budget.
        sizes: (share of the run, long side) pairs, growing: the canvas from that share on; () for the spec's size
            throughout. Small canvases first learn most of it at a fraction of the cost.
        batch: photos per step and worker.
        rate: peak learning rate of SGD with Nesterov's momentum, for a batch of 8; scaled with the batch.
        body_ratio: rate of the backbone's body as a multiple of the rest's. From nothing 5: normalised kernels moved by
            0.03 to 0.1 % of their norm a step at the heads' rate, and classes were hardly learnt in 13,000 views.
        light: how far brightness and contrast move; the hue never does.
        threads: photos decoded at a time.
        report_s: seconds between rows of the learning curve.
        max_val_photos: measured along the way and at the end.
    """

    spec: DetectorSpec
    weights: str = "none"
    epochs: float | None = None
    max_minutes: float | None = None
    sizes: tuple[tuple[float, int], ...] = ()
    batch: int = 8
    rate: float = 0.02
    body_ratio: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_share: float = 0.05
    average_decay: float = 0.998
    light: float = 0.25
    seed: int = 0
    device: str = "cpu"
    threads: int = 2
    report_s: float = 15.0
    checkpoint_minutes: float = 5.0
    validate_minutes: float = 10.0
    max_val_photos: int = 200

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_minutes is None:
            raise ValueError("a run needs epochs or max_minutes; give one")
        if self.batch < 1:
            raise ValueError(f"batch needs to be at least 1, got {self.batch}")
        shares, sides = [share for share, _ in self.sizes], [side for _, side in self.sizes]
        if sides and (shares != sorted(shares) or shares[0] != 0 or sides[-1] != self.spec.long_side_px):
            raise ValueError(f"sizes need to start at share 0, grow and end at the spec's size, got {self.sizes}")
        if any(side < 64 or side % 32 or side > self.spec.long_side_px for side in sides):
            raise ValueError(f"sizes need to be multiples of 32 in [64, {self.spec.long_side_px}], got {sides}")

    def size_at(self, share: float) -> int:
        """Long side of the canvas at a share of the run."""
        return next((side for start, side in reversed(self.sizes) if share >= start), self.spec.long_side_px)

    @property
    def start(self) -> Start | Path:
        """What the network starts from, as `build_detector` takes it."""
        return cast(Start, self.weights) if self.weights in get_args(Start) else Path(self.weights)


def train_detector(
    config: DetectorTraining,
    train_photos: Sequence[LabelledPhoto],
    val_photos: Sequence[LabelledPhoto],
    ontology: Ontology,
    out_dir: Path,
    callback: ProgressCallback | None = None,
) -> Path:
    """Train a detector of the ontology's categories; call again with the same arguments to resume.

    Args:
        config: the run.
        train_photos: with every garment labelled; a photo that is listed twice counts twice.
        val_photos: measured along the way, never trained on; may be empty.
        ontology: gives the labels.
        out_dir: gets detector.safetensors, detector.json, curve.csv and the checkpoint.
        callback: called now and then with the progress.

    Returns:
        The path of detector.json, which names the weights.

    Raises:
        DatasetError: if there is no photo, one is unreadable, or out_dir holds another run.
        BundleError: if the weights to start from do not fit.
    """
    if not train_photos:
        raise DatasetError("there is no photo to train on; give a set")
    run = _Run(config, ontology, out_dir, callback)
    final = run.train(train_photos, val_photos)
    path = out_dir / RESULT_FILE
    if worker_rank() == 0:
        sources = {"train_photos": _sources(train_photos), "val_photos": _sources(val_photos)}
        result = {
            "format": 1,
            "ontology": ontology.to_dict(),
            "spec": config.spec.to_dict(),
            "weights": WEIGHTS_FILE,
            "training": {"config": asdict(config), **sources, **final},
        }
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def _sources(photos: Sequence[LabelledPhoto]) -> dict[str, int]:
    """Number of photos by the name of their set."""
    return dict(Counter(photo.path.parent.parent.name for photo in photos))


class _Run:
    """One detector from the first step to the saved weights."""

    def __init__(
        self, config: DetectorTraining, ontology: Ontology, out_dir: Path, callback: ProgressCallback | None
    ) -> None:
        self._config = config
        self._ontology = ontology
        self._callback = callback
        self._out_dir = out_dir
        self._device = torch.device(config.device)
        self._checkpoint = out_dir / "checkpoint.pt"
        self._curve = LearningCurve(out_dir / "curve.csv", _CURVE)
        torch.manual_seed(config.seed)
        self._model = build_detector(config.spec, config.start)
        self._model.to(self._device).to(memory_format=torch.channels_last)
        self._average = AveragedWeights(self._model, config.average_decay)
        self._optimizer = _optimizer(self._model, config)
        self._step = 0
        self._clock = RunClock()
        self._order: tuple[int, list[NDArray[np.int64]]] | None = None  # of one epoch

    def train(self, train_photos: Sequence[LabelledPhoto], val_photos: Sequence[LabelledPhoto]) -> dict[str, Any]:
        """Run to the end of the budget, write the weights and return what is worth recording."""
        config = self._config
        train_set, val_set = (
            load_photos(photos, self._ontology, config.spec.long_side_px, config.threads)
            for photos in (train_photos, _spread(val_photos, config.max_val_photos))
        )
        self._resume()
        budget_s = config.max_minutes * 60 if config.max_minutes else None
        epoch_steps = len(self._batches(train_set, 0))
        total_steps = max(1, round(config.epochs * epoch_steps)) if config.epochs else None
        try:
            self._loop(train_set, val_set, total_steps, budget_s)
        except KeyboardInterrupt:
            if worker_rank() == 0:
                self._save_checkpoint()
            raise
        return self._finish(val_set)

    def _loop(self, train_set: PhotoSet, val_set: PhotoSet, total_steps: int | None, budget_s: float | None) -> None:
        config = self._config
        checkpointed_s = validated_s = self._clock.elapsed_s
        reporter = LossReporter(self._clock, self._step, config.report_s)

        def share_at(step: int) -> float:
            return run_share(step, total_steps, self._clock.elapsed_s, budget_s)

        with ThreadPoolExecutor(1) as pool:  # prepares the next batch while this one is learnt
            views = pool.submit(self._views, train_set, self._step, config.size_at(share_at(self._step)))
            while (share := agreed(share_at(self._step))) < 1:
                ready, next_step = views.result(), self._step + 1
                views = pool.submit(self._views, train_set, next_step, config.size_at(share_at(next_step)))
                rate = cosine_rate(share, config.rate * config.batch / 8, config.warmup_share)
                reporter.add(self._train_step(ready, rate))
                if worker_rank() != 0:
                    continue
                if reporter.is_due:
                    row = {"rate": rate, **reporter.take(self._step, config.batch * num_workers())}
                    if self._clock.elapsed_s - validated_s >= config.validate_minutes * 60 and len(val_set):
                        row |= _quality_row(self._quality(self._average.module, val_set))
                        validated_s = self._clock.elapsed_s
                        reporter = LossReporter(self._clock, self._step, config.report_s)
                    self._report(share, row)
                if self._clock.elapsed_s - checkpointed_s >= config.checkpoint_minutes * 60:
                    self._save_checkpoint()
                    checkpointed_s = self._clock.elapsed_s

    def _finish(self, val_set: PhotoSet) -> dict[str, Any]:
        """Keep the averaged weights, or the last ones where these measure better."""
        if worker_rank() != 0:
            return {}
        self._save_checkpoint()
        kept, kept_name = self._average.module, "averaged"
        quality: DetectionQuality | None = None
        if len(val_set):
            quality, last = self._quality(kept, val_set), self._quality(self._model, val_set)
            if last.ap50 > quality.ap50:
                kept, kept_name, quality = self._model, "last", last
        save_weights(kept, self._out_dir / WEIGHTS_FILE)
        row = _quality_row(quality) if quality else {}
        self._report(1.0, row)
        return {
            "workers": num_workers(),
            "steps": self._step,
            "photos_seen": self._step * self._config.batch * num_workers(),
            "elapsed_s": round(self._clock.elapsed_s, 1),
            "kept_weights": kept_name,
            "val": quality_record(quality, self._ontology) if quality else {},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {self._device}",
            "torch": torch.__version__,
        }

    def _batches(self, photos: PhotoSet, epoch: int) -> list[NDArray[np.int64]]:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self._config.seed, epoch])
            self._order = epoch, photos.batches(rng, self._config.batch * num_workers())
        return self._order[1]

    def _views(self, photos: PhotoSet, step: int, long_side_px: int) -> list[View]:
        """This worker's views of a step; they follow from seed and step alone, so a resumed run sees the same."""
        epoch, at = divmod(step, len(self._batches(photos, 0 if self._order is None else self._order[0])))
        indices = self._batches(photos, epoch)[at][worker_rank() :: num_workers()]
        rng = np.random.default_rng([self._config.seed, step, worker_rank()])
        return [photos.training_view(int(index), rng, self._config.light, long_side_px) for index in indices]

    def _train_step(self, views: Sequence[View], rate: float) -> dict[str, float]:
        images = normalise(torch.from_numpy(np.stack([view.canvas for view in views])).to(self._device))
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["ratio"]
        torch.manual_seed(hash((self._config.seed, self._step, worker_rank())))  # decides which anchors are sampled
        self._model.train()
        self._optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = self._model(images, [_target(view, self._device) for view in views])
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self._model.parameters())
        nn.utils.clip_grad_norm_(self._model.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._average.update(self._model)
        self._step += 1
        return {"loss": float(loss.detach())} | {name: float(losses[name].detach()) for name in _LOSSES}

    def _quality(self, module: nn.Module, photos: PhotoSet) -> DetectionQuality:
        spec, batch = self._config.spec, self._config.batch
        detector = Detector(cast(GarmentDetector, module), spec, self._ontology, self._device)
        return measure_detector(detector, photos, self._ontology, batch)

    def _report(self, share: float, row: Mapping[str, float]) -> None:
        photos = self._step * self._config.batch * num_workers()
        full = {"step": float(self._step), "photos": float(photos), "elapsed_s": self._clock.elapsed_s, **row}
        self._curve.add(full)
        if self._callback:
            self._callback(TrainingProgress(share, self._step, self._clock.elapsed_s, full))

    def _identity(self) -> dict[str, str]:
        return {
            "config": json.dumps(asdict(self._config), sort_keys=True),
            "ontology": json.dumps(self._ontology.to_dict(), sort_keys=True),
        }

    def _save_checkpoint(self) -> None:
        save_checkpoint(
            self._checkpoint,
            self._identity()
            | {
                "step": self._step,
                "elapsed_s": self._clock.elapsed_s,
                "model": self._model.state_dict(),
                "average": self._average.module.state_dict(),
                "updates": self._average.num_updates,
                "optimizer": self._optimizer.state_dict(),
            },
        )

    def _resume(self) -> None:
        """Go on from the checkpoint, if there is one; the clock starts here, after the photos are loaded."""
        self._clock = RunClock()
        state = load_checkpoint(self._checkpoint)
        if state is None:
            return
        check_identity(state, self._identity(), self._out_dir.name)
        self._model.load_state_dict(state["model"])
        self._average.module.load_state_dict(state["average"])
        self._average.num_updates = state["updates"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = state["step"]
        self._clock = RunClock(state["elapsed_s"])


def _spread(photos: Sequence[LabelledPhoto], count: int) -> list[LabelledPhoto]:
    """At most `count` photos, evenly from the whole list, so that several sets are all measured."""
    if len(photos) <= count:
        return list(photos)
    return [photos[int(at)] for at in np.linspace(0, len(photos) - 1, count)]


def _target(view: View, device: torch.device) -> Target:
    return {"boxes": torch.from_numpy(view.boxes).to(device), "labels": torch.from_numpy(view.labels).to(device)}


def _optimizer(model: GarmentDetector, config: DetectorTraining) -> torch.optim.SGD:
    """SGD whose groups carry their share of the rate and decay only kernels and matrices."""
    groups: list[dict[str, Any]] = []
    for part, ratio in ((model.backbone.body, config.body_ratio), (model, 1.0)):
        taken = {id(each) for group in groups for each in group["params"]}
        trained = [each for each in part.parameters() if each.requires_grad and id(each) not in taken]
        for is_norm_or_bias in (False, True):
            params = [each for each in trained if (each.ndim < 2) == is_norm_or_bias]
            decay = 0.0 if is_norm_or_bias else config.weight_decay
            groups.append({"params": params, "weight_decay": decay, "ratio": ratio})
    return torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _quality_row(quality: DetectionQuality) -> dict[str, float]:
    return {"val_ap": quality.ap, "val_ap50": quality.ap50}
