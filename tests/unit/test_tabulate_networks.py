"""The page of torchvision's networks says what discovery finds, and its permutations change no logits."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch.func import functional_call
from torchvision.models import get_model_builder

from modeconn import permutation
from tabulate_networks import NETWORKS, build, describe

PAGE = Path(__file__).parents[2] / "config" / "networks.md"


def cells(name):
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |")]
    return line.strip("| ").split(" | ")


def test_every_family_of_classifiers_has_a_row():
    """A family is a module of torchvision."""
    names = torchvision.models.list_models(module=torchvision.models)
    known, told = ({get_model_builder(name).__module__ for name in each} for each in (names, NETWORKS))
    assert told == known


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_says_what_is_found_and_permuting_it_changes_no_logits(name):
    network, images = build(name)
    spec = permutation.discover(network, images)
    assert cells(name)[:-1] == describe(name, network, spec)
    network, images = network.double(), images.double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in network.parameters():  # of zeros and ones, as initialized, mistakes could not be seen
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        expected = network(images)
        drawn = permutation.random(spec, torch.Generator().manual_seed(1))
        found = functional_call(network, permutation.apply(spec, drawn, network.state_dict()), (images,))
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()
