from pathlib import Path

import pytest
import torch

from models.preprocess import IMAGENET_MEAN, IMAGENET_STD, _cpu_is_faster_in_bf16, inference_dtype, normalise


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
    ("vendor", "flags", "is_faster"),
    [
        pytest.param("AuthenticAMD", "fpu avx2 avx512f avx512_bf16 fma", True, id="amd"),
        pytest.param("GenuineIntel", "fpu avx2 avx512f avx512_bf16 fma", False, id="intel_without_amx"),
        pytest.param("GenuineIntel", "fpu avx512_bf16 amx_bf16", True, id="amx"),
        pytest.param("AuthenticAMD", "fpu avx2 avx512f avx512_vnni", False, id="neither"),
        pytest.param("", "", False, id="nothing_said"),
    ],
)
def test_bf16_only_where_the_processor_is_faster_in_it(
    tmp_path: Path, vendor: str, flags: str, is_faster: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "\n\n".join(f"processor\t: {core}\nvendor_id\t: {vendor}\nflags\t\t: {flags}\nbugs\t\t:" for core in (0, 1))
    )
    assert _cpu_is_faster_in_bf16(cpuinfo) is is_faster


def test_without_cpuinfo_float32(tmp_path: Path) -> None:
    assert not _cpu_is_faster_in_bf16(tmp_path / "absent")
    assert inference_dtype(torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert inference_dtype(torch.device("meta")) == torch.float32
