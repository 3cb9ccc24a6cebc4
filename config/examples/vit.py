"""A small vision transformer for scikit-learn's digits, of 8x8 pixels: a network of one's own in a study (vit.yaml)."""

import torch
from torch import nn


class Block(nn.Module):
    """Attention and two dense layers, each normalized first and added to what it read."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens):
        read = self.norm1(tokens)
        tokens = tokens + self.attention(read, read, read, need_weights=False)[0]
        return tokens + self.dense(self.norm2(tokens))


class ViT(nn.Module):
    """Patches of 2x2 pixels, a class token, learned positions."""

    def __init__(self, channels, classes, size, width, heads, hidden, depth):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (size // 2) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1) + self.positions
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def build(channels, classes, shape):
    return ViT(channels, classes, shape[1], width=32, heads=4, hidden=64, depth=2)
