"""How much of torchvision's classifiers may be permuted: one member of each family, as the page config/networks.md."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import torch
from torchvision.models import get_model
from torchvision.models.inception import BasicConv2d
from torchvision.models.maxvit import MaxVit

from modeconn import permutation, randomness
from modeconn.permutation import proof, verdict


def _inception():
    """With a kernel of 1 instead of 5 pixels in the auxiliary head, which otherwise needs images of 299."""
    network = get_model("inception_v3", init_weights=False)
    network.AuxLogits.conv1 = BasicConv2d(128, 768, kernel_size=1)
    return network


def _maxvit():
    """maxvit_t with windows of 2 instead of 7 positions, which otherwise needs images of 224."""
    sizes = {"block_channels": [64, 128, 256, 512], "block_layers": [2, 2, 5, 2]}
    return MaxVit((64, 64), 64, 2, head_dim=32, stochastic_depth_prob=0.2, **sizes)


# Member -> (pixels of the images, arguments or a function that builds it): as small as the network allows.
NETWORKS = {
    "alexnet": (64, {}),
    "convnext_tiny": (64, {}),
    "densenet121": (32, {}),
    "efficientnet_b0": (32, {}),
    "efficientnet_v2_s": (32, {}),
    "googlenet": (32, {"init_weights": False}),
    "inception_v3": (107, _inception),
    "maxvit_t": (64, _maxvit),
    "mnasnet0_5": (32, {}),
    "mobilenet_v2": (32, {}),
    "mobilenet_v3_small": (32, {}),
    "regnet_x_400mf": (32, {}),
    "regnet_y_400mf": (32, {}),
    "resnet18": (32, {}),
    "resnext50_32x4d": (32, {}),
    "shufflenet_v2_x0_5": (32, {}),
    "squeezenet1_1": (32, {}),
    "swin_t": (64, {}),
    "swin_v2_t": (64, {}),
    "vgg11": (32, {"init_weights": False}),
    "vit_b_16": (32, {"image_size": 32}),
    "wide_resnet50_2": (32, {}),
}
HEAD = """\
# What of torchvision's networks may be permuted

Written by `tests/tabulate_networks.py`: the smallest member of each family of classifiers, with the weights that it
is initialized with. Groups share a permutation; those in blocks are heads of attention or groups of a convolution, in
each of which channels are permuted too. Of all hidden channels and of all parameters, the share that some permutation
moves; what is pinned, and why (a channel that is alone in its part of a shuffle is not named).
Every row is proved: with all groups permuted the logits change by no more than the
number in the last column, as a fraction of the largest.

| network | groups | in blocks | hidden channels | parameters | pinned | change |
| --- | --- | --- | --- | --- | --- | --- |
"""


def build(name):
    """(the network as it is initialized, in eval mode; a batch of two images (2, 3, pixels, pixels))."""
    pixels, how = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = how() if callable(how) else get_model(name, weights=None, **how)
    return network.eval(), torch.rand(2, 3, pixels, pixels, generator=randomness.generator("images"))


def describe(name, network, spec):
    """The cells of a network's row, without the last one."""
    reasons = "; ".join(verdict.pinned(spec)) or "nothing"
    free, every = permutation.hidden(spec)
    shares = (f"{100 * share:.2f} %" for share in (free / every, permutation.freedom(spec, network)))
    return [name, str(len(spec.groups)), str(len(spec.blocks)), *shares, reasons]


def row(name):
    """A proved network's row. Raises ValueError where its spec is wrong."""
    network, example = build(name)
    spec = permutation.discover(network, example)
    spec, proved = proof.prove(network, spec, example, randomness.generator("verify"))
    return [*describe(name, network, spec), f"{proved.invariance:.0e}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=Path("config/networks.md"), help="the page to write")
    arguments = parser.parse_args()
    lines = []
    for name in NETWORKS:
        lines.append(f"| {' | '.join(row(name))} |\n")
        print(lines[-1], end="", flush=True)
    arguments.page.write_text(HEAD + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
