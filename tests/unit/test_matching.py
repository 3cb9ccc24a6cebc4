import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.func import functional_call
from torch.profiler import ProfilerActivity, profile

from modeconn import networks, permutation
from modeconn.matching import activation, weight
from modeconn.matching.activation import Correlation, Moments
from modeconn.permutation import PermutationSpec


class Flattening(nn.Module):
    """Each of six channels becomes sixteen consecutive inputs of a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.hidden = nn.Linear(6 * 16, 12)
        self.dense = nn.Linear(12, 5)

    def forward(self, images):
        features = torch.max_pool2d(torch.relu(self.conv(images)), 4).flatten(1)
        return self.dense(torch.relu(self.hidden(features)))


class Concatenating(nn.Module):
    """An inception block: one convolution reads two groups at two offsets; an auxiliary head in train mode only."""

    def __init__(self):
        super().__init__()
        self.short = nn.Conv2d(3, 5, 1)
        self.long = nn.Sequential(nn.Conv2d(3, 7, 1), nn.ReLU(), nn.Conv2d(7, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.join = nn.Conv2d(9, 8, 3)
        self.dense = nn.Linear(8, 5)
        self.auxiliary = nn.Sequential(
            nn.Conv2d(9, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
        )

    def forward(self, images):
        both = torch.relu(torch.cat([self.short(images), self.long(images)], 1))
        logits = self.dense(torch.relu(self.join(both)).mean((2, 3)))
        return (logits, self.auxiliary(both)) if self.training else logits


class Tied(nn.Module):
    """A residual linear map: both axes of `square` carry the same group."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 8, bias=False)
        self.square = nn.Linear(8, 8, bias=False)
        self.dense = nn.Linear(8, 3, bias=False)

    def forward(self, inputs):
        stream = torch.relu(self.stem(inputs))
        return self.dense(torch.relu(stream + self.square(stream)))


def library(family):
    return networks.build({"family": family}, shape=(3, 16, 16), classes=10, mean=[0.5] * 3, std=[0.25] * 3)


NETWORKS = {
    "tinyten": lambda: library("tinyten"),
    "resnet20": lambda: library("resnet20"),
    "mlp": lambda: networks.build(
        {"family": "mlp", "hidden": (20, 20), "norm": "layer"},
        shape=(3, 16, 16),
        classes=10,
        mean=[0.5] * 3,
        std=[0.25] * 3,
    ),
    "flattening": Flattening,
    "concatenating": Concatenating,
}


def draw(network, seed):
    """State dict of `network` with random weights and normalizations that look trained: channels differ, few die."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in network.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
            tensors[name] = 1 + 0.5 * torch.tanh(noise)
        elif tensor.ndim > 1:
            tensors[name] = noise * (2 / tensor[0].numel()) ** 0.5
        else:
            tensors[name] = 0.1 * noise + (0.3 if name.endswith("bias") else 0)
    return tensors


def pictures(count, seed=0):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def parameters(network):
    return [name for name, _ in network.named_parameters()]


def objective(names, a, b):
    return sum((a[name].double() * b[name].double()).sum().item() for name in names)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for group in expected:
        assert torch.equal(found[group], expected[group]), group


@pytest.fixture(params=NETWORKS)
def case(request):
    network = NETWORKS[request.param]()
    images = pictures(64)
    return network, permutation.discover(network, images[:2]), images


@pytest.fixture(scope="module")
def tinyten():
    network = library("tinyten")
    return network, permutation.discover(network, pictures(2))


# Activation matching


def test_activation_matching_recovers_the_inverse(case):
    network, spec, images = case
    a = draw(network, 1)
    drawn = permutation.random(spec, torch.Generator().manual_seed(2))
    correlations = activation.correlate(network, spec, a, permutation.apply(spec, drawn, a), images.split(24))
    found = activation.match_correlations(spec, correlations)
    for group, expected in permutation.invert(drawn).items():
        # Dead channels are alike.
        own = [c.matrix.diagonal() for c in activation.correlate(network, spec, a, a, [images]) if c.group == group]
        alive = sum(own) > 0.5
        assert torch.equal(found[group][alive], expected[alive])
        assert alive.float().mean() > 0.8


@pytest.mark.parametrize("method", ["activation", "weight"])
def test_the_matched_network_computes_what_the_original_does(case, method):
    network, spec, images = case
    a, b = draw(network, 1), draw(network, 2)
    if method == "activation":
        correlations = activation.correlate(network, spec, a, b, [images])
        found = activation.match_correlations(spec, correlations)
    else:
        found = weight.match_weights(spec, a, b, parameters(network))
    assert any(not torch.equal(order, torch.arange(len(order))) for order in found.values())
    matched = permutation.apply(spec, found, b)
    network.eval()
    before, after = (functional_call(network, tensors, (images,)) for tensors in (b, matched))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())


@pytest.mark.parametrize("seed", range(3))
def test_no_correlation_matrix_loses_trace(tinyten, seed):
    network, spec = tinyten
    a, b = draw(network, 2 * seed), draw(network, 2 * seed + 1)
    correlations = activation.correlate(network, spec, a, b, [pictures(64, seed=seed)])
    found = activation.match_correlations(spec, correlations)
    rows = activation.signature(correlations, found)
    assert [group for group, _, _ in rows] == [*spec.groups, activation.LOGITS]
    for _, before, after in rows[:-1]:
        assert after > before + 0.05
    assert rows[-1][1] == rows[-1][2]


def test_signature_says_what_the_permuted_network_will_show(tinyten):
    network, spec = tinyten
    a, b, images = draw(network, 1), draw(network, 2), pictures(64)
    correlations = activation.correlate(network, spec, a, b, [images])
    found = activation.match_correlations(spec, correlations)
    promised = activation.signature(correlations, found)
    permuted = activation.correlate(network, spec, a, permutation.apply(spec, found, b), [images])
    kept = activation.signature(permuted, permutation.identity(spec))
    for (group, _, after), (_, measured, _) in zip(promised, kept, strict=True):
        assert measured == pytest.approx(after, abs=1e-5), group


def test_sites_come_in_graph_order():
    network = library("resnet20")
    spec = permutation.discover(network, pictures(2))
    a = draw(network, 1)
    groups = [c.group for c in activation.correlate(network, spec, a, a, [pictures(4)])]
    stem, blocks = "network.stem.conv", "network.stages"
    assert groups[:5] == [stem, f"{blocks}.0.0.first.conv", stem, f"{blocks}.0.1.first.conv", stem]
    assert len(groups) == 1 + 9 * 2 + 1 and groups[-1] == activation.LOGITS


def test_each_network_can_see_its_own_images(tinyten):
    network, spec = tinyten
    a, x, y = draw(network, 1), pictures(64, seed=1), pictures(64, seed=2)
    shared, paired, crossed = (
        activation.correlate(network, spec, a, a, [batch])[0].matrix.diagonal() for batch in (x, (x, x), (x, y))
    )
    assert torch.equal(shared, paired)
    assert shared.min() > 0.99 and crossed.max() < 0.5


def test_own_weights_and_mode_of_the_network_do_not_matter(tinyten):
    network, spec = tinyten
    a, b, images = draw(network, 1), draw(network, 2), pictures(8)
    twin = library("tinyten").train()
    twin.load_state_dict(draw(network, 3))
    kept = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    for ours, theirs in zip(
        activation.correlate(network, spec, a, b, [images]),
        activation.correlate(twin, spec, a, b, [images]),
        strict=True,
    ):
        assert torch.equal(ours.matrix, theirs.matrix)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in twin.state_dict().items())


def two_passes(a, b):
    """The definition, in float64 and on all samples at once."""
    za, zb = ((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, correction=0) + 1e-5) for x in (a, b))
    return za @ zb.T / a.shape[1]


def activations(mean, std, drift=0.0, images=300, positions=40):
    """(6, images, positions) twice, correlated; `drift` moves the mean, in std, from the first image to the last."""
    generator = torch.Generator().manual_seed(0)
    common, *own = torch.randn(3, 6, images, positions, generator=generator, dtype=torch.float64)
    trend = drift * torch.linspace(0, 1, images)[:, None]
    return [(mean + std * (0.6 * common.roll(i, 0) + 0.8 * noise + trend)).float() for i, noise in enumerate(own)]


@pytest.mark.parametrize("drift", [0, 3])
@pytest.mark.parametrize("mean, std", [(0, 1), (100, 0.1), (-3e3, 0.5), (0.01, 1e-4)])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_moments_equal_two_passes_in_float64(mean, std, drift, batch):
    a, b = activations(mean, std, drift)
    moments = Moments()
    for x, y in zip(a.split(batch, 1), b.split(batch, 1), strict=True):
        moments.add(x, y)
    expected = two_passes(a.double().flatten(1), b.double().flatten(1))
    assert moments.samples == 300 * 40
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(moments.correlation(), expected, rtol=0, atol=1e-6)


def test_rounding_does_not_grow_with_the_samples():
    a, b = activations(mean=1, std=1, images=64, positions=4096)
    assert a[0].numel() > 10 * Moments.BLOCK
    moments = Moments()
    moments.add(a, b)
    expected = two_passes(a.double().flatten(1), b.double().flatten(1))
    torch.testing.assert_close(moments.correlation(), expected, rtol=0, atol=1e-7)


def test_memory_does_not_grow_with_the_samples():
    def storage(images):
        a, b = activations(0, 1, images=images)
        moments = Moments()
        for x, y in zip(a.split(10, 1), b.split(10, 1), strict=True):
            moments.add(x, y)
        storages = [value.untyped_storage() for value in vars(moments).values() if torch.is_tensor(value)]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    pilots, sums, products = 2 * 6 * 8, 4 * 6 * 8, 6 * 6 * 8  # channels x bytes
    assert storage(10) == storage(500) == pilots + sums + products


def test_channels_last_memory_gives_the_same_correlations(tinyten):
    network, spec = tinyten
    a, b, images = draw(network, 1), draw(network, 2), pictures(32)
    rows = activation.correlate(network, spec, a, b, [images])
    columns = activation.correlate(network, spec, a, b, [images.contiguous(memory_format=torch.channels_last)])
    for x, y in zip(rows, columns, strict=True):
        torch.testing.assert_close(x.matrix, y.matrix, rtol=0, atol=1e-5)


def test_dead_and_constant_channels_correlate_with_nothing():
    a, b = activations(0, 1)
    a[1], a[4], b[2] = 0, 0, 0.1
    moments = Moments()
    for x, y in zip(a.split(64, 1), b.split(64, 1), strict=True):
        moments.add(x, y)
    correlation = moments.correlation()
    assert correlation.isfinite().all()
    assert torch.equal(correlation[[1, 4]], torch.zeros(2, 6, dtype=torch.float64))
    assert correlation[:, 2].abs().max() < 1e-6
    assert correlation[0, 5].abs() > 0.1 or correlation[5, 0].abs() > 0.1


def test_networks_with_dead_channels_are_matched(tinyten):
    network, spec = tinyten
    a, b = draw(network, 1), draw(network, 2)
    for tensors, dead in ((a, [0, 3, 7]), (b, [2, 9])):
        tensors["network.layers.1.norm.weight"][dead] = 0
        tensors["network.layers.1.norm.bias"][dead] = -1
    correlations = activation.correlate(network, spec, a, b, [pictures(64)])
    found = activation.match_correlations(spec, correlations)
    matrix = correlations[1].matrix
    assert not matrix[[0, 3, 7]].any() and not matrix[:, [2, 9]].any()
    order = found["network.layers.1.conv"]
    assert torch.equal(order.sort().values, torch.arange(16))
    assert matrix.gather(1, order[:, None]).sum() > matrix.diagonal().sum() + 0.5


STREAM = PermutationSpec(groups={"stream": 3, "train only": 2}, axes=(), sites={}, pre_sites={})
SWAPPED = torch.tensor([[0.1, 0.9, 0], [0.8, 0.1, 0], [0, 0, 0.5]])  # first site: channels 0 and 1 change places
ROTATED = torch.tensor([[0, 0.2, 3], [3, 0, 0.1], [0, 3, 0]])  # second site: a rotation, and more strongly


def similarities(group, matrix):
    return Correlation(group, matrix, matrix, squares=torch.ones(2, len(matrix)), energy=0.0)


@pytest.mark.parametrize(
    "statistic, expected",
    [("sum", [2, 0, 1]), ("first", [1, 0, 2]), ({"stream": "first"}, [1, 0, 2]), ({"train only": "first"}, [2, 0, 1])],
)
def test_statistic_of_a_group_with_several_sites(statistic, expected):
    places = {"stream": [SWAPPED, ROTATED], "logits": [torch.eye(2)]}
    correlations = [similarities(group, matrix) for group in places for matrix in places[group]]
    found = activation.match_correlations(STREAM, correlations, statistic)
    assert_same(found, {"stream": torch.tensor(expected), "train only": torch.arange(2)})


def test_the_cosine_kernel_does_not_see_how_loud_a_channel_is():
    a = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    b = torch.tensor([[0.0, 0.0, 0.0], [9.0, 5.0, 0.0], [1.0, 0.1, 0.0]])  # dead, loud, quiet
    squares = torch.stack([a.square().sum(1), b.square().sum(1)])
    correlations = [Correlation("stream", torch.eye(3), a @ b.T, squares, energy=0.0)]
    # Loud and quiet channel on a's first and second: 9 + 0.1 or 5 + 1; with both of length one 0.97 or 0.49 + 1.00.
    for kernel, expected in (("inner", [1, 2, 0]), ("cosine", [2, 1, 0])):
        found = activation.match_correlations(STREAM, correlations, kernel=kernel)
        assert found["stream"].tolist() == expected, kernel


@pytest.mark.parametrize("statistic", ["last", {"stream": "last"}, {"streams": "sum"}])
def test_unknown_statistics_and_groups_are_named(statistic):
    with pytest.raises(ValueError, match=r"last|streams") as error:
        activation.match_correlations(STREAM, [similarities("stream", SWAPPED)], statistic)
    assert "sum, first" in str(error.value) and "stream, train only" in str(error.value)


def test_what_is_not_finite_is_named(tinyten):
    network, spec = tinyten
    a, name = draw(network, 1), "network.layers.2.conv.weight"
    huge, infinite = (a | {name: torch.full_like(a[name], value)} for value in (1e38, torch.inf))
    with pytest.raises(ValueError, match=r"group network\.layers\.2\.conv: .*not finite"):
        activation.match_correlations(spec, activation.correlate(network, spec, a, huge, [pictures(4)]))
    for match in (
        lambda: activation.correlate(network, spec, a, infinite, [pictures(4)]),
        lambda: weight.match_weights(spec, a, infinite, parameters(network)),
    ):
        with pytest.raises(ValueError, match=r"network\.layers\.2\.conv\.weight of network b is not finite"):
            match()


def test_no_images_and_foreign_networks_are_errors(tinyten):
    network, spec = tinyten
    a = draw(network, 1)
    with pytest.raises(ValueError, match="no images"):
        activation.correlate(network, spec, a, a, [])
    other = {name: tensor for name, tensor in a.items() if name != "network.dense.bias"}
    with pytest.raises(
        ValueError, match=r"network\.dense\.bias: its shape is \(10,\) in network a and None in network b"
    ):
        activation.correlate(network, spec, a, other, [pictures(4)])
    wide = a | {"network.dense.weight": torch.zeros(10, 128)}
    with pytest.raises(ValueError, match=r"network\.dense\.weight: .*\(10, 128\)"):
        weight.match_weights(spec, wide, a, parameters(network))


# Weight matching


def test_weight_matching_recovers_the_inverse(case):
    network, spec, _ = case
    a = draw(network, 1)
    for seed in range(3):
        drawn = permutation.random(spec, torch.Generator().manual_seed(seed))
        found = weight.match_weights(spec, a, permutation.apply(spec, drawn, a), parameters(network), seed)
        assert_same(found, permutation.invert(drawn))


def test_weight_matching_recovers_the_inverse_through_noise(case):
    network, spec, _ = case
    a, noise = draw(network, 1), draw(network, 2)
    drawn = permutation.random(spec, torch.Generator().manual_seed(3))
    b = permutation.apply(spec, drawn, {name: a[name] + 0.1 * noise[name] for name in a})
    assert_same(weight.match_weights(spec, a, b, parameters(network)), permutation.invert(drawn))


def test_weight_matching_tells_near_twins_apart():
    network = nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 2))
    spec, names = permutation.discover(network, torch.rand(2, 3)), parameters(network)
    for seed in range(5):
        a = draw(network, seed)
        for tensor in (a["0.weight"], a["0.bias"], a["2.weight"].T):  # units 4 and 7 differ in the fifth digit
            tensor[7] = tensor[4] * (
                1 + 1e-5 * torch.randn(tensor[4].shape, generator=torch.Generator().manual_seed(seed))
            )
        drawn = permutation.random(spec, torch.Generator().manual_seed(seed))
        found = weight.match_weights(spec, a, permutation.apply(spec, drawn, a), names)
        assert_same(found, permutation.invert(drawn))


@pytest.mark.parametrize("name", [*NETWORKS, "tied"])
def test_no_sweep_lowers_the_objective(name):
    network = Tied() if name == "tied" else NETWORKS[name]()
    example = torch.rand(2, 4) if name == "tied" else pictures(2)
    spec = permutation.discover(network, example)
    names = parameters(network)
    for seed in range(8 if name == "tied" else 2):
        a, b = draw(network, 2 * seed), draw(network, 2 * seed + 1)
        reached = [objective(names, a, b)]
        for sweeps in (0, 1, 2, 3, 100):
            found = weight.match_weights(spec, a, b, names, seed, max_sweeps=sweeps)
            reached.append(objective(names, a, permutation.apply(spec, found, b)))
        assert reached == sorted(reached)
        assert reached[-1] > reached[0]


def test_one_hidden_layer_is_matched_as_well_as_can_be():
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    spec = permutation.discover(network, torch.rand(2, 3))
    names = parameters(network)
    for seed in range(5):
        a, b = draw(network, 2 * seed), draw(network, 2 * seed + 1)
        every = {
            order: objective(names, a, permutation.apply(spec, {"0": torch.tensor(order)}, b))
            for order in itertools.permutations(range(5))
        }
        assert tuple(weight.match_weights(spec, a, b, names)["0"].tolist()) == max(every, key=every.get)


def test_networks_that_are_aligned_stay_so_where_the_first_layer_misleads():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    spec = permutation.discover(network, torch.rand(2, 2))
    a = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    a |= {"0.weight": 0.1 * torch.eye(2), "2.weight": torch.tensor([[3.0, 0.0], [1.0, 2.0]]), "4.weight": torch.eye(2)}
    b = a | {"0.weight": a["0.weight"].flip(0)}
    assert_same(weight.match_weights(spec, a, b, parameters(network)), permutation.identity(spec))


def test_weight_matching_is_a_function_of_its_seed():
    widths = [2, 16, 16, 16, 16, 2]
    network = nn.Sequential(*(nn.Sequential(nn.Linear(i, o), nn.ReLU()) for i, o in itertools.pairwise(widths)))
    spec, names = permutation.discover(network, torch.rand(2, 2)), parameters(network)
    depends = []
    for draws in range(0, 20, 2):
        a, b = draw(network, draws), draw(network, draws + 1)
        found = [weight.match_weights(spec, a, b, names, seed) for seed in range(4)]
        assert_same(weight.match_weights(spec, a, b, names, 3), found[3])
        depends.append(len({round(objective(names, a, permutation.apply(spec, each, b)), 6) for each in found}) > 1)
    assert any(depends) and not all(depends)


def test_only_the_named_tensors_count(tinyten):
    network, spec = tinyten
    a, b = draw(network, 1), draw(network, 2)
    weights = [name for name in parameters(network) if not name.endswith("bias")]
    left_out = {name: 100 * torch.rand_like(tensor) for name, tensor in b.items() if name not in weights}
    without = weight.match_weights(spec, a, b | left_out, weights)
    assert_same(without, weight.match_weights(spec, a, b, weights))
    everything = weight.match_weights(spec, a, b | left_out, parameters(network))
    assert any(not torch.equal(everything[group], without[group]) for group in without)


def test_groups_whose_tensors_are_all_left_out_keep_their_order(tinyten):
    network, spec = tinyten
    a, b = draw(network, 1), draw(network, 2)
    found = weight.match_weights(spec, a, b, ["network.layers.0.conv.weight"])
    moved = [group for group, order in found.items() if not torch.equal(order, torch.arange(len(order)))]
    assert moved == ["network.layers.0.conv"]


def test_matching_leaves_its_inputs_alone(tinyten):
    network, spec = tinyten
    a, b = draw(network, 1), draw(network, 2)
    kept = [{name: tensor.clone() for name, tensor in tensors.items()} for tensors in (a, b)]
    weight.match_weights(spec, a, b, parameters(network))
    activation.match_correlations(spec, activation.correlate(network, spec, a, b, [pictures(8)]))
    for tensors, before in zip((a, b), kept, strict=True):
        assert all(torch.equal(tensors[name], before[name]) for name in before)


def body(width, blocks, noise, seed):
    """A residual body alone, of which nothing is pinned: (spec, a, permuted and noisy copy of a, names, inverse)."""

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.dense = nn.Linear(4, width), nn.Linear(width, 3)
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
            )

        def forward(self, inputs):
            stream = self.stem(inputs)
            for block in self.blocks:
                stream = stream + block(stream)
            return self.dense(stream)

    network, generator = Body(), torch.Generator().manual_seed(seed)
    spec = permutation.discover(network, torch.rand(2, 4))
    names = [name for name in parameters(network) if name.startswith("blocks") and name.endswith("weight")]
    a = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in network.state_dict().items()}
    drawn = permutation.random(spec, generator)
    noisy = {name: tensor + noise * torch.randn(tensor.shape, generator=generator) for name, tensor in a.items()}
    return spec, a, permutation.apply(spec, drawn, noisy), names, permutation.invert(drawn)


def test_a_residual_body_alone_is_recovered():
    for seed in range(10):
        spec, a, b, names, inverse = body(16, 3, 0.5, seed)
        assert_same(weight.match_weights(spec, a, b, names), inverse)


def test_restarts_recover_what_one_start_does_not():
    spec, a, b, names, inverse = body(6, 2, 1.0, 4)
    once, often = (weight.match_weights(spec, a, b, names, restarts=restarts) for restarts in (1, 8))
    assert any(not torch.equal(once[group], order) for group, order in inverse.items())
    assert_same(often, inverse)


def test_more_restarts_are_never_worse_and_their_seed_counts():
    spec, a, b, names, _ = body(8, 3, 2.0, 3)

    def reached(**options):
        return objective(names, a, permutation.apply(spec, weight.match_weights(spec, a, b, names, **options), b))

    by_restarts = [reached(restarts=restarts) for restarts in (1, 2, 4, 12)]
    assert by_restarts == sorted(by_restarts) and by_restarts[-1] > by_restarts[0]
    assert len({round(reached(restarts=4, seed=seed), 6) for seed in range(4)}) > 1
    with pytest.raises(ValueError, match="at least one start, not 0"):
        reached(restarts=0)


def test_a_descent_starts_where_it_is_told_to(tinyten):
    network, spec = tinyten
    a, b, names = draw(network, 1), draw(network, 2), parameters(network)
    initial = permutation.random(spec, torch.Generator().manual_seed(0))
    assert_same(weight.match_weights(spec, a, b, names, initial=initial, max_sweeps=0), initial)
    found = weight.match_weights(spec, a, b, names, initial=initial)
    before, after = (objective(names, a, permutation.apply(spec, order, b)) for order in (initial, found))
    assert after > before
    # A descent that cannot gain stays where it is.
    assert_same(weight.match_weights(spec, a, b, names, initial=found), found)
    group = next(iter(spec.groups))
    with pytest.raises(ValueError, match=f"group {group}.*must hold each of"):
        weight.match_weights(spec, a, b, names, initial=initial | {group: torch.arange(3)})


# Weight matching with the options of Sharma et al. 2024


@pytest.mark.parametrize("order", weight.ORDERS)
@pytest.mark.parametrize("kernel", weight.KERNELS)
def test_every_kernel_and_order_recovers_the_inverse(case, kernel, order):
    network, spec, _ = case
    a, noise = draw(network, 1), draw(network, 2)
    drawn = permutation.random(spec, torch.Generator().manual_seed(3))
    # Of vectors an entry may come close to another one's by chance, to which a logarithm gives much weight.
    weights = [name for name in parameters(network) if a[name].ndim > 1]
    for part, names in ((0, parameters(network)), (0.1, weights if kernel == "loglinear" else parameters(network))):
        b = permutation.apply(spec, drawn, {name: a[name] + part * noise[name] for name in a})
        found = weight.match_weights(spec, a, b, names, kernel=kernel, order=order)
        assert_same(found, permutation.invert(drawn))


@pytest.mark.parametrize("kernel", weight.KERNELS)
def test_a_group_on_both_axes_of_a_tensor_is_recovered_by_every_kernel(kernel):
    network = Tied()
    spec, names = permutation.discover(network, torch.rand(2, 4)), parameters(network)
    for seed in range(5):
        a = draw(network, seed)
        drawn = permutation.random(spec, torch.Generator().manual_seed(seed))
        found = weight.match_weights(spec, a, permutation.apply(spec, drawn, a), names, kernel=kernel)
        assert_same(found, permutation.invert(drawn))


def loglinear(x, y):
    return -2 * np.log(np.linalg.norm(x[:, None] - y, axis=2))


DEFINITIONS = {
    "linear": lambda x, y: x @ y.T,
    "cosine": lambda x, y: (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T,
    "loglinear": loglinear,
}


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("kernel", weight.KERNELS)
@pytest.mark.parametrize("name", ["tinyten", "mlp"])
def test_a_sweep_is_that_of_the_definition(name, kernel, order):
    """Group after group, by the sum over every axis that carries it, in numpy and float64."""
    network = NETWORKS[name]()
    spec, names = permutation.discover(network, pictures(2)), parameters(network)
    a, b = draw(network, 1), draw(network, 2)
    expected = permutation.identity(spec)
    for group in list(spec.groups)[:: 1 if order == "forward" else -1]:
        moved, similarity = permutation.apply(spec, expected | {group: torch.arange(spec.groups[group])}, b), 0
        for axis in spec.axes:
            if axis.tensor in names and axis.segments[0].group == group:
                x, y = (np.moveaxis(t[axis.tensor].double().numpy(), axis.dim, 0) for t in (a, moved))
                similarity += DEFINITIONS[kernel](x.reshape(len(x), -1), y.reshape(len(y), -1))
        expected[group] = torch.from_numpy(linear_sum_assignment(similarity, maximize=True)[1])
    start = permutation.identity(spec)
    found = weight.match_weights(spec, a, b, names, initial=start, max_sweeps=1, kernel=kernel, order=order)
    assert_same(found, expected)


@pytest.mark.parametrize("kernel", weight.KERNELS)
def test_restarts_are_compared_by_the_kernel(tinyten, kernel):
    """More restarts are never worse by the kernel's own sum: linear over tensors, the others over their axes."""
    network, spec = tinyten
    a, b, names = draw(network, 1), draw(network, 2), weight.without(parameters(network), ["*bias", "*norm*"])

    def reached(restarts):
        found = weight.match_weights(spec, a, b, names, restarts=restarts, kernel=kernel)
        moved, total = permutation.apply(spec, found, b), 0.0
        if kernel == "linear":
            return sum((a[name].double() * moved[name].double()).sum().item() for name in names)
        for axis in spec.axes:
            if axis.tensor in names:
                x, y = (np.moveaxis(t[axis.tensor].double().numpy(), axis.dim, 0) for t in (a, moved))
                total += np.trace(DEFINITIONS[kernel](x.reshape(len(x), -1), y.reshape(len(y), -1)))
        return total

    by_restarts = [reached(restarts) for restarts in (1, 3, 6)]
    assert by_restarts == sorted(by_restarts) and by_restarts[-1] > by_restarts[0]


@pytest.mark.parametrize("kernel", ["cosine", "loglinear"])
def test_scale_does_not_matter_where_the_kernel_does_not_see_it(tinyten, kernel):
    network, spec = tinyten
    a, b, names = draw(network, 1), draw(network, 2), parameters(network)
    plain = weight.match_weights(spec, a, b, names, kernel=kernel)
    loud = [{name: 8 * tensor for name, tensor in tensors.items()} for tensors in (a, b)]
    assert_same(weight.match_weights(spec, *loud, names, kernel=kernel), plain)


@pytest.mark.parametrize("kernel", weight.KERNELS)
def test_channels_of_zeros_are_matched_with_each_other_or_with_none(tinyten, kernel):
    network, spec = tinyten
    group, names = "network.layers.1.conv", parameters(network)
    a = draw(network, 1)
    for axis in spec.axes:
        if axis.segments[0].group == group:
            a[axis.tensor] = a[axis.tensor].index_fill(axis.dim, torch.tensor([2, 5]), 0)
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    found = weight.match_weights(spec, a, permutation.apply(spec, drawn, a), names, kernel=kernel)
    expected = permutation.invert(drawn)
    assert sorted(found[group][[2, 5]].tolist()) == sorted(expected[group][[2, 5]].tolist())
    found[group][[2, 5]] = expected[group][[2, 5]]
    assert_same(found, expected)


def test_held_groups_stay_and_the_others_meet_them_there(tinyten):
    network, spec = tinyten
    a, names, groups = draw(network, 1), parameters(network), list(spec.groups)
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    inverse, b = permutation.invert(drawn), permutation.apply(spec, drawn, a)
    for free in ([groups[3]], groups[2:5], groups):
        held = {group: order for group, order in inverse.items() if group not in free}
        assert_same(weight.match_weights(spec, a, b, names, held=held), inverse)
    # Held at the identity: what is left of b's permutation is found in the free groups.
    straight = permutation.identity(spec)
    held = {group: straight[group] for group in groups[3:]}
    b = permutation.apply(spec, drawn | held, a)
    found = weight.match_weights(spec, a, b, names, held=held)
    assert list(found) == groups
    assert_same(found, inverse | held)
    # Between groups held where they do not belong a group does the best that it can.
    wrong = permutation.random(spec, torch.Generator().manual_seed(1))
    held = {group: order for group, order in wrong.items() if group != groups[2]}
    found = weight.match_weights(spec, a, draw(network, 2), names, held=held)
    assert_same({group: found[group] for group in held}, held)
    at = permutation.apply(spec, held | {groups[2]: straight[groups[2]]}, draw(network, 2))
    rows = [(name, axis.dim) for axis in spec.axes if axis.segments[0].group == groups[2] for name in [axis.tensor]]
    similarity = sum(
        t[0].reshape(len(t[0]), -1) @ t[1].reshape(len(t[1]), -1).T
        for name, dim in rows
        if name in names
        for t in [[tensors[name].movedim(dim, 0).double() for tensors in (a, at)]]
    )
    assert found[groups[2]].tolist() == linear_sum_assignment(similarity.numpy(), maximize=True)[1].tolist()


def test_what_is_not_of_the_network_is_named(tinyten):
    network, spec = tinyten
    a, names = draw(network, 1), parameters(network)
    group = next(iter(spec.groups))
    for options, message in (
        ({"kernel": "rbf"}, "kernel 'rbf' is unknown: expected linear, cosine, loglinear"),
        ({"order": "outward"}, "order 'outward' is unknown: expected random, forward, backward"),
        ({"held": {"stem": torch.arange(3)}}, f"held group 'stem' is none of {group}"),
        ({"held": {group: torch.arange(3)}}, f"group {group}.*must hold each of"),
    ):
        with pytest.raises(ValueError, match=message):
            weight.match_weights(spec, a, a, names, **options)


def test_parameters_are_left_out_by_pattern(tinyten):
    network, _ = tinyten
    names = parameters(network)
    assert weight.without(names, []) == names
    left = weight.without(names, ["*bias*", "*.norm.weight"])
    assert left == [name for name in names if name.endswith(("conv.weight", "dense.weight"))]
    assert len(names) == 8 * 4 + 2 and len(left) == 8 + 1
    with pytest.raises(ValueError, match=r"pattern '\*\.biases' leaves out none of the 34 parameters"):
        weight.without(names, ["*.biases"])


def test_networks_of_other_classes_are_matched_without_the_layer_that_differs(tinyten):
    network, spec = tinyten
    names = weight.without(parameters(network), ["*dense*"])
    a = draw(network, 1)
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    b = permutation.apply(spec, drawn, a) | {"network.dense.weight": torch.ones(17, 128)}
    with pytest.raises(ValueError, match=r"network\.dense\.weight: .*\(17, 128\)"):
        weight.match_weights(spec, a, b, parameters(network))
    assert_same(weight.match_weights(spec, a, b, names), permutation.invert(drawn))


def test_one_permutation_of_a_sequence_is_recovered_at_every_step_and_by_stacking(case):
    network, spec, _ = case
    names, noise = parameters(network), draw(network, 0)
    sequence = [{name: (1 - t) * noise[name] + t * end for name, end in draw(network, 1).items()} for t in (0, 0.3, 1)]
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    permuted = [permutation.apply(spec, drawn, tensors) for tensors in sequence]
    for a, b in zip(sequence, permuted, strict=True):
        assert_same(weight.match_weights(spec, a, b, names), permutation.invert(drawn))
    a, b = (weight.stack(checkpoints, names) for checkpoints in (sequence, permuted))
    for kernel in weight.KERNELS:
        assert_same(weight.match_weights(spec, a, b, names, kernel=kernel), permutation.invert(drawn))


def test_a_stack_is_matched_by_the_sum_over_its_checkpoints():
    """Two units: one checkpoint wants them as they are and gains 1 by it, the other swapped and gains 2."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    spec, names = permutation.discover(network, torch.rand(2, 2)), parameters(network)
    straight = {"0.weight": torch.eye(2), "2.weight": torch.zeros(1, 2)}
    swapped = straight | {"0.weight": torch.eye(2).flip(0)}
    loud = swapped | {"0.weight": 2 * swapped["0.weight"]}
    for checkpoints, expected in (([straight, swapped, straight], [0, 1]), ([straight, loud], [1, 0])):
        a = weight.stack([straight] * len(checkpoints), names)
        found = weight.match_weights(spec, a, weight.stack(checkpoints, names), names)
        assert found["0"].tolist() == expected
    with pytest.raises(ValueError, match=r"tensor 0\.weight: its shapes in 2 checkpoints are .*\(2, 2\).*None"):
        weight.stack([straight, {}], names)
    with pytest.raises(ValueError, match="in 0 checkpoints"):
        weight.stack([], names)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_weights_whose_products_float32_cannot_hold_are_matched(tinyten, scale):
    network, spec = tinyten
    a = {name: tensor * scale for name, tensor in draw(network, 1).items()}
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    found = weight.match_weights(spec, a, permutation.apply(spec, drawn, a), parameters(network))
    assert_same(found, permutation.invert(drawn))


def test_what_is_all_the_same_keeps_its_order(tinyten):
    network, spec = tinyten
    for value in (0.0, 1.0):
        same = {name: torch.full_like(tensor, value) for name, tensor in draw(network, 1).items()}
        found = weight.match_weights(spec, same, same, parameters(network), restarts=3)
        assert_same(found, permutation.identity(spec))


@pytest.mark.parametrize("family", ["resnet20", "vgg16"])
def test_memory_is_less_than_three_times_the_parameters(family):
    network = networks.build(
        {"family": family, "width": 0.5}, shape=(3, 32, 32), classes=10, mean=[0.5] * 3, std=[0.25] * 3
    )
    spec = permutation.discover(network, torch.rand(2, 3, 32, 32))
    a, b, names = draw(network, 1), draw(network, 2), parameters(network)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        weight.match_weights(spec, a, b, names, restarts=3)
    changes = [event.nbytes() for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    most = max(itertools.accumulate(changes))
    assert 0 < most < 3 * sum(a[name].nbytes for name in names)
