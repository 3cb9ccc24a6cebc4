"""Rotations of residual streams: known ones are undone, and what does not commute with them is named."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

import modeconn
from modeconn import connecting, permutation
from modeconn.matching.weight import match_weights
from modeconn.permutation import rotations

WIDTH, HEADS, TOKENS = 24, 3, 4


class Block(nn.Module):
    """Attention and dense layers, each reading a normalized residual stream and added to it."""

    def __init__(self, norm):
        super().__init__()
        self.norm1, self.norm2 = norm(WIDTH), norm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(WIDTH, 10), nn.GELU(), nn.Dropout(0.1), nn.Linear(10, WIDTH))

    def forward(self, tokens):
        read = self.norm1(tokens)
        tokens = tokens + self.attention(read, read, read, need_weights=False)[0]
        return tokens + self.dense(self.norm2(tokens))


class Transformer(nn.Module):
    """Patches, a class token and positions, blocks, and a normalized head."""

    def __init__(self, norm=nn.RMSNorm, depth=1, between=None):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, WIDTH, 1), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 1 + TOKENS, WIDTH))
        self.blocks = nn.Sequential(*(Block(norm) for _ in range(depth)))
        self.norm, self.head, self.between = norm(WIDTH), nn.Linear(WIDTH, 5), between or nn.Identity()

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1) + self.positions
        return self.head(self.norm(self.between(self.blocks(tokens)))[:, 0])


@pytest.fixture
def images():
    return torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module", params=[nn.RMSNorm, nn.LayerNorm])
def specified(request):
    """(a network in float64 whose gains and offsets count, its spec)."""
    torch.manual_seed(0)
    network = Transformer(request.param)
    spec = modeconn.discover(network, torch.rand(2, 3, 2, 2), symmetry="orthogonal")
    with torch.no_grad():
        for name, parameter in network.double().named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.copy_(torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
    return network.eval(), spec


def moved(spec, state, seed=1):
    """A network of the same function: heads and units permuted, gains folded, the stream in a random basis."""
    generator = torch.Generator().manual_seed(seed)
    order = permutation.random(spec, generator)
    turned = {
        group: rotations.draw(spec.groups[group], rotation.centred, generator)
        for group, rotation in spec.rotations.items()
    }
    state = rotations.folded(spec, permutation.apply(spec, order, state))
    return rotations.rotate(spec, turned, state)


def closest(network, spec, a, b):
    found = modeconn.match(network, spec, a, b)
    return modeconn.apply(spec, found, b)


def test_a_rotated_network_is_given_back(specified, images):
    """Its function is the same; by permutations it is not recognized, by a rotation too it is the network.

    The tensors that only the stream is on, 18 vectors of 24 channels, do not determine the rotation alone.
    """
    network, spec = specified
    assert [*spec.rotations] == ["patches"] and spec.rotations["patches"].centred == ("LayerNorm" in repr(network))
    a = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    b = moved(spec, a)
    torch.testing.assert_close(functional_call(network, b, (images,)), network(images), rtol=1e-10, atol=1e-12)
    back = closest(network, spec, a, b)
    assert back.keys() == a.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(back[name], tensor, rtol=0, atol=1e-10)
    plain = permutation.apply(spec, match_weights(spec, a, b, list(a)), b)
    assert max((plain[name] - a[name]).abs().max() for name in a) > 0.5


def test_another_network_keeps_its_logits_and_comes_nearer_than_by_any_permutation_found(specified, images):
    """It gets the gains of a; both are compared with gains folded, and the objective is that of the docstring."""
    network, spec = specified
    a = network.state_dict()
    b = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in moved(spec, a).items()}
    near = closest(network, spec, a, b)
    torch.testing.assert_close(
        functional_call(network, near, (images,)), functional_call(network, b, (images,)), rtol=1e-9, atol=1e-9
    )
    assert all(torch.equal(near[name], a[name]) for name in a if "norm" in name and name.endswith("weight"))
    flat, other, turned = (rotations.folded(spec, state) for state in (a, b, near))
    permuted = permutation.apply(spec, match_weights(spec, flat, other, list(a)), other)
    products = [sum((flat[name] * state[name]).sum() for name in a) for state in (permuted, turned)]
    assert products[1] > 1.05 * products[0]


def test_the_proof_could_have_failed(specified, images):
    """Rotating changes nothing; it does where only what writes the stream is rotated, or gains are not folded."""
    network, spec = specified
    modeconn.verify(network, spec, images.float())
    ((whole, half),) = rotations.changes(network, spec, images, torch.Generator()).values()
    assert whole < 1e-12 and half > 0.1
    rotation = spec.rotations["patches"]
    unfolded = replace(spec, rotations={"patches": replace(rotation, gains=rotation.gains[1:])})
    with pytest.raises(ValueError, match="rotating group patches changes an output by"):
        modeconn.verify(network, unfolded, images)
    if rotation.centred:  # by a rotation that moves the mean
        ((whole, _),) = rotations.changes(
            network, replace(spec, rotations={"patches": replace(rotation, centred=False)}), images, torch.Generator()
        ).values()
        assert whole > 1e-3


class Tied(nn.Module):
    """The embedding's weight reads the stream too, normalized with a gain."""

    def __init__(self, affine):
        super().__init__()
        self.embed, self.norm = nn.Embedding(9, 6), nn.RMSNorm(6, elementwise_affine=affine)
        self.positions = nn.Parameter(torch.rand(4, 6))

    def forward(self, tokens):
        stream = (self.embed(tokens) + self.positions).sum(1)
        return nn.functional.linear(self.norm(stream), self.embed.weight)


class PostNorm(nn.Module):
    """What is normalized is read, and added to, with its gain."""

    def __init__(self, affine):
        super().__init__()
        self.embed, self.dense = nn.Linear(3, 6), nn.Linear(6, 6)
        self.norm, self.head = nn.RMSNorm(6, elementwise_affine=affine), nn.Linear(6, 4)

    def forward(self, images):
        stream = self.norm(self.embed(images.mean((2, 3))))
        return self.head(self.norm(stream + self.dense(stream)))


class Between(nn.Module):
    """Linear layers with an operation between them, of the value and a parameter."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.bias = nn.Linear(3, 6), nn.Linear(6, 4), nn.Parameter(torch.rand(6))
        self.between = between

    def forward(self, images):
        return self.last(self.between(self.first(images.mean((2, 3))) + self.bias, self.bias))


UNKNOWN = "is not known to commute with a rotation"


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Transformer(between=nn.ReLU()), f"ReLU between {UNKNOWN}"),
        (Transformer(between=nn.BatchNorm1d(1 + TOKENS)), f"BatchNorm1d between {UNKNOWN}"),
        (PostNorm(affine=True), "the gain of RMSNorm norm cannot be folded past add (node add)"),
        (Between(lambda x, _: x + 1), f"add (node add_1) {UNKNOWN}"),
        (Between(lambda x, _: x * x), f"mul (node mul) {UNKNOWN}"),
        (Between(lambda x, _: 1 / x), f"truediv (node truediv) {UNKNOWN}"),
        (Between(lambda x, bias: x * bias), f"mul (node mul) {UNKNOWN}"),
        (Between(lambda x, bias: x + torch.relu(bias)), f"add (node add_1) {UNKNOWN}"),
        (Between(lambda x, _: x.softmax(-1)), f"softmax (node softmax) {UNKNOWN}"),
    ],
)
def test_what_does_not_commute_is_named(network, reason, images):
    spec = modeconn.discover(network, images.float(), symmetry="orthogonal")
    group = next(iter(spec.groups))
    assert spec.rotations == {} and spec.unrotated[group] == reason
    assert f"only permuted: {group}" in rotations.report(spec)


@pytest.mark.parametrize("between", [lambda x, _: 2 * x, lambda x, bias: x - bias, lambda x, bias: bias + x / 3])
def test_what_commutes_is_rotated(between, images):
    spec = modeconn.discover(Between(between), images.float(), symmetry="orthogonal")
    assert [*spec.rotations] == ["first"]


def test_a_gain_that_cannot_be_folded_pins_the_group(images):
    """Of a weight that writes the stream too, or of values that are added to; without a gain both are free."""
    tokens = torch.randint(9, (8, 4), generator=torch.Generator().manual_seed(0))
    spec = modeconn.discover(Tied(affine=True), tokens, symmetry="orthogonal")
    assert spec.unrotated == {
        "embed": "the gain of RMSNorm norm cannot be folded into embed.weight, which is used without it too"
    }
    assert [*modeconn.discover(Tied(affine=False), tokens, symmetry="orthogonal").rotations] == ["embed"]
    assert [*modeconn.discover(PostNorm(affine=False), images.float(), symmetry="orthogonal").rotations] == ["embed"]


def test_a_gain_of_zero_is_refused(specified):
    network, spec = specified
    a = dict(network.state_dict())
    b = moved(spec, a)
    a["norm.weight"] = a["norm.weight"].clone().index_fill_(0, torch.tensor([3]), 0)
    with pytest.raises(ValueError, match=r"tensor norm\.weight is 0 at some channel"):
        modeconn.match(network, spec, a, b)


def test_a_tensor_with_the_group_on_two_axes_is_rotated_on_both(images):
    """A linear layer from the stream to the stream: of a near copy the objective rises, and the logits stay."""
    torch.manual_seed(0)
    network = PostNorm(affine=False).double().eval()
    spec = modeconn.discover(network, images, symmetry="orthogonal")
    a = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    b = moved(spec, a)
    back = closest(network, spec, a, b)
    torch.testing.assert_close(functional_call(network, back, (images,)), network(images), rtol=1e-9, atol=1e-9)
    product = [sum((a[name] * state[name]).sum() for name in a) for state in (a, b, back)]
    assert product[1] < product[2] <= product[0] * (1 + 1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_procrustes_finds_the_nearest_rotation(centred):
    """A known one exactly; of few vectors the one that turns these, and nothing where they say nothing."""
    generator = torch.Generator().manual_seed(0)
    turn = rotations.draw(7, centred, generator)
    torch.testing.assert_close(turn @ turn.T, torch.eye(7).double())
    ones = torch.ones(7).double()
    assert torch.allclose(turn @ ones, ones) is centred
    vectors = torch.randn(7, 9, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(rotations.nearest(turn @ vectors @ vectors.T, centred), turn)
    few = vectors[:, :3]
    part = rotations.nearest(turn @ few @ few.T, centred, rank_tolerance=1e-6)
    inside = few - few.mean(0) if centred else few
    torch.testing.assert_close(part @ inside, turn @ inside)
    assert torch.linalg.matrix_rank(part) == 3 + centred


@pytest.mark.parametrize("specified", [nn.LayerNorm], indirect=True)
def test_connect_says_that_it_rotated(specified, images):
    network, spec = specified
    network, images = Transformer(type(network.norm)), images.float()
    a = {name: tensor.float() for name, tensor in specified[0].state_dict().items()}
    split = images, functional_call(network, a, (images,)).argmax(1)
    found = modeconn.connect(network, a, moved(spec, a), split, split, points=3, symmetry="orthogonal")
    lengths = {name: line.length[-1] for name, line in found.profiles.items()}
    assert found.best == connecting.BY_ROTATED_WEIGHTS and lengths.pop(found.best) < 1e-4 < 1 < min(lengths.values())
    assert found.profiles[found.best].loss_barrier < 1e-5
    # Paired channels correlate by 1 in the basis of a, but for those of little variance over these images.
    assert min(values[found.best] for _, values in found.signature) > 0.95
    assert found.symmetry[0] == "1 of 5 groups may be rotated: patches (24 channels, keeping their mean)"
    assert "(GELU blocks.0.dense.1 is not known to commute with a rotation)" in found.symmetry[2]
    network.load_state_dict(found.aligned)
    torch.testing.assert_close(network.eval()(images), functional_call(network, a, (images,)), rtol=1e-3, atol=1e-4)
