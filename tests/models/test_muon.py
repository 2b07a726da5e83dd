import copy

import torch

from models.muon import Muon, orthogonalised


def groups(kernel: torch.nn.Parameter, bias: torch.nn.Parameter) -> list[dict[str, object]]:
    return [{"params": [kernel], "orthogonal": True, "weight_decay": 0.0}, {"params": [bias], "weight_decay": 0.0}]


def test_all_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((6, 40), (40, 6)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape) * 1e-3))
        assert float(values.min()) > 0.5 and float(values.max()) < 1.5


def test_a_kernel_without_gradient_turns_nowhere() -> None:
    assert not orthogonalised(torch.zeros(3, 5)).any()


def test_a_step_of_a_kernel_does_not_depend_on_the_size_of_its_gradient() -> None:
    gradient = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    moved = []
    for scale in (2.0**-10, 2.0**10):
        kernel = torch.nn.Parameter(torch.zeros(8, 4, 3, 3).to(memory_format=torch.channels_last))
        bias = torch.nn.Parameter(torch.zeros(8))
        optimizer = Muon(groups(kernel, bias), lr=0.01)
        kernel.grad, bias.grad = gradient * scale, torch.ones(8)
        optimizer.step()
        moved.append(kernel.detach().clone())
        torch.testing.assert_close(bias.detach(), torch.full((8,), -0.01))  # AdamW's first step
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=1e-4)
    assert float((moved[0] * gradient).sum()) < 0  # downhill
    # as large as AdamW's steps are: 0.2 of the rate, up to how near to 1 the singular values came
    assert 0.7 < float(moved[0].square().mean().sqrt()) / (0.2 * 0.01) < 1.3


def test_it_goes_on_from_a_saved_state() -> None:
    torch.manual_seed(0)
    kernel, bias = torch.nn.Parameter(torch.randn(4, 3, 2, 2)), torch.nn.Parameter(torch.randn(4))
    optimizer = Muon(groups(kernel, bias), lr=0.1)
    kernel.grad, bias.grad = torch.randn(4, 3, 2, 2), torch.randn(4)
    optimizer.step()
    twins = torch.nn.Parameter(kernel.detach().clone()), torch.nn.Parameter(bias.detach().clone())
    other = Muon(groups(*twins), lr=0.1)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for parameter, twin in zip((kernel, bias), twins, strict=True):
        parameter.grad = torch.randn(parameter.shape)
        twin.grad = parameter.grad.clone()
    optimizer.step()
    other.step()
    for parameter, twin in zip((kernel, bias), twins, strict=True):
        torch.testing.assert_close(parameter, twin, rtol=0, atol=0)
