"""Pixels into what a network takes: normalisation, and the number format that the hardware is fastest with."""

from pathlib import Path

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 RGB into the zero-centred floats that every network here takes.

    Args:
        images: (B, H, W, 3) uint8 on any device.

    Returns:
        (B, 3, H, W) float32 in channels_last memory, the ImageNet mean taken off and divided by its deviation.

    Raises:
        ValueError: if the shape or type is another.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"images need to be (B, H, W, 3) uint8, got {tuple(images.shape)} {images.dtype}")
    rows = images.flatten(2).to(torch.float32)  # whole rows, since three values at a time are not vectorised
    by_channel = 255 * torch.tensor((IMAGENET_MEAN, IMAGENET_STD), device=images.device)
    mean, std = by_channel[:, None].expand(2, images.shape[2], 3).flatten(1)
    return rows.sub_(mean).div_(std).view(images.shape).permute(0, 3, 1, 2)


def inference_dtype(device: torch.device) -> torch.dtype:
    """The number format to compute in: bfloat16 where the hardware is faster in it, else float32.

    Whoever wants exact answers says so to torch in the thread that loads the model:
    `torch.set_autocast_dtype(device, torch.float32)`.
    """
    if device.type in ("cuda", "cpu") and torch.get_autocast_dtype(device.type) == torch.float32:
        return torch.float32
    if device.type == "cuda":
        is_faster = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        is_faster = device.type == "cpu" and _cpu_is_faster_in_bf16(Path("/proc/cpuinfo"))
    return torch.bfloat16 if is_faster else torch.float32


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which networks compute in `inference_dtype`; their weights and what they learn stay float32."""
    dtype = inference_dtype(device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def _cpu_is_faster_in_bf16(cpuinfo: Path) -> bool:
    """Whether bfloat16 pays: without any it is emulated at half the speed of float32.

    AMX pays everywhere. AVX-512's products of bfloat16 come at twice the rate of float32's on AMD's cores, on Intel's
    at the same rate: there a crop takes 1.4 to 1.6 times as long, for the conversions.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return False
    # Every core repeats its facts; the first is enough.
    facts = {key.strip(): value.split() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = facts.get("flags", [])
    return "amx_bf16" in flags or ("avx512_bf16" in flags and facts.get("vendor_id") == ["AuthenticAMD"])
