"""Layers that several families of networks share."""

from collections import OrderedDict

import torch
from torch import nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each spatial position, (N, C, ...) -> (N, C, ...).

    The stand-in for batch normalization of Sharma et al. 2024: it has no running statistics.
    """

    def forward(self, images):
        return super().forward(images.movedim(1, -1)).movedim(-1, 1)


NORMS = {"batch": nn.BatchNorm2d, "layer": ChannelNorm, "none": lambda channels: nn.Identity()}
VECTOR_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "none": lambda features: nn.Identity()}


def conv_block(inputs, outputs, norm, **conv):
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(inputs, outputs, **conv), norm=NORMS[norm](outputs), relu=nn.ReLU(inplace=True))
    )


def scaled(width, *channels):
    """`channels` times `width`, rounded. Raises ValueError where none is left."""
    if round(width * min(channels)) < 1:
        raise ValueError(f"network width {width}: nothing is left of {min(channels)} channels: raise the width")
    return [round(width * count) for count in channels]


class Linear(torch.autograd.Function):
    """Linear layers of L networks at once: inputs (L, N, I), weights (L, O, I), biases (L, O) -> (L, N, O).

    The numbers of torch.vmap over `F.linear`, with fewer passes over memory: the bias is added in place, and the
    gradient of the weights is computed in their own memory format where that is faster.
    """

    @staticmethod
    def forward(ctx, inputs, weights, biases):
        ctx.save_for_backward(inputs, weights)
        return torch.bmm(inputs, weights.mT).add_(biases.unsqueeze(1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        inputs, weights = ctx.saved_tensors
        of_inputs, of_weights, of_biases = ctx.needs_input_grad
        return (
            torch.bmm(gradient, weights) if of_inputs else None,
            Linear.of_weights(inputs, gradient) if of_weights else None,
            gradient.sum(1) if of_biases else None,
        )

    @staticmethod
    def of_weights(inputs, gradient):
        """The weights' gradient (L, O, I); a product with few rows is faster than one with few columns."""
        if gradient.shape[-1] > inputs.shape[-1]:
            return torch.bmm(inputs.mT, gradient).mT
        return torch.bmm(gradient.mT, inputs)
