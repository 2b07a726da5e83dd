from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from models.errors import BundleError
from models.weights import load_weights, save_mean, save_weights


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_kernels_are_stored_in_half_and_vectors_in_full_precision(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "a.safetensors", {"note": "here"})
    stored = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert {name: tensor.dtype for name, tensor in stored.items() if name in ("0.weight", "1.running_var")} == {
        "0.weight": torch.float16,
        "1.running_var": torch.float32,
    }
    assert "1.num_batches_tracked" not in stored


def test_weights_come_back(tmp_path: Path) -> None:
    saved, loaded = network(), network()
    saved[1].running_mean.fill_(0.3)
    save_weights(saved, tmp_path / "a.safetensors")
    load_weights(loaded, tmp_path / "a.safetensors")
    torch.testing.assert_close(loaded[0].weight, saved[0].weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(loaded[1].running_mean, saved[1].running_mean)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)), id="another_shape"),
        pytest.param(nn.Sequential(nn.Conv2d(1, 2, 3)), id="fewer_weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, other: nn.Module) -> None:
    save_weights(network(), tmp_path / "a.safetensors")
    with pytest.raises(BundleError, match="does not fit"):
        load_weights(other, tmp_path / "a.safetensors")


def test_the_mean_lies_between_and_keeps_what_is_stored_how(tmp_path: Path) -> None:
    low, high = network(), network()
    for each, value in ((low, 1.0), (high, 2.0)):
        nn.init.constant_(each[0].weight, value)
        nn.init.constant_(each[1].running_var, value)
    paths = [tmp_path / "low.safetensors", tmp_path / "high.safetensors"]
    save_weights(low, paths[0])
    save_weights(high, paths[1])
    save_mean(paths, tmp_path / "mean.safetensors")
    mean = safetensors.torch.load_file(tmp_path / "mean.safetensors")
    assert {
        name: (tensor.dtype, set(tensor.flatten().tolist())) for name, tensor in mean.items() if tensor.ndim > 1
    } == {"0.weight": (torch.float16, {1.5})}
    assert mean["1.running_var"].tolist() == [1.5, 1.5]


def test_weights_of_other_shapes_have_no_mean(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "a.safetensors")
    save_weights(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)), tmp_path / "b.safetensors")
    with pytest.raises(BundleError, match="differ in shape"):
        save_mean([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], tmp_path / "mean.safetensors")


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(BundleError, match="cannot be read"):
        load_weights(network(), tmp_path / "a.safetensors")


def test_weights_that_diverged_are_not_saved(tmp_path: Path) -> None:
    diverged = network()
    nn.init.constant_(diverged[0].weight, 1e6)
    with pytest.raises(BundleError, match="lower rate"):
        save_weights(diverged, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
