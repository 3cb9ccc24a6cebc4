"""Two trained networks as endpoints: read from artifacts, the second one permuted to match the first."""

from dataclasses import dataclass

import torch

from modeconn import artifacts, networks, permutation
from modeconn.datasets import Dataset
from modeconn.functional import Functional


@dataclass(frozen=True)
class Pair:
    """Two networks of one architecture. `first` and `second` are state dicts, on the data set's device."""

    dataset: Dataset
    functional: Functional
    first: dict
    second: dict

    def spec(self):
        """Which axes of which tensors move together, discovered from the network itself."""
        return permutation.discover(self.functional.network, self.dataset.example())

    def permuted(self, found):
        """The pair with `found` (group -> indices) applied to its second network."""
        return Pair(self.dataset, self.functional, self.first, permutation.apply(self.spec(), found, self.second))

    def ends(self):
        """(2, D): the parameter vectors of both networks."""
        return torch.stack([self.functional.pack(tensors)[0] for tensors in (self.first, self.second)])

    def control_points(self, bends=None):
        """(k + 2, D): both ends, and between them the bends (k, D) of a curve."""
        ends = self.ends()
        return ends if bends is None else torch.cat([ends[:1], bends, ends[1:]])


def add_arguments(parser):
    """Arguments that name a pair, for every program that works on one."""
    parser.add_argument("--data", required=True, **artifacts.INPUT, help="the data set, from prepare_data")
    parser.add_argument(
        "--networks", required=True, nargs="+", **artifacts.INPUT, help="files, from train, that hold both networks"
    )
    parser.add_argument(
        "--permutation", **artifacts.INPUT, help="from align or refine, for the second network (default: identity)"
    )


def load(arguments, device):
    """The pair `arguments.job["pair"]` (two seeds) with its permutation applied.

    Raises ValueError where no file holds one of the seeds, or the permutation is not of this architecture.
    """
    pair = unaligned(arguments, device)
    if arguments.permutation is None:
        return pair
    return pair.permuted(artifacts.load(arguments.permutation, rule=("align", "refine"))[0])


def unaligned(arguments, device):
    """The pair as it was trained. Errors: `load`."""
    values = arguments.job
    dataset = Dataset.of(*artifacts.load(arguments.data, rule="prepare_data"), device)
    functional = Functional(networks.of(values["network"], dataset).to(device))
    first, second = (_network(arguments.networks, seed, device) for seed in values["pair"])
    return Pair(dataset, functional, first, second)


def add_curve_argument(parser):
    """The argument that `curve_points` reads."""
    parser.add_argument("--curve", **artifacts.INPUT, help="the bends, from fit_curve (default: the straight line)")


def curve_points(arguments, pair, device):
    """Control points (k + 2, D) of the curve in `arguments.curve`, or of the straight line where it is not given."""
    if arguments.curve is None:
        return pair.control_points()
    return pair.control_points(artifacts.load(arguments.curve, device, "fit_curve")[0]["bends"])


def statistics(path, count, device):
    """Buffers, name -> (count, ...), of the networks at `count` points of a curve, as evaluate_curve estimated them.

    Raises ValueError where they are those of another number of points.
    """
    tensors, metadata = artifacts.load(path, device, "evaluate_curve")
    found = metadata["job"]["evaluation"]["points"]
    if found != count:
        raise ValueError(
            f"{path} has statistics of {found} points of the curve: give those of {count}, evaluation.points"
        )
    return tensors


def _network(paths, seed, device):
    for path in paths:
        tensors, metadata = artifacts.load(path, device, "train")
        seeds = metadata["job"]["seeds"]
        if seed in seeds:
            return {name: tensor[seeds.index(seed)] for name, tensor in tensors.items()}
    raise ValueError(f"no network of seed {seed} in {', '.join(map(str, paths))}")
