"""Fully connected networks."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import nn

from modeconn.networks.layers import VECTOR_NORMS, Linear, scaled


class MLP(nn.Module):
    """Fully connected network with ReLU; `hidden` units a layer, times `width` (Kalaivanan 2023).

    fused: not used by this class. Once trained, batch normalization becomes part of the linear layers (`fusing`).
    """

    def __init__(self, inputs, classes=10, hidden=(512, 512, 512), width=1, norm="none", fused=False):
        super().__init__()
        self.norm = norm
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

    @property
    def forward_lanes(self):
        """`forward` of L networks at once, from tensors by name, (L, ...), and images (L, N, C, H, W) to logits.

        None with batch normalization, which has statistics to keep.
        """
        return None if self.norm == "batch" else self._forward_lanes

    def _forward_lanes(self, tensors, images):
        values = images.flatten(2)
        for place, layer in enumerate(self.layers):
            name = f"layers.{place}"
            values = _linear(values, tensors, f"{name}.linear")
            if self.norm == "layer":
                gain, offset = (tensors[f"{name}.norm.{of}"].unsqueeze(1) for of in ("weight", "bias"))
                values = (F.layer_norm(values, layer.norm.normalized_shape, eps=layer.norm.eps) * gain).add_(offset)
            values = values.relu_()
        return _linear(values, tensors, "dense")


def _linear(values, tensors, name):
    return Linear.apply(values, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
