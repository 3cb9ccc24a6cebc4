"""Ctrl-C while Snakemake plans: one line, the exit code of an interrupted program, and no lock that stays."""

import signal
import subprocess
import sys

import pytest

from workflow.checkout import Checkout

COMMON = "workflow/rules/common.smk"
# A line that is read, or a function that is called, at some moment of planning; new lines go behind it.
MOMENTS = {
    "rules are read": ("workflow/rules/align.smk", "\n\nrule align:", ""),
    "records are restored": (COMMON, "made_by = {path: maker", "    "),
    "an input is asked for": (COMMON, '"""The tables that a figure is drawn from."""', "    "),
    "a resource is asked for": (COMMON, '"""Size of a job\'s data set in megabytes; 0 while', "    "),
    "a run begins": (COMMON, 'run_lock.hold(".snakemake/running")', "        "),
}


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "project")


def interrupted(checkout, moment, lines):
    """The checkout with Python `lines` that are run at a moment of planning."""
    name, beside, indent = MOMENTS[moment]
    text = (checkout.path / name).read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if beside.strip() in line]
    added = "\n".join(indent + word for word in ("import signal", *lines))
    documented = line.lstrip().startswith('"""')
    return checkout.edited(name, line, f"{line}\n{added}" if documented else f"{added}\n{line}")


def unlocked(checkout):
    """That nothing is left by which the next run could be refused."""
    assert not list((checkout.path / ".snakemake/locks").glob("*"))
    assert "train" in checkout.planned("networks")


@pytest.mark.parametrize("moment", MOMENTS)
def test_snakemake_ends_at_once(checkout, moment):
    """Also where Snakemake takes what is raised for a mistake of the function, and where it holds its own lock."""
    how = ["--workflow-profile", "none"] if moment == "a run begins" else ["--dry-run"]
    with interrupted(checkout, moment, ["signal.raise_signal(signal.SIGINT)"]):
        done = checkout.snakemake("--cores", "1", *how)
    assert done.returncode == 128 + signal.SIGINT, done.stdout + done.stderr
    assert done.stderr.endswith("\nsnakemake: stopped\n")
    assert "Traceback" not in done.stderr and "KeyboardInterrupt" not in done.stderr
    unlocked(checkout)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_ends_with_snakemake(checkout, moment):
    """The terminal asks the program that has started Snakemake, which answers for both."""
    asks = [
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})",
        # The answer may come before Snakemake waits for it, so that `signal.pause` could wait for ever.
        "told, answer = [], signal.getsignal(signal.SIGTERM)",
        "if callable(answer): signal.signal(signal.SIGTERM, lambda *of: (told.append(of), answer(*of)))",
        "os.kill(os.getppid(), signal.SIGINT)",
        "while not told: os.sched_yield()",
    ]
    command = [sys.executable, "scripts/run_workflow.py", "--config", "tiny.yaml", "--", "--cores", "1"]
    command += [] if moment == "a run begins" else ["--dry-run"]
    with interrupted(checkout, moment, asks):
        done = subprocess.run(command, cwd=checkout.path, env=checkout.environment, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT, done.stdout + done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("Stopped by SIGINT, not yet done") and last.endswith("to resume.")
    assert "Traceback" not in done.stderr and "KeyboardInterrupt" not in done.stderr
    unlocked(checkout)
