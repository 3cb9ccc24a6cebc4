"""Batch normalization by a batch's own statistics, with channels last as exact as with channels first.

On a CPU torch sums the values of a channels-last float32 tensor one after another in float32, channel by channel: of a
hundred thousand values statistics and gradients keep four or five digits. (Of contiguous tensors it sums in float64,
and a copy to that layout and back takes several times as long.) Here the rows of C values are taken as fewer, longer
rows of k C: the same memory and the same kernels, and each sum is made of k sums of few values each.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

WIDTH = 1024  # values in a row: so that its sums, means and weights stay in the fastest cache of the CPU
BLOCK = 2**17  # values that are read twice are taken in pieces of so many, which stay in a cache of the CPU


class Exact(TorchFunctionMode):
    """A context in which F.batch_norm is exact on a CPU, whichever module calls it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.batch_norm and _sums_inexactly(*args, **kwargs):
            return batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _sums_inexactly(input, mean, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Whether torch would sum these arguments of F.batch_norm value after value."""
    return (
        training
        and input.device.type == "cpu"
        and input.dtype == torch.float32
        and not input.is_contiguous()
        and input.is_contiguous(memory_format=torch.channels_last)
        and weight is not None
        and bias is not None
    )


def batch_norm(input, mean, variance, weight, bias, training=True, momentum=0.1, eps=1e-5):
    """F.batch_norm of a channels-last float32 `input` (N, C, H, W) in train mode.

    mean, variance: (C,) or None; changed in place.
    """
    output, batch_mean, batch_variance = _BatchNorm.apply(input, weight, bias, eps)
    if mean is not None:
        count = input.numel() // input.shape[1]
        mean.lerp_(batch_mean, momentum)
        variance.lerp_(batch_variance * (count / (count - 1)), momentum)
    return output


class _BatchNorm(torch.autograd.Function):
    """(normalized input, mean (C,), biased variance (C,)); gradients flow through the first of them only."""

    @staticmethod
    def forward(ctx, input, weight, bias, eps):
        means, variances = (
            sums.view(-1, input.shape[1]) for sums in torch.batch_norm_update_stats(_rows(input), None, None, 0.0)
        )
        mean = means.mean(0)
        apart = means - mean
        variance = torch.addcmul(variances, apart, apart).mean(0)
        ctx.save_for_backward(input, weight, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return torch.native_batch_norm(input, weight, bias, mean, variance, False, 0.0, eps)[0], mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        input, weight, mean, variance = ctx.saved_tensors
        rows, gradients = _rows(input), _rows(gradient.contiguous(memory_format=torch.channels_last))
        # Only the sums of gradients and of gradients times normalized inputs, for given statistics.
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients, rows, *_repeated(rows, weight, mean, variance), None, None, False, ctx.eps, [False, True, True]
        )
        of_weight, of_bias = of_weight.view(-1, len(mean)).sum(0), of_bias.view(-1, len(mean)).sum(0)
        # With x = (input - mean) s it is weight s (gradient - mean of gradient - x mean of gradient x): linear in both.
        count = input.numel() // len(mean)
        scale = torch.rsqrt(variance + ctx.eps)
        by_gradient = weight * scale
        by_input = by_gradient * scale * of_weight / -count
        constant = -torch.addcmul(by_gradient * of_bias / count, by_input, mean)
        constant, by_input, by_gradient = _repeated(rows, constant, by_input, by_gradient)
        result = torch.empty_like(input)
        block = max(BLOCK // rows.shape[1], 1)
        parts = (tensor.split(block) for tensor in (_rows(result), rows, gradients))
        for part, inputs, given in zip(*parts, strict=True):
            torch.addcmul(constant, inputs, by_input, out=part).addcmul_(given, by_gradient)
        return result, of_weight, of_bias, None


def _rows(images):
    """Channels-last images (N, C, H, W) as rows (N H W / k, k C) of the same memory, for the largest possible k."""
    channels = images.shape[1]
    return images.permute(0, 2, 3, 1).reshape(-1, _parts(images.numel() // channels, channels) * channels)


@lru_cache
def _parts(count, channels):
    """The largest divisor of `count` that times `channels` is not above WIDTH, or 1."""
    return max(k for k in range(1, max(WIDTH // channels, 1) + 1) if count % k == 0)


def _repeated(rows, *values):
    """Values (C,) each, as wide as `rows`: a tensor (len(values), k C)."""
    return torch.stack(values)[:, None].expand(-1, rows.shape[1] // len(values[0]), -1).flatten(1)
