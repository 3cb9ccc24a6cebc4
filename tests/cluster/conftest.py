import copy

import pytest
import yaml

from cluster.slurm import Slurm, missing
from workflow.checkout import PROJECT, TINY, Checkout

HERE = PROJECT / "tests/cluster"

# Every rule, in fewer jobs than the tiny config. It computes on CPUs: the node's GPUs are none.
SMALL = copy.deepcopy(TINY)
SMALL["device"] = "cpu"
SMALL["studies"]["alignment"][0]["alignments"] = ["none", "activation"]
del SMALL["studies"]["alignment"][2:], SMALL["studies"]["averaging"], SMALL["studies"]["simultaneous"]
SMALL["studies"]["alignment"][1].update(alignments=["activation"], curves=["linear"])

# Two networks that train for seconds, in which something can happen to them.
LONG = copy.deepcopy(SMALL)
LONG["datasets"]["digits"] = {"source": "digits", "size": 12}
LONG["recipes"]["standard"]["epochs"] = 100
LONG["studies"]["alignment"] = LONG["studies"]["alignment"][:1]


def pytest_addoption(parser):
    parser.addoption("--require-slurm", action="store_true", help="fail where SLURM is not installed")


@pytest.fixture(scope="session")
def slurm(request, tmp_path_factory):
    """A SLURM that every process started here is a client of."""
    if lacking := missing():
        message = f"SLURM is not installed ({', '.join(lacking)}): apt-get install slurm-wlm munge"
        pytest.fail(message) if request.config.getoption("--require-slurm") else pytest.skip(message)
    with Slurm(tmp_path_factory.mktemp("slurm")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def options(tmp_path_factory):
    """Options of Snakemake: the users' profile for SLURM with the values filled in that it leaves to them."""
    profile = yaml.safe_load((PROJECT / "workflow/profiles/slurm/profile.v9+.yaml").read_text())
    filled = merged(profile, yaml.safe_load((HERE / "overlay.yaml").read_text()))
    folder = tmp_path_factory.mktemp("profile")
    (folder / "profile.v9+.yaml").write_text(yaml.safe_dump(filled))
    return ["--workflow-profile", str(folder)]


def merged(one, other):
    """A nested dict with the values of `other` over those of `one`."""
    both = one.keys() & other.keys()
    return {**one, **other, **{key: merged(one[key], other[key]) for key in both if isinstance(one[key], dict)}}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A checkout in which the small config has run without SLURM. Tests leave it as they find it."""
    checkout = Checkout(tmp_path_factory.mktemp("finished") / "project", SMALL)
    checkout.run("--cores", "2")
    return checkout


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A checkout in which the long trainings have run without SLURM and without being disturbed."""
    checkout = Checkout(tmp_path_factory.mktemp("trained") / "project", LONG)
    checkout.run("--cores", "2", "networks")
    return checkout
