"""Exact batch normalization of channels-last images: against torch's own in float64."""

import pytest
import torch
import torch.nn.functional as F

from modeconn import dispatch, networks
from modeconn.batchnorm import recalibrate
from modeconn.functional import Functional
from modeconn.normalization import Exact

LAST = torch.channels_last


def drawn(shape, memory=LAST):
    """Images whose channels are off 0, weights and biases, and gradients of one sign: where sums lose digits."""
    rng = torch.Generator().manual_seed(0)
    channels = shape[1]
    images = torch.randn(shape, generator=rng) + 3 * torch.randn(channels, 1, 1, generator=rng)
    gradient = torch.rand(shape, generator=rng).contiguous(memory_format=memory)
    weight, bias = torch.rand(2, channels, generator=rng)
    return images.contiguous(memory_format=memory), weight + 0.5, bias, gradient


def normalized(images, weight, bias, gradient, momentum=1.0):
    """What a normalization in train mode gives, by name: output, statistics and gradients."""
    inputs = [tensor.clone().requires_grad_(True) for tensor in (images, weight, bias)]
    mean, variance = torch.zeros_like(weight), torch.ones_like(weight)
    output = F.batch_norm(inputs[0], mean, variance, *inputs[1:], training=True, momentum=momentum)
    gradients = torch.autograd.grad(output, inputs, gradient)
    found = dict(zip(("of_images", "of_weight", "of_bias"), gradients, strict=True))
    return found | {"output": output.detach(), "mean": mean, "variance": variance}


def errors(drawn, **more):
    """Relative errors, exact and plain, of what `normalized` gives."""
    truth = normalized(*(tensor.double() for tensor in drawn), **more)
    with Exact():
        exact = normalized(*drawn, **more)
    plain = normalized(*drawn, **more)
    return [
        {name: ((tensor - truth[name]).norm() / truth[name].norm()).item() for name, tensor in found.items()}
        for found in (exact, plain)
    ]


def test_all_digits_are_kept_where_torch_loses_some():
    exact, plain = errors(drawn((128, 16, 32, 32)))
    of_weight = exact.pop("of_weight"), plain.pop("of_weight")  # a small difference of large sums
    assert max(exact.values()) < 1e-6 < 2e-6 < min(plain.values())
    assert of_weight[0] < 0.05 * of_weight[1]


# Some rows can be taken together, or none: 7, 5, 5 and 3 are primes, and more channels than a row has values.
@pytest.mark.parametrize("shape", [(8, 3, 6, 6), (7, 4, 5, 5), (5, 1030, 3, 1), (3, 700, 1, 7)])
@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_any_shape_gives_what_torch_gives(shape, momentum):
    exact, _ = errors(drawn(shape), momentum=momentum)
    of_weight = exact.pop("of_weight")
    assert max(exact.values()) < 1e-6 and of_weight < 1e-4


@pytest.mark.parametrize("case", ["contiguous", "float64", "evaluation", "plain"])
def test_what_torch_does_well_is_left_to_it(case):
    images, weight, bias, _ = drawn((8, 3, 6, 6), torch.contiguous_format if case == "contiguous" else LAST)
    dtype = torch.float64 if case == "float64" else torch.float32
    images, weight, bias = (tensor.to(dtype) for tensor in (images, weight, bias))
    affine = {} if case == "plain" else {"weight": weight, "bias": bias}

    def output():
        statistics = torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)
        return F.batch_norm(images, *statistics, **affine, training=case != "evaluation")

    expected = output()
    with Exact():
        assert torch.equal(output(), expected)


def test_statistics_need_not_be_kept():
    images, weight, bias, _ = drawn((8, 3, 6, 6))
    with Exact():
        output = F.batch_norm(images, None, None, weight, bias, training=True)
    torch.testing.assert_close(output, F.batch_norm(images, None, None, weight, bias, training=True))
    assert output.is_contiguous(memory_format=LAST)


def test_an_exact_network_has_exact_statistics_in_every_layer(tiny_dataset):
    images = torch.rand(1, 400, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = {}
    for name, network in {"plain": {}, "exact": {"exact": True}, "truth": {}}.items():
        network = networks.of({"family": "tinyten"} | network, tiny_dataset)
        functional = Functional(network.double() if name == "truth" else network)
        vectors, _ = functional.stack([network.state_dict()])
        found[name] = recalibrate(functional, vectors, [images.to(vectors.dtype)])
    off = {
        name: max(
            ((found[name][key] - truth).norm() / truth.norm()).item()
            for key, truth in found["truth"].items()
            if "running" in key
        )
        for name in ("plain", "exact")
    }
    assert off["exact"] < 5e-6 < 2e-5 < off["plain"]


def test_only_exact_networks_depend_on_the_source():
    network = {"family": "tinyten", "exact": True}
    assert "normalization" in dispatch.modules({"network": network})
    assert "normalization" not in dispatch.modules({"network": {"family": "tinyten"}})
