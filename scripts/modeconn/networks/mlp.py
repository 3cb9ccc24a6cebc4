"""Fully connected networks."""

from collections import OrderedDict

from torch import nn

from modeconn.networks.layers import VECTOR_NORMS, scaled


class MLP(nn.Module):
    """Fully connected network with ReLU; `hidden` units a layer, times `width` (Kalaivanan 2023).

    fused: not used by this class. Once trained, batch normalization becomes part of the linear layers (`fusing`).
    """

    def __init__(self, inputs, classes=10, hidden=(512, 512, 512), width=1, norm="none", fused=False):
        super().__init__()
        layers = []
        for units in hidden:
            (units,) = scaled(width, units)
            layers.append(
                nn.Sequential(
                    OrderedDict(linear=nn.Linear(inputs, units), norm=VECTOR_NORMS[norm](units), relu=nn.ReLU())
                )
            )
            inputs = units
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(inputs, classes)

    def forward(self, images):
        return self.dense(self.layers(images.flatten(1)))
