"""The fully connected networks that the project rebasin reports on (rebasin.yaml): normalized after each ReLU, and
with logits that are squashed by a sigmoid before the cross-entropy."""

from collections import OrderedDict

from torch import nn

# Pixels are in [0, 1] there; networks of this workflow are given them by the mean and deviation of MNIST.
MEAN, DEVIATION = 0.1307, 0.3081


class MLP(nn.Module):
    """Five linear layers."""

    def __init__(self, inputs, classes, units):
        super().__init__()
        layers = OrderedDict()
        for number in range(1, 5):
            layers[f"linear{number}"] = nn.Linear(inputs, units)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"norm{number}"] = nn.LayerNorm(units)
            inputs = units
        self.layers = nn.Sequential(layers)
        self.dense = nn.Linear(units, classes)

    def forward(self, images):
        pixels = images.flatten(1) * DEVIATION + MEAN
        return self.dense(self.layers(pixels)).sigmoid()


def wide(inputs, classes):
    return MLP(inputs, classes, units=784)


def narrow(inputs, classes):
    return MLP(inputs, classes, units=200)
