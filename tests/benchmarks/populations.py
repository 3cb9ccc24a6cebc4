"""Many small networks at once against plain PyTorch, which trains and evaluates the same ones one after another.

Training: fifty networks of one hidden layer on moons, AdamW with cosine annealing, as `config/moons.yaml`. Evaluating:
all pairs of them at eleven points on the test points. Both in turn, CPU seconds, one thread.

With --rates: the products of matrices in a training step of ten networks of three layers on images of MNIST, alone, all
networks in one call (batched) or one after another (looped), and the share of the batched rate that training reaches.
"""

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from ours import Silent

from modeconn import classification, datasets, lines, measuring, networks, optimization, programs
from modeconn.functional import Functional

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--widths", type=int, nargs="+", default=[32, 512], help="(default: 32 512)")
parser.add_argument("--networks", type=int, default=50, help="(default: 50)")
parser.add_argument("--epochs", type=int, default=100, help="(default: 100)")
parser.add_argument("--rates", action="store_true", help="measure products of matrices instead")
parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (default: 3)")

BATCH = 256
STEPS = 10  # between two looks at the clock

RECIPE = {
    "method": "adamw",
    "learning_rate": 0.1,
    "weight_decay": 0.01,
    "momentum": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
}
STILL = {"shift": 0, "flip": False, "rotation": 0, "scale": [1, 1], "contrast": 0, "saturation": 0}


def moons():
    return prepared({"source": "moons", "count": 512, "noise": 0.1, "seed": 0, "test_fraction": 0.5})


def prepared(source):
    source |= {"alignment_fraction": 0.2, "hold_out": 0, "train_images": 0, "test_images": 0}
    with TemporaryDirectory() as folder:
        tensors, metadata = datasets.prepare(source, folder)
    return datasets.Dataset.of(tensors, metadata, "cpu")


def train_ours(dataset, network, count, epochs):
    seeds = list(range(1, count + 1))
    functional = Functional(networks.of(network, dataset))
    vectors, buffers = functional.stack(networks.of(network, dataset, seed).state_dict() for seed in seeds)
    vectors.requires_grad_(True)
    optimization.minimize(
        classification.objective_of(functional, vectors, buffers, None),
        [vectors],
        lambda epoch, step: datasets.batches(dataset, seeds, epoch, step, BATCH, STILL),
        {"epochs": epochs, "schedule": "cosine", "optimizer": RECIPE},
        lanes=[str(seed) for seed in seeds],
        report=lambda row: None,
        state=Silent(),
        buffers=buffers,
    )
    return functional, vectors.detach()


def train_plain(dataset, network, count, epochs):
    trained = []
    points, labels = dataset.train_images, dataset.train_labels
    for seed in range(1, count + 1):
        model = networks.of(network, dataset, seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for index in torch.randperm(len(labels)).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(model(points[index]), labels[index]).backward()
                optimizer.step()
            schedule.step()
        trained.append(model)
    return trained


@torch.no_grad()
def evaluate_ours(dataset, functional, vectors):
    looks = [look.networks[0] for look in lines.looks(len(vectors), 11)]
    size = functional.together(512)
    for start in range(0, len(looks), size):
        chunk = measuring.combine(vectors, looks[start : start + size])
        buffers = functional.initial_buffers(len(chunk))
        classification.evaluate(functional, chunk, buffers, *dataset.split("test"), 512)


@torch.no_grad()
def evaluate_plain(dataset, models):
    points, labels = dataset.split("test")
    between = copy.deepcopy(models[0]).eval()
    for first in range(len(models)):
        for second in range(first + 1, len(models)):
            for t in torch.linspace(0, 1, 11):
                pairs = zip(between.parameters(), models[first].parameters(), models[second].parameters())
                for parameter, a, b in pairs:
                    parameter.copy_((1 - t) * a + t * b)
                logits = between(points)
                F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def products(layers, count, dtype, batched):
    """Seconds of the products of a training step of `count` networks: forward, and of both gradients."""

    def drawn(*shape):
        return torch.randn(count, *shape).to(dtype)

    def product(left, right):
        return left @ right if batched else [one @ other for one, other in zip(left, right)]

    of_layers = [(drawn(BATCH, inputs), drawn(inputs, units), drawn(BATCH, units)) for inputs, units in layers]

    def step():
        for place, (values, weights, gradients) in enumerate(of_layers):
            product(values, weights)
            product(values.mT, gradients)
            if place:  # images have no gradient
                product(gradients, weights.mT)

    step()
    times = [seconds(lambda: [step() for _ in range(STEPS)])[0] / STEPS for _ in range(5)]
    return statistics.median(times)


def rates(widths, count=10):
    """Print the rates of products, and that of training `count` networks, for each width."""
    dataset = prepared({"source": "mnist_5k", "seed": 0, "test_fraction": 0.2})
    for width in widths:
        layers = [(784, width), (width, width), (width, width), (width, 10)]
        # Operations of a step: forward, and of both gradients, but not of the images.
        an_image = sum(2 * (3 if place else 2) * inputs * units for place, (inputs, units) in enumerate(layers))
        needed = count * BATCH * an_image
        network = {"family": "mlp", "hidden": [width] * 3, "norm": "layer", "width": 1}
        found = {
            (dtype, way): needed / products(layers, count, getattr(torch, dtype), way == "batched") / 1e9
            for dtype in ("float32", "bfloat16")
            for way in ("batched", "looped")
        }
        shorter, longer = (
            statistics.median(seconds(train_ours, dataset, network, count, epochs)[0] for _ in range(3))
            for epochs in (1, 3)
        )
        images = count * len(dataset.train_labels) / ((longer - shorter) / 2)
        ours = images * an_image / 1e9
        said = ", ".join(f"{dtype} {way} {rate:.0f}" for (dtype, way), rate in found.items())
        print(f"width {width}: products {said} GFLOP/s")
        print(f"training {ours:.0f}, {ours / found['float32', 'batched']:.0%} of them, {images:,.0f} images/s")


def seconds(function, *arguments):
    started = time.process_time()
    result = function(*arguments)
    return time.process_time() - started, result


def main():
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    programs.keep_memory()  # as every job does; plain PyTorch in this process has it, too
    if arguments.rates:
        return rates(arguments.widths)
    dataset = moons()
    for width in arguments.widths:
        network = {"family": "mlp", "hidden": [width], "norm": "none", "width": 1}
        ratios = {"train": [], "evaluate": []}
        train_plain(dataset, network, 1, 2)  # the compiler, which optimizers import
        for _ in range(arguments.rounds):
            plain, models = seconds(train_plain, dataset, network, arguments.networks, arguments.epochs)
            ours, (functional, vectors) = seconds(train_ours, dataset, network, arguments.networks, arguments.epochs)
            ratios["train"].append((plain, ours))
            ours, _ = seconds(evaluate_ours, dataset, functional, vectors)
            plain, _ = seconds(evaluate_plain, dataset, models)
            ratios["evaluate"].append((plain, ours))
        for what, found in ratios.items():
            ratio = [plain / ours for plain, ours in found]
            plain, ours = (statistics.median(values) for values in zip(*found))
            print(
                f"{what}, width {width}: plain {plain:.2f} s, ours {ours:.2f} s, ratio {statistics.median(ratio):.1f} "
                f"({min(ratio):.1f} to {max(ratio):.1f})"
            )


if __name__ == "__main__":
    main()
