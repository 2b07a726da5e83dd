"""Networks made quick for inference: normalisation folded into convolutions, and on a CPU weights packed for oneDNN.

Plain layers hand oneDNN their weights in torch's order, and it rearranges them on every call: for one crop that takes
longer than the arithmetic. These are the operators that torch's own compiler generates code with, called directly,
so nothing is compiled and nothing starts slowly; each also takes in the activation behind it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.inception import BasicConv2d
from torchvision.ops.misc import Conv2dNormActivation, SqueezeExcitation

_ATTR_BY_ACTIVATION: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Hardswish: "hardswish"}
_USUAL_BATCH = 8  # oneDNN chooses the layout for a batch; others run on it too


def fold_normalisation(module: nn.Module) -> None:
    """Multiply every batch normalisation into its convolution, in place; the answers stay the same."""
    module.eval()
    for block in module.modules():
        if isinstance(block, BasicConv2d) and isinstance(block.bn, nn.BatchNorm2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
        elif isinstance(block, Conv2dNormActivation) and len(block) > 1 and isinstance(block[1], nn.BatchNorm2d):
            block[0], block[1] = fuse_conv_bn_eval(block[0], block[1]), nn.Identity()


def can_pack(device: torch.device) -> bool:
    """Whether oneDNN and the operators used here are there; they are no public interface of torch."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


class PackedConv(nn.Module):
    """A convolution and the activation behind it; takes any floats in channels_last memory, returns the same type.

    The best layout depends on the input's size, and in another one's oneDNN rearranges the weights on every call, which
    made a photo of another shape take three times as long. So they are packed for each size on its first call; there
    are few, since canvases have three shapes and crops one.

    Args:
        conv: its weights are taken over.
        attr: oneDNN's name of the activation, or "none".
        dtype: what it computes in.
    """

    def __init__(self, conv: nn.Conv2d, attr: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._geometry: tuple[Any, ...] = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._attr = attr
        self._dtype = dtype
        self._plain = conv.weight.detach().to(dtype)
        self._bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self._weight_by_size: dict[tuple[int, ...], Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        if images.dtype != self._dtype:
            return self.forward(images.to(self._dtype)).to(images.dtype)
        size = tuple(images.shape[1:])
        weight = self._weight_by_size.get(size)
        if weight is None:
            pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            weight = pack(self._plain.to_mkldnn(), *self._geometry, [_USUAL_BATCH, *size])
            self._weight_by_size[size] = weight
        packed: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, weight, self._bias, *self._geometry, self._attr, [], ""
        )
        return packed


class PackedPointwise(nn.Module):
    """A 1 x 1 convolution as one matrix product, which starts faster and has one layout for all sizes.

    Args:
        conv: of stride 1 and one group; its weights are taken over.
        attr: oneDNN's name of the activation, or "none".
        dtype: what it computes in.
    """

    def __init__(self, conv: nn.Conv2d, attr: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._attr = attr
        self._dtype = dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(conv.weight.detach().flatten(1).to(dtype), None)
        self._bias = None if conv.bias is None else conv.bias.detach().to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W), both in channels_last memory."""
        if images.dtype != self._dtype:
            return self.forward(images.to(self._dtype)).to(images.dtype)
        cells = images.permute(0, 2, 3, 1)
        packed: Tensor = torch.ops.mkldnn._linear_pointwise(cells, self._weight, self._bias, self._attr, [], "")
        return packed.permute(0, 3, 1, 2)


class PackedRegionHead(nn.Module):
    """torchvision's TwoMLPHead on regions in channels_last memory, which it takes as they lie.

    Args:
        head: its weights are taken over.
        side: height and width of a pooled region in cells.
        dtype: what it computes in.
    """

    def __init__(self, head: TwoMLPHead, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        first, second = head.fc6, head.fc7
        by_place = first.weight.detach().view(len(first.weight), -1, side, side).permute(0, 2, 3, 1).flatten(1)
        self._dtype = dtype
        self._layers = [
            (torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype).contiguous(), None), bias.detach().to(dtype))
            for weight, bias in ((by_place, first.bias), (second.weight.detach(), second.bias))
        ]

    def forward(self, regions: Tensor) -> Tensor:
        """(N, C, side, side) float32 -> (N, width) float32."""
        values = regions.permute(0, 2, 3, 1).flatten(1).to(self._dtype)
        for weight, bias in self._layers:
            values = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "relu", [], "")
        return values.float()


class PackedExcitation(nn.Module):
    """torchvision's SqueezeExcitation; its products are so small that plain layers, not oneDNN's, are the fastest.

    Args:
        block: its weights are taken over.
        dtype: what it computes in.
    """

    def __init__(self, block: SqueezeExcitation, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._squeeze, self._excite = (
            (conv.weight.detach().flatten(1).to(dtype), conv.bias.detach().to(dtype)) for conv in (block.fc1, block.fc2)
        )
        self._activation, self._scale_activation = block.activation, block.scale_activation

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), every channel of an image times its scale."""
        means = F.avg_pool2d(images, images.shape[2:]).flatten(1).to(self._dtype)
        squeezed = self._activation(F.linear(means, *self._squeeze))
        scales: Tensor = self._scale_activation(F.linear(squeezed, *self._excite))
        return images * scales.to(images.dtype)[..., None, None]


class KeptAnchors(nn.Module):
    """Makes the anchors, which depend on the canvas alone, once for each of its few shapes.

    Args:
        generator: makes them.
    """

    def __init__(self, generator: AnchorGenerator) -> None:
        super().__init__()
        self._generator = generator
        self._by_canvas: dict[tuple[int, ...], Tensor] = {}

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        """As torchvision's generator: of every image (A, 4) float32 canvas pixels."""
        canvas_hw = tuple(images.tensors.shape[-2:])
        if canvas_hw not in self._by_canvas:
            self._by_canvas[canvas_hw] = self._generator(images, maps)[0]
        return [self._by_canvas[canvas_hw]] * len(images.image_sizes)


def pack_convolutions(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace every convolution below a network, in place; batch normalisation has to be folded in already.

    Raises:
        ValueError: if a block has an activation that is not known here.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, BasicConv2d):
            setattr(module, name, _packed(child.conv, "relu", dtype))
        elif isinstance(child, Conv2dNormActivation):
            setattr(module, name, _packed_block(child, dtype))
        elif isinstance(child, SqueezeExcitation):
            setattr(module, name, PackedExcitation(child, dtype))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, _packed(child, "none", dtype))
        else:
            pack_convolutions(child, dtype)


def _packed_block(block: Conv2dNormActivation, dtype: torch.dtype) -> nn.Module:
    conv, *others = (layer for layer in block if not isinstance(layer, nn.Identity))
    kinds = [type(layer) for layer in others]
    if not kinds:
        return _packed(conv, "none", dtype)
    if len(kinds) > 1 or kinds[0] not in _ATTR_BY_ACTIVATION:
        raise ValueError(f"a block to pack needs to be a convolution and one known activation, got {kinds}")
    return _packed(conv, _ATTR_BY_ACTIVATION[kinds[0]], dtype)


def _packed(conv: nn.Conv2d, attr: str, dtype: torch.dtype) -> nn.Module:
    is_pointwise = conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
    return PackedPointwise(conv, attr, dtype) if is_pointwise else PackedConv(conv, attr, dtype)
