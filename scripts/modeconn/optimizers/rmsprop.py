"""RMSprop: gradients divided by the root of the running mean of their squares; weight decay is an L2 penalty."""

import torch
from torch.optim.rmsprop import rmsprop


def state(variables: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Running means of squared gradients, momenta and the number of steps, for each of the variables."""
    return {
        "square": [torch.zeros_like(variable) for variable in variables],
        "momentum": [torch.zeros_like(variable) for variable in variables],
        "steps": [torch.zeros(()) for _ in variables],
    }


@torch.no_grad()
def step(variables, gradients, state, rate, momentum, settings):
    """One step in place; settings: {"alpha", "epsilon", "weight_decay"}."""
    rmsprop(
        variables,
        list(gradients),
        state["square"],
        [],
        state["momentum"],
        state["steps"],
        lr=rate,
        alpha=settings["alpha"],
        eps=settings["epsilon"],
        weight_decay=settings["weight_decay"],
        momentum=momentum,
        centered=False,
    )
