"""A job that is killed, stopped or started twice gives the bytes of an undisturbed one."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import preloaded
from modeconn import artifacts, manifests

# What to make again, by the rule that makes it.
TARGETS = {
    "train": "results/networks/*/*/standard-*/seeds1.safetensors",
    "train (adversarially)": "results/networks/*/*/robust-*/seeds1.safetensors",
    "refine": "results/alignments/*/*/standard-*/1-2/pam_aligned-????????.safetensors",
    "fit_curve": "results/curves/*/*/standard-*/1-2/activation-*/bezier-*.safetensors",
    "evaluate_curve": "results/evaluations/*/*/standard-*/1-2/activation-*/bezier-*/evaluation-????????-none.csv",
    "evaluate_curve (under attack)": "results/evaluations/*/*/robust-*/1-2/none/bezier-*/evaluation-*-pgd-*.csv",
    "evaluate_averages": "results/averages/*/*/*/1-2-3/none/*.csv",
    "evaluate_plane": "results/planes/*/*/standard-*/1-2/activation-*/bezier-*/plane-????????.csv",
    "evaluate_activations": "results/activations/*/*/standard-*/1-2/activation-*/bezier-*/*.csv",
    "select_network": "results/best/*/*/robust-*/1-2/none/bezier-*/*.csv",
}

# Runs a program that sends itself a signal just before the n-th time that it changes a file whose path matches.
# What a killed process leaves behind changes at these moments alone, so that there are no others to kill it at; and
# they do not depend on how fast the machine is.
SIGNALLED = """
import os, re, runpy, sys

_, number, pattern, left, *sys.argv = sys.argv
left = int(left)


def watch(event, arguments):
    global left
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) and not isinstance(arguments[0], int)
    if (writes or event in ("os.rename", "os.remove")) and re.search(pattern, os.path.abspath(arguments[0])):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), int(number))


sys.addaudithook(watch)
sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Paths of files that a job changes: all, and those that it is there to make.
ANY, MADE = "/results/", r"/results/.*\.(safetensors|csv|json)"


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("resume") / "project")


@pytest.fixture(scope="module")
def command_of(checkout):
    """Target -> the command that Snakemake prints for it, without its log: to be pasted by hand."""
    done = checkout.run("--dry-run", "--printshellcmds", "--forceall")
    check = r"(?:python scripts/check_network\.py .*\n\s*)?"  # which a training waits for
    found = re.findall(rf"Shell command: {check}(python scripts/.*?) >>? results/logs", done.stdout + done.stderr)
    return {command.partition(" --output ")[2].split()[0]: command for command in found if " --output " in command}.get


@pytest.fixture
def signalled(tmp_path):
    """(command, signal, pattern, n) -> the command, which sends itself the signal before the n-th such change."""
    program = tmp_path / "signalled.py"
    program.write_text(SIGNALLED)

    def signalled(command, number, pattern, n):
        python, rest = command.split(maxsplit=1)
        return f"{python} {shlex.join([str(program), str(int(number)), pattern, str(n)])} {rest}"

    return signalled


def start(checkout, command, python=None):
    """Start a command as a job does, by the preloaded Python where none is given."""
    folder = Path(python or preloaded.python()).parent
    return subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=checkout.path,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
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
def test_killed_at_random_moments(checkout, command_of, name, signalled):
    path = one(checkout, TARGETS[name])
    expected = outputs_beside(path)
    command = command_of(str(path.relative_to(checkout.path)))
    for file in expected:
        (path.parent / file).unlink()

    between = random.Random(name).randint
    # The fourth change puts a job's state in place: one moment before that, two while it works or ends, and one while
    # what it makes is put in place. The last two changes remove state and lock: none gets so far.
    for pattern, n in ((ANY, between(1, 4)), (ANY, between(5, 10)), (ANY, between(5, 10)), (MADE, between(1, 8))):
        process = start(checkout, signalled(command, signal.SIGKILL, pattern, n))
        output, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, output
    process = start(checkout, command)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert json.loads(path.with_suffix(".cost.json").read_text())["resumed"]
    assert outputs_beside(path) == expected
    assert leftovers(path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first(checkout, command_of, number, signalled):
    path = one(checkout, TARGETS["train (adversarially)"])
    expected = outputs_beside(path)
    command = command_of(str(path.relative_to(checkout.path)))
    # Another recipe, whose state lies beside.
    longer = command.replace('"epochs":1', '"epochs":50')
    assert longer != command
    # Just before the fourth change, which puts the state of the first step in place.
    process = start(checkout, signalled(longer, number, ANY, 4))
    output, _ = process.communicate()
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in output and "Traceback" not in output
    (state,) = path.parent.glob("seeds1.*.state")

    # The first recipe starts anew and says so; the other's state stays, and is taken up again.
    again = start(checkout, command)
    output, _ = again.communicate()
    assert again.returncode == 0 and "starting anew" in output and state.name in output
    assert outputs_beside(path) == expected | {state.name: state.read_bytes()}
    resumed = start(checkout, longer, sys.executable)
    wait_for(resumed, "resumed after epoch")
    resumed.kill()
    resumed.communicate()
    state.unlink()


def test_the_state_of_a_measurement_is_of_the_networks_that_it_measured(checkout, command_of, signalled):
    """Networks made anew under the same name, by other source say: half of the old measurement must not be kept."""
    # The straight line between the networks as they are: bends and permutations are of the networks that they were
    # made from, and refused for others.
    path = one(checkout, "results/evaluations/*/*/standard-*/1-2/none/linear-*/evaluation-????????-none.csv")
    expected = outputs_beside(path)
    command = command_of(str(path.relative_to(checkout.path)))
    stopped = start(checkout, signalled(command, signal.SIGTERM, ANY, 4))
    stopped.communicate()
    assert stopped.returncode == 128 + signal.SIGTERM
    (state,) = path.parent.glob("*.state")

    networks = one(checkout, TARGETS["train"])
    before = {file: file.read_bytes() for file in (networks, manifests.beside(networks))}
    made = manifests.find(networks)
    tensors, metadata = artifacts.load(networks)
    artifacts.save(networks, {name: 2 * tensor for name, tensor in tensors.items()}, metadata)
    outputs = [networks.parent / Path(place).name for place in made.pop("files")]
    manifests.write(manifests.beside(networks), outputs, made)
    again = start(checkout, command)
    output, _ = again.communicate()
    assert again.returncode == 0 and "starting anew" in output, output
    assert not json.loads(path.with_suffix(".cost.json").read_text())["resumed"]
    assert outputs_beside(path).items() - expected.items()

    for file, content in before.items():
        file.write_bytes(content)
    resumed = start(checkout, command)
    output, _ = resumed.communicate()
    assert resumed.returncode == 0, output
    assert json.loads(path.with_suffix(".cost.json").read_text())["resumed"]
    assert outputs_beside(path) == expected and not state.exists()


def test_a_twin_waits_and_nothing_is_written_twice_at_once(checkout, command_of, signalled):
    path = one(checkout, TARGETS["train"])
    expected = outputs_beside(path)
    command = command_of(str(path.relative_to(checkout.path)))
    first = start(checkout, signalled(command, signal.SIGSTOP, ANY, 5), sys.executable)
    # It stands still in the midst of its work, and has not ended.
    found = os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert found.si_code == os.CLD_STOPPED
    second = start(checkout, command)
    try:
        wait_for(second, "waiting: another process is at work")
    finally:
        first.send_signal(signal.SIGCONT)
    outputs = [twin.communicate()[0] for twin in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    # What the first has made meanwhile is not made again.
    assert ["the other process has made" in output for output in outputs] == [False, True]
    assert ["epoch 2/2" in output for output in outputs] == [True, False]
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
    checkout.run("--cores", "2", "networks")
    assert checkout.artifacts() == expected


def test_a_damaged_state_is_refused_by_name(checkout, command_of, signalled):
    path = one(checkout, TARGETS["train (adversarially)"])
    command = command_of(str(path.relative_to(checkout.path)))
    start(checkout, signalled(command, signal.SIGTERM, ANY, 4)).communicate()
    (state,) = path.parent.glob("seeds1.*.state")
    state.write_bytes(state.read_bytes()[:-7])
    again = start(checkout, command)
    output, _ = again.communicate()
    assert again.returncode == 1
    assert (
        f"{state.relative_to(checkout.path)} is damaged" in output and "delete" in output and "Traceback" not in output
    )
    state.unlink()


def test_a_loss_that_is_not_finite_stops_at_once_and_the_next_try_too(checkout, command_of):
    path = one(checkout, TARGETS["train"])
    command = command_of(str(path.relative_to(checkout.path))).replace('"learning_rate":0.1', '"learning_rate":1e30')
    for _ in range(2):
        process = start(checkout, command)
        output, _ = process.communicate()
        assert process.returncode == 1
        assert "seed 1 is not finite in epoch 1, step" in output and "Traceback" not in output
    assert "as before" in output and "epoch 2" not in output
    (marker,) = path.parent.glob("*.failed")
    marker.unlink()
