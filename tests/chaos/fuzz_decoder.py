"""Coverage-guided fuzzing of the decoder: any bytes are a photo or a clear refusal, never another error or much memory.

Needs atheris, which the lock leaves out. Finds are written beside the corpus; arguments are libFuzzer's:

    .venv/bin/python -m pip install atheris
    .venv/bin/python -m tests.chaos.fuzz_decoder -max_total_time=600 -timeout=60 -rss_limit_mb=2048 out/fuzz/
"""

import random
import struct
import sys
import warnings
import zlib
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["models.image_headers", "models.images", "PIL"]):
    from models.errors import InputError
    from models.images import decode_image

from tests.chaos.corpus import boundaries, sample_photos

_MAX_PIXELS = 250_000


def decode(data: bytes) -> None:
    try:
        pixels = decode_image(data, max_bytes=2**20, max_pixels=_MAX_PIXELS)
    except InputError as exc:
        assert exc.message and "/" not in exc.message, exc.message  # no path
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size <= 3 * _MAX_PIXELS


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate, and mostly make the checksums of a PNG right again: behind a wrong one nothing is decoded."""
    mutant = bytearray(atheris.Mutate(data, max_size))
    if mutant[:4] == b"\x89PNG" and random.Random(seed).random() < 0.9:
        for begin, end in boundaries(bytes(mutant)):
            if end - begin >= 12:
                mutant[end - 4 : end] = struct.pack(">I", zlib.crc32(mutant[begin + 4 : end - 4]))
    return bytes(mutant)


def main() -> None:
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    for number, photo in enumerate(sample_photos()) if folders else ():
        folders[0].mkdir(parents=True, exist_ok=True)
        (folders[0] / f"photo-{number}").write_bytes(photo)
    warnings.simplefilter("error")  # a warning of Pillow's says that it read what it was not to see
    atheris.Setup(sys.argv, decode, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
