"""Trains the garment detector; the run ends by steps or by the clock, and resumes where it was interrupted."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.detector import FINE_LATERAL, Detector, DetectorSpec, GarmentDetector, Start, Target, build_detector
from models.detector_quality import measure_detector, quality_record
from models.errors import DatasetError
from models.metrics import DetectionQuality
from models.ontology import Ontology
from models.preprocess import normalise
from models.training import ProgressCallback, RunConfig, num_workers, worker_rank
from models.training_run import TrainingRun
from models.types import LabelledPhoto
from models.views import View, load_photos
from models.weights import load_weights, save_weights

RESULT_FILE = "detector.json"
WEIGHTS_FILE = "detector.safetensors"
_LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")


@dataclass(frozen=True)
class DetectorTraining(RunConfig):
    """One run. The defaults train from nothing; with COCO weights give `rate` 0.005.

    Attributes:
        spec: shape of the network.
        weights: "none", "backbone" (ImageNet), "coco", or the path of a detector.safetensors to start from.
        batch: photos per step and worker.
        rate: peak learning rate of SGD with Nesterov's momentum, for a batch of 8; scaled with the batch.
        body_ratio: rate of the backbone's body as a multiple of the rest's. From nothing 5: normalised kernels moved by
            0.03 to 0.1 % of their norm a step at the heads' rate, and classes were hardly learnt in 13,000 views.
        light: how far brightness and contrast move, and a third of that the colour of the light.
        max_val_photos: measured along the way and at the end.
    """

    spec: DetectorSpec
    weights: str = "none"
    batch: int = 8
    rate: float = 0.02
    body_ratio: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    light: float = 0.25
    max_val_photos: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 1:
            raise ValueError(f"batch needs to be at least 1, got {self.batch}")
        shares, sides = [share for share, _ in self.sizes], [side for _, side in self.sizes]
        if sides and (shares != sorted(shares) or shares[0] != 0 or sides[-1] != self.spec.long_side_px):
            raise ValueError(f"sizes need to start at share 0, grow and end at the spec's size, got {self.sizes}")
        if any(side < 64 or side % 32 or side > self.spec.long_side_px for side in sides):
            raise ValueError(f"sizes need to be multiples of 32 in [64, {self.spec.long_side_px}], got {sides}")

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
            # A path tells of the machine it was on, and the record travels with the bundle.
            "training": {"config": asdict(config) | {"weights": Path(config.weights).name}, **sources, **final},
        }
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def _sources(photos: Sequence[LabelledPhoto]) -> dict[str, int]:
    """Number of photos by the name of their set."""
    return dict(Counter(photo.path.parent.parent.name for photo in photos))


class _Run(TrainingRun[list[View]]):
    """One detector from the first step to the saved weights."""

    score_name = "val_ap50"
    val_names = ("val_ap", "val_ap50")
    loss_names = ("loss", *_LOSSES)
    largest_gradient = 10.0

    def __init__(
        self, config: DetectorTraining, ontology: Ontology, out_dir: Path, callback: ProgressCallback | None
    ) -> None:
        self._config = config
        self._out_dir = out_dir
        self._order: tuple[int, list[NDArray[np.int64]]] | None = None  # of one epoch
        self._measured: DetectionQuality | None = None  # the averaged weights as they were last
        super().__init__(config, ontology, out_dir, callback)

    @property
    def _peak_rate(self) -> float:
        return self._config.rate * self._config.batch / 8

    @property
    def _full_px(self) -> int:
        return self._config.spec.long_side_px

    @property
    def _batch_size(self) -> int:
        return self._config.batch

    def _build(self) -> GarmentDetector:
        start = self._config.start
        if not isinstance(start, Path):
            return build_detector(self._config.spec, start)
        model = build_detector(self._config.spec)
        load_weights(model, start, may_lack=FINE_LATERAL)
        return model

    def _body_of(self, model: GarmentDetector) -> Iterable[nn.Parameter]:
        return cast(nn.Module, model.backbone.body).parameters()

    def train(self, train_photos: Sequence[LabelledPhoto], val_photos: Sequence[LabelledPhoto]) -> dict[str, Any]:
        """Run to the end of the budget, write the weights and return what is worth recording."""
        config = self._config
        self._train_set, self._val_set = (
            load_photos(photos, self.ontology, config.spec.long_side_px, config.threads)
            for photos in (train_photos, _spread(val_photos, config.max_val_photos))
        )
        self.run(len(self._batches(0)))
        if worker_rank() != 0:
            return {}
        kept = cast(GarmentDetector, self.average.module)
        save_weights(kept, self._out_dir / WEIGHTS_FILE)
        if self._measured is None:  # an ended run was taken up again
            self._validate(self._full_px)
        return {
            **self.record(),
            "photos_seen": self.num_seen,
            "val": quality_record(self._measured, self.ontology) if self._measured else {},
        }

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self._config.seed, epoch])
            self._order = epoch, self._train_set.batches(rng, self._config.batch * num_workers())
        return self._order[1]

    def _prepare(self, step: int, size_px: int) -> list[View]:
        epoch, at = divmod(step, len(self._batches(0 if self._order is None else self._order[0])))
        indices = self._batches(epoch)[at][worker_rank() :: num_workers()]
        rng = np.random.default_rng([self._config.seed, step, worker_rank()])
        return [self._train_set.training_view(int(index), rng, self._config.light, size_px) for index in indices]

    def _losses(self, batch: list[View]) -> dict[str, Tensor]:
        images = normalise(torch.from_numpy(np.stack([view.canvas for view in batch])).to(self.device))
        # Of the network only the backbone computes in half precision, see GarmentDetector; on a GPU only.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            parts: dict[str, Tensor] = self.model(images, [_target(view, self.device) for view in batch])
        return {"loss": torch.stack(list(parts.values())).sum(), **{name: parts[name] for name in _LOSSES}}

    def _validate(self, size_px: int) -> dict[str, float]:
        if not len(self._val_set):
            return {}
        self._measured = self._quality()
        return {"val_ap": self._measured.ap, "val_ap50": self._measured.ap50}

    def _finish(self, figures: dict[str, float]) -> dict[str, float]:
        return figures or self._validate(self._full_px)

    def _quality(self) -> DetectionQuality:
        spec, module = self._config.spec, cast(GarmentDetector, self.average.module)
        detector = Detector(module, spec, self.ontology, self.device)
        return measure_detector(detector, self._val_set, self.ontology, self._config.batch)

    def _build_optimizer(self, model: GarmentDetector) -> torch.optim.SGD:
        """SGD whose groups carry their share of the rate and decay only kernels and matrices."""
        config = self._config
        groups: list[dict[str, Any]] = []
        for part, ratio in ((model.backbone.body, config.body_ratio), (model, 1.0)):
            taken = {id(each) for group in groups for each in group["params"]}
            trained = [each for each in part.parameters() if each.requires_grad and id(each) not in taken]
            for is_norm_or_bias in (False, True):
                params = [each for each in trained if (each.ndim < 2) == is_norm_or_bias]
                decay = 0.0 if is_norm_or_bias else config.weight_decay
                groups.append({"params": params, "weight_decay": decay, "ratio": ratio})
        return torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _spread(photos: Sequence[LabelledPhoto], count: int) -> list[LabelledPhoto]:
    """At most `count` photos, evenly from the whole list, so that several sets are all measured."""
    if len(photos) <= count:
        return list(photos)
    return [photos[int(at)] for at in np.linspace(0, len(photos) - 1, count)]


def _target(view: View, device: torch.device) -> Target:
    return {"boxes": torch.from_numpy(view.boxes).to(device), "labels": torch.from_numpy(view.labels).to(device)}
