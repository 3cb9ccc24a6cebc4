"""Time and memory of Snakemake on generated configs of 100 to 10,000 jobs, by what it does: `make bench`.

Ends with an error where a limit is exceeded. Limits are on what the clock shows: run it on a machine that does nothing
else. Processor time, printed beside it, is what growth is fitted to.
"""

import copy
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from modeconn.fingerprint import fingerprint
from workflow.checkout import PROJECT, TINY, Checkout

SIZES = (100, 300, 1000, 3000, 10000)
FINISHED = 1000
# To plan is what one does after each edit, on a laptop. With rules that do nothing Snakemake itself takes 13 s, 275 MB.
DRY_RUN_SECONDS = 30
DRY_RUN_MB = 500
# `make reproduce` when nothing is to be done.
NO_OP_SECONDS = 8
# All source is read and hashed once a plan.
FINGERPRINT_SECONDS = 1

# A pair of seeds is 2 trainings, 3 alignments, 4 curve fits and 8 evaluations; the study is 12 jobs more.
JOBS_A_PAIR, JOBS_A_STUDY = 17, 12

# In place of every program: writes whatever it was told to write, the file's name as its content. Snakemake notices
# nothing, so what it records is what it records of real jobs.
STUB = 'python() { for word; do [[ $word == results/* && ! -e $word ]] && echo "$word" > "$word"; done; true; }\n'


def study(jobs):
    """A config of about so many jobs: the standard networks of tests/workflow/tiny.yaml, with many pairs."""
    config = copy.deepcopy(TINY)
    pairs = round((jobs - JOBS_A_STUDY) / JOBS_A_PAIR)
    first = config["studies"]["alignment"][0]
    config["studies"]["alignment"] = [first | {"pairs": [[2 * i + 1, 2 * i + 2] for i in range(pairs)]}]
    return config


def measure(checkout, *arguments, **environment):
    """Run Snakemake: its output, seconds by the clock, seconds of processor time, peak megabytes."""
    log = checkout.path / "output.txt"
    started = time.perf_counter()
    # wait4 says what this one process has used, and those that it has waited for.
    with log.open("w") as out:
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)]
        command = ["env", "-C", checkout.path, *checkout.command(*arguments)]
        child = os.posix_spawnp("env", command, checkout.environment | environment, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    text = log.read_text()
    if status:
        sys.exit(f"scale.py: snakemake {' '.join(arguments)} failed:\n{text[-2000:]}")
    return text, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def row(what, jobs, seconds, processor, megabytes):
    print(f"{what:24}{jobs:7,}{seconds:9.1f} s{processor:9.1f} s{megabytes:8.0f} MB", flush=True)


def dry_runs(folder):
    """Plan studies of all sizes; returns seconds by the clock and megabytes of the largest."""
    jobs, times = [], []
    for size in SIZES:
        checkout = Checkout(folder / f"dry{size}", study(size))
        text, seconds, processor, megabytes = measure(checkout, "--dry-run", "--quiet", "rules")
        jobs.append(int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1]))
        times.append(processor)
        row("dry run", jobs[-1], seconds, processor, megabytes)
    for low, high in ((0, 3), (2, 5)):
        exponent, _ = np.polyfit(np.log(jobs[low:high]), np.log(times[low:high]), 1)
        print(f"  from {jobs[low]:,} to {jobs[high - 1]:,} jobs time grows as jobs^{exponent:.2f}")
    return seconds, megabytes


def finished_runs(folder):
    """Run a study with stubs for programs, then its report, then nothing; returns seconds by the clock of the last."""
    checkout = Checkout(folder / "finished", study(FINISHED))
    (folder / "stub.bash").write_text(STUB)
    stubs = {"BASH_ENV": str(folder / "stub.bash")}
    text, *cost = measure(checkout, "--", "tables", "figures", **stubs)
    jobs = int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1])
    row("run, programs are stubs", jobs, *cost)
    _, *cost = measure(checkout, **stubs)
    row("its report", jobs, *cost)
    text, *cost = measure(checkout)
    if "Nothing to be done" not in text:
        sys.exit(f"scale.py: a second run has something to do:\n{text[-2000:]}")
    row("nothing to be done", jobs, *cost)
    return cost[0]


def fingerprints():
    """Seconds for the fingerprints of all programs, none of whose source has been read before."""
    programs = [path.stem for path in (PROJECT / "scripts").glob("*.py")]
    started = time.perf_counter()
    for program in programs:
        fingerprint(program)
    seconds = time.perf_counter() - started
    print(f"fingerprints of {len(programs)} programs: {seconds:.2f} s\n")
    return seconds


def main():
    hashed = fingerprints()
    print(f"{'Snakemake':24}{'jobs':>7}{'clock':>11}{'processor':>11}{'memory':>11}")
    with tempfile.TemporaryDirectory() as folder:
        seconds, megabytes = dry_runs(Path(folder))
        no_op = finished_runs(Path(folder))
    limits = {
        "fingerprints of all programs, seconds": (hashed, FINGERPRINT_SECONDS),
        f"dry run of {SIZES[-1]:,} jobs, seconds": (seconds, DRY_RUN_SECONDS),
        f"dry run of {SIZES[-1]:,} jobs, MB": (megabytes, DRY_RUN_MB),
        f"nothing to be done of {FINISHED:,} jobs, seconds": (no_op, NO_OP_SECONDS),
    }
    exceeded = [f"{what}: {value:.1f}, at most {most}" for what, (value, most) in limits.items() if value > most]
    if exceeded:
        sys.exit("scale.py: " + "; ".join(exceeded))


if __name__ == "__main__":
    main()
