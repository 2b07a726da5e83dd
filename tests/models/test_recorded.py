"""Recordings with a recorder that keeps a graph's habits on a CPU: one input and one output, written to again."""

import pytest
import torch
from torch import Tensor, nn

from models.recorded import Output, Recorded, Replay

pytestmark = pytest.mark.filterwarnings("error")


class Recorder:
    """Replays into one and the same memory, always a whole batch; notes what it recorded."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, network: nn.Module, example: Tensor) -> Replay:
        self.sizes.append(tuple(example.shape))
        output: Output = network(example)

        def replay(images: Tensor) -> Output:
            example[: len(images)].copy_(images)
            new = network(example)
            if isinstance(output, Tensor):
                return output.copy_(new)
            for name, rows in output.items():
                rows.copy_(new[name])
            return output

        return replay


class TwoMaps(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"sum": images.sum((2, 3)), "twice": 2 * images}


def images(count: int, side: int = 4) -> Tensor:
    torch.manual_seed(count)
    return torch.randn(count, 3, side, side).to(memory_format=torch.channels_last)


@torch.inference_mode()
def test_answers_are_the_networks_and_stay_after_the_next_call() -> None:
    recorder = Recorder()
    recorded = Recorded(TwoMaps(), recorder)
    asked = [images(count, side) for count, side in ((3, 4), (1, 4), (4, 4), (2, 6), (3, 4))]
    answers = [recorded(each) for each in asked]
    for each, answer in zip(asked, answers, strict=True):
        for name, expected in TwoMaps()(each).items():
            assert torch.equal(answer[name], expected)
    assert recorder.sizes == [(4, 3, 4, 4), (1, 3, 4, 4), (2, 3, 6, 6)], "a size of input is recorded once"


@torch.inference_mode()
def test_a_batch_larger_than_all_recordings_runs_as_it_is() -> None:
    recorder = Recorder()
    network = nn.Conv2d(3, 2, 1)
    assert torch.equal(Recorded(network, recorder)(images(33)), network(images(33)))
    assert not recorder.sizes


@torch.inference_mode()
def test_what_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(network: nn.Module, example: Tensor) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing")

    network = nn.Conv2d(3, 2, 1)
    recorded = Recorded(network, refuse)
    for _ in range(2):
        torch.testing.assert_close(recorded(images(3)), network(images(3)))
    assert len(caplog.records) == 1 and "not permitted" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@torch.inference_mode()
def test_a_graph_answers_as_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval().cuda()
    recorded = Recorded(network)
    for count in (3, 1, 4, 3):
        asked = images(count).cuda()
        torch.testing.assert_close(recorded(asked), network(asked), rtol=1e-3, atol=1e-3)
