"""Loss, accuracy and length along the curves of Tatro et al.'s own code, evaluated anew from its control points.

tests/data/reference holds two networks, the bend of a quadratic Bézier curve between them, unaligned and aligned, and
what the reference's own evaluation measured at nine points of each.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from walk import along

from modeconn import batchnorm, classification, networks
from modeconn.datasets import Dataset
from modeconn.functional import Functional

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
SECOND = {"unaligned": "tinyten-seed2", "aligned": "tinyten-seed2-aligned"}


@pytest.fixture(scope="module")
def dataset():
    with np.load(REFERENCE / "images.npz") as file:
        tensors = {
            f"{split}_{kind}": torch.from_numpy(file[f"{letter}_{short}"])
            for split, short in (("train", "train"), ("test", "test"))
            for kind, letter in (("images", "x"), ("labels", "y"))
        }
    for split in ("train", "test"):
        tensors[f"{split}_images"] = tensors[f"{split}_images"].permute(0, 3, 1, 2).contiguous()
    mean, std = [0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.261]
    return Dataset(**tensors, alignment=torch.arange(400), mean=mean, std=std, classes=10)


@pytest.fixture(scope="module")
def functional(dataset):
    return Functional(networks.of({"family": "tinyten"}, dataset))


def vector_of(functional, name):
    """The parameters (D,) in a file of the reference, whose normalization layers are called bn."""
    tensors = load_file(REFERENCE / f"{name}.safetensors")
    ours = {f"network.{key.replace('.bn.', '.norm.')}": tensor for key, tensor in tensors.items()}
    counts = {name: torch.tensor(0) for name in functional.buffer_names if name.endswith("num_batches_tracked")}
    return functional.pack(ours | counts)[0]


@pytest.mark.parametrize("alignment", ["unaligned", "aligned"])
def test_loss_accuracy_and_length_are_those_of_the_reference(functional, dataset, alignment):
    names = ("tinyten-seed1", f"tinyten-curve-{alignment}", SECOND[alignment])
    control_points = torch.stack([vector_of(functional, name) for name in names])
    losses, accuracies, lengths = [], [], []
    for _, length, vectors in along(control_points, "bezier", 9):
        buffers = batchnorm.recalibrated(functional, vectors, dataset, {"images": 2000, "batch": 512})
        loss, accuracy = classification.evaluate(functional, vectors, buffers, *dataset.split("test"), 512)
        losses.append(loss.item())
        accuracies.append(100 * accuracy.item())
        lengths.append(length)
    with np.load(REFERENCE / f"tinyten-curve-{alignment}-evaluation.npz") as expected:
        np.testing.assert_allclose(losses, expected["test_loss"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(accuracies, expected["test_acc"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(lengths, expected["curve_len"], rtol=1e-5)
