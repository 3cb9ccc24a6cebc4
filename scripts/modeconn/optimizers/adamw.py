"""Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

import torch
from torch.optim.adamw import adamw


def state(variables: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Running means of gradients and of their squares, and the number of steps, for each of the variables."""
    return {
        "mean": [torch.zeros_like(variable) for variable in variables],
        "square": [torch.zeros_like(variable) for variable in variables],
        "steps": [torch.zeros(()) for _ in variables],
    }


@torch.no_grad()
def step(variables, gradients, state, rate, momentum, settings):
    """One step in place; momentum: decay of the mean (beta 1); settings: {"beta2", "epsilon", "weight_decay"}."""
    adamw(
        variables,
        list(gradients),
        state["mean"],
        state["square"],
        [],
        state["steps"],
        amsgrad=False,
        beta1=momentum,
        beta2=settings["beta2"],
        lr=rate,
        weight_decay=settings["weight_decay"],
        eps=settings["epsilon"],
        maximize=False,
    )
