"""Read checkpoints of any origin without executing code in them, and fit them to a network.

Formats: safetensors, and `torch.save` of tensors, numbers and text.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modeconn import files

# Keys under which training scripts store the state dict; of several the first one here is read.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
COUNTER = "num_batches_tracked"  # of batch normalization; evaluation does not read it, and old checkpoints have none
SHOWN = 3  # names in a message


def read(named: str | Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    """(the tensors of a checkpoint by name, on the CPU; lines on what of the file was read, where it holds more).

    named: a path, or `path:key` for one of several state dicts in a file, `a.pt:ema` say.
    Raises ValueError, one line, where the file is absent, damaged, holds anything that would have to be executed, or
    holds several state dicts of which none is under a key of WRAPPERS.
    """
    path, key = Path(named), None
    if not path.is_file() and ":" in str(named):
        file_name, _, key = str(named).rpartition(":")
        path = Path(file_name)
    if not path.is_file():
        raise ValueError(f"{named} is no file: give the path of a checkpoint, .safetensors or .pt")
    with open(path, "rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its header, eight bytes, and the header with a brace.
    content = _safetensors(path) if start[8:] == b"{" else _torch(path)
    if key is None:
        return _state(content, path)
    states = _states(content)
    if key not in states:
        held = [*states]
        instead = f"it holds {_listed(held)}: give {path}:{held[0]}" if held else "it holds no named one"
        raise ValueError(f"{path} holds no state dict {key}: {instead}")
    return _state(states[key], path)[0], []


def _safetensors(path):
    import safetensors.torch

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            if "modeconn" in (file.metadata() or {}):
                raise ValueError(
                    f"{path} is an artifact of a study, which compares its networks itself: give a plain state dict"
                )
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is a damaged safetensors file: {error}") from None


def _torch(path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        held = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ValueError(
            f"{path} holds more than tensors{f', {held[1]}' if held else ''}, and nothing of a checkpoint is executed: "
            "save network.state_dict() alone"
        ) from None
    except Exception as error:  # the unpickler may raise any exception on a damaged file
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(f"{path} is no checkpoint that can be read, or it is damaged: {reason}") from None


def _state(content, path):
    """(the state dict in the contents of a file, without wrappers; lines on other state dicts beside it)."""
    notes = []
    for _ in range(3):
        states = _states(content)
        wrapped = [key for key in WRAPPERS if key in states]
        if not wrapped and (tensors := _tensors(content)):
            return tensors, notes
        if not states:
            break
        if not wrapped and len(states) > 1:
            named = f"{path}:{next(iter(states))}"
            raise ValueError(f"{path} holds several state dicts, {_listed([*states])}: name one, as {named}")
        key, *others = dict.fromkeys((*wrapped, *states))
        if others:
            notes.append(f"{key} was read, and not {_listed(others)}: give {path}:{others[0]} to read that instead")
        content = states[key]
    held = ", ".join(map(str, list(content)[:SHOWN])) if isinstance(content, Mapping) else type(content).__name__
    raise ValueError(f"{path} holds no state dict, but {held or 'nothing'}: save network.state_dict()")


def _states(content):
    """key -> each value of a mapping that is a state dict: a mapping with weights, or with a mapping of weights."""
    return {
        key: value
        for key, value in _mappings(content).items()
        if any(map(_has_weights, (value, *_mappings(value).values())))
    }


def _mappings(content):
    items = content.items() if isinstance(content, Mapping) else ()
    return {str(key): value for key, value in items if isinstance(value, Mapping)}


def _tensors(content):
    items = content.items() if isinstance(content, Mapping) else ()
    return {str(name): value for name, value in items if isinstance(value, torch.Tensor)}


def _has_weights(content):
    """Whether a mapping has numbers that may be weights, which those of random generators are not."""
    return any(tensor.is_floating_point() or tensor.is_complex() for tensor in _tensors(content).values())


def fitted(
    tensors: Mapping[str, torch.Tensor], network: nn.Module, path: str | Path
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """(a state dict of `network`, float32; lines on what was changed or left out to make it fit).

    Names may have one prefix more than the network's (`module.` of DataParallel, `model.` of a wrapper), and
    `_orig_mod.` of torch.compile. Raises ValueError, one line, for what is missing, misshapen or not finite.
    """
    expected = network.state_dict()
    tensors = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    prefix = _prefix(tensors, expected)
    notes = [f"names without their prefix {prefix}"] if prefix else []
    found = {name: tensors[prefix + name] for name in expected if prefix + name in tensors}
    missing = [name for name in expected if name not in found and not name.endswith(COUNTER)]
    if missing:
        raise ValueError(f"{path} has no tensor {_listed(missing)}: give the network that it is a checkpoint of")
    if extra := [name for name in tensors if name.removeprefix(prefix) not in expected]:
        notes.append(f"left out, since the network has no such tensor: {_listed(extra)}")
    for name, tensor in found.items():
        if expected[name].is_floating_point() and not tensor.is_floating_point():
            raise ValueError(
                f"{path}: tensor {name} is {tensor.dtype}, and that of the network {expected[name].dtype}: give "
                "floating point numbers, which quantized and complex ones are not"
            )
    dtypes = {tensor.dtype for name, tensor in found.items() if expected[name].is_floating_point()}
    if dtypes - {torch.float32}:
        kinds = sorted(str(dtype).removeprefix("torch.") for dtype in dtypes - {torch.float32})
        notes.append(f"{' and '.join(kinds)} read as float32")
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, and that of the network "
                f"{tuple(expected[name].shape)}: give the network that it is a checkpoint of, with as many classes"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{path}: tensor {name} is not finite: this network has diverged")
    whole = {name: found.get(name, expected[name].new_zeros(())) for name in expected}
    return {name: tensor.to(expected[name].dtype).clone() for name, tensor in whole.items()}, notes


def _prefix(tensors, expected):
    """The prefix of the network's names in the checkpoint: the candidate that fits most names."""
    for name in expected:
        candidates = {found.removesuffix(name) for found in tensors if found.endswith(name)}
        candidates = {prefix for prefix in candidates if not prefix or prefix.endswith(".")}
        if candidates:
            return max(sorted(candidates), key=lambda prefix: sum(prefix + each in tensors for each in expected))
    return ""


def _listed(names):
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def save(path: str | Path, tensors: Mapping[str, Any]) -> None:
    """Write a state dict that `torch.load(path, weights_only=True)` reads, atomically."""
    with files.replacing(path) as temporary:
        torch.save({name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}, temporary)
