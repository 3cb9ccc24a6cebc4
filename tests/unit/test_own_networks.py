"""Networks as people write them: of each every group is found and proved, or what could not be is said in one line."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from modeconn import permutation
from modeconn.permutation.proof import prove, verify


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def own(*shape):
    return nn.Parameter(torch.randn(*shape, generator=seeded()) / 2)


def conv(inputs, outputs, **arguments):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **arguments)


def pooled(images):
    return images.mean((2, 3))


def tokens(images):
    return images.flatten(2).mT


def net(forward, **members):
    """A network of these members, and a forward pass (network, images (N, 3, 4, 4)) -> values of `head`'s inputs."""

    class Net(nn.Module):
        def forward(self, images):
            return self.head(forward(self, images))

    network = Net()
    for name, member in members.items():
        if isinstance(member, torch.Tensor) and not isinstance(member, nn.Parameter):
            network.register_buffer(name, member)
        else:
            setattr(network, name, member)
    return network


def standardized(weight):
    return (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std((1, 2, 3), keepdim=True)


def halves(values, dim=1):
    one, other = values.chunk(2, dim)
    return torch.cat([one + other, other], dim)


def in_place(values):
    values[:, :2].mul_(3)
    return values


def rearranged(values):
    """Space to depth, as with einops: n c (h a) (w b) -> n (c a b) h w."""
    return values.reshape(-1, 6, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(-1, 24, 2, 2)


def attended(m, queries, **given):
    return m.attention(queries, m.a(given.pop("seen")), m.a(given.pop("valued")), **given)[0].mean(1)


def attention(**arguments):
    return nn.MultiheadAttention(8, 2, batch_first=True, **arguments)


CAUSAL = torch.ones(16, 16).triu(1).bool()
HEADS = {"a": 8, "attention.in_proj_weight[0:8].blocks": 2, "attention.in_proj_weight[0:8]": 8}
HEADS |= {"attention.in_proj_weight[16:24]": 8}
# name: (forward, members, groups)
FOUND = {
    "weights that are standardized": (
        lambda m, x: pooled(F.conv2d(m.a(x).relu(), standardized(m.w), m.b).relu()),
        {"a": conv(3, 6), "w": own(5, 6, 3, 3), "b": own(5), "head": nn.Linear(5, 4)},
        {"a": 6, "w": 5},
    ),
    "addmm and tensordot": (
        lambda m, x: torch.tensordot(torch.addmm(m.b, x.flatten(1), m.w).relu(), m.v, 1).relu(),
        {"w": own(48, 6), "b": own(6), "v": own(6, 5), "head": nn.Linear(5, 4)},
        {"w": 6, "v": 5},
    ),
    "cosine similarity": (
        lambda m, x: F.linear(F.normalize(m.a(x.flatten(1)).relu()), F.normalize(m.w)),
        {"a": nn.Linear(48, 6), "w": own(5, 6), "head": nn.Identity()},
        {"a": 6},
    ),
    "a transposed convolution": (
        lambda m, x: pooled(F.conv_transpose2d(m.b(m.a(x).relu()).relu(), m.w)).relu(),
        {"a": conv(3, 6), "b": nn.ConvTranspose2d(6, 5, 2, 2), "w": own(5, 7, 2, 2), "head": nn.Linear(7, 4)},
        {"a": 6, "b": 5, "w": 7},
    ),
    "spectral normalization of a transposed convolution": (
        lambda m, x: pooled(m.b(m.a(x).relu()).relu()),
        {"a": conv(3, 6), "b": spectral_norm(nn.ConvTranspose2d(6, 5, 2)), "head": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "normalization by functions": (
        lambda m, x: pooled(F.instance_norm(F.group_norm(m.a(x), 2, m.w, m.b).relu() ** 2) ** 3),
        {"a": conv(3, 6), "w": own(6), "b": own(6), "head": nn.Linear(6, 4)},
        {"a.blocks": 2, "a": 6},
    ),
    "normalization without weights": (
        lambda m, x: F.layer_norm(m.n(m.a(x.flatten(1))).relu(), (6,)) ** 2,
        {"a": nn.Linear(48, 6), "n": nn.LayerNorm(6, elementwise_affine=False), "head": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "choices entry by entry": (
        lambda m, x: pooled(torch.where((y := m.a(x)) > 0, y, m.b(x)).masked_fill(y.sin() < -0.9, 0.5).erf()),
        {"a": conv(3, 6), "b": conv(3, 6), "head": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "the largest of the channels": (
        lambda m, x: pooled(
            (y := m.a(x)) * m.gate(torch.cat([y.max(1, keepdim=True)[0], y.mean(1, keepdim=True)], 1)).sigmoid()
        ),
        {"a": conv(3, 6), "gate": conv(2, 1), "head": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "sorted positions": (
        lambda m, x: m.a(x).flatten(2).sort(2).values.cumsum(2).topk(3, -1)[0].mean(2),
        {"a": conv(3, 6), "head": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "sorted channels": (
        lambda m, x: pooled(m.a(x).sort(1)[0]),
        {"a": conv(3, 6), "head": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "gated linear units": (
        lambda m, x: pooled(F.glu(m.a(x), 1) + m.glu(m.b(x))),
        {"a": conv(3, 12), "b": conv(3, 12), "glu": nn.GLU(1), "head": nn.Linear(6, 4)},
        {"a[0:6]": 6},
    ),
    "patches": (
        lambda m, x: (
            m.b(F.unfold(y := m.a(x).relu(), 2, stride=2).mT).relu().mean(1)
            + y.unfold(2, 2, 2).amax((2, 3, 4)).sum(1)[:, None]
        ),
        {"a": conv(3, 6), "b": nn.Linear(24, 5), "head": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "repeated channels": (
        lambda m, x: pooled(torch.cat([(y := m.a(x).relu()).repeat(1, 2, 1, 1), y.repeat_interleave(2, 1), -y], 1)),
        {"a": conv(3, 6), "head": nn.Linear(30, 4)},
        {"a": 6},
    ),
    "one weight there and back": (
        lambda m, x: F.linear(m.b(m.a(pooled(x)).relu()).relu(), m.b.weight.t()).relu(),
        {"a": nn.Linear(3, 8), "b": nn.Linear(8, 5), "head": nn.Linear(8, 4)},
        {"a": 8, "b": 5},
    ),
    "halves that are added": (
        lambda m, x: pooled(halves(m.a(x).relu())),
        {"a": conv(3, 8), "head": nn.Linear(8, 4)},
        {"a[0:4]": 4},
    ),
    "a change of a slice in place": (
        lambda m, x: pooled(in_place(m.a(x).relu())),
        {"a": conv(3, 6), "head": nn.Linear(6, 4)},
        {"a[0:2]": 2, "a[2:6]": 4},
    ),
    "a residual to a slice": (
        lambda m, x: pooled(torch.cat([(y := m.a(x))[:, :3] + x, y[:, 3:]], 1).relu()),
        {"a": conv(3, 6), "head": nn.Linear(6, 4)},
        {"a[3:6]": 3},
    ),
    "space to depth": (
        lambda m, x: pooled(m.b(rearranged(m.a(x).relu())).relu()),
        {"a": conv(3, 6), "b": conv(24, 5), "head": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "noise in training": (
        lambda m, x: pooled(m.a(x).relu() + (torch.randn_like(x[:, :1]) if m.training else 0)),
        {"a": conv(3, 6), "head": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "parts of a sequence of layers": (
        lambda m, x: pooled(m.layers[2:](m.layers[:2](x))),
        {"layers": nn.Sequential(conv(3, 6), nn.ReLU(), conv(6, 5), nn.ReLU()), "head": nn.Linear(5, 4)},
        {"layers.0": 6, "layers.2": 5},
    ),
    "attention to tokens by learned queries": (
        lambda m, x: attended(m, m.q.expand(x.shape[0], -1, -1), seen=tokens(x), valued=tokens(x)),
        {"a": nn.Linear(3, 8), "q": own(1, 3, 8), "attention": attention(), "head": nn.Linear(8, 4)},
        HEADS | {"attention.out_proj": 8},
    ),
    "attention with a mask, by keywords": (
        lambda m, x: (
            (y := m.a(tokens(x))) + m.attention(query=y, key=y, value=y, attn_mask=m.mask, need_weights=False)[0]
        ).mean(1),
        {"a": nn.Linear(3, 8), "attention": attention(), "mask": CAUSAL, "head": nn.Linear(8, 4)},
        HEADS,
    ),
    "attention by own weights": (
        lambda m, x: (m.a(y := tokens(x)) + ((y @ m.q) @ (y @ m.k).mT).softmax(-1) @ (y @ m.v) @ m.w).mean(1),
        {"a": nn.Linear(3, 8), "q": own(3, 6), "k": own(3, 6), "v": own(3, 5), "w": own(5, 8), "head": nn.Linear(8, 4)},
        {"a": 8, "q": 6, "v": 5},
    ),
    "attention with a mask that forward makes": (
        lambda m, x: ((y := m.a(tokens(x))) + m.attention(y, y, y, attn_mask=CAUSAL.clone())[0]).mean(1),
        {"a": nn.Linear(3, 8), "attention": attention(), "head": nn.Linear(8, 4)},
        HEADS,
    ),
    "an encoder with a mask, and a decoder": (
        lambda m, x: m.t(m.a(tokens(x)), m.q.expand(x.shape[0], -1, -1), src_mask=CAUSAL.clone()).mean(1),
        {"a": nn.Linear(3, 8), "q": own(1, 3, 8), "t": nn.Transformer(8, 2, 1, 1, 12, batch_first=True)}
        | {"head": nn.Linear(8, 4)},
        1 + 3 * 3 + 2,  # one stream; heads, queries with keys, and values thrice; hidden layers
    ),
}


def case(name):
    forward, members, groups = FOUND[name]
    torch.manual_seed(1)
    network, images = net(forward, **members), torch.randn(4, 3, 4, 4, generator=seeded())
    return network, images, permutation.discover(network, images), groups


@pytest.mark.parametrize("name", FOUND)
def test_every_group_is_found_and_proved_and_logits_stay(name):
    network, images, spec, groups = case(name)
    assert (spec.groups if isinstance(groups, dict) else len(spec.groups)) == groups
    verify(network, spec, images, seeded())
    network = network.eval()
    permuted = permutation.apply(spec, permutation.random(spec, seeded(1)), network.state_dict())
    with torch.no_grad():
        expected, found = network(images), functional_call(network, permuted, (images,))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "weights that are standardized",
        "spectral normalization of a transposed convolution",
        "one weight there and back",
    ],
)
def test_each_axis_that_is_forgotten_changes_an_output(name):
    network, images, spec, _ = case(name)
    for forgotten in spec.axes:
        wrong = replace(spec, axes=tuple(axis for axis in spec.axes if axis != forgotten))
        with pytest.raises(ValueError, match=r"^Net: the permutation spec is wrong"):
            verify(network, wrong, images, seeded())


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (
            lambda m, x: pooled(m.a(x).cumsum(1)),
            "a (cumsum (node cumsum) is not understood: test_own_networks.py, line",
        ),
        (lambda m, x: pooled(m.a(x) * m.a(x).argmax(1, keepdim=True)), "argmax (node argmax) is not understood: "),
        (lambda m, x: pooled(m.a(x).max(1, keepdim=True)[1] * m.a(x)), "max (node max_1) is not understood: "),
        (lambda m, x: pooled(m.a(x) * m.table), "mul (node mul) ties it to pinned channels: test_own_networks.py, "),
        (lambda m, x: pooled(torch.fft.fft(m.a(x), dim=1).abs()), "is not understood: test_own_networks.py, line"),
        (lambda m, x: pooled(m.a(x).relu().roll(1, 1) * m.a(x)), "mul (node mul) ties it to pinned channels"),
        (lambda m, x: pooled(F.local_response_norm(m.a(x), 3)), "local_response_norm) is not understood: "),
        (
            lambda m, x: pooled(m.a(x)[:, [0, 0, 1, 2, 3, 4]] * m.a(x)),
            "each hidden channel is used in a way of its own",
        ),
        (lambda m, x: pooled(m.a(x).copy_(m.a(x) + 1)), "copy_ (node copy_) is not understood: test_own_networks.py"),
    ],
)
def test_what_is_not_understood_is_named_with_its_line(forward, reason, one_line):
    network = net(forward, a=conv(3, 6), table=torch.rand(6, 1, 1), head=nn.Linear(6, 4))
    images = torch.randn(2, 3, 4, 4)
    with one_line(ValueError, "Net has no neurons that may be permuted: ", reason):
        prove(network, permutation.discover(network, images), images, seeded())


def test_a_network_that_computes_in_one_type_is_told_so(one_line):
    network = net(lambda m, x: pooled(m.a(x).float()), a=conv(3, 6), head=nn.Linear(6, 4))
    images = torch.randn(2, 3, 4, 4)
    with one_line(ValueError, "Net does not compute in float64", "test_own_networks.py, line", "x.dtype"):
        prove(network, permutation.discover(network, images), images, seeded())


def choice(values):
    if values.mean() > 0:
        values = values * 2
    return values


def assigned(values):
    values[:, :2] = 0
    return values


def without_gradients(m, x):
    with torch.no_grad():
        return m.a(x)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda m, x: pooled(choice(m.a(x))), ["`if values.mean() > 0:`", "torch.where"]),
        (lambda m, x: m.a(x).sum((2, 3)).reshape(len(x), -1), ["len(x)", "write x.shape[0] for len(x)"]),
        (lambda m, x: torch.stack([pooled(m.a(i[None]))[0] for i in x]), ["for i in x", "loop over a number"]),
        (lambda m, x: pooled(assigned(m.a(x))), ["`values[:, :2] = 0`", "torch.cat or torch.where"]),
        (lambda m, x: pooled(m.a(x)) + torch.zeros(x.shape[0], 6), ["torch.zeros(x.shape[0], 6)", "x.new_zeros(...)"]),
        (lambda m, x: pooled(without_gradients(m, x)), ["a (Conv2d)", "`return m.a(x)`", "x.detach()"]),
        (lambda m, x: pooled(m.a(x[:, 5])), ["does not run on an example of shape (2, 3, 4, 4)", "`(lambda m, x: po"]),
    ],
)
def test_what_cannot_be_traced_is_named_with_its_line_and_what_to_write(forward, words, one_line):
    network = net(forward, a=conv(3, 6), head=nn.Linear(6, 4))
    with one_line(ValueError, "test_own_networks.py, line", *words):
        permutation.discover(network, torch.randn(2, 3, 4, 4))


# --- modules that say of themselves what may be permuted ---


class Gate(nn.Module):
    """A scale for each channel, and a choice that hangs on values."""

    def __init__(self):
        super().__init__()
        self.scale = own(6)

    def forward(self, values):
        return choice(values * self.scale[:, None, None])


def gated(**attributes):
    gate = type("Gate", (Gate,), attributes)()
    members = {"a": conv(3, 6), "gate": gate, "b": conv(6, 5), "head": nn.Linear(5, 4)}
    return net(lambda m, x: pooled(m.b(m.gate(m.a(x).relu())).relu()), **members)


@pytest.mark.parametrize(
    ("permutable", "groups", "pinned"),
    [({"scale": 0}, {"a": 6, "b": 5}, set()), (None, {"b": 5}, {"a", "gate.scale"})],
)
def test_a_module_that_cannot_be_traced_says_what_may_be_permuted(permutable, groups, pinned):
    network, images = gated(permutable=permutable), torch.randn(4, 3, 4, 4)
    spec, _ = prove(network, permutation.discover(network, images), images, seeded())
    assert spec.groups == groups and spec.pinned.keys() == pinned
    assert permutation.hidden(spec) == (sum(groups.values()), 11)
    permuted = permutation.apply(spec, permutation.random(spec, seeded(1)), network.state_dict())
    torch.testing.assert_close(functional_call(network, permuted, (images,)), network(images))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"permutable": {}}, "check the attribute permutable of gate"),  # the scale belongs to channels
        ({"permutable": {"gain": 0}}, "Gate gate: its attribute permutable is {'gain': 0}: set it to None, or to a"),
        ({"permutable": {"scale": 1}}, "axis of the channels; it has scale"),
        ({"permutable": {}, "forward": lambda m, x: choice(x)[:, :3] * m.scale.sum()}, "does not return the channels"),
    ],
)
def test_a_module_that_says_what_is_not_so_is_refused(attributes, words, one_line):
    network, images = gated(**attributes), torch.randn(4, 3, 4, 4)
    if "forward" in attributes:
        network.b = conv(3, 5)
    with one_line(ValueError, words):
        verify(network, permutation.discover(network, images), images, seeded())
