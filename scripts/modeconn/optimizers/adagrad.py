"""Adagrad: gradients divided by the root of the sum of their squares; weight decay is an L2 penalty."""

import torch
from torch.optim.adagrad import adagrad


def state(variables: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Sums of squared gradients and the number of steps, for each of the variables."""
    return {
        "sum": [torch.zeros_like(variable) for variable in variables],
        "steps": [torch.zeros(()) for _ in variables],
    }


@torch.no_grad()
def step(variables, gradients, state, rate, momentum, settings):
    """One step in place; it has no momentum; settings: {"epsilon", "weight_decay"}."""
    adagrad(
        variables,
        list(gradients),
        state["sum"],
        state["steps"],
        lr=rate,
        weight_decay=settings["weight_decay"],
        lr_decay=0,
        eps=settings["epsilon"],
        maximize=False,
    )
