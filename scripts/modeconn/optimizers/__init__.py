"""Optimizers: one module per method, imported if the config names it, so that editing one reruns only its own jobs.

Each has two functions. `state(variables)` returns the optimizer's state, name -> one tensor per variable; it is part of
the checkpoint, so that training resumes bit for bit. `step(variables, gradients, state, rate, momentum,
settings)` changes variables and state in place by torch's own update. torch's optimizer classes are not used: making
one imports the compiler, which takes longer than a small network trains.
"""

from importlib import import_module
from types import ModuleType

METHODS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


def of(settings: dict) -> ModuleType:
    """The module of the optimizer that `settings` name: {"method" (default sgd), "learning_rate", ...}.

    Raises ValueError for an unknown method.
    """
    method = settings.get("method", "sgd")
    if method not in METHODS:
        raise ValueError(f"optimizer {method}: expected {', '.join(METHODS)}")
    return import_module(f"modeconn.optimizers.{method}")
