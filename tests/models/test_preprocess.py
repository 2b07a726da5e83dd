from pathlib import Path

import pytest
import torch

from models.preprocess import IMAGENET_MEAN, IMAGENET_STD, _cpu_has_bf16, inference_dtype, normalise


def test_normalised_pixels() -> None:
    images = torch.zeros(2, 4, 6, 3, dtype=torch.uint8)
    images[1, 2, 3] = torch.tensor([255, 0, 51], dtype=torch.uint8)
    pixels = normalise(images)
    assert pixels.shape == (2, 3, 4, 6) and pixels.dtype == torch.float32
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    expected = [(level - mean) / std for level, mean, std in zip((1, 0, 0.2), IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    assert pixels[1, :, 2, 3].tolist() == pytest.approx(expected, rel=1e-5)
    assert int(images.sum()) == 306  # the input is left alone


def test_an_empty_batch_passes() -> None:
    assert normalise(torch.zeros(0, 8, 8, 3, dtype=torch.uint8)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(torch.zeros(8, 8, 3, dtype=torch.uint8), id="one_image"),
        pytest.param(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), id="channels_first"),
        pytest.param(torch.zeros(1, 8, 8, 3), id="floats"),
    ],
)
def test_other_inputs_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\) uint8"):
        normalise(images)


@pytest.mark.parametrize(
    ("flags", "has_bf16"),
    [
        pytest.param("flags\t\t: fpu avx2 avx512f avx512_bf16 fma", True, id="avx512_bf16"),
        pytest.param("flags\t\t: fpu amx_bf16", True, id="amx"),
        pytest.param("flags\t\t: fpu avx2 avx512f avx512_vnni", False, id="neither"),
        pytest.param("", False, id="no_flags"),
    ],
)
def test_bf16_only_where_the_processor_has_it(tmp_path: Path, flags: str, has_bf16: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{flags}\n")
    assert _cpu_has_bf16(cpuinfo) is has_bf16


def test_without_cpuinfo_float32(tmp_path: Path) -> None:
    assert not _cpu_has_bf16(tmp_path / "absent")
    assert inference_dtype(torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert inference_dtype(torch.device("meta")) == torch.float32
