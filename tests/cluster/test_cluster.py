"""The workflow on a real SLURM: with stopped jobs, nodes and Snakemake it gives the bytes of a local run."""

import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from cluster.conftest import LONG, SMALL
from cluster.slurm import GPUS, most_at_once, rule_of, until
from workflow.checkout import Checkout

# Submissions of the small config by rule or group. Tables and figures are two: those of the runs, which need the
# trained networks alone, and those of the alignments with the verdicts.
SUBMISSIONS = {
    "prepare_data": 1,
    "train": 4,
    "align": 2,
    "fit_curve": 2,
    "evaluate_signature": 2,
    "evaluate_curve": 5,
    "select_network": 1,
    "tables": 2,
}


@pytest.fixture(scope="module")
def submitted(slurm, options, tmp_path_factory):
    """A checkout in which the small config has run through SLURM, from the data to the report."""
    checkout = Checkout(tmp_path_factory.mktemp("submitted") / "project", SMALL)
    checkout.run(*options, python=sys.executable)  # a job's processes are SLURM's
    return checkout


def different(ours, theirs):
    return [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]


def test_the_bytes_are_those_of_a_local_run(submitted, finished):
    assert different(submitted.artifacts(), finished.artifacts()) == []
    assert (submitted.path / "results/tiny/report.html").stat().st_size > 0
    assert submitted.planned() == {}


def test_small_jobs_share_a_submission(submitted, slurm):
    jobs = slurm.jobs(submitted.path)
    counts = {}
    for job in jobs:
        counts[rule_of(job)] = counts.get(rule_of(job), 0) + 1
    assert counts == SUBMISSIONS
    # Every job but the report and the config, which run where Snakemake does, leaves its cost.
    costs = list((submitted.path / "results").rglob("*.cost.json"))
    assert len(costs) - len(jobs) == len(list((submitted.path / "results/tiny").rglob("*.cost.json"))) - 2 > 10
    # As many cores as the profile lets a group have.
    assert [job["NumCPUs"] for job in jobs if rule_of(job) == "tables"] == ["2"] * 2


def test_jobs_on_gpus_get_one_each_and_never_more_than_there_are(submitted, slurm):
    jobs = [job for job in slurm.jobs(submitted.path) if "gpu" in job.get("TresPerJob", "")]
    assert [rule_of(job) for job in jobs] == ["train"] * 4
    assert {job["TresPerJob"] for job in jobs} == {"gres:gpu:1"}
    assert {job["Partition"] for job in jobs} == {"gpu"}
    assert most_at_once(jobs) == GPUS
    # Each was shown one GPU, and those side by side not the same.
    shown = [slurm.devices(job) for job in jobs]
    assert all(len(devices) == 1 for devices in shown)
    assert set.union(*shown) == {str(number) for number in range(GPUS)}


class Run:
    """Snakemake at work in a checkout, its output in a file."""

    def __init__(self, checkout, *arguments):
        self.output = checkout.path / "output.txt"
        with self.output.open("w") as file:
            self.process = checkout.start(*arguments, stdout=file, stderr=file)

    def until(self, condition, what, seconds=600):
        """As `until`, but fails at once with the output if Snakemake has ended."""

        def live():
            assert self.process.poll() is None, self.output.read_text()
            return condition()

        return until(live, what, seconds)

    def end(self):
        """Wait for success; return the output."""
        self.process.wait(timeout=900)
        assert self.process.returncode == 0, self.output.read_text()
        return self.output.read_text()


@pytest.fixture
def start():
    """`Run`, whose Snakemake does not outlive the test."""
    runs = []
    yield lambda *arguments: runs.append(Run(*arguments)) or runs[-1]
    for run in runs:
        run.process.kill()
        run.process.wait()


def log_of(checkout, seed):
    """What the training of a seed has written so far."""
    return "".join(
        path.read_text(errors="replace") for path in checkout.path.glob(f"results/logs/train/*/*/*/seeds{seed}.log")
    )


@contextlib.contextmanager
def held(slurm, job):
    """The training process of a job stands still meanwhile, so that it outlasts whatever takes long; gives its id."""
    (process,) = [number for number in slurm.processes(job) if "scripts/train.py" in arguments_of(number)[:2]]
    os.kill(process, signal.SIGSTOP)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # SLURM may have let it go on, and it has ended
            os.kill(process, signal.SIGCONT)


def arguments_of(process):
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")


def asked_to_stop(process):
    """Whether a SIGTERM waits for a process that stands still, or has ended it."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return int(re.search(r"^ShdPnd:\s+(\w+)", status, re.MULTILINE)[1], 16) & 1 << signal.SIGTERM - 1


def test_cancelled_or_out_of_time_a_job_goes_on_where_it_was(slurm, options, trained, start, tmp_path):
    checkout = Checkout(tmp_path / "project", LONG)
    run = start(checkout, *options, "networks")
    run.until(lambda: all("epoch 1/" in log_of(checkout, seed) for seed in (1, 2)), "both networks in training")
    first, second = sorted(slurm.jobs(checkout.path, JobState="RUNNING"), key=lambda job: job["Comment"])
    slurm.tell("scancel", first["JobId"])
    with held(slurm, second) as process:
        # The signal of the profile comes two minutes before the end: as soon as SLURM looks, every half a minute.
        slurm.tell("scontrol", "update", f"JobId={second['JobId']}", "TimeLimit=2")
        run.until(lambda: asked_to_stop(process), "SLURM to tell the job that its time is over")
    output = run.end()

    assert output.count("stopped by SIGTERM") == 2
    for seed in (1, 2):
        assert "resumed after epoch" in log_of(checkout, seed)
    costs = [json.loads(path.read_text()) for path in (checkout.path / "results/networks").rglob("*.cost.json")]
    assert [cost["resumed"] for cost in costs] == [True, True]
    assert different(checkout.artifacts(), trained.artifacts()) == []

    records = {job["JobId"]: job for job in slurm.jobs(checkout.path)}
    assert records[first["JobId"]]["JobState"] == "CANCELLED"
    # It saved its state and ended before the limit.
    assert records[second["JobId"]]["JobState"] == "FAILED"
    again = [job for job in slurm.jobs(checkout.path, JobState="COMPLETED") if rule_of(job) == "train"]
    # Twice the time that was asked for at first.
    assert [job["TimeLimit"] for job in (first, *again)] == ["04:00:00", "08:00:00", "08:00:00"]


def test_snakemake_killed_and_started_again_no_twin_writes_beside_another(slurm, options, trained, start, tmp_path):
    checkout = Checkout(tmp_path / "project", LONG)
    (network,) = trained.path.glob("results/networks/*/*/*/seeds1.safetensors")
    target = str(network.relative_to(trained.path))
    run = start(checkout, *options, "--", target)
    run.until(lambda: "epoch 1/" in log_of(checkout, 1), "the network in training")
    run.process.kill()
    run.process.wait()
    (orphan,) = slurm.alive(checkout.path)

    run = start(checkout, *options, "--", target)
    with held(slurm, orphan):
        run.until(lambda: "waiting: another process is at work on" in log_of(checkout, 1), "the twin to wait")
    run.end()
    records = {job["JobId"]: job for job in slurm.jobs(checkout.path) if rule_of(job) == "train"}
    orphan = records.pop(orphan["JobId"])
    (twin,) = records.values()
    # They were at work at the same time, and the second took what the first had made.
    assert twin["StartTime"] < orphan["EndTime"]
    assert {orphan["JobState"], twin["JobState"]} == {"COMPLETED"}
    log = log_of(checkout, 1)
    assert "the other process has made" in log and "epoch" not in log
    made = checkout.artifacts()
    assert different(made, {name: content for name, content in trained.artifacts().items() if name in made}) == []
    assert str(network.relative_to(trained.path / "results")) in made


def test_a_node_drained_and_resumed(slurm, options, finished, start, tmp_path):
    checkout = finished.copy(tmp_path / "project")
    for path in (checkout.path / "results/networks").rglob("seeds*"):
        path.unlink()
    run = start(checkout, *options, "networks")

    def states():
        return [job["JobState"] for job in slurm.jobs(checkout.path)]

    run.until(lambda: sorted(states()) == ["PENDING"] * 2 + ["RUNNING"] * 2, "two jobs run and two wait")
    slurm.tell("scontrol", "update", "NodeName=node0", "State=DRAIN", "Reason=test")
    run.until(lambda: "RUNNING" not in states() and "COMPLETING" not in states(), "the running jobs to end")
    # What ran has ended in peace, what waited waits.
    assert sorted(states()) == ["COMPLETED"] * 2 + ["PENDING"] * 2
    slurm.tell("scontrol", "update", "NodeName=node0", "State=RESUME")
    run.end()
    assert states() == ["COMPLETED"] * 4
    assert different(checkout.artifacts(), finished.artifacts()) == []
