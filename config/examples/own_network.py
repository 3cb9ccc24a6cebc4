"""A network and data of your own, in plain PyTorch: two checkpoints, and what `make connect` needs to know about them.

.venv/bin/python config/examples/own_network.py results/example            # trains two networks, a.pt and b.pt
make connect A=results/example/a.pt B=results/example/b.pt \
    NETWORK=config/examples/own_network.py:build DATA=config/examples/own_network.py:data
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Block(nn.Module):
    """Two convolutions with batch normalization, and a residual."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.norm2(self.second(F.relu(self.norm1(self.first(x))))))


def build(classes, width=16):
    """The function that `--network` names; of classes, channels, inputs and shape it gets those that are parameters."""
    opening = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(
        opening, Block(width), Block(width), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes)
    )


def data():
    """The function that `--data` names: x_train, y_train, x_test, y_test, with images as the network takes them."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(digits.target)
    return images[:1200], labels[:1200], images[1200:], labels[1200:]


def train(seed, epochs=8):
    torch.manual_seed(seed)
    network, (images, labels, *_) = build(10), data()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    return network


if __name__ == "__main__":
    torch.set_num_threads(1)  # layers are too small to be shared between cores
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in (("a", 1), ("b", 2)):
        torch.save(train(seed).state_dict(), folder / f"{name}.pt")
