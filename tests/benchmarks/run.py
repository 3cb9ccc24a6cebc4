"""Time the kernels of this project against plain PyTorch, or the paper's own code, in turns: `make bench`.

For each kernel: seconds and images a second (an image counts once for each network and pass over it), the most memory
it takes besides what was there, its share of what the machine can do, and how much longer the other code takes, as the
median of the rounds' ratios with their range. What the machine can do is measured in the same run: the fastest dense
product or convolution, and for augmentation copying. The other code runs in a process of its own, with the memory
settings of the C library instead of those of our programs (`programs.keep_memory`).
"""

import argparse
import gc
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import resident
from ours import POINTS, Ours
from plain import Plain
from reference import Reference

from modeconn import programs

ROOT = Path(__file__).resolve().parents[2]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--family", default="tinyten", help="the network (default: tinyten)")
parser.add_argument("--images", type=int, default=2000, help="images of the training and of the test split")
parser.add_argument("--threads", type=int, default=1, help="threads on a CPU (default: 1)")
parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
parser.add_argument("--kernels", nargs="+", metavar="NAME", help="some of them (default: all)")
parser.add_argument("--rounds", type=int, default=5, help="times that each is measured (default: 5)")
parser.add_argument("--reference", metavar="FOLDER", help="a copy of the paper's code, in place of plain PyTorch")
parser.add_argument("--against", metavar="CSV", help="an earlier --output, to compare with")
parser.add_argument("--output", metavar="CSV", help="where the table goes (default: results/benchmarks/<family>.csv)")
parser.add_argument("--profile", action="store_true", help="print instead where the time of each kernel goes")
arguments = parser.parse_args()

# Kernel -> what it does, and passes of an image through a network.
KERNELS = {
    "train": ("training epoch, augmented", 1),
    "train_robust": ("adversarial training epoch, 5 steps", 6),
    "train_population": ("training epoch of four at once", 4),
    "augment": ("augmentation of an epoch", 1),
    "fit": ("curve epoch, augmented", 1),
    "evaluate": ("evaluation of a curve, 9 points", 3 * POINTS),
    "attack": ("PGD evaluation, 5 steps", 6),
    "match_400": ("activation matching, 400 images", 2),
    "match_10000": ("activation matching, 10,000 images", 2),
    "match_weights": ("weight matching", None),
    "match_weights_wide": ("weight matching, four times the width", None),
    "plane": ("plane, 9 points", 18),
    "refine": ("PAM epoch, augmented", 1),
    "round": ("PAM rounding", None),
}
SIZES = {"match_400": 400, "match_10000": 10_000}
MEMORY_BOUND = ("augment",)
DIGITS = {
    "dataset": {"source": "digits", "size": 16, "test_fraction": 0.2, "alignment_fraction": 0.2, "seed": 0},
    "names": {"dataset": "digits"},
    "threads": 1,
}
# How a network may be computed, by keys of the config.
VARIANTS = {
    "float32": {},
    "float32, exact": {"exact": True},
    "float32, compiled": {"compile": True},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, compiled": {"precision": "bfloat16", "compile": True},
}
# Options that decide how long a kernel takes: rows of other values are not compared.
SETTING = ("family", "images", "threads", "device")
NORMALIZING = ("train", "train_robust", "train_population", "fit", "evaluate", "refine")
COMPILED = ("train", "train_robust", "fit", "evaluate", "attack", "plane", "refine")


def synchronize():
    if arguments.device == "cuda":
        torch.cuda.synchronize()


def seconds(kernel):
    synchronize()
    started = time.perf_counter()
    kernel()
    synchronize()
    return time.perf_counter() - started


def peak_mb(kernel):
    """Megabytes that `kernel` takes at most, besides what was there before."""
    if arguments.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kernel()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return resident.peak_mb(kernel)


def limits():
    """What the machine can do: {"float32", "bfloat16": FLOP/s, "bytes": bytes/s}."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        # A CPU without bfloat16 takes a hundred times as long for it: less work tells as much there.
        known = arguments.device != "cpu" or dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        size, count = (2048, 64) if known else (256, 1)
        matrix = torch.randn(size, size, device=arguments.device).to(dtype)
        images = torch.randn(count, 64, 32, 32, device=arguments.device).to(dtype, memory_format=torch.channels_last)
        filters = torch.randn(64, 64, 3, 3, device=arguments.device).to(dtype)
        works = {
            2 * size**3: partial(torch.mm, matrix, matrix),
            2 * count * 64 * 64 * 9 * 32 * 32: partial(F.conv2d, images, filters, padding=1),
        }
        rates = [flops / min(seconds(work) for _ in range(5)) for flops, work in works.items()]
        found[str(dtype).removeprefix("torch.")] = max(rates)
    source, target = torch.zeros(2, 2**28, dtype=torch.uint8, device=arguments.device)
    found["bytes"] = 2 * len(source) / min(seconds(partial(target.copy_, source)) for _ in range(5))
    return found


def ours(name):
    """Kernels of ours by variant, each a function without arguments."""
    chosen = ["float32"]
    if KERNELS[name][1] and name not in MEMORY_BOUND:
        some = {"compiled": COMPILED, "exact": NORMALIZING}
        chosen = [variant for variant in VARIANTS if name in some.get(variant.partition(", ")[2], KERNELS)]
    return {variant: _kernel(name, Ours, **VARIANTS[variant]) for variant in chosen}


def other(name):
    """The kernel of the other code, or None where it has none."""
    return _kernel(name, partial(Reference, arguments.reference) if arguments.reference else Plain)


def _kernel(name, make, **variant):
    network = {"family": arguments.family, **variant} | ({"width": 4} if name.endswith("_wide") else {})
    method = "match" if name in SIZES else name.removesuffix("_wide")
    return getattr(make(network, SIZES.get(name, arguments.images), arguments.device), method, None)


@contextmanager
def apart(name):
    """A function that measures the kernel of the other code, or None where it has none.

    It runs in a process of its own: one that has not been told to keep memory, and has none of ours to take.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, name), daemon=True)
    process.start()
    there.close()

    def measured(measurement):
        here.send(measurement)
        return here.recv()

    try:
        yield measured if here.recv() else None
    finally:
        process.kill()


def serve(connection, name):
    with limited_threads():
        kernel = other(name)
        connection.send(kernel is not None)
        while True:
            connection.send(connection.recv()(kernel))


@contextmanager
def limited_threads():
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):  # NumPy's
        yield


def measure(name, limit):
    """A row for each variant that the kernel can be computed in."""
    kernels = ours(name)
    with apart(name) as of_other:

        def in_turn(measurement):
            return [measurement(kernel) for kernel in kernels.values()] + ([of_other(measurement)] if of_other else [])

        peaks = in_turn(peak_mb)  # which also warms them up, or compiles
        rounds = [in_turn(seconds) for _ in range(arguments.rounds)]
    label, passes = KERNELS[name]
    images = SIZES.get(name, arguments.images)
    needed = work(name, kernels["float32"], images)
    for place, variant in enumerate(kernels):
        times = [times[place] for times in rounds]
        row = {"kernel": name, "what": label, **{key: getattr(arguments, key) for key in SETTING}}
        row |= {"variant": variant, "seconds": statistics.median(times), "peak_mb": peaks[place]}
        row["images_per_second"] = passes and passes * images / row["seconds"]
        row["limit"] = limit["bytes" if name in MEMORY_BOUND else variant.partition(",")[0]]
        row["of_limit"] = needed / row["seconds"] / row["limit"]
        if of_other:
            ratios = sorted(times[-1] / times[place] for times in rounds)
            row |= {"ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}
            row |= {"other_seconds": statistics.median(times[-1] for times in rounds), "other_peak_mb": peaks[-1]}
        yield row


def work(name, kernel, images):
    """What a kernel has to do at least: floating point operations of products and convolutions, or bytes."""
    if name in MEMORY_BOUND:
        return images * 3 * 32 * 32 * (1 + 4)  # bytes are read, floats are written
    # oneDNN's own convolution, which the counter does not know.
    convolution = {torch.ops.mkldnn._convolution_pointwise: _flops_of_convolution}
    with FlopCounterMode(display=False, custom_mapping=convolution) as counter:
        kernel()
    return counter.get_total_flops()


def _flops_of_convolution(images, weight, *_, out_shape, **__):
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


@contextmanager
def as_in_programs():
    """Memory as in our programs: kept when it is freed, and without torch's modules to look through for garbage."""
    programs.keep_memory()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def starts():
    """Seconds of what each job and each call of the workflow pays before it works."""
    commands = {
        "start of a program": ["python", "scripts/train.py", "--help"],
        "start of a figure": ["python", "scripts/draw.py", "--help"],
        "dry run of the default config": ["snakemake", "--dry-run", "--quiet", "all"],
    }
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        prepare = ["python", "scripts/prepare_data.py", "--job", json.dumps(DIGITS)]
        commands["preparation of the digits"] = [*prepare, "--output", f"{folder}/digits.safetensors"]
        for name, command in commands.items():
            run = partial(subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, check=True)
            times = [seconds(run) for _ in range(3)]
            print(f"{name:42}{statistics.median(times):9.2f} s")


def show(row):
    share = f"{row['of_limit']:6.0%}" if row["of_limit"] >= 0.001 else "      "
    rate = f"{row['images_per_second']:10,.0f}" if row["images_per_second"] else " " * 10
    line = f"{row['what']:42}{row['variant']:20}{row['seconds']:9.3f}{rate}{row['peak_mb']:8.0f}{share}"
    if "ratio" in row:
        line += f"{row['ratio']:9.2f}  {row['least']:.2f} .. {row['most']:.2f}{row['other_peak_mb']:8.0f} MB"
    print(line, flush=True)


def compare(rows, path):
    """Ratios of an earlier run to this one, each time in units of what the machine could do in its own run."""
    both = pd.DataFrame(rows).merge(pd.read_csv(path), on=["kernel", "variant", *SETTING], suffixes=("", "_then"))
    print(f"\nthen / now, each as a share of what the machine could do in its own run ({path}):")
    for _, row in both.iterrows():
        ratio = row.seconds_then * row.limit_then / (row.seconds * row.limit)
        print(f"{row.what:42}{row.variant:20}{ratio:9.2f}")


def profile(name):
    for variant, kernel in ours(name).items():
        kernel()
        with profiler(activities=[ProfilerActivity.CPU]) as found:
            kernel()
        print(f"\n{KERNELS[name][0]}, {variant}")
        print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=50))


def main():
    chosen = arguments.kernels or list(KERNELS)
    if unknown := set(chosen) - set(KERNELS):
        sys.exit(f"run.py: no kernel {', '.join(unknown)}; there are {', '.join(KERNELS)}")
    if arguments.profile:
        for name in chosen:
            profile(name)
        return
    limit = limits()
    what = "the paper's code" if arguments.reference else "plain PyTorch"
    print(
        f"{arguments.family}, {arguments.images:,} images, {arguments.threads} thread(s), {arguments.device}; "
        f"at most {limit['float32'] / 1e9:,.0f} GFLOP/s in float32, {limit['bfloat16'] / 1e9:,.0f} in bfloat16, "
        f"{limit['bytes'] / 1e9:,.1f} GB/s copied\n"
    )
    print(f"{'kernel':42}{'in':20}{'seconds':>9}{'images/s':>10}{'MB':>8}{'limit':>6}{'ratio':>9}  to {what}")
    output = Path(arguments.output or ROOT / f"results/benchmarks/{arguments.family}.csv")
    output.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in chosen:
        for row in measure(name, limit):
            rows.append(row)
            show(row)
        pd.DataFrame(rows).to_csv(output, index=False, float_format="%.6g")  # what is stopped keeps what it has
    if arguments.against:
        compare(rows, arguments.against)
    if not arguments.kernels:
        starts()


if __name__ == "__main__":
    with limited_threads(), as_in_programs():
        main()
