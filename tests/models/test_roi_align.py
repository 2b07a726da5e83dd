import pytest
import torch
from torchvision.ops import roi_align

from models.roi_align import DenseRoiAlign

WHOLE, TINY, OUTSIDE, SLIVER = [0, 0, 192, 256], [50, 60, 51, 61], [180, 240, 400, 500], [3, 10, 190, 12]


@pytest.mark.parametrize(
    "counts",
    [pytest.param((4, 0, 2), id="different_counts"), pytest.param((1, 1, 1), id="one_each")],
)
def test_same_as_torchvision_forward_and_backward(counts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    rows = torch.tensor([WHOLE, TINY, OUTSIDE, SLIVER], dtype=torch.float32)
    boxes = [rows[:count] for count in counts]
    weights = torch.randn(sum(counts), 5, 7, 7)
    results, gradients = [], []
    for is_ours in (True, False):
        level = torch.linspace(-3, 4, 3 * 5 * 8 * 6).sin().view(3, 5, 8, 6).requires_grad_()
        pooled = DenseRoiAlign("0", 32)({"0": level}, boxes, None) if is_ours else roi_align(level, boxes, 7, 1 / 32, 2)
        (pooled * weights).sum().backward()
        results.append(pooled.detach())
        gradients.append(level.grad)
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)


def test_no_box_at_all() -> None:
    pooled = DenseRoiAlign("0", 32)({"0": torch.zeros(2, 5, 8, 6)}, [torch.zeros(0, 4)] * 2, None)
    assert pooled.shape == (0, 5, 7, 7)
