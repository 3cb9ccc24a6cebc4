"""Scales and signs besides permutations: known ones are undone, and what does not pass them on is named."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

import modeconn
from modeconn import connecting, matching, permutation
from modeconn.matching.weight import match_weights
from modeconn.permutation import scales
from modeconn.permutation.scales import SCALES, SIGNS

WIDTH = 12


class Attentive(nn.Module):
    """Attention to tokens, its values read by a layer that ReLU follows; two linear layers in a row."""

    def __init__(self):
        super().__init__()
        self.embed, self.attention = nn.Linear(3, WIDTH), nn.MultiheadAttention(WIDTH, 3, batch_first=True)
        self.hidden, self.narrow, self.dense = nn.Linear(WIDTH, 10), nn.Linear(10, 6), nn.Linear(6, 4)

    def forward(self, images):
        tokens = torch.relu(self.embed(images.flatten(2).transpose(1, 2)))
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.dense(self.narrow(torch.relu(self.hidden(mixed)))).mean(1)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 7, 2),
        nn.LeakyReLU(),
        nn.AvgPool2d(2, 1),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(7, 9),
        nn.ReLU(),
        nn.Linear(9, 4),
    )


@pytest.fixture
def images():
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def drawn(network):
    """A network in float64 with biases that count."""
    with torch.no_grad():
        for parameter in network.double().parameters():
            parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return network.eval()


def changed(spec, state, seed=1):
    """The network of a state dict with its channels multiplied and permuted: (state dict, permutation, factors)."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for group, kind in spec.scales.items():
        factors[group] = (2 * torch.randn(spec.groups[group], generator=generator, dtype=torch.float64)).exp()
        if kind == SIGNS:
            factors[group] *= torch.randn(spec.groups[group], generator=generator).sign()
    order = permutation.random(spec, generator)
    return permutation.apply(spec, order, scales.apply(spec, factors, state)), order, factors


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (convolutional, {"0": SCALES, "3": SCALES, "8": SCALES}),
        (
            Attentive,
            {
                "embed": SCALES,
                "attention.in_proj_weight[0:12]": SIGNS,
                "attention.in_proj_weight[24:36]": SIGNS,
                "attention.out_proj": SIGNS,
                "hidden": SCALES,
                "narrow": SIGNS,
            },
        ),
    ],
)
def test_a_permuted_and_rescaled_network_is_given_back(build, kinds, images):
    """Its function is the same, by weights alone it is not recognized, and matched up to scales it is the network."""
    torch.manual_seed(0)
    network = drawn(build())
    spec = modeconn.discover(network, images, symmetry="scale")
    modeconn.verify(network, spec, images)
    assert spec.scales == kinds
    a = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    b, order, factors = changed(spec, a)
    torch.testing.assert_close(functional_call(network, b, (images,)), network(images), rtol=1e-10, atol=1e-12)
    assert max((b[name] / a[name]).abs().max() for name in a) > 10

    found = modeconn.match(network, spec, a, b)
    assert all(torch.equal(found[group], torch.argsort(own)) for group, own in order.items())
    for group, own in factors.items():
        torch.testing.assert_close(found.scales[group], 1 / own)
    back = modeconn.apply(spec, found, b)
    for name, tensor in a.items():
        torch.testing.assert_close(back[name], tensor, rtol=1e-10, atol=1e-12)
    plain = permutation.apply(spec, match_weights(spec, a, b, list(a)), b)
    assert any(not torch.allclose(plain[name], tensor, rtol=0.1) for name, tensor in a.items())


def test_what_does_not_pass_a_scale_on_is_named():
    """Normalization, GELU, clipping above, a sum with a constant, convolutions in groups; and the output reacts."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(4 if i else 3, 4, 1, groups=2 if i == 4 else 1) for i in range(6))
            self.norm, self.dense = nn.BatchNorm2d(4), nn.Linear(4, 3)

        def forward(self, x):
            x = self.norm(self.convs[0](x)).relu()
            x = nn.functional.gelu(self.convs[1](x))
            x = nn.functional.relu6(self.convs[2](x))
            x = torch.relu(self.convs[3](x))
            x = self.convs[5](torch.tanh(self.convs[4](x)))
            return self.dense((x + 1).mean((2, 3)))

    network, example = Network(), torch.rand(2, 3, 4, 4)
    spec = modeconn.discover(network, example, symmetry="scale")
    assert spec.scales == {} and spec.unscaled == {
        "convs.0": "BatchNorm2d norm does not pass its scale on",
        "convs.1": "gelu (node gelu) does not pass its scale on",
        "convs.2": "relu6 (node relu6) does not pass its scale on",
        "convs.3": "it is convolved in groups",
        "convs.4": "tanh (node tanh) does not pass its scale on",
        "convs.5": "add (node add) does not pass its scale on",
    }
    assert "keeps its scales: convs.1 (gelu (node gelu)" in scales.report(spec)
    # Each of these claims is true: multiplied, the outputs would change. Of relu6 only where it clips.
    for group in ("convs.0", "convs.1", "convs.4", "convs.5"):
        wrong = permutation.PermutationSpec(**{**vars(spec), "scales": {group: SCALES}})
        assert scales.change(network, wrong, example, torch.Generator()) > 1e-4
    with pytest.raises(ValueError, match=r"multiplying the channels of convs\.0 changes an output"):
        modeconn.verify(network, permutation.PermutationSpec(**{**vars(spec), "scales": {"convs.0": SCALES}}), example)


def test_signs_turn_until_none_opposes(images):
    """Of another network's values, the signs that are found bring each channel to the side of a's."""
    torch.manual_seed(0)
    network, other = drawn(Attentive()), drawn(Attentive())
    spec = modeconn.discover(network, images, symmetry="scale")
    a, b = network.state_dict(), other.state_dict()
    near = modeconn.apply(spec, modeconn.match(network, spec, a, b), b)
    torch.testing.assert_close(functional_call(other, near, (images,)), other(images), rtol=1e-10, atol=1e-12)
    # Canonical scales are compared, so that those of a are taken out of both.
    factors = {group: 1 / own for group, own in scales.canonical(spec, a)[1].items()}
    assert not scales.opposed(spec, *(scales.apply(spec, factors, state) for state in (a, near)), list(a))


def test_an_alignment_says_by_which_symmetry_it_matched(capsys):
    network, example = convolutional(), torch.rand(2, 3, 8, 8)
    spec = modeconn.discover(network, example)
    assert matching.symmetric(network, spec, example, {"method": "weight"}) is spec and not capsys.readouterr().out
    found = matching.symmetric(network, spec, example, {"method": "weight", "symmetry": "scale"})
    assert list(found.scales) == list(spec.groups)
    assert capsys.readouterr().out == "symmetry: scales are divided out of 3 of 3 groups, signs of 0\n"


def test_connect_recognizes_a_rescaled_network(images):
    torch.manual_seed(0)
    network = drawn(convolutional()).float()
    spec = modeconn.discover(network, images.float(), symmetry="scale")
    b = changed(spec, network.state_dict())[0]
    labels = network(images.float()).argmax(1)
    split = images.float(), labels
    found = modeconn.connect(network, network.state_dict(), b, split, split, points=3, symmetry="scale")
    assert found.profiles[connecting.BY_SCALED_WEIGHTS].length[-1] < 1e-3 < found.profiles["as they are"].length[-1]
    assert found.symmetry == ["scales are divided out of 3 of 3 groups, signs of 0"]
    with pytest.raises(ValueError, match="symmetry 'scales' is unknown"):
        modeconn.connect(network, network.state_dict(), b, split, split, symmetry="scales")


def test_what_only_the_proof_sees_keeps_its_scale(images):
    """A mean over channels reads them; every operation on the way is linear."""

    class Averaging(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs, self.dense = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)]), nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.convs[1](torch.relu(self.convs[0](x))))
            return self.dense(x.mean(1).flatten(1))

    spec = modeconn.discover(Averaging(), images.float(), symmetry="scale")
    assert spec.scales == {"convs.0": SCALES}
    assert spec.unscaled == {"convs.1": "multiplying it changes an output"}
