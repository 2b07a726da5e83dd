"""One run of classifier training: its steps, its checkpoints, its record.

Every batch mixes categories: the trunk runs once for the batch, each category's heads on its own rows. The run ends by
steps or by the clock, whichever comes first, and the learning rate follows. It resumes where it was interrupted.
It is one class of some length, since step, checkpoint and record all touch the same state.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import Inception_V3_Weights

from models.classifier import (
    InceptionTrunk,
    load_pretrained_trunk,
)
from models.classifier_training import ClassifierTraining
from models.crops import UNLABELLED, CropSet, cut_crops, shaken_box
from models.errors import DatasetError
from models.head_fitting import fit_heads
from models.images import crop_square
from models.joint_classifier import JointClassifier, attribute_loss, joint_loss
from models.ontology import Ontology
from models.preprocess import half_precision, normalise
from models.training import (
    AveragedWeights,
    LearningCurve,
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
from models.weights import load_weights, save_weights

_CURVE = ("step", "crops", "elapsed_s", "size_px", "rate", "loss", "crops_per_s", "val_loss", "val_score")


class ClassifierRun:
    """One trunk with the heads of some categories, from the first step to the saved weights."""

    def __init__(
        self,
        config: ClassifierTraining,
        ontology: Ontology,
        names: Sequence[str],
        run_dir: Path,
        callback: ProgressCallback | None,
    ) -> None:
        self._config = config
        self._ontology = ontology
        self._names = tuple(names)
        self._callback = callback
        self._device = torch.device(config.device)
        self._checkpoint = run_dir / "checkpoint.pt"
        state = load_checkpoint(self._checkpoint)
        if state is not None:
            check_identity(state, _identity(config, ontology), run_dir.name)
        self._curve = LearningCurve(run_dir / "curve.csv", _CURVE)
        torch.manual_seed(config.seed)
        trunk = InceptionTrunk(dropout=config.dropout)
        _start(trunk, config)
        model = JointClassifier(trunk, [ontology.categories[name] for name in names])
        self._model = model.to(self._device).to(memory_format=torch.channels_last)
        self._average = AveragedWeights(self._model, config.average_decay)
        self._optimizer = _optimizer(self._model, config)
        self._step = 0
        self._crops = 0
        self._clock = RunClock()
        self._final: dict[str, float] | None = None  # what was measured at the end
        self._order: tuple[int, NDArray[np.int64]] | None = None  # of one epoch
        if state is not None:
            self._resume(state)

    @property
    def _averaged(self) -> JointClassifier:
        return cast(JointClassifier, self._average.module)

    def train(self, train_photos: Sequence[LabelledPhoto], val_photos: Sequence[LabelledPhoto]) -> dict[str, Any]:
        """Run to the end of the budget and return what is worth recording."""
        config = self._config
        context = config.pad_ratio * (1 + 2 * config.box_shake) + config.box_shake + 0.01
        train_set, val_set = (
            cut_crops(
                photos,
                self._ontology,
                size_px=config.size_px,
                context_ratio=context,
                categories=self._names,
                num_threads=config.threads,
            )
            for photos in (train_photos, val_photos)
        )
        missing = [name for name, count in train_set.counts().items() if not count]
        if missing:
            raise DatasetError(f"no photo shows {', '.join(missing)}; add some, or take it out of the ontology")
        epoch_steps = len(train_set) // (config.batch * num_workers())
        if not epoch_steps:
            raise DatasetError(f"{len(train_set)} garments are fewer than a batch of {config.batch}; add photos")
        total_steps = round(config.epochs * epoch_steps) if config.epochs else None
        budget_s = config.max_minutes * 60 if config.max_minutes else None
        if self._final is None:
            self._loop(train_set, val_set, total_steps, budget_s)
        return self._record(train_set, val_set)

    def _loop(self, train_set: CropSet, val_set: CropSet, total_steps: int | None, budget_s: float | None) -> None:
        config = self._config
        reported_s = checkpointed_s = validated_s = self._clock.elapsed_s
        reported_crops, losses = self._crops, list[float]()
        with ThreadPoolExecutor(config.threads) as pool:
            while True:
                share = agreed(run_share(self._step, total_steps, self._clock.elapsed_s, budget_s))
                if share >= 1:
                    break
                size_px, rate = config.size_at(share), cosine_rate(share, config.rate, config.warmup_share)
                losses.append(self._train_step(train_set, size_px, rate, pool))
                now_s = self._clock.elapsed_s
                if worker_rank() == 0 and now_s - reported_s >= 15:
                    row = {"size_px": size_px, "rate": rate, "loss": float(np.mean(losses))}
                    row["crops_per_s"] = (self._crops - reported_crops) / (now_s - reported_s)
                    if now_s - validated_s >= config.validate_minutes * 60 and len(val_set):
                        self._settle_norms(train_set, size_px, num_batches=8)
                        row |= self.validate(val_set, size_px)
                        validated_s = self._clock.elapsed_s
                    self._report(share, row)
                    reported_s, reported_crops, losses = self._clock.elapsed_s, self._crops, []
                if worker_rank() == 0 and now_s - checkpointed_s >= config.checkpoint_minutes * 60:
                    self._save_checkpoint()
                    checkpointed_s = self._clock.elapsed_s
        self._settle_norms(train_set, config.size_px, num_batches=40)
        self._fit_heads(train_set, val_set)
        self._final = self.validate(val_set, config.size_px) if len(val_set) else {}
        if worker_rank() == 0:
            self._report(1.0, {"size_px": config.size_px, **self._final})
            self._save_checkpoint()

    def _train_step(self, crops: CropSet, size_px: int, rate: float, pool: ThreadPoolExecutor) -> float:
        config = self._config
        indices = self._batch_indices(crops)
        rng = np.random.default_rng([config.seed, self._step, worker_rank()])
        seeds = rng.integers(2**32, size=len(indices))
        cut = pool.map(lambda index, seed: _training_crop(crops, index, seed, size_px, config), indices, seeds)
        images = normalise(torch.from_numpy(np.stack(list(cut))).to(self._device))  # (B, 3, S, S)
        images = _shaken_light(images, config.light, rng)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["ratio"]
        self._model.train()
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(crops, indices, images, config.smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self._model.parameters())
        self._optimizer.step()
        self._average.update(self._model)
        self._step += 1
        self._crops += len(indices) * num_workers()
        return float(loss.detach())

    def _batch_indices(self, crops: CropSet) -> NDArray[np.int64]:
        """This worker's garments of the step; follows from seed and step alone, so that a resumed run sees the same."""
        global_batch = self._config.batch * num_workers()
        epoch, at = divmod(self._step, len(crops) // global_batch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, crops.mixed_order(np.random.default_rng([self._config.seed, epoch]))
        return self._order[1][at * global_batch : (at + 1) * global_batch][worker_rank() :: num_workers()]

    def _loss(self, crops: CropSet, indices: NDArray[np.int64], images: Tensor, smoothing: float) -> Tensor:
        """Loss of a batch, see `joint_loss`."""
        rows_by_category = crops.rows_by_category(indices)
        rows = {name: torch.from_numpy(rows).to(self._device) for name, rows in rows_by_category.items()}
        loss = joint_loss(self._model(images, rows), crops, indices, rows_by_category, smoothing)
        return images.sum() * 0 if loss is None else loss

    @torch.inference_mode()
    def validate(self, crops: CropSet, size_px: int) -> dict[str, float]:
        """Loss of the averaged weights, and the mean over heads of accuracy (single) or F1 of the values (several)."""
        model = self._average.module
        order = np.random.default_rng(0).permutation(len(crops))[: self._config.max_val_crops]
        right: dict[tuple[str, str], list[float]] = {}
        losses: list[float] = []
        for indices in _chunks(order, self._config.batch):
            pixels = np.stack([crops.crop(int(index), size_px, self._config.pad_ratio) for index in indices])
            rows_by_category = crops.rows_by_category(indices)
            rows = {name: torch.from_numpy(rows).to(self._device) for name, rows in rows_by_category.items()}
            logits = model(normalise(torch.from_numpy(pixels).to(self._device)), rows)
            for name, category_rows in rows_by_category.items():
                for attribute, labels in crops.labels_of(name, indices[category_rows]).items():
                    target = torch.from_numpy(labels).to(self._device)
                    definition = self._ontology.categories[name].attributes[attribute]
                    loss = attribute_loss(definition, logits[name][attribute], target)
                    if loss is not None:
                        losses.append(float(loss))
                        right.setdefault((name, attribute), []).extend(_hits(logits[name][attribute], target))
        scores = [float(np.mean(hits)) for hits in right.values()]
        return {"val_loss": float(np.mean(losses)), "val_score": float(np.mean(scores))} if losses else {}

    @torch.no_grad()
    def _settle_norms(self, crops: CropSet, size_px: int, num_batches: int) -> None:
        """Measure the batch statistics anew for the averaged weights, which no batch has met, at one size."""
        model = self._averaged
        norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        model.train()
        order = np.random.default_rng(1).permutation(len(crops))[: num_batches * self._config.batch]
        for indices in _chunks(order, self._config.batch):
            if len(indices) == min(self._config.batch, len(crops)):  # a small rest would weigh as much as a batch
                pixels = np.stack([crops.crop(int(index), size_px, self._config.pad_ratio) for index in indices])
                model(normalise(torch.from_numpy(pixels).to(self._device)), {})
        model.eval()

    def _fit_heads(self, train_set: CropSet, val_set: CropSet) -> None:
        """Fit the heads of the averaged weights to the features as they have become; see `head_fitting`."""
        config = self._config

        def features_of(crops: CropSet, view: int | None) -> Tensor:
            parts = []
            for indices in _chunks(np.arange(len(crops)), config.batch):
                pixels = [
                    crops.crop(int(index), config.size_px, config.pad_ratio)
                    if view is None
                    else _training_crop(crops, int(index), view * len(crops) + int(index), config.size_px, config)
                    for index in indices
                ]
                images = normalise(torch.from_numpy(np.stack(pixels)).to(self._device))
                if view is not None:
                    images = _shaken_light(images, config.light, np.random.default_rng([config.seed, view, indices[0]]))
                with torch.no_grad(), half_precision(self._device):
                    parts.append(self._averaged.trunk(images).cpu())
            return torch.cat(parts)

        fit_heads(self._averaged.heads.cpu(), train_set, val_set, features_of, config.head_views, config.seed)
        self._averaged.heads.to(self._device)

    def _report(self, share: float, row: Mapping[str, float]) -> None:
        full = {"step": float(self._step), "crops": float(self._crops), "elapsed_s": self._clock.elapsed_s, **row}
        self._curve.add(full)
        if self._callback:
            self._callback(TrainingProgress(share, self._step, self._clock.elapsed_s, full))

    def _save_checkpoint(self) -> None:
        save_checkpoint(
            self._checkpoint,
            _identity(self._config, self._ontology)
            | {
                "step": self._step,
                "crops": self._crops,
                "elapsed_s": self._clock.elapsed_s,
                "final": self._final,
                "model": self._model.state_dict(),
                "average": self._average.module.state_dict(),
                "updates": self._average.num_updates,
                "optimizer": self._optimizer.state_dict(),
            },
        )

    def _resume(self, state: Mapping[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._average.module.load_state_dict(state["average"])
        self._average.num_updates = state["updates"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._crops, self._final = state["step"], state["crops"], state["final"]
        self._clock = RunClock(state["elapsed_s"])

    def _record(self, train_set: CropSet, val_set: CropSet) -> dict[str, Any]:
        return {
            "categories": list(self._names),
            "train_garments": train_set.counts(),
            "val_garments": val_set.counts(),
            "workers": num_workers(),
            "steps": self._step,
            "crops": self._crops,
            "elapsed_s": round(self._clock.elapsed_s, 1),
            "val": self._final,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {self._device}",
            "torch": torch.__version__,
        }

    def save(self, out_dir: Path, trunk_file: str) -> None:
        """Write the averaged weights: the trunk, and each category's heads."""
        averaged = self._averaged
        save_weights(averaged.trunk, out_dir / trunk_file)
        for name in self._names:
            save_weights(averaged.heads.merged(name), out_dir / f"classifier-{name}.safetensors")


def _identity(config: ClassifierTraining, ontology: Ontology) -> dict[str, str]:
    return {
        "config": json.dumps(asdict(config), sort_keys=True),
        "ontology": json.dumps(ontology.to_dict(), sort_keys=True),
    }


def _start(trunk: InceptionTrunk, config: ClassifierTraining) -> None:
    if config.start.endswith(".safetensors"):
        load_weights(trunk, Path(config.start))
    elif config.start:
        load_pretrained_trunk(trunk, Path(config.start))
    elif config.imagenet:
        load_pretrained_trunk(trunk, Inception_V3_Weights.IMAGENET1K_V1)


def _optimizer(model: JointClassifier, config: ClassifierTraining) -> torch.optim.AdamW:
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("trunk."), parameter.ndim >= 2), []).append(parameter)
    options = [
        {
            "params": parameters,
            "ratio": 1.0 if is_trunk else config.head_ratio,
            "weight_decay": config.weight_decay if is_matrix else 0.0,  # none on batch norms and biases
        }
        for (is_trunk, is_matrix), parameters in groups.items()
    ]
    return torch.optim.AdamW(options, lr=config.rate, betas=(0.9, 0.99))


def _training_crop(
    crops: CropSet, index: int, seed: int, size_px: int, config: ClassifierTraining
) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    box = shaken_box(crops.boxes[index], config.box_shake, rng)
    crop = crop_square(crops.regions[index], box, size_px, config.pad_ratio)
    return crop[:, ::-1] if config.flip and rng.random() < 0.5 else crop


def _shaken_light(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Change each picture's contrast and brightness, all channels alike, by up to a share; (B, 3, S, S)."""
    factors = torch.from_numpy(rng.uniform(-share, share, (2, len(images), 1, 1, 1))).to(images)
    means = images.mean((1, 2, 3), keepdim=True)
    return (images - means) * (1 + factors[0]) + means + factors[1]


def _hits(logits: Tensor, labels: Tensor) -> list[float]:
    """Per labelled row: 1 or 0 for a single choice, the F1 of its values for several."""
    if labels.ndim == 1:
        is_labelled = labels != UNLABELLED
        return (logits.argmax(1) == labels)[is_labelled].float().tolist()
    is_labelled = labels[:, 0] != UNLABELLED
    chosen, true = (logits > 0)[is_labelled].float(), labels[is_labelled]
    both = (chosen * true).sum(1)
    return (2 * both / (chosen.sum(1) + true.sum(1)).clamp(min=1)).tolist()


def _chunks(indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (indices[at : at + size] for at in range(0, len(indices), size))
