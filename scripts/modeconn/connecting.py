"""Compare two networks: the straight line between them, as they are and with the neurons of the second one matched.

All measurements along a line or a curve are made with statistics of batch normalization that are re-estimated at each
point, as everywhere in this project.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm

from modeconn import barriers, batchnorm, classification, curves, datasets, forward, optimization
from modeconn import permutation as permutations
from modeconn.datasets import Dataset
from modeconn.functional import Functional
from modeconn.matching import activation, weight
from modeconn.networks import Normalized
from modeconn.permutation import PermutationSpec, proof, rotations, scales, verdict
from modeconn.randomness import generator

State = Mapping[str, torch.Tensor]

CONNECTED = 0.02  # rise of the error above the ends' interpolant (Sharma et al. 2024): above it two networks are apart
LEAST_GAIN = 1e-3  # nats: a matched line is preferred unless the unmatched one has a barrier lower by more than this
LARGEST_CHANGE = 1e-3  # of B's largest logit by permuting it, in float32; a thousand times what rounding leaves
CURVE = "Bézier curve"
AS_THEY_ARE, BY_ACTIVATIONS, BY_WEIGHTS = "as they are", "matched by activations", "matched by weights"
BY_SCALED_WEIGHTS, BY_ROTATED_WEIGHTS = "matched by weights and scales", "matched by weights and rotations"
SYMMETRIES = ("none", "scale", "orthogonal")


class OfFeatures(Normalized):
    """A network that takes features (N, F), given as images of one pixel."""

    def forward(self, images):
        return self.network(((images - self.mean) / self.std).flatten(1))


@dataclass(frozen=True)
class Setting:
    """What networks are compared on: their architecture, the data, and how much of it is used.

    images: training images to match activations and to estimate statistics on; 0 for all. batch: images at once.
    """

    functional: Functional
    dataset: Dataset
    images: int = 1000
    batch: int = 128

    @classmethod
    def of(cls, network: nn.Module, dataset: Dataset, images: int = 1000, batch: int = 128) -> "Setting":
        """The setting of a network, which is not modified."""
        device = dataset.train_images.device
        chosen = datasets.mixed(dataset.train_labels, images)
        if len(chosen) > batch and len(chosen) % batch == 1:  # a batch of one image has no statistics of its own
            chosen = chosen[:-1]
        dataset = replace(dataset, alignment=chosen)
        return cls(Functional(forward.copied(network).to(device)), dataset, len(chosen), batch)

    @property
    def normalizes_batches(self) -> bool:
        """Whether the network has statistics that are re-estimated."""
        return bool(statistics_of(self.functional.network))


@dataclass(frozen=True)
class Profile:
    """Measurements along a path, on the test images, at T points.

    t: (T,), from 0 to 1.
    loss: (T,), mean cross-entropy, nats.
    accuracy: (T,), in [0, 1].
    length: (T,), of the path so far, in the units of the weights.

    `quantities` has the barriers by all definitions, averages and extremes, name -> number; `error_barrier` and
    `loss_barrier` are those above the straight interpolation between the ends.
    """

    t: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    length: np.ndarray

    @property
    def quantities(self) -> dict[str, float]:
        """`barriers.path_quantities`: the barriers by all definitions, averages and extremes."""
        found = barriers.path_quantities(self.t, self.length, self.loss, self.accuracy)
        return {name: float(value) for name, value in found.items()}

    @property
    def error_barrier(self) -> float:
        return self.quantities["error_barrier_linear"]

    @property
    def loss_barrier(self) -> float:
        return self.quantities["loss_barrier_linear"]


@dataclass(frozen=True)
class Connection:
    """What `connect` finds.

    profiles: name -> along the line, or curve, of that name.
    best: the name of the line with the lowest loss barrier, a matched one where they differ by less than LEAST_GAIN;
        `aligned` and `merged` are of this line.
    answer: whether the two are connected, in one line.
    accuracies: of the networks alone, "A", "B" and "merged", with statistics of their own.
    aligned: the state dict of B, matched to A.
    merged: that of the middle between A and `aligned`.
    images: how many images were used, "train" and "test".
    groups: how many groups of neurons can be permuted.
    freedom: the share of the parameters that they move, in [0, 1].
    channels: how many of the hidden ones can be permuted.
    unpermuted: why no neuron could be permuted, where none could.
    pinned: what was not permuted, and why, a line each.
    signature: (group, name of a line -> mean correlation of paired neurons on test images), in graph order.
    change: of B's logits by permuting it, as a fraction of the largest, which is rounding.
    restated: whether statistics of batch normalization were re-estimated.
    symmetry: what was used besides permutations, and what could not be, and why, a line each; empty without it.
    """

    profiles: dict[str, Profile]
    best: str
    answer: str
    accuracies: dict[str, float]
    aligned: dict[str, torch.Tensor]
    merged: dict[str, torch.Tensor]
    images: dict[str, int]
    groups: int = 0
    channels: str = ""
    freedom: float = 0.0
    unpermuted: str | None = None
    pinned: list[str] = field(default_factory=list)
    signature: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    change: float = 0.0
    restated: bool = False
    symmetry: list[str] = field(default_factory=list)


def dataset_of(
    train: tuple[Any, Any], test: tuple[Any, Any], device: str = "cpu", classes: int | None = None
) -> Dataset:
    """A data set of (images, labels) for training and for testing: arrays or tensors.

    Images (N, C, H, W), or features (N, F): floats as the network takes them, or uint8 pixels, which become [0, 1].
    labels: integers (N,) from 0. Raises ValueError, one line, where they are anything else.
    """
    splits = []
    for name, (images, labels) in (("training", train), ("test", test)):
        try:
            images, labels = (torch.as_tensor(values).detach().cpu() for values in (images, labels))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{name} images and labels are no arrays of numbers: {error}") from None
        if images.ndim == 2:
            images = images[:, :, None, None]
        if images.ndim != 4 or not len(images) or not (images.is_floating_point() or images.dtype == torch.uint8):
            raise ValueError(
                f"{name} images are {images.dtype} of shape {tuple(images.shape)}: give floats or uint8, (N, C, H, W) "
                "or (N, F)"
            )
        if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.min() < 0:
            raise ValueError(
                f"{name} labels are {labels.dtype} of shape {tuple(labels.shape)}: give integers from 0, one an image"
            )
        if not images.float().isfinite().all():
            raise ValueError(f"{name} images are not all finite")
        splits.append((images if images.dtype == torch.uint8 else images.float(), labels.long()))
    (x, y), (x_test, y_test) = splits
    if x.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"training images have shape {tuple(x.shape[1:])}, test images {tuple(x_test.shape[1:])}: let them agree"
        )
    classes = classes or int(max(y.max(), y_test.max())) + 1
    x, y, x_test, y_test, every = (part.to(device) for part in (x, y, x_test, y_test, torch.arange(len(y))))
    return Dataset(x, y, x_test, y_test, every, [0.0] * x.shape[1], [1.0] * x.shape[1], classes)


def profile(setting: Setting, a: State, b: State, points: int = 11, bends: torch.Tensor | None = None) -> Profile:
    """Loss and accuracy on the test images at `points` equal steps of t from a to b, which are state dicts.

    bends: (k, D), the inner control points of a Bézier curve; none for the straight line.
    """
    line, kind = _control_points(setting, a, b, bends)
    t = torch.linspace(0, 1, points, dtype=torch.float64)
    images, labels = setting.dataset.split("test")
    rows, length, before = [], [0.0], None
    for at in t:
        vectors = curves.weights_at(line[None], kind, at.reshape(1).to(line.device))
        buffers = _buffers(setting, vectors, a, b, at.item())
        numbers = classification.evaluate(setting.functional, vectors, buffers, images, labels, setting.batch)
        rows.append([value.item() for value in numbers])
        if before is not None:
            length.append(length[-1] + (vectors - before).double().norm().item())
        before = vectors
    loss, accuracy = np.array(rows).T
    return Profile(t.numpy(), loss, accuracy, np.array(length))


def at(setting: Setting, a: State, b: State, t: float, bends: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """The state dict of the network at t on the line, or curve, from a to b."""
    line, kind = _control_points(setting, a, b, bends)
    where = torch.tensor([t], dtype=torch.float64, device=line.device)
    vectors = curves.weights_at(line[None], kind, where)
    buffers = {name: buffer[0] for name, buffer in _buffers(setting, vectors, a, b, t).items()}
    network = forward.copied(setting.functional.network)
    # Into the network, so that tensors that are one under two names have both.
    network.load_state_dict(setting.functional.unpack(vectors[0]) | buffers, strict=False)
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def fit_bends(
    setting: Setting, a: State, b: State, epochs: int, report: Callable[[dict], None] = lambda row: None
) -> torch.Tensor:
    """(1, D): the bend of a Bézier curve from a to b of low training loss (Garipov et al. 2018; Tatro et al. 2020)."""
    curve = {"kind": "bezier", "epochs": epochs, "schedule": "halving", "weight_decay": 0.0005}
    curve["optimizer"] = {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0}
    functional, lanes = setting.functional, ["curve"]
    ends = _control_points(setting, a, b)[0]
    bends = curves.midpoints(ends[0], ends[1], 1)[None].requires_grad_(True)
    optimization.minimize(
        curves.objective_of(functional, ends[None], bends, curve, None),
        [bends],
        lambda epoch, step: datasets.batches(setting.dataset, lanes, epoch, step, setting.batch, {}),
        curve,
        lanes=lanes,
        report=report,
        state=_NotKept(),
        steps_per_epoch=datasets.steps_per_epoch(setting.dataset, setting.batch),
    )
    return bends.detach()[0]


class _NotKept:
    """A store for checkpoints that keeps none, since fitting a curve is not resumed here."""

    def load(self):
        return None

    def offer(self, snapshot):
        pass


def accuracy(setting: Setting, state: State) -> float:
    """Accuracy of a network on the test images, with its own statistics of batch normalization."""
    vectors, buffers = setting.functional.stack([_on(setting, state)])
    images, labels = setting.dataset.split("test")
    return classification.evaluate(setting.functional, vectors, buffers, images, labels, setting.batch)[1].item()


def connect(
    setting: Setting,
    a: State,
    b: State,
    *,
    points: int = 11,
    curve_epochs: int = 0,
    symmetry: str = "none",
    say: Callable[[str], None] = lambda line: None,
) -> Connection:
    """Compare the networks a and b, state dicts of one architecture.

    curve_epochs: of the curve that is fitted between a and the best match of b; 0 for none. symmetry: of SYMMETRIES,
    what weights are matched up to besides permutations, see `with_symmetry`. say: told of progress.
    Raises ValueError, one line, where both hold the same weights, or cannot be measured.
    """
    a, b = _on(setting, a), _on(setting, b)
    first, second = (setting.functional.pack(state)[0] for state in (a, b))
    if torch.equal(first, second):
        raise ValueError("both networks hold the same weights: there is no line between them")
    spec, unpermuted = _proved(setting, symmetry)
    say("measure the line as they are")
    profiles = {AS_THEY_ARE: profile(setting, a, b, points)}
    accuracies = {"A": accuracy(setting, a), "B": accuracy(setting, b)}
    found: dict[str, dict[str, torch.Tensor]] = {}
    networks: dict[str, State] = {AS_THEY_ARE: b}
    signature, change = [], 0.0
    if spec is not None:
        say(verdict.report(spec, setting.functional.network))
        say("match activations and weights")
        correlations = _correlations(setting, spec, a, b, "alignment")
        found[BY_ACTIVATIONS] = activation.match_correlations(spec, correlations)
        if spec.scales:
            found[BY_SCALED_WEIGHTS] = match_weights(spec, a, b, setting.functional.shapes)
        else:
            found[BY_WEIGHTS] = weight.match_weights(spec, a, b, setting.functional.shapes)
        if spec.rotations:
            found[BY_ROTATED_WEIGHTS] = match_weights(spec, a, b, setting.functional.shapes)
        for name, order in found.items():
            networks[name] = moved(spec, order, b)
            change = max(change, _change(setting, b, networks[name]))
            say(f"measure the line {name}")
            profiles[name] = profile(setting, a, networks[name], points)
        signature = _signature(setting, spec, a, b, found, networks)
    reordered = next((name for name in found if _is_close(setting, a, networks[name])), None)
    best = reordered or _best(setting, profiles)
    merged = at(setting, a, networks[best], 0.5)
    accuracies["merged"] = accuracy(setting, merged)
    if curve_epochs:
        ends = a, networks[best]
        say(f"fit a curve, {best}")
        bends = fit_bends(setting, *ends, curve_epochs, lambda row: say(f"epoch {row['epoch']} of {curve_epochs}"))
        profiles[f"{CURVE}, {best}"] = profile(setting, *ends, points, bends)
    aligned = {name: tensor.detach().cpu() for name, tensor in networks[best].items()}
    return Connection(
        profiles,
        best,
        _answer(setting, profiles, best, accuracies, reordered, unpermuted),
        accuracies,
        aligned,
        merged,
        {"train": setting.images, "test": len(setting.dataset.test_labels)},
        len(spec.groups) if spec else 0,
        verdict.channels(spec) if spec else "",
        permutations.freedom(spec, setting.functional.network) if spec else 0.0,
        unpermuted,
        verdict.pinned(spec) if spec else [],
        signature,
        change,
        setting.normalizes_batches,
        _symmetry(spec, symmetry),
    )


def match_weights(spec: PermutationSpec, a: State, b: State, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The permutation of b by weights: a `scales.Rescaled` for `spec.scales`, a `rotations.Rotated` for the others."""
    # Imported here, since few ask for them.
    if spec.scales:
        from modeconn.matching.scaled import match_scaled

        return match_scaled(spec, a, b, names)
    if spec.rotations:
        from modeconn.matching.rotated import match_rotated

        return match_rotated(spec, a, b, names)
    return weight.match_weights(spec, a, b, names)


def moved(spec: PermutationSpec, permutation: dict[str, torch.Tensor], state: State) -> dict[str, torch.Tensor]:
    """The state dict permuted, and its channels multiplied or rotated where the permutation says so, too."""
    permuted = permutations.apply(spec, permutation, state)
    if isinstance(permutation, scales.Rescaled):
        return scales.apply(spec, permutation.scales, permuted)
    return rotations.apply(spec, permutation, permuted) if isinstance(permutation, rotations.Rotated) else permuted


def with_symmetry(network: nn.Module, spec: PermutationSpec, example: torch.Tensor, symmetry: str) -> PermutationSpec:
    """The spec with what `symmetry`, of SYMMETRIES, asks for besides permutations.

    "scale": scales and signs of single channels (`permutation.scales`). "orthogonal": rotations of residual streams
    (`permutation.rotations`). example: images (N, C, H, W), of which only the shape counts.
    """
    if symmetry == "none":
        return spec
    found = {"scale": scales, "orthogonal": rotations}[symmetry]
    return found.discover(network, spec, example, generator(found.__name__.rpartition(".")[2]))


def _symmetry(spec, asked):
    """What was used besides permutations, a line each."""
    reports = {"scale": scales.report, "orthogonal": rotations.report}
    return reports[asked](spec).splitlines() if spec and asked in reports else []


def judged(setting: Setting, line: Profile) -> str:
    """Whether a line connects its ends: "connected", "not connected" or "too close to say".

    The largest rise of the error above the interpolation between the ends is compared with CONNECTED. A difference
    within two standard errors is too close to say. The standard error is that of the choice of the test images, for
    networks whose errors are independent, which gives the largest value.
    """
    error, worst = 1 - line.accuracy, (1 - line.accuracy).argmax()
    variances = error * (1 - error) / len(setting.dataset.test_labels)
    by_chance = 2 * math.sqrt(variances[worst] + (variances[0] + variances[-1]) / 4)
    if abs(line.error_barrier - CONNECTED) <= by_chance:
        return "too close to say"
    return "connected" if line.error_barrier < CONNECTED else "not connected"


def _best(setting, profiles):
    """The line with the lowest barrier of the loss, of those that connect if any does."""
    connecting = [name for name, line in profiles.items() if judged(setting, line) == "connected"]
    barriers = {name: profiles[name].loss_barrier + LEAST_GAIN * (name == AS_THEY_ARE) for name in profiles}
    return min(connecting or profiles, key=lambda name: barriers[name])


def _answer(setting, profiles, best, accuracies, reordered, unpermuted):
    """Whether the two are connected, in one line."""
    lowest = _most_frequent(setting.dataset.test_labels)
    guessing = [name for name in ("A", "B") if accuracies[name] <= lowest]
    straight = profiles[AS_THEY_ARE]
    if guessing:
        are = f"{' and '.join(guessing)} {'is' if len(guessing) == 1 else 'are'}"
        word = f"not judged: {are} no better than always answering the most frequent class"
    elif reordered:
        more = {BY_SCALED_WEIGHTS: " and other scales", BY_ROTATED_WEIGHTS: " and its residual stream rotated"}
        also = more.get(reordered, "")
        word = f"connected: B is A with its neurons in another order{also}"
    elif (before := judged(setting, straight)) == "connected":
        word = "connected, as they are"
    elif best == AS_THEY_ARE:
        word = f"{before}{', and matching does not help' if unpermuted is None else ''}"
    else:
        after = judged(setting, profiles[best])
        said = {"connected": f"connected once {best}", "not connected": "not connected, as they are or matched"}
        word = said.get(after, after)
    line, tail = profiles[best], ""
    whose = "" if best == AS_THEY_ARE or best in word else f"{best}: "
    if best != AS_THEY_ARE:
        tail = f", as they are {straight.error_barrier:.1%} and {straight.loss_barrier:.3f} nats"
    numbers = " ".join(f"{name} {value:.1%}" for name, value in accuracies.items())
    for name, curve in profiles.items():
        if name.startswith(CURVE):
            tail += (
                f"; {judged(setting, curve)} by a {CURVE}, {curve.error_barrier:.1%} and {curve.loss_barrier:.3f} nats"
            )
    reason = f"; nothing could be permuted: {unpermuted}" if unpermuted else ""
    return (
        f"{word}; {whose}barrier {line.error_barrier:.1%} in error and {line.loss_barrier:.3f} nats in loss{tail}; "
        f"accuracy {numbers}{reason}"
    )


def _most_frequent(labels):
    """The accuracy of always answering the most frequent class, plus two standard errors."""
    share = labels.bincount().max().item() / len(labels)
    return share + 2 * math.sqrt(share * (1 - share) / len(labels))


def _proved(setting, symmetry) -> tuple[PermutationSpec | None, str | None]:
    """(the spec, proved, None), or (None, why nothing can be permuted)."""
    network, example = setting.functional.network, setting.dataset.example()
    try:
        spec = proof.prove(network, permutations.discover(network, example), example, generator("verify"))[0]
    except ValueError as error:
        return None, str(error)
    return with_symmetry(network, spec, example, symmetry), None


def _on(setting, state):
    device = setting.dataset.train_images.device
    return {name: tensor.to(device) for name, tensor in state.items()}


def _control_points(setting, a, b, bends=None):
    """(control points (k + 2, D), kind of curve)."""
    ends = torch.stack([setting.functional.pack(_on(setting, state))[0] for state in (a, b)])
    if bends is None:
        return ends, "linear"
    return torch.cat([ends[:1], bends.to(ends), ends[1:]]), "bezier"


def statistics_of(network):
    """The names of the buffers that are re-estimated: running statistics of batch normalization."""
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    kept = {name: layer for name, layer in layers.items() if layer.track_running_stats}
    return {f"{name}.{buffer}".lstrip(".") for name, layer in kept.items() for buffer, _ in layer.named_buffers()}


def _singular_vectors(setting, vector):
    """The buffers of spectral normalization for the weights (D,), name -> (1, ...): singular vectors."""
    found, weights = {}, setting.functional.unpack(vector)
    for name, module in setting.functional.network.named_modules():
        if isinstance(module, _SpectralNorm) and hasattr(module, "_u"):
            matrix = weights[f"{name.rpartition('.')[0]}.original"].movedim(module.dim, 0).flatten(1)
            left, _, right = torch.linalg.svd(matrix, full_matrices=False)
            found |= {f"{name}._u": left[:, 0][None], f"{name}._v": right[0][None]}
    return found


def _buffers(setting, vectors, a, b, t):
    """Buffers, name -> (1, ...), at t: re-estimated statistics, and others interpolated between a and b.

    Raises ValueError for integers that differ between a and b, which cannot be interpolated.
    """
    found = batchnorm.recalibrated(
        setting.functional, vectors, setting.dataset, {"images": setting.images, "batch": setting.batch}
    )
    found |= (singular := _singular_vectors(setting, vectors[0]))
    for name in found.keys() - statistics_of(setting.functional.network) - singular.keys():
        first, second = (_on(setting, state)[name] for state in (a, b))
        if first.is_floating_point():
            found[name] = torch.lerp(first, second, t)[None]
        elif torch.equal(first, second):
            found[name] = first[None]
        else:
            raise ValueError(f"tensor {name} holds integers, which cannot be averaged, and differs in the networks")
    return found


def _correlations(setting, spec, a, b, split):
    images, labels = setting.dataset.split(split)
    if split == "test":
        images = images[datasets.mixed(labels, setting.images)]
    return activation.correlate(setting.functional.network, spec, a, b, activation.batches_of(images))


def _signature(setting, spec, a, b, found, networks) -> list[tuple[str, dict[str, float]]]:
    """(group, name of a line -> mean correlation of paired neurons); of a group of several sites one row each."""
    correlations = _correlations(setting, spec, a, b, "test")
    columns: dict[str, Sequence[float]] = {}
    for name, order in found.items():
        rows = activation.signature(correlations, order)
        columns.setdefault(AS_THEY_ARE, [before for _, before, _ in rows])
        if isinstance(order, rotations.Rotated):  # its neurons are mixtures of those of b
            rows = activation.signature(_correlations(setting, spec, a, networks[name], "test"), {})
        columns[name] = [after for _, _, after in rows]
    return [(c.group, {name: column[i] for name, column in columns.items()}) for i, c in enumerate(correlations)]


def _change(setting, b, permuted):
    """By how much permuting b changes its logits, relative to the largest. Raises ValueError beyond rounding."""
    images = setting.dataset.example(64)[None]
    logits = []
    for state in (b, permuted):
        vectors, buffers = setting.functional.stack([state])
        with torch.no_grad():
            logits.append(setting.functional(vectors, buffers, images).double())
    change = ((logits[1] - logits[0]).abs().max() / logits[0].abs().max().clamp(min=1e-30)).item()
    if not change < LARGEST_CHANGE:
        raise ValueError(f"matching B changed its logits by {change:.1e} of the largest: please report this network")
    return change


def _is_close(setting, a, b):
    """Whether the weights of two networks are equal up to rounding."""
    first, second = (setting.functional.pack(state)[0].double() for state in (a, b))
    return bool((first - second).norm() <= 1e-6 * first.norm())
