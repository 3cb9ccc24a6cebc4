"""How time grows over a decade of networks, points, images and channels: `make bench`.

One thread; an exponent of 1 is twice the time for twice the size.
"""

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from ours import Ours

from modeconn import programs

# What grows -> sizes, and a function that makes the kernel of a size.
GROWTH = {
    "networks of one process, training": ((1, 3, 10), lambda size: partial(ours().train_population, size)),
    "points of a curve, evaluation": ((3, 10, 30), lambda size: partial(ours(300).evaluate, size)),
    "images, training": ((500, 1500, 5000), lambda size: ours(size).train),
    "images, evaluation": ((500, 1500, 5000), lambda size: partial(ours(size).evaluate, 3)),
    "images, activation matching": ((500, 1500, 5000), lambda size: ours(size).match),
    "channels, training": ((0.5, 1.5, 5), lambda size: ours(500, size).train),
    "channels, activation matching": ((0.5, 1.5, 5), lambda size: ours(500, size).match),
    "channels, weight matching": ((1, 3, 10), lambda size: ours(10, size).match_weights),
}


def ours(images=500, width=1):
    return Ours({"family": "tinyten", "width": width}, images, "cpu")


def seconds(kernel):
    kernel()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        kernel()
        times.append(time.perf_counter() - started)
    return min(times)


def main():
    programs.keep_memory()
    torch.set_num_threads(1)
    print(f"{'TinyTen':36}{'sizes':18}{'seconds':24}{'exponent':>8}")
    for name, (sizes, kernel_of) in GROWTH.items():
        times = [seconds(kernel_of(size)) for size in sizes]
        exponent = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        shown = " ".join(f"{time:.3g}" for time in times)
        print(f"{name:36}{' '.join(map(str, sizes)):18}{shown:24}{exponent:8.2f}", flush=True)


if __name__ == "__main__":
    main()
