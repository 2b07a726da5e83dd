"""Whether the time of a look-up tells anything of the keys: `python -m tests.bench.key_timing`.

Presented are keys that stand first or last in a file of a hundred, one whose digest agrees with a known one in all but
its last character (which no caller can make), and unknown ones. Beside the median stands the share of pairs in which
the look-up took longer than that of an unknown key: 0.5 says that nobody can tell them apart.
"""

import random
import tempfile
import time
from pathlib import Path

import numpy as np

from serve_app.keys import Key, KeyRing, digest_of, new_key, write_keys

_NUM_KEYS = 100
_NUM_TIMES = 50_000


def main() -> None:
    """Measure, and print the table."""
    secrets = [new_key() for _ in range(_NUM_KEYS)]
    digests = [digest_of(secret) for secret in secrets]
    near = secrets[_NUM_KEYS // 2]
    digests[_NUM_KEYS // 2] = digest_of(near)[:-1] + ("0" if digest_of(near)[-1] != "0" else "1")
    presented = {"first": secrets[0], "last": secrets[-1], "near": near, "unknown": new_key(), "another": new_key()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "api-keys.yaml"
        write_keys(file, [Key(name=f"key-{number}", sha256=digest) for number, digest in enumerate(digests)])
        ring = KeyRing(file)
        times = {name: np.empty(_NUM_TIMES) for name in presented}
        order = list(presented)
        for number in range(_NUM_TIMES):
            random.shuffle(order)
            for name in order:
                text = presented[name].encode().decode()  # a new object each time, as in a request
                begin = time.perf_counter_ns()
                ring.find(text)
                times[name][number] = time.perf_counter_ns() - begin
    print(f"{_NUM_KEYS} keys, {_NUM_TIMES} look-ups of each\n")
    print("| presented | median, us | longer than unknown |\n|---|---|---|")
    for name, taken in times.items():
        print(f"| {name} | {np.median(taken) / 1000:.2f} | {_share_longer(taken, times['unknown']):.3f} |")


def _share_longer(times: np.ndarray, others: np.ndarray) -> float:
    """Share of pairs in which the first is larger, ties counted half; pairs measured in the same round."""
    return float(((times > others) + 0.5 * (times == others)).mean())


if __name__ == "__main__":
    main()
