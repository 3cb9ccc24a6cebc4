"""Ratios of our kernels to the plain way of doing the same, both timed in turn in one run: `make bench`.

A ratio above one says that ours is faster. Absolute times are of this machine and this moment.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from modeconn import classification, connectivity, datasets, networks, permutation
from modeconn.functional import Functional
from modeconn.matching import activation
from modeconn.optimization import descend

torch.set_num_threads(1)
ROUNDS = 5
RECIPE = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
PGD = {"epsilon": 8 / 255, "step": 2 / 255, "steps": 5, "random_start": False}


def data():
    """1,280 random colour images of 32x32, half of them the alignment split."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1280, 3, 32, 32), generator=rng).to(torch.uint8)
    labels = torch.randint(0, 10, (1280,), generator=rng)
    return datasets.Dataset(images, labels, images, labels, torch.arange(640), [0.5] * 3, [0.25] * 3, 10)


DATA = data()
NETWORK = networks.of({"family": "tinyten"}, DATA)
FUNCTIONAL = Functional(NETWORK)


def train_ours():
    vectors, buffers = FUNCTIONAL.stack([NETWORK.state_dict()])
    vectors = vectors.detach().requires_grad_(True)
    momenta = [torch.zeros_like(vectors)]
    objective = classification.objective_of(FUNCTIONAL, vectors, buffers, None)
    for batch in datasets.batches(DATA, [1], 0, 0, 128, {"shift": 0}):
        losses, _, _ = objective(batch)
        descend([vectors], torch.autograd.grad(losses.sum(), [vectors]), momenta, 0.1, RECIPE)


def train_plain():
    network = networks.of({"family": "tinyten"}, DATA)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for images, labels in zip(DATA.train_images.split(128), DATA.train_labels.split(128)):
        optimizer.zero_grad()
        F.cross_entropy(network(images.float() / 255), labels).backward()
        optimizer.step()


def augment_ours():
    for _ in datasets.batches(DATA, [1], 0, 0, 128, {"rotation": 15, "flip": True, "shift": 4}):
        pass


def augment_plain():
    """The same changes by torchvision, image by image as a data loader makes them."""
    from torchvision.transforms import v2

    change = v2.Compose([v2.RandomAffine(15), v2.RandomHorizontalFlip(), v2.RandomCrop(32, padding=4)])
    for images in DATA.train_images.split(128):
        torch.stack([change(image) for image in images]).float() / 255


def correlate_ours():
    spec = permutation.discover(NETWORK, DATA.example())
    state = NETWORK.state_dict()
    batches = (datasets.to_float(part) for part in DATA.split("alignment")[0].split(64))
    activation.correlate(NETWORK, spec, state, state, batches)


@torch.no_grad()
def correlate_plain():
    """All activations of both networks kept, then z-scored in float64: Algorithm 1 as it is written."""
    NETWORK.eval()
    images = datasets.to_float(DATA.split("alignment")[0])
    kept = []
    for _ in range(2):
        value, outputs = (images - NETWORK.mean) / NETWORK.std, []
        for layer in NETWORK.network.layers:
            value = layer(value)
            outputs.append(value.transpose(0, 1).flatten(1).double())
        kept.append(outputs)
    for a, b in zip(*kept):
        a, b = (((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)) for x in (a, b))
        a @ b.T / a.shape[1]


def evaluate_ours():
    vectors, _ = FUNCTIONAL.stack([NETWORK.state_dict()])
    buffers = connectivity.recalibrated(FUNCTIONAL, vectors, DATA, {"images": 0, "batch": 512})
    classification.evaluate(FUNCTIONAL, vectors, buffers, *DATA.split("test"), 512)


@torch.no_grad()
def evaluate_plain():
    network = networks.of({"family": "tinyten"}, DATA)
    network.load_state_dict(NETWORK.state_dict())
    network.train()
    for images in DATA.train_images.split(512):
        network(images.float() / 255)
    network.eval()
    for images, labels in zip(DATA.test_images.split(512), DATA.test_labels.split(512)):
        F.cross_entropy(network(images.float() / 255), labels)


def attack_ours():
    vectors, buffers = FUNCTIONAL.stack([NETWORK.state_dict()])
    images, labels = DATA.split("test")
    classification.evaluate(FUNCTIONAL, vectors, buffers, images[:256], labels[:256], 128, PGD)


def attack_plain():
    NETWORK.eval()
    for images, labels in zip(DATA.test_images[:256].split(128), DATA.test_labels[:256].split(128)):
        clean = images.float() / 255
        attacked = clean.clone()
        for _ in range(PGD["steps"]):
            attacked.requires_grad_(True)
            F.cross_entropy(NETWORK(attacked), labels).backward()
            moved = attacked.detach() + PGD["step"] * attacked.grad.sign()
            attacked = (clean + (moved - clean).clamp(-PGD["epsilon"], PGD["epsilon"])).clamp(0, 1)
        with torch.no_grad():
            F.cross_entropy(NETWORK(attacked), labels)


def seconds(kernel):
    started = time.perf_counter()
    kernel()
    return time.perf_counter() - started


def main():
    pairs = {
        "training epoch, 1,280 images": (train_ours, train_plain),
        "augmented epoch, 1,280 images": (augment_ours, augment_plain),
        "activation matching, 640 images": (correlate_ours, correlate_plain),
        "recalibrate and evaluate, 1,280 images": (evaluate_ours, evaluate_plain),
        "PGD evaluation, 256 images": (attack_ours, attack_plain),
    }
    print(f"{'kernel (TinyTen, 32x32, one thread)':42}{'ours':>9}{'plain':>9}{'ratio':>8}  range of {ROUNDS} pairs")
    for name, (ours, plain) in pairs.items():
        ours(), plain()
        timed = [(seconds(ours), seconds(plain)) for _ in range(ROUNDS)]
        ratios = sorted(b / a for a, b in timed)
        a, b = (statistics.median(column) for column in zip(*timed))
        print(f"{name:42}{a:8.3f}s{b:8.3f}s{statistics.median(ratios):8.2f}  {ratios[0]:.2f} .. {ratios[-1]:.2f}")
    program = Path(__file__).resolve().parents[2] / "scripts/train.py"
    started = [
        seconds(lambda: subprocess.run([sys.executable, program, "--help"], capture_output=True)) for _ in range(3)
    ]
    print(f"{'start of a program':42}{min(started):8.3f}s")


if __name__ == "__main__":
    main()
