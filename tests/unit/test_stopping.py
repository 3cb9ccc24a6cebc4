"""Snakemake that deadlocks on its own lock at SIGTERM: its jobs are stopped, and then it ends."""

import signal
import subprocess
import sys

import psutil
import pytest

from modeconn import stopping

# As Snakemake's scheduler: the main thread holds a lock that the handler of SIGTERM takes.
SCHEDULER = f"""
import signal, subprocess, sys, threading
sys.path.insert(0, {str(stopping.__file__).rpartition("/modeconn")[0]!r})
from modeconn import stopping
lock, ended = threading.Lock(), threading.Event()
def handler(number, frame):
    with lock:
        ended.set()
signal.signal(signal.SIGTERM, handler)
stopping.GRACE = 0
stopping.answer()
job = subprocess.Popen([sys.executable, "-c", "import signal; print('ready', flush=True); signal.pause()"])
with lock:
    job.wait()
    # Its job has been told. A scheduler that hangs never gives the lock back.
    if sys.argv[1] == "hangs":
        signal.pause()
sys.exit(0 if ended.wait() else 1)
"""


@pytest.mark.parametrize(("way", "codes"), [("hangs", {143}), ("ends", {0, 143})])
def test_a_scheduler_that_holds_its_lock_ends_after_its_jobs(way, codes):
    process = subprocess.Popen([sys.executable, "-c", SCHEDULER, way], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    (job,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait() in codes
    assert not job.is_running()
