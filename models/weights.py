"""Weights on disk: safetensors, matrices and kernels in half precision, vectors in float32."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from models.errors import BundleError

_COUNTER = "num_batches_tracked"  # counts training steps for a momentum that nobody uses; left out of the files


def save_weights(module: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state: tensors of two and more dimensions as float16, vectors and scalars as float32.

    Args:
        module: on any device; unchanged.
        path: replaced as a whole.
        metadata: strings kept in the file's header.

    Raises:
        BundleError: if a weight is not finite in half precision: the training diverged.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        if name.endswith(_COUNTER):
            continue
        stored = tensor.detach().to("cpu", torch.float16 if tensor.ndim >= 2 else torch.float32).contiguous()
        if not bool(torch.isfinite(stored).all()):
            raise BundleError(f"{name} is not finite in half precision; train again with a lower rate")
        state[name] = stored.clone()
    _save(state, path, metadata)


def save_mean(paths: Sequence[Path], path: Path) -> None:
    """Write the mean of files of `save_weights`.

    Runs that began with the same weights end in one basin, and the mean lies nearer its middle than any of them
    (Wortsman et al. 2022, "Model soups"). Of runs that did not, it knows nothing.

    Args:
        paths: at least one; all with the same tensors.
        path: replaced as a whole.

    Raises:
        BundleError: if a file is unreadable, or they do not fit each other.
    """
    try:
        states = [safetensors.torch.load_file(each) for each in paths]
    except (OSError, safetensors.SafetensorError) as exc:
        raise BundleError("weights to be averaged cannot be read; train again", str(exc)) from exc
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(each != shapes[0] for each in shapes):
        raise BundleError("weights to be averaged differ in shape; average runs of one network")
    means = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype).contiguous()
        for name, tensor in states[0].items()
    }
    _save(means, path)


def load_weights(module: nn.Module, path: Path, may_lack: str | None = None) -> None:
    """Fill a module from a file of `save_weights`; the file is mapped and each weight converted once.

    Args:
        module: filled in place.
        path: the file.
        may_lack: weights whose names begin so are left as they are where the file has none of them.

    Raises:
        BundleError: if the file is unreadable, or does not fit the module exactly.
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(_COUNTER)}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if may_lack is not None and not any(name.startswith(may_lack) for name in names):
                wanted = {name: tensor for name, tensor in wanted.items() if not name.startswith(may_lack)}
            if names != set(wanted):
                odd = sorted(names ^ set(wanted))
                raise BundleError(f"{path.name} does not fit the model: {len(odd)} weights differ", f"{odd[:5]}")
            for name, target in wanted.items():
                tensor = file.get_tensor(name)
                if tensor.shape != target.shape:
                    shapes = f"{name}: {tuple(tensor.shape)} in the file, {tuple(target.shape)} in the model"
                    raise BundleError(f"{path.name} does not fit the model", shapes)
                target.copy_(tensor)
    except (OSError, safetensors.SafetensorError) as exc:
        raise BundleError(f"{path.name} cannot be read; fetch the bundle again", str(exc)) from exc


def _save(state: dict[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    safetensors.torch.save_file(state, partial, metadata=dict(metadata or {}))
    partial.chmod(0o644)  # safetensors makes it readable by its owner alone
    partial.replace(path)
