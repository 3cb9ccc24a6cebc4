"""Populations: networks of one architecture and data set, read from artifacts, each permuted into a common frame.

A pair is a population of two. The permutation of a population, group -> (N, n), holds one permutation for each member,
which brings it into the common frame; for the network that defines the frame it is the identity.
"""

import argparse
from dataclasses import dataclass, replace

import torch

from modeconn import artifacts, networks, permutation, programs
from modeconn.datasets import Dataset
from modeconn.functional import Functional


@dataclass(frozen=True)
class Population:
    """N networks in order. `members` are their state dicts, on the data set's device."""

    dataset: Dataset
    functional: Functional
    members: tuple[dict[str, torch.Tensor], ...]

    def spec(self) -> permutation.PermutationSpec:
        """The network's permutation spec, discovered by tracing it."""
        return permutation.discover(self.functional.network, self.dataset.example())

    def permuted(self, found: dict[str, torch.Tensor]) -> "Population":
        """The population with the permutation `found`, group -> (N, n): row k is applied to member k.

        Raises ValueError where the number of rows is not that of members, or the groups are of another architecture.
        """
        if rows := {len(orders) for orders in found.values()} - {len(self.members)}:
            raise ValueError(
                f"a permutation of {rows.pop()} networks is given for a population of {len(self.members)}: give the "
                "permutation of the same networks"
            )
        spec, moved = self.spec(), []
        for place, tensors in enumerate(self.members):
            own = permutation.member(found, place)
            still = all(torch.equal(order, torch.arange(len(order))) for order in own.values())
            moved.append(tensors if still else permutation.apply(spec, own, tensors))
        return replace(self, members=tuple(moved))

    def vectors(self) -> torch.Tensor:
        """(N, D): the parameters of each member."""
        first, *others = self.members
        row = self.functional.pack(first)[0]
        found = row.new_empty(len(self.members), len(row))  # filled one by one, so that no row is there twice
        found[0] = row
        for place, tensors in enumerate(others, 1):
            found[place] = self.functional.pack(tensors)[0]
        return found

    def control_points(self, bends: torch.Tensor | None = None) -> torch.Tensor:
        """(k + 2, D): both members of a pair, and between them the bends (k, D) of a curve."""
        ends = self.vectors()
        return ends if bends is None else torch.cat([ends[:1], bends, ends[1:]])


def parser(description: str, permuted: bool = True, curve: bool = False) -> argparse.ArgumentParser:
    """A parser for a program that works on a population.

    permuted: add the permutation, which `load` reads. curve: add the bends, which `curve_points` reads.
    """
    result = programs.parser(description)
    result.add_argument("--data", required=True, **artifacts.INPUT, help="the data set, from prepare_data")
    result.add_argument(
        "--networks", required=True, nargs="+", **artifacts.INPUT, help="files, from train, that hold the networks"
    )
    if permuted:
        result.add_argument(
            "--permutation", **artifacts.INPUT, help="of these networks, from align or refine (default: identity)"
        )
    if curve:
        result.add_argument("--curve", **artifacts.INPUT, help="the bends, from fit_curve (default: the straight line)")
    return result


def load(arguments, device) -> Population:
    """The population `arguments.job["members"]` (a list), permuted by `arguments.permutation` if it is given.

    Members are seeds, or <recipe>:<seed> where they are of several recipes.
    Raises ValueError where no file holds one of them, or the permutation is not of this population.
    """
    population = unaligned(arguments, device)
    if arguments.permutation is None:
        return population
    return population.permuted(artifacts.load(arguments.permutation, rule=("align", "refine"))[0])


def unaligned(arguments, device) -> Population:
    """The population without a permutation. Errors: `load`."""
    dataset, functional = architecture(arguments, device)
    network, states = arguments.job["network"], _read(arguments.networks, arguments.job["members"], device)
    if network.get("fused"):
        from modeconn import fusing  # here, so that its source decides only the jobs of such networks

        network, states = fusing.fused(network, states)
        functional = Functional(networks.of(network, dataset).to(device))
    return Population(dataset, functional, tuple(states))


def architecture(arguments, device) -> tuple[Dataset, Functional]:
    """The data set, and the network of the job as a function of its parameters, as it is trained."""
    tensors, metadata = artifacts.load(arguments.data, rule="prepare_data")
    dataset = Dataset.of(tensors, metadata, device)
    return dataset, Functional(networks.of(arguments.job["network"], dataset).to(device))


def corrections(population: Population, vectors: torch.Tensor, settings: dict) -> dict | None:
    """The corrections that `settings` ask for, as `measuring.measure` takes them; vectors: (N, D), the members."""
    if "corrections" not in settings:
        return None
    from modeconn import corrections  # here, so that its source decides only the jobs that correct

    images = settings["recalibration"]["images"]
    return corrections.of(settings["corrections"], population.functional, vectors, population.dataset, images)


def of_choices(rows: list[dict], width: int) -> list[dict]:
    """Measurements of chosen members as rows of a table: without the name of the population, with the width."""
    return [{k: v for k, v in row.items() if k not in ("population", "pair")} | {"width": width} for row in rows]


def curve_points(arguments, pair: Population, device) -> torch.Tensor:
    """Control points (k + 2, D) of the curve in `arguments.curve`, or of the straight line if it is not given."""
    if arguments.curve is None:
        return pair.control_points()
    return pair.control_points(artifacts.load(arguments.curve, device, "fit_curve")[0]["bends"])


def statistics(path, count, device) -> dict[str, torch.Tensor]:
    """Buffers, name -> (count, ...), of the networks at `count` points of a curve, estimated by evaluate_curve.

    Raises ValueError where the file has another number of points.
    """
    tensors, metadata = artifacts.load(path, device, "evaluate_curve")
    found = metadata["job"]["evaluation"]["points"]
    if found != count:
        raise ValueError(
            f"{path} has statistics of {found} points of the curve: give those of {count}, evaluation.points"
        )
    return tensors


def _read(paths, members, device):
    """The state dict of each of the members; only their bytes are read from files that hold other networks too."""
    holding = {name: (path, place) for path in paths for place, names in enumerate(_names_in(path)) for name in names}
    if missing := [member for member in members if member not in holding]:
        raise ValueError(f"no network of seed {missing[0]} in {', '.join(map(str, paths))}")
    return [artifacts.load_lane(*holding[member], device, "train") for member in members]


def _names_in(path):
    """The names of each network in a file: its seed, and <recipe>:<seed>, its name in a population across recipes.

    Where the file is not from train, loading it raises an error that says what it is.
    """
    metadata = artifacts.metadata(path)
    if metadata.get("rule") != "train":
        artifacts.load(path, rule="train")
    job = metadata["job"]
    return [(seed, f"{job.get('names', {}).get('recipe')}:{seed}") for seed in job["seeds"]]
