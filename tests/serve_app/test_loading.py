"""Replicas start without torch's compiler, and nobody who wants it later misses it."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from serve_app.config import TaggerArgs
from serve_app.loading import _prepare_torch
_prepare_torch(TaggerArgs(precision="exact"))
import torch
from models.preprocess import inference_dtype
assert inference_dtype(torch.device("cpu")) == torch.float32
assert "torch._dynamo" not in sys.modules and "torchvision" in sys.modules
assert torch.get_num_threads() == 1
import torch._dynamo
assert torch._dynamo.utils.is_compile_supported("cpu") in (True, False)
"""


@pytest.mark.slow
def test_torchvision_is_imported_without_the_compiler() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)
