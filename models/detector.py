"""The garment detector: torchvision's Faster R-CNN parts, fed with photos that are already letterboxed.

torchvision's own resizing is left out: `models.images.letterbox` gives the canvases in training and in serving alike.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights
from torchvision.models.detection import (
    FasterRCNN,
    FasterRCNN_MobileNet_V3_Large_320_FPN_Weights,
    FasterRCNN_ResNet50_FPN_V2_Weights,
    fasterrcnn_mobilenet_v3_large_320_fpn,
    fasterrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms

from models.errors import BundleError, ModelError
from models.ontology import Ontology
from models.packed import KeptAnchors, PackedRegionHead, can_pack, fold_normalisation, pack_convolutions
from models.preprocess import inference_dtype, normalise
from models.recorded import Recorded
from models.roi_align import DenseRoiAlign
from models.stages import classify_regions, propose_regions
from models.types import Detection
from models.weights import load_weights

Backbone = Literal["mobilenet_v3_large_320_fpn", "mobilenet_v3_large_320_fpn_stride16", "resnet50_fpn_v2"]
Start = Literal["none", "backbone", "coco"]
Target = dict[str, Tensor]
"""Of one photo: `boxes` (N, 4) float32 canvas pixels and `labels` (N,) int64, 1-based; N may be 0."""

_COCO_HEAD_DIM = 1024
_ROI_SIDE = 7
_SAME_GARMENT_IOU = 0.85
FINE_MAP = "fine"
FINE_LATERAL = "backbone.lateral."
"""Weights that a detector of the same pyramid without the finer map lacks; they start at zero."""
_ONE_MAP = {"mobilenet_v3_large_320_fpn": ("0", 32), "mobilenet_v3_large_320_fpn_stride16": (FINE_MAP, 16)}
"""Map and stride in pixels, for backbones whose regions are all taken from one map."""
_FINE_LAYER, _FINE_CHANNELS = "12", 112  # the last of MobileNetV3-Large at stride 16

# A photo shows a handful of garments, each a good part of it: torchvision's counts, made for a hundred small things,
# only cost time here.
_FEW_LARGE_THINGS = {
    "rpn_pre_nms_top_n_train": 200,
    "rpn_post_nms_top_n_train": 128,
    "rpn_pre_nms_top_n_test": 60,
    "rpn_post_nms_top_n_test": 32,
    "rpn_batch_size_per_image": 128,
    "box_batch_size_per_image": 32,
    "box_detections_per_img": 20,
    "box_nms_thresh": 0.6,
    "box_score_thresh": 0.05,
}


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """What a detector's weights were made for; stored beside them.

    `long_side_px` is the long side of the canvas, a multiple of 32; `box_head_dim` the width of the layers that
    classify a region, 1024 in torchvision's weights.
    """

    backbone: Backbone
    long_side_px: int
    box_head_dim: int
    num_categories: int

    def __post_init__(self) -> None:
        if self.backbone not in get_args(Backbone):
            raise ValueError(f"backbone needs to be one of {', '.join(get_args(Backbone))}, got {self.backbone!r}")
        if self.long_side_px < 64 or self.long_side_px % 32:
            raise ValueError(f"long_side_px needs to be a multiple of 32 from 64 on, got {self.long_side_px}")
        if self.box_head_dim < 1 or self.num_categories < 1:
            raise ValueError(
                f"box_head_dim and num_categories need to be >= 1, got {self.box_head_dim}, {self.num_categories}"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "DetectorSpec":
        """Read `to_dict`'s form.

        Raises:
            BundleError: if a field is missing, unknown or out of range.
        """
        try:
            return cls(**data)
        except (TypeError, ValueError) as exc:
            raise BundleError(f"the detector's spec is unusable: {exc}") from exc


class FineBackbone(nn.Module):
    """torchvision's feature pyramid of a MobileNetV3, whose maps all have a stride of 32 pixels or more, and one of 16.

    Regions are taken from the finer map, proposals made from all. Its lateral convolution starts at zero, so that the
    regions of a trained pyramid are at first as they were without.

    Args:
        pyramid: its layers are taken over.
    """

    def __init__(self, pyramid: BackboneWithFPN) -> None:
        super().__init__()
        self.out_channels = pyramid.out_channels
        self.body = pyramid.body
        self.body.return_layers = {_FINE_LAYER: FINE_MAP, **pyramid.body.return_layers}
        self.fpn = pyramid.fpn
        self.lateral = nn.Conv2d(_FINE_CHANNELS, pyramid.out_channels, 1)
        nn.init.zeros_(self.lateral.weight)
        nn.init.zeros_(cast(Tensor, self.lateral.bias))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> maps by name, (B, C, h, w) each."""
        levels = self.body(images)
        early = levels.pop(FINE_MAP)
        maps: dict[str, Tensor] = self.fpn(levels)
        maps[FINE_MAP] = _doubled(maps["0"]) + self.lateral(early)
        return maps


def add_fine_map(parts: FasterRCNN) -> None:
    """Give torchvision's MobileNet detector a `FineBackbone`, with anchors on it half as large as on the other maps.

    A top in an open coat is 30 pixels wide: between cells 32 pixels apart less than half of those were proposed.
    """
    coarse = (32, 64, 128, 256, 512)  # torchvision's
    fine = tuple(side // 2 for side in coarse)
    parts.backbone = FineBackbone(parts.backbone)
    parts.rpn.anchor_generator = AnchorGenerator((coarse, coarse, coarse, fine), ((0.5, 1.0, 2.0),) * 4)


def _doubled(cells: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w), cell i at place 2i: convolutions of stride 2 look from every other cell.

    The usual doubling puts it half a cell further, and every box with it.
    """
    height, width = cells.shape[-2:]
    padded = F.pad(cells, (0, 1, 0, 1), mode="replicate")
    finer = F.interpolate(padded, size=(2 * height + 1, 2 * width + 1), mode="bilinear", align_corners=True)
    return finer[..., :-1, :-1]


class GarmentDetector(nn.Module):
    """Backbone, proposals and region heads, on a batch of one canvas shape.

    Args:
        parts: a torchvision Faster R-CNN; its resizing is dropped.
    """

    def __init__(self, parts: FasterRCNN) -> None:
        super().__init__()
        self.backbone = parts.backbone
        self.rpn = parts.rpn
        self.roi_heads = parts.roi_heads

    def forward(self, images: Tensor, targets: Sequence[Target] | None = None) -> Any:
        """Losses when training, detections otherwise.

        Args:
            images: (B, 3, H, W) from `normalise`. Under autocast only the backbone computes in half precision: box
                corners beyond 256 pixels would lose whole pixels.
            targets: one per image; needed when training.

        Returns:
            When training a dict of four scalar losses, else per image a dict of `boxes` (N, 4) float32 canvas pixels,
            `labels` (N,) int64 and `scores` (N,) float32, best first.
        """
        canvas_hw = (images.shape[-2], images.shape[-1])
        features = OrderedDict((name, level.float()) for name, level in self.backbone(images).items())
        listed = ImageList(images, [canvas_hw] * len(images))
        with torch.autocast(images.device.type, enabled=False):
            if not self.training:
                maps = list(features.values())
                anchors = self.rpn.anchor_generator(listed, maps)[0]
                proposals = propose_regions(self.rpn, maps, anchors, canvas_hw)
                return classify_regions(self.roi_heads, features, proposals, canvas_hw)
            proposals, proposal_losses = self.rpn(listed, features, targets)
            _, region_losses = self.roi_heads(features, proposals, listed.image_sizes, targets)
        return {**proposal_losses, **region_losses}


def build_detector(spec: DetectorSpec, weights: Start | Path = "none") -> GarmentDetector:
    """Build the network of a spec.

    Args:
        spec: its shape.
        weights: "none" starts at random with trainable normalisation; "backbone" and "coco" download torchvision's
            ImageNet or COCO weights and keep their early layers and normalisation frozen; a path loads our own file.

    Raises:
        BundleError: if the file does not fit the spec.
        ModelError: if torchvision's weights cannot be downloaded.
    """
    start: Start = "none" if isinstance(weights, Path) else weights
    try:
        parts = _torchvision_parts(spec.backbone, start)
    except OSError as exc:
        raise ModelError("torchvision's weights cannot be fetched; start from none or from a file", str(exc)) from exc
    channels = parts.backbone.out_channels
    if start != "coco" or spec.box_head_dim != _COCO_HEAD_DIM:
        parts.roi_heads.box_head = _box_head(spec, channels)
    parts.roi_heads.box_predictor = FastRCNNPredictor(spec.box_head_dim, spec.num_categories + 1)
    if spec.backbone == "mobilenet_v3_large_320_fpn_stride16":
        add_fine_map(parts)
    if spec.backbone in _ONE_MAP:
        parts.roi_heads.box_roi_pool = DenseRoiAlign(*_ONE_MAP[spec.backbone], _ROI_SIDE)
    module = GarmentDetector(parts)
    if isinstance(weights, Path):
        load_weights(module, weights)
    return module


def _torchvision_parts(backbone: Backbone, start: Start) -> FasterRCNN:
    is_coco, is_backbone = start == "coco", start == "backbone"
    if backbone != "resnet50_fpn_v2":
        return fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1 if is_coco else None,
            weights_backbone=MobileNet_V3_Large_Weights.IMAGENET1K_V1 if is_backbone else None,
            **_FEW_LARGE_THINGS,
        )
    return fasterrcnn_resnet50_fpn_v2(
        weights=FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1 if is_coco else None,
        weights_backbone=ResNet50_Weights.IMAGENET1K_V2 if is_backbone else None,
        **_FEW_LARGE_THINGS,
    )


def _box_head(spec: DetectorSpec, channels: int) -> nn.Module:
    if spec.backbone == "resnet50_fpn_v2":
        map_shape = (channels, _ROI_SIDE, _ROI_SIDE)
        head: nn.Module = FastRCNNConvFCHead(map_shape, [channels] * 4, [spec.box_head_dim], norm_layer=nn.BatchNorm2d)
    else:
        head = TwoMLPHead(channels * _ROI_SIDE**2, spec.box_head_dim)
    return head


def _pack(module: GarmentDetector, dtype: torch.dtype) -> None:
    """Lay out the weights of the heavy layers for the CPU; the last ones of both stages stay exact."""
    pack_convolutions(module.backbone, dtype)
    pack_convolutions(module.rpn.head.conv, dtype)
    module.rpn.anchor_generator = KeptAnchors(module.rpn.anchor_generator)
    head = module.roi_heads.box_head
    if isinstance(head, TwoMLPHead):
        module.roi_heads.box_head = PackedRegionHead(head, _ROI_SIDE, dtype)
    else:
        pack_convolutions(head, dtype)


class Detector:
    """A trained detector, ready to answer.

    Args:
        module: the network with its weights; copied.
        spec: what it was trained for.
        ontology: names its labels.
        device: where it runs.

    Raises:
        BundleError: if the ontology has another number of categories than the spec.
    """

    def __init__(self, module: GarmentDetector, spec: DetectorSpec, ontology: Ontology, device: str | torch.device):
        if len(ontology.category_names) != spec.num_categories:
            raise BundleError(
                f"the detector knows {spec.num_categories} categories, the ontology {len(ontology.category_names)}; "
                "use the ontology it was trained with"
            )
        self.spec = spec
        self._ontology = ontology
        self._device = torch.device(device)
        self._dtype = inference_dtype(self._device)
        self._module = copy.deepcopy(module)
        fold_normalisation(self._module)
        self._module.to(self._device).to(memory_format=torch.channels_last)
        self._is_packed = can_pack(self._device) and isinstance(self._module, GarmentDetector)
        if self._is_packed:
            _pack(self._module, self._dtype)
        elif self._device.type == "cuda":
            self._module.backbone = Recorded(self._module.backbone)

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        """Find the garments of several photos; those of one canvas shape run as one batch.

        Args:
            canvases: (H, W, 3) uint8 each, from `letterbox` onto `detector_canvas`.
            min_score: detections below it are dropped; below 0.05 nothing is ever returned.

        Returns:
            For each canvas its detections, best first, boxes in CANVAS pixels: divide by the letterbox's scale.
        """
        found: list[list[Detection]] = [[] for _ in canvases]
        shapes: dict[tuple[int, ...], list[int]] = {}
        for index, canvas in enumerate(canvases):
            shapes.setdefault(canvas.shape, []).append(index)
        for indices in shapes.values():
            batch = np.stack([canvases[index] for index in indices])
            for index, answer in zip(indices, self._run(batch), strict=True):
                found[index] = self._detections(answer, min_score)
        return found

    def _run(self, batch: NDArray[np.uint8]) -> list[dict[str, Tensor]]:
        is_mixed = self._dtype != torch.float32 and not self._is_packed  # packed layers cast by themselves
        # Without the cache, whose casts of weights end with the pass, a recording makes its own.
        half = torch.autocast(self._device.type, self._dtype, enabled=is_mixed, cache_enabled=False)
        with torch.inference_mode(), half:
            images = normalise(torch.from_numpy(batch).to(self._device))
            answers: list[dict[str, Tensor]] = self._module(images.to(self._dtype) if self._is_packed else images)
        return [{name: values.cpu() for name, values in answer.items()} for answer in answers]

    def _detections(self, answer: dict[str, Tensor], min_score: float) -> list[Detection]:
        # Two categories for one and the same region: the better one is meant. A jacket over a top overlaps less.
        best = nms(answer["boxes"], answer["scores"], _SAME_GARMENT_IOU)
        boxes, scores, labels = (answer[name][best].tolist() for name in ("boxes", "scores", "labels"))
        return [
            Detection((x1, y1, x2, y2), min(1.0, score), self._ontology.category_of_label(label))
            for (x1, y1, x2, y2), score, label in zip(boxes, scores, labels, strict=True)
            if score >= min_score and x1 < x2 and y1 < y2
        ]
