"""The two stages of Faster R-CNN behind its backbone, at inference: for all images of a batch at once.

torchvision takes most of these steps image by image and box by box; they cost as much as the network. Here only boxes
that count are decoded, and the answers are those of torchvision, but for `voted_boxes`.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou, nms

_SMALLEST_SIDE_PX = 0.01  # torchvision's
_SAME_THING_IOU = 0.9


def propose_regions(
    rpn: RegionProposalNetwork, maps: Sequence[Tensor], anchors: Tensor, canvas_hw: tuple[int, int]
) -> list[Tensor]:
    """First stage: where something may be.

    Args:
        rpn: its weights and counts.
        maps: one per level, (B, C, h, w) float32.
        anchors: (A, 4) float32 canvas pixels, of all levels one after the other, shared by the images.
        canvas_hw: (height, width) in pixels.

    Returns:
        Per image (N, 4) float32 canvas pixels, best first.
    """
    head = rpn.head
    cells = [head.conv(level).permute(0, 2, 3, 1).flatten(1, 2) for level in maps]  # (B, h * w, C)
    # Both 1 x 1 convolutions, for all levels, are one matrix product.
    weight = torch.cat([head.cls_logits.weight, head.bbox_pred.weight]).flatten(1)
    answers = F.linear(torch.cat(cells, 1), weight, torch.cat([head.cls_logits.bias, head.bbox_pred.bias]))
    per_cell = head.cls_logits.out_channels
    objectness = answers[..., :per_cell].flatten(1)  # (B, A)
    deltas = answers[..., per_cell:].reshape(*objectness.shape, 4)

    counts = [level.shape[1] * per_cell for level in cells]
    tops = [own.topk(min(rpn.pre_nms_top_n(), own.shape[1]), 1).indices for own in torch.split(objectness, counts, 1)]
    ends = list(accumulate(counts))
    top = torch.cat([own + (end - count) for own, end, count in zip(tops, ends, counts, strict=True)], 1)  # (B, T)
    scores = objectness.gather(1, top).sigmoid()
    images, places = torch.nonzero(scores >= rpn.score_thresh, as_tuple=True)
    found = top[images, places]
    boxes = _decode(rpn.box_coder, deltas[images, found], anchors[found], canvas_hw)
    levels = torch.bucketize(found, torch.tensor(ends, device=found.device), right=True)
    offsets = (images * len(ends) + levels) * (1 + max(canvas_hw))
    best = _best(boxes, scores[images, places], offsets, rpn.nms_thresh, rpn.min_size)
    return [boxes[own] for own in _per_image(best, images, len(scores), rpn.post_nms_top_n())]


def classify_regions(
    heads: RoIHeads, features: Mapping[str, Tensor], proposals: Sequence[Tensor], canvas_hw: tuple[int, int]
) -> list[dict[str, Tensor]]:
    """Second stage: what is there, and where exactly.

    Args:
        heads: its weights and counts.
        features: maps by name, (B, C, h, w) float32.
        proposals: per image (N, 4) float32 canvas pixels; N may be 0.
        canvas_hw: (height, width) in pixels.

    Returns:
        Per image a dict of `boxes` (N, 4) float32 canvas pixels, `labels` (N,) int64 and `scores` (N,) float32, best
        first.
    """
    regions = heads.box_roi_pool(features, proposals, [canvas_hw] * len(proposals))
    logits, deltas = heads.box_predictor(heads.box_head(regions))
    scores = logits.softmax(1)[:, 1:]  # (R, K)
    rows, columns = torch.nonzero(scores > heads.score_thresh, as_tuple=True)
    labels = columns + 1  # 0 is background
    anchors = torch.cat(list(proposals))[rows]
    boxes = _decode(heads.box_coder, deltas.unflatten(1, (-1, 4))[rows, labels], anchors, canvas_hw)
    owners = [image for image, own in enumerate(proposals) for _ in range(len(own))]
    images = torch.tensor(owners, device=scores.device)[rows]
    found = scores[rows, columns]
    offsets = (images * scores.shape[1] + columns) * (1 + max(canvas_hw))
    best = _best(boxes, found, offsets, heads.nms_thresh, _SMALLEST_SIDE_PX)
    boxes = boxes.index_copy(0, best, voted_boxes(boxes, found, offsets, best))
    kept = _per_image(best, images, len(proposals), heads.detections_per_img)
    return [{"boxes": boxes[own], "labels": labels[own], "scores": found[own]} for own in kept]


def _decode(coder: BoxCoder, deltas: Tensor, anchors: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """As `coder` decodes (N, 4) each, in a third of its operations, and clipped to the canvas."""
    height, width = canvas_hw
    deltas = deltas / deltas.new_tensor(coder.weights)
    sizes = anchors[..., 2:] - anchors[..., :2]
    centres = deltas[..., :2] * sizes + (anchors[..., :2] + 0.5 * sizes)
    halves = 0.5 * (deltas[..., 2:].clamp(max=coder.bbox_xform_clip).exp() * sizes)
    corners = torch.cat([centres - halves, centres + halves], -1)
    return corners.clamp(min=0).minimum(corners.new_tensor([width, height, width, height]))


def _best(boxes: Tensor, scores: Tensor, offsets_px: Tensor, max_iou: float, min_side_px: float) -> Tensor:
    """Indices of the boxes that no better one covers, best first, slivers left out.

    Args:
        boxes: (N, 4).
        scores: (N,).
        offsets_px: (N,); they move boxes apart that are not to be compared.
        max_iou: two boxes that share more are one thing.
        min_side_px: a side shorter than this makes a sliver.
    """
    best: Tensor = nms(boxes + offsets_px[:, None], scores, max_iou)
    sides = (boxes[:, 2:] - boxes[:, :2])[best]
    return best[sides.amin(1) >= min_side_px]


def voted_boxes(boxes: Tensor, scores: Tensor, offsets_px: Tensor, best: Tensor) -> Tensor:
    """Of each box to keep, the mean of it and the boxes that show the same thing, weighted by score: (K, 4).

    Every proposal of a garment gives a box of its own, each off by a little to another side.

    Args:
        boxes: (N, 4).
        scores: (N,).
        offsets_px: (N,); they move boxes apart that show different things.
        best: (K,) indices of the boxes to keep.
    """
    apart = boxes + offsets_px[:, None]
    weights = (box_iou(apart[best], apart) >= _SAME_THING_IOU) * scores
    weights[torch.arange(len(best), device=best.device), best] = scores[best]
    means: Tensor = weights @ boxes / weights.sum(1, keepdim=True)
    return means


def _per_image(indices: Tensor, images: Tensor, num_images: int, max_count: int) -> list[Tensor]:
    owners = images[indices]
    return [indices[owners == image][:max_count] for image in range(num_images)]
