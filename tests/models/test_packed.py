import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.inception import InceptionA
from torchvision.models.mobilenetv3 import mobilenet_v3_large
from torchvision.ops.misc import Conv2dNormActivation

from models.packed import KeptAnchors, PackedRegionHead, can_pack, fold_normalisation, pack_convolutions

pytestmark = pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="torch without oneDNN")

TYPES = [pytest.param(torch.float32, 1e-4, id="float32"), pytest.param(torch.bfloat16, 0.03, id="bfloat16")]


@pytest.fixture(scope="module", params=["inception", "mobilenet"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    """With normalisation that does something, and activations near 1 throughout, so that errors do not fade."""
    torch.manual_seed(0)
    module = InceptionA(3, 4) if request.param == "inception" else mobilenet_v3_large(weights=None).features[:6]
    for norm in (each for each in module.modules() if isinstance(each, nn.BatchNorm2d)):
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.momentum = 1.0  # one pass sets means and deviations to those of its input
    with torch.no_grad():
        module.train()(images(48, 4))
    return module.eval()


def images(side: int, count: int) -> Tensor:
    torch.manual_seed(count)
    return torch.randn(count, 3, side, side).to(memory_format=torch.channels_last)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_folding_leaves_no_normalisation_and_the_same_answers(network: nn.Module) -> None:
    folded = copy.deepcopy(network)
    fold_normalisation(folded)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    with torch.inference_mode():
        assert relative_error(folded(images(32, 2)), network(images(32, 2))) < 1e-4


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_packed_answers_as_plain_float32_whatever_batch_and_size_come_after(
    network: nn.Module, dtype: torch.dtype, tolerance: float
) -> None:
    packed = copy.deepcopy(network)
    fold_normalisation(packed)
    pack_convolutions(packed, dtype)
    assert not any(isinstance(each, nn.Conv2d) for each in packed.modules())
    with torch.inference_mode():
        for side, count in ((32, 1), (24, 3), (32, 9)):
            answer = packed(images(side, count))
            assert answer.dtype == torch.float32
            assert relative_error(answer, network(images(side, count))) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_region_head(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    head = TwoMLPHead(6 * 7 * 7, 16).eval()
    packed = PackedRegionHead(head, 7, dtype)
    with torch.inference_mode():
        regions = torch.randn(5, 6, 7, 7)
        assert relative_error(packed(regions), head(regions)) < tolerance
        assert packed(regions[:0]).shape == (0, 16)


def test_a_block_with_an_unknown_activation_is_refused() -> None:
    block = nn.Sequential(Conv2dNormActivation(3, 4, norm_layer=None, activation_layer=nn.SiLU))
    with pytest.raises(ValueError, match="one known activation"):
        pack_convolutions(block, torch.float32)


def test_anchors_are_those_of_the_canvas_at_hand() -> None:
    generator = AnchorGenerator(((32, 64), (128,)), ((0.5, 1.0),) * 2)
    kept = KeptAnchors(generator)
    for height, width in ((64, 32), (32, 64), (64, 32)):
        canvases = ImageList(torch.zeros(2, 3, height, width), [(height, width)] * 2)
        maps = [torch.zeros(2, 1, height // stride, width // stride) for stride in (16, 32)]
        for own, expected in zip(kept(canvases, maps), generator(canvases, maps), strict=True):
            assert torch.equal(own, expected)
