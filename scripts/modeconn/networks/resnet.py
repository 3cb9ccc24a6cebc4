"""Residual networks for small images (He et al. 2016)."""

from collections import OrderedDict

from torch import nn

from modeconn.networks.layers import NORMS, conv_block, scaled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity, or around a projection where the shape changes."""

    def __init__(self, inputs, outputs, stride, norm):
        super().__init__()
        same_shape = stride == 1 and inputs == outputs
        self.first = conv_block(inputs, outputs, norm, kernel_size=3, stride=stride, padding=1, bias=False)
        self.second = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), norm=NORMS[norm](outputs))
        )
        self.shortcut = (
            nn.Identity()
            if same_shape
            else nn.Sequential(
                OrderedDict(conv=nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), norm=NORMS[norm](outputs))
            )
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images):
        return self.relu(self.second(self.first(images)) + self.shortcut(images))


class ResNet(nn.Module):
    """CIFAR residual network: a stem and three stages of `blocks` basic blocks, 16, 32, 64 channels at width 1.

    `blocks` 3 is ResNet-20, 5 is ResNet-32 (0.47 M parameters; Tatro et al. 2020).
    """

    def __init__(self, blocks, channels=3, classes=10, width=1, norm="batch"):
        super().__init__()
        w16, w32, w64 = scaled(width, 16, 32, 64)
        self.stem = conv_block(channels, w16, norm, kernel_size=3, padding=1, bias=False)
        stages, inputs = [], w16
        for outputs, stride in ((w16, 1), (w32, 2), (w64, 2)):
            strides = [stride] + [1] * (blocks - 1)
            stages.append(
                nn.Sequential(
                    *(BasicBlock(inputs if i == 0 else outputs, outputs, s, norm) for i, s in enumerate(strides))
                )
            )
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(w64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images):
        return self.dense(self.pool(self.stages(self.stem(images))).flatten(1))
