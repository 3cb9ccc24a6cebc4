"""Optimizers: the same numbers as torch's classes, lane by lane, and state that resumes with the same bits."""

import pytest
import torch

from modeconn import optimizers

SETTINGS = {
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "adam": {"momentum": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.1},
    "adamw": {"momentum": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.1},
    "rmsprop": {"momentum": 0.5, "alpha": 0.9, "epsilon": 1e-8, "weight_decay": 1e-2},
    "adagrad": {"epsilon": 1e-10, "weight_decay": 1e-2},
}
THEIRS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adam": lambda p: torch.optim.Adam(p, 0.01, betas=(0.9, 0.99), weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, betas=(0.9, 0.99), weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.9, momentum=0.5, weight_decay=1e-2),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01, weight_decay=1e-2),
}


def gradients(points):
    """Of a function with a minimum that is not at zero, and other curvature in each direction."""
    scales = torch.linspace(0.1, 10, points.shape[-1])
    return [scales * (points - 1).detach() + torch.sin(3 * points.detach())]


def descend(method, points, state, steps):
    module = optimizers.of({"method": method})
    for _ in range(steps):
        momentum = SETTINGS[method].get("momentum", 0)
        module.step([points], gradients(points), state, 0.01, momentum, SETTINGS[method])


@pytest.mark.parametrize("method", optimizers.METHODS)
def test_fifty_steps_are_those_of_torchs_class(method):
    start = torch.randn(1, 20)
    ours, parameter = start.clone(), torch.nn.Parameter(start.clone())
    descend(method, ours, optimizers.of({"method": method}).state([ours]), 50)
    theirs = THEIRS[method]([parameter])
    for _ in range(50):
        (parameter.grad,) = gradients(parameter)
        theirs.step()
    assert torch.equal(ours, parameter.data)
    assert (ours - start).abs().min() > 0


@pytest.mark.parametrize("method", optimizers.METHODS)
def test_lanes_do_not_feel_each_other(method):
    start = torch.randn(3, 20)
    together, alone = start.clone(), start[1:2].clone()
    for points in (together, alone):
        descend(method, points, optimizers.of({"method": method}).state([points]), 20)
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("method", optimizers.METHODS)
def test_state_that_is_saved_and_loaded_goes_on_with_the_same_bits(method):
    module, whole = optimizers.of({"method": method}), torch.randn(2, 20)
    resumed = whole.clone()
    descend(method, whole, module.state([whole]), 20)
    state = module.state([resumed])
    descend(method, resumed, state, 8)
    loaded = module.state([resumed])
    for name, tensors in state.items():
        for mine, saved in zip(loaded[name], tensors):
            mine.copy_(saved)
    descend(method, resumed, loaded, 12)
    assert torch.equal(whole, resumed)


def test_an_unknown_method_is_refused(one_line):
    with one_line(ValueError, "adamax:", "sgd, adam, adamw, rmsprop, adagrad"):
        optimizers.of({"method": "adamax"})
