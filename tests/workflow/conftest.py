import fcntl
import os

import pytest

from workflow.checkout import Checkout


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A checkout in which the tiny config has run to its report. Tests leave it as they find it.

    The processes of one test run share the work: the first that needs it runs the config, and each gets a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "finished.txt"  # where, once it is whole
    with open(shared / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            checkout = Checkout(tmp_path_factory.mktemp("finished") / "project")
            checkout.run("--cores", "2")
            made.write_text(str(checkout.path), encoding="utf-8")
    return Checkout.at(made.read_text(encoding="utf-8")).copy(tmp_path_factory.mktemp("copy") / "project")
