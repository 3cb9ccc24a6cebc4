"""Optimizers: one module a method, imported where the config names it: editing one retrains only what it trains.

Each has two functions. `state(variables)` gives what the optimizer remembers, name -> one tensor a variable; it is
saved and loaded with the work, which then resumes bit for bit. `step(variables, gradients, state, rate, momentum,
settings)` changes variables and state in place by torch's own update. torch's optimizer classes are not used: making
one imports the compiler, which takes longer than a small network trains.
"""

from importlib import import_module
from types import ModuleType

METHODS = ("sgd", "adamw", "rmsprop", "adagrad")


def of(settings: dict) -> ModuleType:
    """The module of the optimizer that `settings` name: {"method" (default sgd), "learning_rate", ...}.

    Raises ValueError for an unknown method.
    """
    method = settings.get("method", "sgd")
    if method not in METHODS:
        raise ValueError(f"optimizer {method}: expected {', '.join(METHODS)}")
    return import_module(f"modeconn.optimizers.{method}")
