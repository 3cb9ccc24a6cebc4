"""Stochastic gradient descent with momentum, Nesterov's or the plain one."""

import torch
from torch.optim.sgd import sgd


def state(variables: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """A momentum of zero for each of the variables."""
    return {"momentum": [torch.zeros_like(variable) for variable in variables]}


@torch.no_grad()
def step(variables, gradients, state, rate, momentum, settings):
    """One step in place; settings: {"nesterov", "weight_decay"}."""
    sgd(
        variables,
        list(gradients),
        state["momentum"],
        lr=rate,
        momentum=momentum,
        nesterov=settings["nesterov"],
        weight_decay=settings["weight_decay"],
        dampening=0,
        maximize=False,
    )
