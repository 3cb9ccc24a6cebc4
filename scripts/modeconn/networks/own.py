"""Networks that a function in a user's file builds."""

import torch
from torch import nn

from modeconn import forward, own_code


def network(path, content, classes, channels, inputs, shape):
    """The network of the function `path` (file.py:function), called with those of the arguments that it names.

    content: the digest of the file that the job was planned with. Raises ValueError, one line, where the file
    was edited since, cannot be run, or returns no network for such images.
    """
    if own_code.digest(path) != content:
        raise ValueError(f"{own_code.parts(path)[0]} was edited after this job was planned: run again")
    built = build(own_code.load(path), path, classes=classes, shape=shape, channels=channels, inputs=inputs)
    check(built, path, torch.zeros(2, *shape), classes)
    return built


def check(built: nn.Module, path: str, images: torch.Tensor, classes: int) -> None:
    """Raises ValueError, one line, where a network does not give logits of as many classes for such images."""
    try:
        with torch.no_grad():
            logits = built.eval()(images)
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0] + forward.place(error)
        shape = tuple(images.shape[1:])
        raise ValueError(f"network {path}: it does not run on images of shape {shape}: {reason}") from error
    finally:
        built.train()
    if getattr(logits, "shape", ()) != (len(images), classes):
        found = f" of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else ""
        raise ValueError(
            f"network {path}: let it return logits, (N, {classes}), since there are {classes} classes: for "
            f"{len(images)} images it returns a {type(logits).__name__}{found}"
        )


def build(function, path, **facts) -> nn.Module:
    """The network that the function returns; ValueError for anything else. Auxiliary heads count 0.3 by default."""
    built = own_code.call(function, path, **facts)
    if not isinstance(built, nn.Module):
        raise ValueError(f"network {path}: it returns a {type(built).__name__}: let it return a torch.nn.Module")
    if not hasattr(built, "auxiliary_weight"):
        built.auxiliary_weight = 0.3  # type: ignore[assignment]  # a number, no module
    return built
