"""Weight matching against Git Re-Basin's descent in plain PyTorch: CPU seconds, memory, and the cosine that is reached.

Memory is the most that ours takes besides what was there, as a multiple of one network's parameters; of a small
network it is that of the libraries.
Pairs: a permuted copy, a permuted copy under noise, networks that are drawn independently, and the two trained TinyTen
that the tests keep. Both methods have the same number of restarts.
"""

import argparse
import statistics
import sys
import time
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import resident
from ours import generated
from plain import match_weights, similarity

from modeconn import networks, permutation
from modeconn.matching import weight

ROOT = Path(__file__).resolve().parents[2]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--families", nargs="+", default=["resnet20", "vgg16"], help="(default: resnet20 vgg16)")
parser.add_argument("--widths", nargs="+", type=float, default=[1], help="factors on their channels (default: 1)")
parser.add_argument("--restarts", type=int, default=1, help="(default: 1)")
parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (default: 3)")
arguments = parser.parse_args()


def pairs(family, width):
    """Kind, spec, parameters of a, and of b."""
    dataset = generated(10)
    drawn = [networks.of({"family": family, "width": width}, dataset, seed) for seed in (1, 2, 3)]
    spec = permutation.discover(drawn[0], dataset.example())
    a, b, noise = ({name: p.detach() for name, p in network.named_parameters()} for network in drawn)
    hidden = permutation.random(spec, torch.Generator().manual_seed(0))
    yield "copy", spec, a, permutation.apply(spec, hidden, a)
    yield "noisy copy", spec, a, permutation.apply(spec, hidden, {name: a[name] + noise[name] for name in a})
    yield "independent", spec, a, b
    if (family, width) == ("tinyten", 1):
        files = [load_file(ROOT / f"tests/data/reference/tinyten-seed{seed}.safetensors") for seed in (1, 2)]
        of_ours = {f"network.{name.replace('.bn.', '.norm.')}": name for name in files[0]}
        yield "trained", spec, *({name: file[of_ours[name]] for name in a} for file in files)


def timed(match, *options):
    """(the permutation, CPU seconds)"""
    started = time.process_time()
    return match(*options), time.process_time() - started


def compare(spec, a, b):
    """Median CPU seconds of ours and of the plain descent, median of their ratios, memory of ours, cosines of both."""
    size = sum(p.numel() * p.element_size() for p in a.values()) / 2**20
    memory = resident.peak_mb(lambda: weight.match_weights(spec, a, b, list(a), 0, arguments.restarts)) / size
    times = []
    for _ in range(arguments.rounds):
        ours, of_ours = timed(weight.match_weights, spec, a, b, list(a), 0, arguments.restarts)
        plain, of_plain = timed(match_weights, spec, a, b, arguments.restarts)
        times.append((of_ours, of_plain, of_plain / of_ours))
    return *map(statistics.median, zip(*times)), memory, *(similarity(spec, found, a, b) for found in (ours, plain))


def main():
    print(f"{'network':12}{'width':>5}  {'pair':14}", end="")
    print(f"{'seconds':>9}{'plain':>9}{'ratio':>8}{'memory':>8}{'cosine':>10}{'plain':>10}")
    for family, width in product(arguments.families, arguments.widths):
        for kind, spec, a, b in pairs(family, width):
            seconds, plain, ratio, memory, cosine, by_plain = compare(spec, a, b)
            line = f"{family:12}{width:5g}  {kind:14}{seconds:9.3f}{plain:9.3f}{ratio:8.2f}{memory:8.2f}"
            line += f"{cosine:10.5f}{by_plain:10.5f}"
            print(line, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
