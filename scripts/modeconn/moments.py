"""Read networks at moments: the epochs that a recipe keeps, and the levels of pruning.

A file from train holds the networks of its seeds at the end, and then those of each epoch that its recipe keeps, in
order; level 0 of pruning is the end. A file from prune holds one level, with the masks of its weights.
"""

from collections.abc import Iterable, Sequence

import torch

from modeconn import artifacts, populations
from modeconn.populations import Population

MASK = ".mask"  # after the name of a weight: True where it is kept

# "epochs" or "levels", which epoch or level, and the network's seed.
Moment = tuple[str, int, int]


def read(paths: Iterable[str], moments: Iterable[Moment], device="cpu") -> list[dict[str, torch.Tensor]]:
    """The tensors of each of the moments; only their bytes are read from the files.

    Raises ValueError, with the moment, where no file holds it.
    """
    places = _places(paths)
    found = []
    for along, at, seed in moments:
        if (along, at, seed) not in places:
            word = "epoch" if along == "epochs" else "level"
            raise ValueError(f"no network of seed {seed} at {word} {at} in {', '.join(map(str, paths))}")
        path, lane = places[along, at, seed]
        found.append(artifacts.load_lane(path, lane, device, ("train", "prune")))
    return found


def _places(paths):
    """Moment -> (path, lane)."""
    found = {}
    for path in paths:
        metadata = artifacts.metadata(path)
        if metadata.get("rule") not in ("train", "prune"):
            artifacts.load(path, rule=("train", "prune"))  # says what it is
        job = metadata["job"]
        seeds = job["seeds"]
        for lane, seed in enumerate(seeds):
            if metadata["rule"] == "prune":
                found["levels", job["level"], seed] = (path, lane)
                continue
            found["levels", 0, seed] = (path, lane)
            for place, epoch in enumerate([job["recipe"]["epochs"], *job["recipe"].get("keep", [])]):
                found["epochs", epoch, seed] = (path, place * len(seeds) + lane)
    return found


def of_population(arguments, device) -> list[Population]:
    """The population `arguments.job["members"]` at each of `arguments.job["moments"]` (values: `Plan.moments_of`)."""
    values = arguments.job
    dataset, functional = populations.architecture(arguments, device)
    along, seeds = values["moments"]["along"], values["members"]
    wanted = [(along, at, seed) for at in values["moments"]["at"] for seed in seeds]
    members = [without_masks(tensors) for tensors in read(arguments.networks, wanted, device)]
    steps = range(0, len(members), len(seeds))
    return [Population(dataset, functional, tuple(members[first : first + len(seeds)])) for first in steps]


def without_masks(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of a network that may be a pruned one."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(MASK)}


def masks(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The mask (see `pruning`) of a pruned network; empty for a dense one."""
    return {name.removesuffix(MASK): tensor for name, tensor in tensors.items() if name.endswith(MASK)}


def with_masks(tensors: dict[str, torch.Tensor], found: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The tensors (L, ...) of L networks with the mask of each, in the form of a file."""
    return tensors | {name + MASK: torch.stack([mask[name] for mask in found]) for name in found[0]}
