"""`make reproduce MINUTES=...`, piece by piece: the same bytes as in one go."""

import copy
import json
import os
import shutil
import subprocess
import sys
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


# In place of timeout, whose clock would have to know how fast this machine is: time is up when a training has reported
# an epoch. As timeout does, it leads a process group of its own and asks all of it to stop.
TIME_IS_UP_IN_TRAINING = """#!/usr/bin/env python3
import os, pathlib, signal, subprocess, sys

os.setpgid(0, 0)
command = subprocess.Popen(sys.argv[2:])
logs = pathlib.Path("results/logs/train")
while not any("epoch" in log.read_text() for log in logs.rglob("*.log")):
    assert command.poll() is None
    os.sched_yield()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
command.wait()
sys.exit(124)
"""


def reproduce(checkout, *arguments, before_path=()):
    command = ["make", "reproduce", "CONFIG=tiny.yaml", "ARGS=networks", *arguments]
    environment = checkout.environment | {"PATH": os.pathsep.join([*before_path, os.environ["PATH"]])}
    return subprocess.run(command, cwd=checkout.path, env=environment, capture_output=True, text=True)


def test_pieces_give_the_bytes_of_the_whole(checkouts, tmp_path):
    whole, pieces = checkouts
    done = reproduce(whole, "MINUTES=60")
    assert done.returncode == 0, done.stderr
    assert "Stopped after" not in done.stderr

    (tmp_path / "timeout").write_text(TIME_IS_UP_IN_TRAINING)
    (tmp_path / "timeout").chmod(0o755)
    stopped = reproduce(pieces, "MINUTES=5", before_path=[str(tmp_path)])
    assert stopped.returncode != 0
    assert "Stopped after 5 minutes" in stopped.stderr
    assert list((pieces.path / "results/networks").rglob("*.state"))
    # Nothing that it has started is still at work: nobody holds the lock of a job.
    assert not list((pieces.path / "results").rglob("*.lock"))

    done = reproduce(pieces, "MINUTES=60")
    assert done.returncode == 0, done.stderr
    assert pieces.artifacts() == whole.artifacts()
    costs = [json.loads(path.read_text()) for path in (pieces.path / "results/networks").rglob("*.cost.json")]
    assert any(cost["resumed"] for cost in costs)


def test_time_runs_out(checkouts):
    stopped = reproduce(checkouts[0], "MINUTES=0.001")
    assert stopped.returncode != 0
    assert "Stopped after 0.001 minutes" in stopped.stderr


def test_minutes_that_are_no_number_are_refused(checkouts):
    done = reproduce(checkouts[0], "MINUTES=soon")
    assert done.returncode != 0
    assert "invalid time interval" in done.stderr and "soon" in done.stderr
