"""The small convolutional network of Tatro et al. 2020."""

from torch import nn

from modeconn.networks.layers import conv_block, scaled


class TinyTen(nn.Module):
    """Eight convolutions and a linear layer, 0.09 M parameters at width 1 (Tatro et al. 2020).

    Three 3x3 stages of 16, 32 and 64 channels, the last two opened by stride 2; then an unpadded
    3x3 and a 1x1 convolution, global average pooling and the classifier. Images need at least 12
    pixels a side: two strides and the unpadded convolution leave nothing of less.
    """

    LEAST_SIZE = 12

    def __init__(self, channels=3, classes=10, width=1, norm="batch"):
        super().__init__()
        w16, w32, w64 = scaled(width, 16, 32, 64)
        same = {"kernel_size": 3, "padding": 1}
        half = {"kernel_size": 3, "padding": 1, "stride": 2}
        plan = [
            (channels, w16, same),
            (w16, w16, same),
            (w16, w32, half),
            (w32, w32, same),
            (w32, w32, same),
            (w32, w64, half),
            (w64, w64, {"kernel_size": 3}),
            (w64, w64, {"kernel_size": 1}),
        ]
        self.layers = nn.Sequential(*(conv_block(i, o, norm, **conv) for i, o, conv in plan))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(w64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, images):
        return self.dense(self.pool(self.layers(images)).flatten(1))
