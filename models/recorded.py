"""Networks that a GPU replays as one recording: launching some 300 small kernels takes longer than they compute."""

import logging
import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Output = Tensor | Mapping[str, Tensor]
Replay = Callable[[Tensor], Output]
"""(b, C, H, W), b no more than what was recorded -> output, whose first b rows count until the next call."""

_BATCHES = (1, 2, 4, 8, 16, 32)
_WARM_PASSES = 3  # cuDNN chooses its algorithms, and libraries allocate what a recording must not
_log = logging.getLogger(__name__)


def record_graph(network: nn.Module, example: Tensor) -> Replay:
    """Record a network as a CUDA graph.

    Raises:
        RuntimeError: if it does something on the way that cannot be recorded, as waiting for a result.
    """
    stream = torch.cuda.Stream(example.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(example.device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_PASSES):
            network(example)
    torch.cuda.current_stream(example.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads copy to the GPU meanwhile
        output: Output = network(example)

    def replay(images: Tensor) -> Output:
        example[: len(images)].copy_(images)
        graph.replay()
        return output

    return replay


class Recorded(nn.Module):
    """Stands in for a network at inference; each size of input is recorded when it first comes.

    Batches are filled up to one of a few sizes. What cannot be recorded, or is larger than all of them, runs as it is.
    Safe to call from threads.

    Args:
        network: in evaluation mode, its answers independent of the rest of a batch.
        record: makes a recording for inputs like its example, or raises RuntimeError.
    """

    def __init__(self, network: nn.Module, record: Callable[[nn.Module, Tensor], Replay] = record_graph) -> None:
        super().__init__()
        self.network = network
        self._record = record
        self._replays: dict[tuple[int, ...], Replay] = {}
        self._lock = threading.Lock()

    def forward(self, images: Tensor) -> Output:
        """(B, C, H, W) in channels_last memory -> what the network answers."""
        count = len(images)
        batch = next((size for size in _BATCHES if size >= count), None)
        if batch is None:
            output: Output = self.network(images)
            return output
        size = (batch, *images.shape[1:])
        with self._lock:
            if size not in self._replays:
                example = images.new_zeros(size).to(memory_format=torch.channels_last)
                try:
                    self._replays[size] = self._record(self.network, example)
                except RuntimeError as exc:
                    _log.warning("inputs of %s run without a recording: %s", size, exc)
                    self._replays[size] = self.network
            output = self._replays[size](images)
            # Cloned under the lock: the next replay writes to the same memory.
            if isinstance(output, Tensor):
                return output[:count].clone()
            return {name: rows[:count].clone() for name, rows in output.items()}
