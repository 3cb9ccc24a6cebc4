"""The public interface of the library: `import modeconn`, `modeconn.match(...)`.

A network is given as a module, `torch.nn.Module`, for its architecture, and as state dicts, for its weights. The
weights of the module are not used, and arguments are not modified. The module takes images, returns logits (N,
classes), and is used in eval mode, whatever mode it is in.

`State`: a state dict, name -> tensor, as `network.state_dict()` gives it, and as `network.load_state_dict` takes it.
`Permutation`: the order of the neurons of each group, name of the group -> indices (n,), int64: neuron i of the result
is neuron `indices[i]` of the network that was given.
`Split`: (images, labels). Images are floats (N, C, H, W) as the network takes them, or uint8 pixels, which become
[0, 1]; labels are integers (N,) from 0. Features are images (N, F, 1, 1) of a network that begins with `nn.Flatten`.

Invalid arguments raise a ValueError of one line.
"""

from collections.abc import Mapping

import torch
from torch import nn

from modeconn import connecting
from modeconn import permutation as permutations
from modeconn.connecting import Connection, Profile, Setting, dataset_of
from modeconn.permutation import PermutationSpec, rotations, scales
from modeconn.permutation.proof import Proof
from modeconn.randomness import generator

State = Mapping[str, torch.Tensor]
Permutation = dict[str, torch.Tensor]
Split = tuple[torch.Tensor, torch.Tensor]

__all__ = ["Curve", "apply", "barrier", "connect", "discover", "match", "merge", "verify"]


def discover(network: nn.Module, images: torch.Tensor, symmetry: str = "none") -> PermutationSpec:
    """Find which neurons of a network can be permuted, by tracing it with torch.fx.

    images: a batch of two or more, of which only the shape is used.
    symmetry: what to find besides permutations, "none", "scale" or "orthogonal". "scale": which neurons can be
        multiplied by factors, positive ones where ReLU lies between their layers, any where all is linear, as within
        attention; `scales` of what is returned has them, and `unscaled` the others, with the reason. "orthogonal":
        which groups can be multiplied by an orthogonal matrix, as a residual stream that is read only through RMS or
        layer normalization (of the latter by those matrices that keep the mean over channels); `rotations` has them,
        and `unrotated` the others, with the reason.

    Returns the spec, which the other functions take. Its `groups` are name -> number of neurons; its `pinned` says what
    cannot be permuted, and why.
    Raises ValueError where the network cannot be traced, does not run on the images, or returns anything but logits.
    """
    _check_symmetry(symmetry)
    return connecting.with_symmetry(network, permutations.discover(network, images), images, symmetry)


def verify(network: nn.Module, spec: PermutationSpec, images: torch.Tensor) -> Proof:
    """Prove that a spec's permutations, and its scales and rotations, leave what the network computes unchanged.

    On a copy with redrawn weights, in float64, where a right permutation changes an output by about 1e-15 of its
    largest value, and a wrong one by much more. The proof could have failed: permuting only the axes that write a group
    has to change an output.

    images: a batch, of which only the shape is used.

    Returns the changes that were measured.
    Raises ValueError with the groups for which it does not hold, or cannot be shown.
    """
    proof = permutations.verify(network, spec, images, generator("verify"))
    scales.verify(network, spec, images, generator("scales"))
    rotations.verify(network, spec, images, generator("rotations"))
    return proof


def match(
    network: nn.Module, spec: PermutationSpec, a: State, b: State, images: torch.Tensor | None = None
) -> Permutation:
    """Find the permutation of b that brings its neurons to those of a, for `apply`.

    a, b: the two networks, of which b is to be permuted.
    images: (N, C, H, W), to match activations on them: the sum of the correlations of paired neurons is maximized
        (Tatro et al. 2020, Algorithm 1). Without images, weights are matched: the inner product of both networks'
        weights is maximized by coordinate descent (Git Re-Basin, Ainsworth et al. 2023, Algorithm 1), to a local
        optimum.

    With a spec that has scales, weights are compared with these divided out, and what is returned is a `Rescaled`, by
    which `apply` brings b to the scales of a, too. With a spec that has rotations it is a `Rotated`, by which `apply`
    rotates b into the basis of a and gives it the gains of a's normalization, with b's own folded into the layers that
    read what they multiply. Activations are matched by permutations alone.
    Raises ValueError where the state dicts are not of the network, or not finite.
    """
    from modeconn.matching import activation

    if images is None:
        return connecting.match_weights(spec, a, b, [name for name, _ in network.named_parameters()])
    correlations = activation.correlate(network, spec, a, b, activation.batches_of(_images(images)))
    return activation.match_correlations(spec, correlations)


def apply(spec: PermutationSpec, permutation: Permutation, state: State) -> dict[str, torch.Tensor]:
    """Put the neurons of a network into another order: another state dict of the same function.

    permutation: from `match`, or your own: indices for each group of the spec.

    Raises ValueError, with the group and the tensor, where the permutation or the state dict does not fit the spec.
    """
    return connecting.moved(spec, permutation, state)


class Curve:
    """The straight line between two networks, or a Bézier curve that `fit` bends to low loss.

    a, b: the ends, at t = 0 and t = 1.
    images, labels: on which the curve is fitted, and statistics of batch normalization are estimated at every point.

    Raises ValueError where images and labels are not as described above.
    """

    def __init__(self, network: nn.Module, a: State, b: State, images: torch.Tensor, labels: torch.Tensor):
        self._ends = a, b
        self._network, self._train = network, (images, labels)
        self._setting = _setting(network, self._train, self._train)
        self.bends: torch.Tensor | None = None

    def fit(self, epochs: int) -> "Curve":
        """Train the curve's bend, in place, and return the curve (Garipov et al. 2018; Tatro et al. 2020).

        epochs: passes over the images, by SGD with a learning rate of 0.01.

        Raises an error where the loss is not finite.
        """
        self.bends = connecting.fit_bends(self._setting, *self._ends, epochs)
        return self

    def at(self, t: float) -> dict[str, torch.Tensor]:
        """Return the state dict of the network at one point, with re-estimated statistics of batch normalization.

        t: in [0, 1].
        """
        return connecting.at(self._setting, *self._ends, t, self.bends)

    def profile(self, images: torch.Tensor, labels: torch.Tensor, points: int = 11) -> Profile:
        """Measure loss and accuracy along the curve.

        images, labels: to measure on.
        points: the number of points, at equal steps of t, including the ends.
        """
        return connecting.profile(
            _setting(self._network, self._train, (images, labels)), *self._ends, points, self.bends
        )


def barrier(network: nn.Module, a: State, b: State, train: Split, test: Split, points: int = 11) -> dict[str, float]:
    """Measure the barriers of loss (nats) and error (in [0, 1]) on the straight line from a to b.

    train: for re-estimating statistics of batch normalization at each point, including the ends.
    test: to measure on.
    points: the number of points, at equal steps of t, including the ends.

    Returns name -> number. "loss_barrier_linear" and "error_barrier_linear" are the largest rise above the straight
    interpolation between the ends (Entezari et al. 2022), "..._max_endpoint" above the worse end, "..._mean_endpoint"
    above their mean; there are averages and extremes too, such as "minimum_accuracy".
    Raises ValueError where images, labels or state dicts are not of the network.
    """
    return connecting.profile(_setting(network, train, test), a, b, points).quantities


def merge(
    network: nn.Module, a: State, b: State, images: torch.Tensor | None = None, t: float = 0.5
) -> dict[str, torch.Tensor]:
    """Average two networks: the state dict at t on the straight line from a to b, which should have been matched to a.

    images: for estimating statistics of batch normalization; needed if the network has any.
    t: in [0, 1], by default the middle.

    Raises ValueError where the network has such statistics and there are no images.
    """
    if images is None:
        if connecting.statistics_of(network):
            raise ValueError("the network normalizes batches, and the merged one needs statistics: give images")
        images = torch.zeros(2, 1, 1, 1)
    split = images, torch.zeros(len(images), dtype=torch.int64)
    return connecting.at(_setting(network, split, split), a, b, t)


def connect(
    network: nn.Module, a: State, b: State, train: Split, test: Split, points: int = 11, symmetry: str = "none"
) -> Connection:
    """Answer whether two networks are connected by a line of low loss, as they are or with b matched to a.

    Combines the functions above: finds and proves what can be permuted, matches b by activations and by weights, and
    measures the lines. The command `modeconn connect` runs it.

    train: for matching activations and re-estimating statistics of batch normalization; of more than 1,000 images a
        part with all classes is used.
    test: to measure on.
    points: the number of points on each line, including the ends.
    symmetry: "none", "scale" or "orthogonal", as of `discover`: weights are matched up to scales, or rotations, too.

    Raises ValueError where a and b are equal, or anything given is not of the network. A network that cannot be traced
    is measured as it is, and `unpermuted` says why.
    """
    _check_symmetry(symmetry)
    return connecting.connect(_setting(network, train, test), a, b, points=points, symmetry=symmetry)


def _setting(network, train, test):
    for images, _ in (train, test):
        _images(images)
    return Setting.of(network, dataset_of(train, test))


def _images(images):
    """The images. Raises ValueError where they have another number of axes."""
    if images.ndim != 4:
        raise ValueError(
            f"images are of shape {tuple(images.shape)}: give (N, C, H, W), and features as (N, F, 1, 1) to a network "
            "that begins with nn.Flatten"
        )
    return images


def _check_symmetry(symmetry):
    if symmetry not in connecting.SYMMETRIES:
        raise ValueError(f"symmetry {symmetry!r} is unknown: expected {', '.join(connecting.SYMMETRIES)}")
