"""Stop trainings by SIGTERM, again and again, at other moments: how long until everything has ended, and what hangs.

Three ways in turn: the signal to scripts/run_workflow.py, as `make reproduce` is stopped; twice to the process group of
a Snakemake without it; and to such a Snakemake alone. Each stop goes on from the state that the one before has saved.
Prints seconds from the signal to the end, and ends with an error where one took longer than LIMIT, or left a lock that
the next run meets.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from workflow.checkout import TINY, Checkout

LIMIT = 60  # seconds
WAYS = ("run_workflow", "group", "alone")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=50, metavar="N", help="of each kind (default: 50)")
    arguments = parser.parse_args()
    config = TINY | {"recipes": {**TINY["recipes"], "standard": {"epochs": 10**5}}}
    config["studies"] = {"alignment": TINY["studies"]["alignment"][:1]}
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder) / "project", config)
        for way in WAYS:
            taken = [stop(checkout, way, rng.uniform(0, 1)) for _ in range(arguments.stops)]
            hung = sum(seconds is None for seconds in taken)
            ended = sorted(seconds for seconds in taken if seconds is not None)
            middle = statistics.median(ended) if ended else float("nan")
            longest = ended[-1] if ended else float("nan")
            print(
                f"{way}: {len(taken)} stops, {hung} hung; seconds median {middle:.2f}, longest {longest:.2f}",
                flush=True,
            )
            if hung:
                sys.exit(f"{hung} of {len(taken)} stops took longer than {LIMIT} s")


def stop(checkout, way, delay):
    """Start a run, stop it `delay` seconds after a training is at work; seconds until all has ended, None if not."""
    for log in (checkout.path / "results/logs/train").rglob("*.log"):
        log.unlink()
    command = [sys.executable, "scripts/run_workflow.py", "--config", "tiny.yaml", "--", "--cores", "2", "networks"]
    command = command if way == "run_workflow" else checkout.command("--cores", "2", "networks")
    with open(checkout.path / "said.txt", "w") as said:
        run = subprocess.Popen(
            command, cwd=checkout.path, env=checkout.environment, stdout=said, stderr=said, start_new_session=True
        )
    while not any("epoch" in log.read_text() for log in (checkout.path / "results/logs/train").rglob("*.log")):
        if run.poll() is not None:
            sys.exit((checkout.path / "said.txt").read_text())
        time.sleep(0.05)
    time.sleep(delay)
    started = psutil.Process(run.pid).children(recursive=True)
    since = time.monotonic()
    for _ in range(2 if way == "group" else 1):
        os.killpg(run.pid, signal.SIGTERM) if way == "group" else run.send_signal(signal.SIGTERM)
    while time.monotonic() - since < LIMIT:
        run.poll()
        if run.returncode is not None and not any(map(psutil.Process.is_running, started)):
            return time.monotonic() - since
        time.sleep(0.02)
    for process in [*started, psutil.Process(run.pid)]:
        if process.is_running():
            process.kill()
    run.wait()
    return None


if __name__ == "__main__":
    main()
