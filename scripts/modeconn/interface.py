"""What the package offers to programs of one's own: `import modeconn`, `modeconn.match(...)`.

Networks are a module, the architecture, and state dicts, the weights. Images are tensors (N, C, H, W) as the network
takes them, floats, or uint8 pixels that become [0, 1]; labels are integers (N,). Nothing given is changed.
"""

from collections.abc import Mapping

import torch
from torch import nn

from modeconn import connecting
from modeconn import permutation as permutations
from modeconn.connecting import Connection, Profile, Setting, dataset_of
from modeconn.permutation import PermutationSpec
from modeconn.permutation.proof import Proof
from modeconn.randomness import generator

State = Mapping[str, torch.Tensor]
Permutation = dict[str, torch.Tensor]
Split = tuple[torch.Tensor, torch.Tensor]

__all__ = ["Curve", "apply", "barrier", "connect", "discover", "match", "merge", "verify"]


def discover(network: nn.Module, images: torch.Tensor) -> PermutationSpec:
    """Which neurons of a network can be permuted, found by tracing it with torch.fx.

    images: two or more, of which only the shape counts. `pinned` of what is returned says what cannot move, and why.
    Raises ValueError where the network cannot be traced.
    """
    return permutations.discover(network, images)


def verify(network: nn.Module, spec: PermutationSpec, images: torch.Tensor) -> Proof:
    """Prove that the permutations of a spec leave what the network computes unchanged (`permutation.proof.verify`).

    Raises ValueError with the groups for which that does not hold, or cannot be shown.
    """
    return permutations.verify(network, spec, images, generator("verify"))


def match(
    network: nn.Module, spec: PermutationSpec, a: State, b: State, images: torch.Tensor | None = None
) -> Permutation:
    """The permutation of b that brings its neurons to those of a: group -> indices.

    With images by activations (Tatro et al. 2020), without by weights (Git Re-Basin, Ainsworth et al. 2023).
    Raises ValueError where the state dicts are not of the network.
    """
    from modeconn.matching import activation, weight

    if images is None:
        return weight.match_weights(spec, a, b, [name for name, _ in network.named_parameters()])
    correlations = activation.correlate(network, spec, a, b, activation.batches_of(images))
    return activation.match_correlations(spec, correlations)


def apply(spec: PermutationSpec, permutation: Permutation, state: State) -> dict[str, torch.Tensor]:
    """The state dict with its neurons in another order: the same function (`permutation.apply`)."""
    return permutations.apply(spec, permutation, state)


class Curve:
    """The straight line between two networks, or a Bézier curve that `fit` bends to low loss.

    images, labels: on which a curve is fitted, and statistics of batch normalization are estimated.
    """

    def __init__(self, network: nn.Module, a: State, b: State, images: torch.Tensor, labels: torch.Tensor):
        self._ends = a, b
        self._network, self._train = network, (images, labels)
        self._setting = Setting.of(network, dataset_of((images, labels), (images, labels)))
        self.bends: torch.Tensor | None = None

    def fit(self, epochs: int) -> "Curve":
        """Train the curve's bend, in place (Garipov et al. 2018), and return the curve."""
        self.bends = connecting.fit_bends(self._setting, *self._ends, epochs)
        return self

    def at(self, t: float) -> dict[str, torch.Tensor]:
        """The state dict of the network at t in [0, 1]."""
        return connecting.at(self._setting, *self._ends, t, self.bends)

    def profile(self, images: torch.Tensor, labels: torch.Tensor, points: int = 11) -> Profile:
        """Loss and accuracy along the curve on these images."""
        setting = Setting.of(self._network, dataset_of(self._train, (images, labels)))
        return connecting.profile(setting, *self._ends, points, self.bends)


def barrier(network: nn.Module, a: State, b: State, train: Split, test: Split, points: int = 11) -> dict[str, float]:
    """Barriers of loss and error on the straight line from a to b by all definitions, with averages and extremes.

    train: (images, labels) by which statistics of batch normalization are estimated at each point. test: on which is
    measured. Names as of `barriers.path_quantities`: "error_barrier_linear" is that of Entezari et al. 2021.
    """
    return connecting.profile(Setting.of(network, dataset_of(train, test)), a, b, points).quantities


def merge(
    network: nn.Module, a: State, b: State, images: torch.Tensor | None = None, t: float = 0.5
) -> dict[str, torch.Tensor]:
    """The state dict of the network at t between a and b; b should have been matched to a.

    images: by which statistics of batch normalization are estimated. Raises ValueError where the network has such
    statistics, and there are none.
    """
    if images is None:
        if connecting.statistics_of(network):
            raise ValueError("the network normalizes batches, and the merged one needs statistics: give images")
        images = torch.zeros(2, 1, 1, 1)
    labels = torch.zeros(len(images), dtype=torch.int64)
    return connecting.at(Setting.of(network, dataset_of((images, labels), (images, labels))), a, b, t)


def connect(network: nn.Module, a: State, b: State, train: Split, test: Split, points: int = 11) -> Connection:
    """Whether a and b are connected: barriers as they are and matched, signature, the aligned and the merged network.

    train: (images, labels) that activations are matched on. test: on which is measured.
    """
    return connecting.connect(Setting.of(network, dataset_of(train, test)), a, b, points=points)
