import pytest

from workflow.checkout import Checkout


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A checkout in which the tiny config has run to its report. Tests leave it as they find it."""
    checkout = Checkout(tmp_path_factory.mktemp("finished") / "project")
    checkout.run("--cores", "2")
    return checkout
