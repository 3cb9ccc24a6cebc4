"""Adam, with weight decay as a part of the gradient (Kingma and Ba 2015)."""

import torch
from torch.optim.adam import adam


def state(variables: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Running means of gradients and of their squares, and the number of steps, for each of the variables."""
    return {
        "mean": [torch.zeros_like(variable) for variable in variables],
        "square": [torch.zeros_like(variable) for variable in variables],
        "steps": [torch.zeros(()) for _ in variables],
    }


@torch.no_grad()
def step(variables, gradients, state, rate, momentum, settings, decoupled=False):
    """One step in place; momentum: decay of the mean (beta 1); settings: {"beta2", "epsilon", "weight_decay"}.

    decoupled: weight decay acts on the variables instead (Loshchilov and Hutter 2019).
    """
    adam(
        variables,
        list(gradients),
        state["mean"],
        state["square"],
        [],
        state["steps"],
        decoupled_weight_decay=decoupled,
        amsgrad=False,
        beta1=momentum,
        beta2=settings["beta2"],
        lr=rate,
        weight_decay=settings["weight_decay"],
        eps=settings["epsilon"],
        maximize=False,
    )
