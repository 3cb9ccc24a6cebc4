"""Stop Snakemake: on SIGTERM after its jobs have saved their state, on Ctrl-C during planning at once.

Snakemake's own handler (9.27) acquires a lock in the main thread. If that thread holds the lock when the signal comes,
it deadlocks. The handler also lets jobs run to their end, which may take hours, if only Snakemake got the signal.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time

import psutil

# Seconds in which Snakemake may end by itself after its jobs have ended.
GRACE = 20


def end_at_once() -> None:
    """Until `go_on`, let Ctrl-C end Snakemake with one line; its own handler prints a traceback or goes on.

    Call it in the main thread while no job is running. If the shell started Snakemake with Ctrl-C ignored, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def go_on() -> None:
    """Give Ctrl-C back to Snakemake, which passes it on to its jobs."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number, frame):
    signal.signal(number, signal.SIG_IGN)
    os.write(sys.__stderr__.fileno(), b"snakemake: stopped\n")
    # SystemExit releases Snakemake's locks. Where Snakemake reports it as an error of the function that it meets, that
    # report is not shown, and the exit code stays.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for stream in (sys.__stdout__, sys.__stderr__):
            os.dup2(nowhere.fileno(), stream.fileno())
    atexit.register(os._exit, 128 + number)
    raise SystemExit(128 + number)


def answer() -> None:
    """Answer SIGTERM in a thread: call the handler that is set now, stop the jobs, and end Snakemake.

    Call it in the main thread, after Snakemake has set its handler.
    """
    handler = signal.getsignal(signal.SIGTERM)
    asked, asking = os.pipe()
    os.set_blocking(asking, False)
    # Nothing here acquires a lock.
    signal.signal(signal.SIGTERM, lambda *_: _ask(asking))
    threading.Thread(target=_stop, args=(asked, handler), daemon=True).start()


def _ask(asking):
    with contextlib.suppress(BlockingIOError):  # asked more than a thousand times
        os.write(asking, b".")


def _stop(asked, handler):
    """Wait for the signal, call `handler`, and stop Snakemake's jobs; then kill Snakemake itself if it does not end."""
    os.read(asked, 1)
    if callable(handler):
        # In a thread of its own, since it may deadlock.
        threading.Thread(target=handler, args=(signal.SIGTERM, None), daemon=True).start()
    told, alone_since = set(), None
    while True:
        jobs = _running()
        for job in jobs:
            if job.pid not in told:
                told.add(job.pid)
                with contextlib.suppress(psutil.Error):  # the process has ended
                    job.terminate()
        now = time.monotonic()
        alone_since = None if jobs else alone_since or now
        if alone_since is not None and now > alone_since + GRACE:
            # In one piece, newline included: the program that started Snakemake writes to the same place next.
            line = f"Snakemake is ended {GRACE} s after its jobs, since it waits: run it again\n"
            os.write(sys.__stderr__.fileno(), line.encode())
            os._exit(128 + signal.SIGTERM)
        time.sleep(0.1)


def _running():
    """All descendants of this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
