"""`make reproduce MINUTES=...`, piece by piece: the same bytes as in one go."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow.checkout import PROJECT, TINY, Checkout


@pytest.fixture
def checkouts(tmp_path):
    """Two checkouts, with the Makefile and the environment that the tests run in; training takes most of their time."""
    config = copy.deepcopy(TINY)
    config["recipes"]["standard"]["epochs"] = 40
    config["studies"]["alignment"] = config["studies"]["alignment"][:1]
    found = [Checkout(tmp_path / name / "project", config) for name in ("whole", "pieces")]
    for checkout in found:
        shutil.copy2(PROJECT / "Makefile", checkout.path)
        environment = checkout.path / ".venv"
        environment.mkdir()
        for part in Path(sys.prefix).iterdir():
            (environment / part.name).symlink_to(part)
        (environment / "installed").unlink(missing_ok=True)
        shutil.copy2(PROJECT / "envs/requirements.txt", environment / "installed")
    return found


def reproduce(checkout, *arguments):
    command = ["make", "reproduce", "CONFIG=tiny.yaml", "ARGS=networks", *arguments]
    environment = os.environ | {"XDG_CACHE_HOME": str(checkout.path / ".cache")}
    return subprocess.run(command, cwd=checkout.path, env=environment, capture_output=True, text=True)


def test_pieces_give_the_bytes_of_the_whole(checkouts):
    whole, pieces = checkouts
    started = time.monotonic()
    done = reproduce(whole, "MINUTES=60")
    minutes = (time.monotonic() - started) / 60
    assert done.returncode == 0, done.stderr
    assert "Stopped after" not in done.stderr

    limit = f"MINUTES={0.6 * minutes:.3f}"
    stopped = reproduce(pieces, limit)
    assert stopped.returncode != 0
    assert f"Stopped after {0.6 * minutes:.3f} minutes" in stopped.stderr
    assert list((pieces.path / "results/networks").rglob("*.state"))
    # Nothing that it has started is still at work: nobody holds the lock of a job.
    assert not list((pieces.path / "results").rglob("*.lock"))
    for _ in range(10):
        stopped = reproduce(pieces, limit)
        if stopped.returncode == 0:
            break
        assert "Stopped after" in stopped.stderr, stopped.stderr
    assert stopped.returncode == 0
    assert pieces.artifacts() == whole.artifacts()
    costs = [json.loads(path.read_text()) for path in (pieces.path / "results/networks").rglob("*.cost.json")]
    assert any(cost["resumed"] for cost in costs)


def test_minutes_that_are_no_number_are_refused(checkouts):
    done = reproduce(checkouts[0], "MINUTES=soon")
    assert done.returncode != 0
    assert "invalid time interval" in done.stderr and "soon" in done.stderr
