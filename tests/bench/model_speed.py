"""`models`: detector and classifier by batch size, torchvision as it comes against ours, quality beside the speed.

The baseline has the same weights at the same input size: eager, float32, contiguous memory, torchvision's own counts of
proposals. `plain` is float32 eager with our counts: what the fast path has to answer like. `exact` is ours in float32.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from models.boxes import box_iou
from models.bundle import Bundle
from models.classifier import CategoryHeads, Classifier, InceptionTrunk
from models.crops import read_photo
from models.detector import FINE_MAP, Detector, FineBackbone, add_fine_map, build_detector
from models.evaluate import measure
from models.images import detector_canvas, letterbox
from models.ontology import Category
from models.predictor import TaggedGarment, Tagger
from models.preprocess import normalise
from models.types import LabelledPhoto
from models.weights import load_weights
from tests.bench.photos import labelled
from tests.bench.report import alternate, publish, spread

BATCHES = (1, 2, 4, 8, 16, 32)
_SAME_BOX_IOU = 0.95


class PlainDetector(Detector):
    """Our network in float32, eager, contiguous, nothing folded."""

    def __init__(self, bundle: Bundle) -> None:
        module = build_detector(bundle.detector_spec, bundle.dir / bundle.manifest["detector"]["weights"])
        super().__init__(module, bundle.detector_spec, bundle.ontology, "cpu")
        self.network = module.eval()

    def _run(self, batch: NDArray[np.uint8]) -> list[dict[str, Tensor]]:
        with torch.inference_mode():
            answers: list[dict[str, Tensor]] = self.network(normalise(torch.from_numpy(batch)).contiguous())
        return answers


class StockDetector(PlainDetector):
    """torchvision's whole model, with its transform and its counts, around the same weights."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        spec = bundle.detector_spec
        stock: FasterRCNN = fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=None, weights_backbone=None, min_size=spec.long_side_px, max_size=spec.long_side_px
        )
        roi = stock.roi_heads
        roi.box_head = TwoMLPHead(stock.backbone.out_channels * 49, spec.box_head_dim)
        roi.box_predictor = FastRCNNPredictor(spec.box_head_dim, spec.num_categories + 1)
        if isinstance(self.network.backbone, FineBackbone):
            add_fine_map(stock)
            roi.box_roi_pool = MultiScaleRoIAlign([FINE_MAP], 7, 2)
        stock.load_state_dict(self.network.state_dict())
        self.stock = stock.eval()

    def _run(self, batch: NDArray[np.uint8]) -> list[dict[str, Tensor]]:
        images = [torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 255 for image in batch]
        with torch.no_grad():
            answers: list[dict[str, Tensor]] = self.stock(images)
        return answers


class PlainClassifier(Classifier):
    """Inception-v3 in float32, eager, contiguous, nothing folded."""

    def __init__(self, category: Category, trunk: nn.Module, heads: CategoryHeads, temperatures: Any) -> None:
        super().__init__(category, nn.Identity(), heads, "cpu", temperatures)
        self._dtype = torch.float32
        self._trunk = Contiguous(trunk)


class Contiguous(nn.Module):
    """Gives a network its images as torchvision's own transforms would lay them out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images.contiguous())
        return features


def plain_classifiers(bundle: Bundle) -> dict[str, Classifier]:
    """Every category's classifier over unfolded float32 trunks."""
    trunks: dict[str, nn.Module] = {}
    classifiers: dict[str, Classifier] = {}
    for name, parts in bundle.manifest["classifiers"]["weights"].items():
        if parts["trunk"] not in trunks:
            trunks[parts["trunk"]] = InceptionTrunk().eval()
            load_weights(trunks[parts["trunk"]], bundle.dir / parts["trunk"])
        category = bundle.ontology.categories[name]
        heads = CategoryHeads(category)
        load_weights(heads, bundle.dir / parts["heads"])
        temperatures = bundle.temperatures.get(name, {})
        classifiers[name] = PlainClassifier(category, trunks[parts["trunk"]], heads, temperatures)
    return classifiers


class SwappedTagger(Tagger):
    """The whole way with other models."""

    def __init__(self, bundle: Bundle, detector: Detector, classifiers: dict[str, Classifier]) -> None:
        self.bundle, self._detector, self._classifiers = bundle, detector, classifiers


def agreement(first: Sequence[TaggedGarment], second: Sequence[TaggedGarment]) -> bool:
    """Whether two answers name the same garments: category, place, and the best value of every attribute."""
    if len(first) != len(second):
        return False
    left = list(second)
    for garment in first:
        same = next((other for other in left if _is_same(garment, other)), None)
        if same is None:
            return False
        left.remove(same)
    return True


def _is_same(one: TaggedGarment, other: TaggedGarment) -> bool:
    if one.detection.category != other.detection.category:
        return False
    boxes = (np.array([each.detection.box], dtype=np.float32) for each in (one, other))
    if float(box_iou(*boxes)[0, 0]) < _SAME_BOX_IOU:
        return False
    return all(scores[0].value == other.attributes[name][0].value for name, scores in one.attributes.items())


def run(bundle: Bundle, out_dir: Path, *, rounds: int, num_photos: int) -> None:
    """Measure on one thread and publish."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        photos = labelled(Path(directory), num_photos, bundle.ontology)
        plain_heads = plain_classifiers(bundle)
        taggers = {
            "torchvision": SwappedTagger(bundle, StockDetector(bundle), plain_heads),
            "plain": SwappedTagger(bundle, PlainDetector(bundle), plain_heads),
            "ours": Tagger(bundle),
            "exact": _exact(bundle),
        }
        rows = _speed(taggers, photos, bundle, rounds)
        quality = _quality(taggers, photos)
    facts = {"bundle": {"label": bundle.label, "digest": bundle.digest}, "threads": 1, "rounds": rounds}
    publish("models", rows, {**facts, "quality": quality}, out_dir)
    for name, entry in quality.items():
        print(f"{name}: {entry}")


def _exact(bundle: Bundle) -> Tagger:
    """Ours as `precision: exact` has it."""
    usual = torch.get_autocast_dtype("cpu")
    torch.set_autocast_dtype("cpu", torch.float32)
    try:
        return Tagger(bundle)
    finally:
        torch.set_autocast_dtype("cpu", usual)


def _speed(
    taggers: dict[str, SwappedTagger | Tagger], photos: Sequence[LabelledPhoto], bundle: Bundle, rounds: int
) -> list[dict[str, Any]]:
    images = [read_photo(photo.path) for photo in photos[: BATCHES[-1]]]
    long_side_px, size_px = bundle.detector_long_side_px, bundle.crop_size_px
    canvas_hw = detector_canvas((4, 3), long_side_px)  # the commonest
    canvases = [letterbox(image, canvas_hw)[0] for image in images]
    crops = np.stack([letterbox(image, (size_px, size_px))[0] for image in images])
    category = bundle.ontology.category_names[0]
    rows = []
    for batch in BATCHES:
        detectors = {name: partial(tagger._detector.detect, canvases[:batch], 0.5) for name, tagger in taggers.items()}
        classifiers = {
            name: partial(taggers[name]._classifiers[category].classify, crops[:batch])
            for name in ("torchvision", "ours", "exact")
        }
        for model, sides in (("detector", detectors), ("classifier", classifiers)):
            taken = alternate(sides, rounds * BATCHES[-1] // batch)  # as many photos at every size
            each = {f"{name}_ms": spread([1000 * second / batch for second in own]) for name, own in taken.items()}
            ratio = each["torchvision_ms"]["median"] / each["ours_ms"]["median"]
            rows.append({"model": model, "batch": batch, **each, "times_faster": round(ratio, 2)})
    return rows


def _quality(taggers: dict[str, SwappedTagger | Tagger], photos: Sequence[LabelledPhoto]) -> dict[str, Any]:
    quality: dict[str, Any] = {}
    for name, tagger in taggers.items():
        report = measure(tagger, photos, "rendered test")
        detection, summary = report["detection"], report["summary"]["on_true_boxes"]
        quality[name] = {"ap": detection["ap"], "ap50": detection["ap50"], "macro_f1": summary["macro_f1"]}
    quality["counts"] = {"photos": detection["photos"], "garments": detection["boxes"]}
    images = [read_photo(photo.path) for photo in photos]
    plain = [taggers["plain"].tag(image) for image in images]
    same = {
        name: sum(agreement(one, taggers[name].tag(image)) for one, image in zip(plain, images, strict=True))
        for name in ("ours", "exact")
    }
    quality["same_answers"] = {"photos": len(images), **same}
    return quality
