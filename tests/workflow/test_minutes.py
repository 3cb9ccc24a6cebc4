"""`make reproduce MINUTES=...`, in several pieces: the same bytes as in one run."""

import copy
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.checkout import PROJECT, TINY, Checkout


@pytest.fixture
def checkouts(tmp_path):
    """Two checkouts, with the Makefile and the environment that the tests run in; training takes most of their time."""
    config = copy.deepcopy(TINY)
    config["datasets"]["digits"] = {"source": "digits", "size": 12}
    config["recipes"]["standard"]["epochs"] = 40
    config["studies"] = {"alignment": config["studies"]["alignment"][:1]}
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
    return subprocess.run(command, cwd=checkout.path, env=checkout.environment, capture_output=True, text=True)


def stopped_in_training(checkout):
    """A run whose process group is asked to stop once a training has reported an epoch: what it said, and its code."""
    run = subprocess.Popen(
        ["make", "reproduce", "CONFIG=tiny.yaml", "ARGS=networks"],
        cwd=checkout.path,
        env=checkout.environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    logs = checkout.path / "results/logs/train"
    while not any("epoch" in log.read_text() for log in logs.rglob("*.log")):
        assert run.poll() is None
        os.sched_yield()
    os.killpg(run.pid, signal.SIGTERM)
    output, _ = run.communicate()
    return output, run.returncode


def test_pieces_give_the_bytes_of_the_whole(checkouts):
    whole, pieces = checkouts
    done = reproduce(whole, "MINUTES=60")
    assert done.returncode == 0, done.stderr
    assert "Stopped" not in done.stderr

    output, code = stopped_in_training(pieces)
    assert code != 0
    assert "Stopped by SIGTERM, not yet done" in output and "Traceback" not in output
    assert list((pieces.path / "results/networks").rglob("*.state"))
    # Nothing that it has started is still at work: nobody holds the lock of a job. The file itself stays where a job
    # was ended at once, since it had nothing to save yet; the next one to take it removes it.
    for path in (pieces.path / "results/networks").rglob("*.lock"):
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    done = reproduce(pieces, "MINUTES=60")
    assert done.returncode == 0, done.stderr
    assert pieces.artifacts() == whole.artifacts()
    assert not list((pieces.path / "results/networks").rglob("*.lock"))
    costs = [json.loads(path.read_text()) for path in (pieces.path / "results/networks").rglob("*.cost.json")]
    assert any(cost["resumed"] for cost in costs)


def test_time_runs_out(checkouts):
    stopped = reproduce(checkouts[0], "MINUTES=0.001")
    assert stopped.returncode != 0
    assert "Stopped after 0.001 minutes" in stopped.stderr


@pytest.mark.parametrize("minutes", ["soon", "-1", "nan", "inf"])
def test_minutes_that_are_no_number_are_refused(checkouts, minutes):
    done = reproduce(checkouts[0], f"MINUTES={minutes}")
    assert done.returncode != 0
    assert f"MINUTES={minutes} is no number of minutes" in done.stderr and "Traceback" not in done.stderr
