"""Several jobs on several GPUs get one each; tested without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeconn import devices

SCRIPTS = Path(__file__).parents[2] / "scripts"
CLAIM = """
import os, sys
from modeconn import devices
print(devices.claim(sys.argv[2].split(","), int(sys.argv[3]), sys.argv[1]), flush=True)
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def job(tmp_path):
    """Starts a process that claims one of two GPUs and keeps it until it is killed; returns it and its first line."""
    started = []

    def start(slots=1, names="0,1"):
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, tmp_path / "locks", names, str(slots)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"PYTHONPATH": str(SCRIPTS)},
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_job_has_its_own_and_sees_no_other(job):
    jobs = [job() for _ in range(2)]
    assert [name for _, name in jobs] == ["0", "1"]
    assert [process.stdout.readline().strip() for process, _ in jobs] == ["0", "1"]


def test_a_job_waits_for_one_that_is_killed(job):
    (first, name), _ = job(), job()
    third, line = job()
    assert line == "waiting: the GPUs 0, 1 are taken by other jobs"
    first.kill()
    assert third.stdout.readline().strip() == name


def test_slots_are_shared_only_when_each_gpu_has_a_job(job):
    assert [job(slots=2)[1] for _ in range(4)] == ["0", "1", "0", "1"]
    assert job(slots=2)[1].startswith("waiting")


def test_names_as_a_scheduler_gives_them(job):
    assert job(names="MIG-GPU-1/2/0")[1] == "MIG-GPU-1/2/0"


def test_a_schedulers_choice_is_respected(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7")
    for _ in range(2):
        assert devices.claim(devices.present(), 1, tmp_path / "locks") == "GPU-7"
    assert not (tmp_path / "locks").exists()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert devices.present() == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.present() == []


def test_devices_are_counted_where_nobody_has_chosen(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    # As a container sees them that was given two GPUs of many: CUDA calls them 0 and 1 there.
    monkeypatch.setattr(devices.glob, "glob", lambda pattern: ["/dev/nvidia10", "/dev/nvidia2"])
    assert devices.present() == ["0", "1"]


@pytest.mark.parametrize("slots", ["0", "-1", "many", ""])
def test_a_number_of_slots_that_is_none_is_one_line(monkeypatch, tmp_path, one_line, slots):
    monkeypatch.setenv("GPU_SLOTS", slots)
    with one_line(ValueError, f"GPU_SLOTS={slots}", "from 1"):
        devices.claim(["0", "1"], folder=tmp_path)
