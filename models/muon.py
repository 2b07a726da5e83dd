"""Muon for convolutions: every step turns a whole kernel by the same amount, whatever the size of its gradient.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks"; the scale is that of Liu et al., arXiv
2502.16982, which makes a step as large as AdamW's. torch.optim.Muon takes matrices alone and cannot hold kernels in
channels_last memory.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of the reference implementation; five steps bring all values near 1
_STEPS = 5
_MOMENTUM = 0.95
_ADAMW_RMS = 0.2  # of AdamW's steps, as a multiple of the rate


class Muon(torch.optim.AdamW):
    """AdamW, but for the groups with `orthogonal`: their kernels of two dimensions or more take Muon's steps."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of every group; gradients of None are left out."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group.get("orthogonal")]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            for kernel in group["params"] if group.get("orthogonal") else ():
                if kernel.grad is not None:
                    self._turn(kernel, kernel.grad, group["lr"], group["weight_decay"])
        return loss

    def _turn(self, kernel: Tensor, gradient: Tensor, rate: float, weight_decay: float) -> None:
        state = self.state[kernel]
        if not state:  # AdamW looks for a count of steps when a state is loaded
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(kernel))
        state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        direction = gradient.lerp(state["momentum"], _MOMENTUM).flatten(1)  # (out, in * height * width)
        kernel.mul_(1 - rate * weight_decay)
        kernel.add_(
            orthogonalised(direction).reshape(kernel.shape), alpha=-rate * _ADAMW_RMS * max(direction.shape) ** 0.5
        )


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with all its singular values near 1, by Newton and Schulz's iteration in bfloat16.

    Args:
        matrix: (m, n) float; zeros stay zeros.

    Returns:
        (m, n) float32.
    """
    first, second, third = _NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    values = (matrix.T if is_tall else matrix).bfloat16()
    values = values / (values.norm() + 1e-7)
    for _ in range(_STEPS):
        square = values @ values.T
        values = torch.addmm(values, torch.addmm(square, square, square, beta=second, alpha=third), values, beta=first)
    return (values.T if is_tall else values).float()
