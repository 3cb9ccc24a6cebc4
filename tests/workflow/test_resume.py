"""Killed, stopped and started twice: a job ends with the bytes that it would have had in peace."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# What to make again, by the rule that makes it.
TARGETS = {
    "train": "results/networks/*/*/standard-*/seeds1.safetensors",
    "train (adversarially)": "results/networks/*/*/robust-*/seeds1.safetensors",
    "refine": "results/alignments/*/*/standard-*/1-2/pam_aligned-????????.safetensors",
    "fit_curve": "results/curves/*/*/standard-*/1-2/activation-*/bezier-*.safetensors",
    "evaluate_curve": "results/evaluations/*/*/standard-*/1-2/activation-*/bezier-*/evaluation-????????.csv",
    "evaluate_robustness": "results/evaluations/*/*/robust-*/1-2/none/bezier-*/evaluation-*-pgd-*.csv",
    "evaluate_plane": "results/planes/*/*/standard-*/1-2/activation-*/bezier-*/*.csv",
    "evaluate_activations": "results/activations/*/*/standard-*/1-2/activation-*/bezier-*/*.csv",
    "select_network": "results/best/*/*/robust-*/1-2/none/bezier-*/*.csv",
}


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("resume") / "project")


def command_of(checkout, target):
    """The command that Snakemake prints for a target, without its log: to be pasted by hand."""
    done = checkout.run("--dry-run", "--printshellcmds", "--force", "--", target)
    (command,) = re.findall(r"Shell command: (python scripts/.*?) > results/logs", done.stdout + done.stderr)
    return command


def start(checkout, command):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=checkout.path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process, words):
    """Read what a process says until a line holds `words`."""
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"{words!r} is not in: {''.join(said)}")


def one(checkout, pattern):
    (path,) = checkout.path.glob(pattern)
    return path


def outputs_beside(path):
    """Bytes of everything that the job of `path` makes."""
    return {
        other.name: other.read_bytes()
        for other in path.parent.iterdir()
        if other.name.startswith(path.stem) and not other.name.endswith((".cost.json", ".lock"))
    }


def leftovers(path):
    return [p.name for p in path.parent.iterdir() if p.name.startswith(".") or p.suffix in (".state", ".lock")]


@pytest.mark.parametrize("name", TARGETS)
def test_killed_at_random_moments(checkout, name):
    path = one(checkout, TARGETS[name])
    expected = outputs_beside(path)
    command = command_of(checkout, str(path.relative_to(checkout.path)))
    for file in expected:
        (path.parent / file).unlink()

    moments = random.Random(name)
    for _ in range(4):
        process = start(checkout, command)
        try:
            # Imports take about three seconds; the moments fall before, within and after the work.
            process.wait(timeout=moments.uniform(2.5, 5))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    process = start(checkout, command)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert outputs_beside(path) == expected
    assert leftovers(path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first(checkout, number):
    path = one(checkout, TARGETS["train (adversarially)"])
    expected = outputs_beside(path)
    command = command_of(checkout, str(path.relative_to(checkout.path)))
    # More epochs, so that it is surely still at work: another recipe, whose state lies beside.
    longer = command.replace('"epochs":1', '"epochs":50')
    assert longer != command
    process = start(checkout, longer)
    wait_for(process, "epoch 1/50")
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in output and "Traceback" not in output
    (state,) = path.parent.glob("seeds1.*.state")

    # The first recipe starts anew and says so; the other's state stays, and is taken up again.
    again = start(checkout, command)
    output, _ = again.communicate()
    assert again.returncode == 0 and "starting anew" in output and state.name in output
    assert outputs_beside(path) == expected | {state.name: state.read_bytes()}
    resumed = start(checkout, longer)
    wait_for(resumed, "resumed after epoch")
    resumed.kill()
    resumed.communicate()
    state.unlink()


def test_a_twin_waits_and_nothing_is_written_twice_at_once(checkout):
    path = one(checkout, TARGETS["train"])
    expected = outputs_beside(path)
    command = command_of(checkout, str(path.relative_to(checkout.path)))
    twins = [start(checkout, command) for _ in range(2)]
    outputs = [twin.communicate()[0] for twin in twins]
    assert [twin.returncode for twin in twins] == [0, 0]
    waited = ["waiting: another process is at work" in output for output in outputs]
    assert sum(waited) <= 1
    # What the other has made meanwhile is not made again.
    assert waited == ["the other process has made" in output for output in outputs]
    assert outputs_beside(path) == expected


def test_snakemake_killed_and_started_again(finished, tmp_path):
    """Its job lives on; the next run waits for it where it needs it, and ends with the same bytes."""
    checkout = finished.copy(tmp_path / "project")
    expected = checkout.artifacts()
    for path in (checkout.path / "results/networks").rglob("seeds1.*"):
        path.unlink()
    log = next((checkout.path / "results/logs/train").rglob("seeds1.log"))
    log.unlink()
    process = checkout.start("--cores", "1", "networks", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not log.exists():  # until its first job has started
        assert process.poll() is None
        os.sched_yield()
    process.kill()
    process.wait()
    checkout.run("--cores", "2")
    assert checkout.artifacts() == expected


def test_a_damaged_state_is_refused_by_name(checkout):
    path = one(checkout, TARGETS["train (adversarially)"])
    command = command_of(checkout, str(path.relative_to(checkout.path)))
    longer = command.replace('"epochs":1', '"epochs":50')
    process = start(checkout, longer)
    wait_for(process, "epoch 1/50")
    process.terminate()
    process.communicate()
    (state,) = path.parent.glob("seeds1.*.state")
    state.write_bytes(state.read_bytes()[:-7])
    again = start(checkout, longer)
    output, _ = again.communicate()
    assert again.returncode == 1
    assert (
        f"{state.relative_to(checkout.path)} is damaged" in output and "delete" in output and "Traceback" not in output
    )
    state.unlink()


def test_a_loss_that_is_not_finite_stops_at_once_and_the_next_try_too(checkout):
    path = one(checkout, TARGETS["train"])
    command = command_of(checkout, str(path.relative_to(checkout.path))).replace(
        '"learning_rate":0.1', '"learning_rate":1e30'
    )
    for _ in range(2):
        process = start(checkout, command)
        output, _ = process.communicate()
        assert process.returncode == 1
        assert "seed 1 is not finite in epoch 1, step" in output and "Traceback" not in output
    assert "as before" in output and "epoch 2" not in output
    (marker,) = path.parent.glob("*.failed")
    marker.unlink()
