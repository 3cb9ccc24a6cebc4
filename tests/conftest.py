"""What tests share: one thread, equal draws, a run left as it is, small data and networks, messages of one line."""

import gc
import os
import tempfile
from contextlib import contextmanager

import pytest
import torch

import preloaded
from modeconn import artifacts, networks
from modeconn.datasets import Dataset


def pytest_configure(config):
    """The first process of a test run starts a Python for the programs of all."""
    if preloaded.PLACE not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="modeconn-")
        config.add_cleanup(folder.cleanup)
        config.add_cleanup(preloaded.start(folder.name))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The number of threads decides bits."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_draws():
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def thawed():
    """Programs that ran in this process have frozen what was imported: libraries report that as leaks at its end."""
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def left_as_found(request):
    """Fail the test that changes `finished`, a run that several share, not one that happens to come after it."""
    if "finished" not in request.fixturenames:
        yield
        return
    finished = request.getfixturevalue("finished")
    before = finished.files()
    yield
    after = finished.files()
    assert [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)] == []


@pytest.fixture
def one_line():
    """`with one_line(ValueError, "word", ...)`: the block raises it, its message is one line and holds the words."""

    @contextmanager
    def check(kind, *words):
        with pytest.raises(kind) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert str(word) in message

    return check


@pytest.fixture(scope="session")
def tiny_dataset():
    """44 training and 20 test images of 12x12 noise in three classes; an image's class is its brightness."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 3
    images = torch.randint(0, 160, (64, 1, 12, 12), generator=rng) + 40 * labels[:, None, None, None]
    images = images.to(torch.uint8)
    return Dataset(
        train_images=images[:44],
        train_labels=labels[:44],
        test_images=images[44:],
        test_labels=labels[44:],
        alignment=torch.arange(0, 44, 4),
        mean=[0.45],
        std=[0.2],
        classes=3,
    )


@pytest.fixture(scope="session")
def tiny_data(tiny_dataset, tmp_path_factory):
    """The file of the small data set, as prepare_data makes it."""
    path = tmp_path_factory.mktemp("data") / "data.safetensors"
    fields = vars(tiny_dataset)
    tensors = {name: value for name, value in fields.items() if isinstance(value, torch.Tensor)}
    facts = {name: value for name, value in fields.items() if name not in tensors}
    artifacts.save(path, tensors, {"rule": "prepare_data", **facts})
    return path


@pytest.fixture(scope="session")
def tiny_pair(tiny_data, tiny_network, tmp_path_factory):
    """Files of the small data set and of its networks 1 and 2, and the job's values that go with them."""
    folder = tmp_path_factory.mktemp("pair")
    files = {"data": tiny_data, "networks": folder / "networks.safetensors"}
    states = [tiny_network(seed).state_dict() for seed in (1, 2)]
    networks = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    artifacts.save(files["networks"], networks, {"rule": "train", "job": {"seeds": [1, 2]}}, lanes=True)
    names = {"dataset": "tiny", "network": "tinyten", "recipe": "standard", "pair": "1-2", "alignment": "none"}
    network = {"family": "tinyten", "width": 0.25, "norm": "batch"}
    return files, {"threads": 1, "names": names, "network": network, "members": [1, 2]}


@pytest.fixture(scope="session")
def tiny_network(tiny_dataset):
    """seed -> a TinyTen of 4, 8 and 16 channels for the small data set, its normalization layers off their start."""

    def make(seed=0, norm="batch", dtype=torch.float32):
        network = networks.of({"family": "tinyten", "width": 0.25, "norm": norm}, tiny_dataset, seed).to(dtype)
        rng = torch.Generator().manual_seed(seed)
        for name, tensor in network.state_dict().items():
            if "norm" in name and tensor.dtype == dtype:
                tensor.add_(torch.rand(tensor.shape, generator=rng, dtype=dtype))
        return network

    return make
