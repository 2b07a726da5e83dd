"""One run of classifier training.

Every batch mixes categories: the trunk runs once for the batch, each category's heads on its own rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import Inception_V3_Weights

from models.classifier import InceptionTrunk, load_pretrained_trunk
from models.classifier_training import ClassifierTraining
from models.crops import UNLABELLED, CropSet, cut_crops, shaken_box
from models.errors import DatasetError
from models.head_fitting import fit_heads
from models.images import crop_square
from models.joint_classifier import JointClassifier, attribute_loss, joint_loss
from models.muon import Muon
from models.ontology import Ontology
from models.preprocess import half_precision, normalise
from models.training import ProgressCallback, num_workers, worker_rank
from models.training_run import TrainingRun
from models.types import LabelledPhoto
from models.weights import load_weights, save_weights


@dataclass(frozen=True, slots=True)
class _Batch:
    """Garments of a step: their rows in the set, (B, S, S, 3) uint8 crops, and the random numbers for their light."""

    indices: NDArray[np.int64]
    crops: NDArray[np.uint8]
    light: NDArray[np.float64]


class ClassifierRun(TrainingRun[_Batch]):
    """One trunk with the heads of some categories, from the first step to the saved weights."""

    score_name = "val_score"
    val_names = ("val_loss", "val_score")

    def __init__(
        self,
        config: ClassifierTraining,
        ontology: Ontology,
        names: Sequence[str],
        run_dir: Path,
        callback: ProgressCallback | None,
    ) -> None:
        self._config = config
        self._names = tuple(names)
        self._order: tuple[int, NDArray[np.int64]] | None = None  # of one epoch
        super().__init__(config, ontology, run_dir, callback)

    @property
    def _peak_rate(self) -> float:
        return self._config.rate

    @property
    def _full_px(self) -> int:
        return self._config.size_px

    @property
    def _batch_size(self) -> int:
        return self._config.batch

    def _build(self) -> JointClassifier:
        trunk = InceptionTrunk(dropout=self._config.dropout)
        _start(trunk, self._config)
        return JointClassifier(trunk, [self.ontology.categories[name] for name in self._names])

    def _body_of(self, model: JointClassifier) -> Iterable[nn.Parameter]:
        return model.trunk.parameters()

    @property
    def _averaged(self) -> JointClassifier:
        return cast(JointClassifier, self.average.module)

    def train(self, train_photos: Sequence[LabelledPhoto], val_photos: Sequence[LabelledPhoto]) -> dict[str, Any]:
        """Run to the end of the budget and return what is worth recording."""
        config = self._config
        context = config.pad_ratio * (1 + 2 * config.box_shake) + config.box_shake + 0.01
        self._train_set, self._val_set = (
            cut_crops(
                photos,
                self.ontology,
                size_px=config.size_px,
                context_ratio=context,
                categories=self._names,
                num_threads=config.threads,
            )
            for photos in (train_photos, val_photos)
        )
        missing = [name for name, count in self._train_set.counts().items() if not count]
        if missing:
            raise DatasetError(f"no photo shows {', '.join(missing)}; add some, or take it out of the ontology")
        epoch_steps = len(self._train_set) // (config.batch * num_workers())
        if not epoch_steps:
            raise DatasetError(f"{len(self._train_set)} garments are fewer than a batch of {config.batch}; add photos")
        with ThreadPoolExecutor(config.threads) as self._pool:
            self.run(epoch_steps)
        return {
            **self.record(),
            "categories": list(self._names),
            "train_garments": self._train_set.counts(),
            "val_garments": self._val_set.counts(),
            "crops": self.num_seen,
            "val": self.final,
        }

    def _prepare(self, step: int, size_px: int) -> _Batch:
        config = self._config
        global_batch = config.batch * num_workers()
        epoch, at = divmod(step, len(self._train_set) // global_batch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._train_set.mixed_order(np.random.default_rng([config.seed, epoch]))
        indices = self._order[1][at * global_batch : (at + 1) * global_batch][worker_rank() :: num_workers()]
        rng = np.random.default_rng([config.seed, step, worker_rank()])
        seeds = rng.integers(2**32, size=len(indices))
        cut = self._pool.map(
            lambda index, seed: _training_crop(self._train_set, index, seed, size_px, config), indices, seeds
        )
        return _Batch(indices, np.stack(list(cut)), _light(rng, len(indices), config.light))

    def _losses(self, batch: _Batch) -> dict[str, Tensor]:
        images = normalise(torch.from_numpy(batch.crops).to(self.device))  # (B, 3, S, S)
        images = _in_light(images, batch.light)
        rows_by_category = self._train_set.rows_by_category(batch.indices)
        rows = {name: torch.from_numpy(rows).to(self.device) for name, rows in rows_by_category.items()}
        logits = self.model(images, rows)
        loss = joint_loss(logits, self._train_set, batch.indices, rows_by_category, self._config.smoothing)
        return {"loss": images.sum() * 0 if loss is None else loss}

    def _validate(self, size_px: int) -> dict[str, float]:
        if not len(self._val_set):
            return {}
        self._settle_norms(size_px, num_batches=8)
        return self._measure(size_px)

    def _finish(self, figures: dict[str, float]) -> dict[str, float]:
        self._settle_norms(self._config.size_px, num_batches=40)
        self._fit_heads()
        return self._measure(self._config.size_px) if len(self._val_set) else {}

    def _build_optimizer(self, model: JointClassifier) -> Muon:
        config = self._config
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            groups.setdefault((name.startswith("trunk."), parameter.ndim >= 2), []).append(parameter)
        options = []
        for (is_trunk, is_matrix), parameters in groups.items():
            is_orthogonal = is_trunk and is_matrix and config.muon_ratio > 0
            options.append(
                {
                    "params": parameters,
                    "ratio": config.muon_ratio if is_orthogonal else 1.0 if is_trunk else config.head_ratio,
                    "weight_decay": config.weight_decay if is_matrix else 0.0,  # none on batch norms and biases
                    "orthogonal": is_orthogonal,
                }
            )
        return Muon(options, lr=config.rate, betas=(0.9, 0.99))

    @torch.inference_mode()
    def _measure(self, size_px: int) -> dict[str, float]:
        """Loss of the averaged weights, and the mean over heads of accuracy (single) or F1 of the values (several)."""
        model, crops = self.average.module, self._val_set
        order = np.random.default_rng(0).permutation(len(crops))[: self._config.max_val_crops]
        right: dict[tuple[str, str], list[float]] = {}
        losses: list[float] = []
        for indices in _chunks(order, self._config.batch):
            pixels = np.stack([crops.crop(int(index), size_px, self._config.pad_ratio) for index in indices])
            rows_by_category = crops.rows_by_category(indices)
            rows = {name: torch.from_numpy(rows).to(self.device) for name, rows in rows_by_category.items()}
            logits = model(normalise(torch.from_numpy(pixels).to(self.device)), rows)
            for name, category_rows in rows_by_category.items():
                for attribute, labels in crops.labels_of(name, indices[category_rows]).items():
                    target = torch.from_numpy(labels).to(self.device)
                    definition = self.ontology.categories[name].attributes[attribute]
                    loss = attribute_loss(definition, logits[name][attribute], target)
                    if loss is not None:
                        losses.append(float(loss))
                        right.setdefault((name, attribute), []).extend(_hits(logits[name][attribute], target))
        scores = [float(np.mean(hits)) for hits in right.values()]
        return {"val_loss": float(np.mean(losses)), "val_score": float(np.mean(scores))} if losses else {}

    @torch.no_grad()
    def _settle_norms(self, size_px: int, num_batches: int) -> None:
        """Measure the batch statistics anew for the averaged weights, which no batch has met, at one size."""
        model, crops = self._averaged, self._train_set
        norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        model.train()
        order = np.random.default_rng(1).permutation(len(crops))[: num_batches * self._config.batch]
        for indices in _chunks(order, self._config.batch):
            if len(indices) == min(self._config.batch, len(crops)):  # a small rest would weigh as much as a batch
                pixels = np.stack([crops.crop(int(index), size_px, self._config.pad_ratio) for index in indices])
                model(normalise(torch.from_numpy(pixels).to(self.device)), {})
        model.eval()

    def _fit_heads(self) -> None:
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
                images = normalise(torch.from_numpy(np.stack(pixels)).to(self.device))
                if view is not None:
                    images = _in_light(
                        images,
                        _light(np.random.default_rng([config.seed, view, indices[0]]), len(indices), config.light),
                    )
                with torch.no_grad(), half_precision(self.device):
                    parts.append(self._averaged.trunk(images).cpu())
            return torch.cat(parts)

        fit_heads(
            self._averaged.heads.cpu(), self._train_set, self._val_set, features_of, config.head_views, config.seed
        )
        self._averaged.heads.to(self.device)

    def save(self, out_dir: Path, trunk_file: str) -> None:
        """Write the averaged weights: the trunk, and each category's heads."""
        averaged = self._averaged
        save_weights(averaged.trunk, out_dir / trunk_file)
        for name in self._names:
            save_weights(averaged.heads.merged(name), out_dir / f"classifier-{name}.safetensors")


def _start(trunk: InceptionTrunk, config: ClassifierTraining) -> None:
    if config.start.endswith(".safetensors"):
        load_weights(trunk, Path(config.start))
    elif config.start:
        load_pretrained_trunk(trunk, Path(config.start))
    elif config.imagenet:
        load_pretrained_trunk(trunk, Inception_V3_Weights.IMAGENET1K_V1)


def _training_crop(
    crops: CropSet, index: int, seed: int, size_px: int, config: ClassifierTraining
) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    box = shaken_box(crops.boxes[index], config.box_shake, rng)
    crop = crop_square(crops.regions[index], box, size_px, config.pad_ratio)
    return crop[:, ::-1] if config.flip and rng.random() < 0.5 else crop


def _light(rng: np.random.Generator, count: int, share: float) -> NDArray[np.float64]:
    """By how much contrast and brightness of each picture change: (2, count), at most a share."""
    return rng.uniform(-share, share, (2, count))


def _in_light(images: Tensor, light: NDArray[np.float64]) -> Tensor:
    """Change each picture's contrast and brightness, all channels alike; (B, 3, S, S)."""
    factors = torch.from_numpy(light[:, :, None, None, None]).to(images)
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
