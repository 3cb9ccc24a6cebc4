"""VGG for small images (Simonyan and Zisserman 2015; Sharma et al. 2024)."""

from torch import nn

from modeconn.networks.layers import conv_block, scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five stages, pooled by 2 in between, and one linear layer (Sharma et al. 2024).

    14.7 M parameters at width 1, which they call cifar_vgg_16_64. Images need at least 16 pixels a
    side, since there are four poolings.
    """

    LEAST_SIZE = 16

    def __init__(self, channels=3, classes=10, width=1, norm="batch"):
        super().__init__()
        layers = []
        for stage in STAGES:
            layers += [nn.MaxPool2d(2)] if layers else []
            for outputs in scaled(width, *stage):
                layers.append(conv_block(channels, outputs, norm, kernel_size=3, padding=1))
                channels = outputs
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, images):
        return self.dense(self.pool(self.layers(images)).flatten(1))
