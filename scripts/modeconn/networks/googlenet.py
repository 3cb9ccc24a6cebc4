"""GoogLeNet for small images, with its auxiliary heads (Szegedy et al. 2015; Tatro et al. 2020)."""

from functools import partial

import torch
from torch import nn

from modeconn.networks.layers import NORMS, conv_block, scaled

# Channels of an inception block: 1x1; reduction, 3x3; reduction, 3x3 (for 5x5); after the pool.
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """Four branches side by side; `channels` as in BLOCKS. The 5x5 branch has a 3x3 kernel, as in Tatro et al."""

    def __init__(self, inputs, channels, norm):
        super().__init__()
        one, reduction_a, three, reduction_b, five, pooled = channels
        conv = partial(conv_block, norm=norm, bias=False)
        self.branches = nn.ModuleList(
            [
                conv(inputs, one, kernel_size=1),
                nn.Sequential(
                    conv(inputs, reduction_a, kernel_size=1), conv(reduction_a, three, kernel_size=3, padding=1)
                ),
                nn.Sequential(
                    conv(inputs, reduction_b, kernel_size=1), conv(reduction_b, five, kernel_size=3, padding=1)
                ),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(inputs, pooled, kernel_size=1)),
            ]
        )

    def forward(self, images):
        return torch.cat([branch(images) for branch in self.branches], 1)


def auxiliary_head(inputs, channels, hidden, classes, norm):
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        conv_block(inputs, channels, norm, kernel_size=1, bias=False),
        nn.Flatten(),
        nn.Linear(channels * 16, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.7),
        nn.Linear(hidden, classes),
    )


class GoogLeNet(nn.Module):
    """Nine inception blocks, 9.96 M parameters for 10 classes and 10.24 M for 100 at width 1 (Tatro et al. 2020).

    Against the ImageNet network the stem has stride 1, and the first and the last pooling between
    blocks are left out. In train mode the output is (logits, logits of the head behind 4a, of the
    one behind 4d), in eval mode the logits. Images need at least 4 pixels a side.
    """

    LEAST_SIZE = 4
    auxiliary_weight = 0.3  # of each head's loss

    def __init__(self, channels=3, classes=10, width=1, norm="batch"):
        super().__init__()
        w64, w192, w128, w1024 = scaled(width, 64, 192, 128, 1024)
        self.stem = nn.Sequential(
            conv_block(channels, w64, norm, kernel_size=7, padding=3, bias=False),
            conv_block(w64, w64, norm, kernel_size=1, bias=False),
            conv_block(w64, w192, norm, kernel_size=3, padding=1, bias=False),
        )
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.blocks, inputs, outputs = nn.ModuleDict(), w192, {}
        for name, counts in BLOCKS.items():
            counts = scaled(width, *counts)
            self.blocks[name] = Inception(inputs, counts, norm)
            one, _, three, _, five, pooled = counts
            inputs = outputs[name] = one + three + five + pooled
        self.heads = nn.ModuleDict(
            {name: auxiliary_head(outputs[name], w128, w1024, classes, norm) for name in ("4a", "4d")}
        )
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.dense = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, NORMS["batch"]):
                module.eps = 1e-3
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                if norm == "none":  # the signal would vanish in twenty layers of weights this small
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                else:
                    nn.init.trunc_normal_(module.weight, std=0.01)

    def forward(self, images):
        images = self.pool(self.stem(images))
        auxiliary = []
        for name, block in self.blocks.items():
            images = block(images)
            if name == "3b":
                images = self.pool(images)
            if self.training and name in self.heads:
                auxiliary.append(self.heads[name](images))
        logits = self.dense(self.dropout(self.global_pool(images).flatten(1)))
        return (logits, *auxiliary) if self.training else logits
