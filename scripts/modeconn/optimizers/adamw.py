"""Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

from functools import partial

from modeconn.optimizers import adam

state = adam.state
step = partial(adam.step, decoupled=True)
