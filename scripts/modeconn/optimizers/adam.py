"""Adam, with weight decay as a part of the gradient (Kingma and Ba 2015)."""

import torch
from torch.optim.adam import adam

from modeconn.optimizers.adamw import state

__all__ = ["state", "step"]


@torch.no_grad()
def step(variables, gradients, state, rate, momentum, settings):
    """One step in place; momentum: decay of the mean (beta 1); settings: {"beta2", "epsilon", "weight_decay"}."""
    adam(
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
