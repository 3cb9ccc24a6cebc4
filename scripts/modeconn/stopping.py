"""Stop Snakemake: at SIGTERM once its jobs have saved their state, at Ctrl-C while it plans at once.

Its own handler (9.27) takes a lock in the main thread, which that thread may hold at the moment of the signal: then it
waits for itself for good. It also lets jobs run to their end, be that hours, where the signal was for Snakemake alone.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time

import psutil

# Seconds that Snakemake gets to end by itself once its jobs have.
GRACE = 20


def end_at_once() -> None:
    """From here on, until `go_on`, Ctrl-C ends Snakemake by one line: it would by a traceback, or go on to another end.

    For the main thread, while no job is under way. A shell that lets Snakemake ignore Ctrl-C is obeyed.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def go_on() -> None:
    """From here on Ctrl-C is Snakemake's again, which tells its jobs."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number, frame):
    signal.signal(number, signal.SIG_IGN)
    os.write(sys.__stderr__.fileno(), b"snakemake: stopped\n")
    # Locks are given back on the way out. Where Snakemake takes this for a mistake of the function that it meets, that
    # is not heard, and changes no exit code.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for stream in (sys.__stdout__, sys.__stderr__):
            os.dup2(nowhere.fileno(), stream.fileno())
    atexit.register(os._exit, 128 + number)
    raise SystemExit(128 + number)


def answer() -> None:
    """From here on SIGTERM is answered by a thread: the handler that is set now, then the jobs' stop, then the end.

    For the main thread, once Snakemake has set its handler.
    """
    handler = signal.getsignal(signal.SIGTERM)
    asked, asking = os.pipe()
    os.set_blocking(asking, False)
    # Nothing here waits for a lock.
    signal.signal(signal.SIGTERM, lambda *_: _ask(asking))
    threading.Thread(target=_stop, args=(asked, handler), daemon=True).start()


def _ask(asking):
    with contextlib.suppress(BlockingIOError):  # asked more than a thousand times
        os.write(asking, b".")


def _stop(asked, handler):
    """Wait to be asked, let `handler` know, and end what Snakemake has started; at last itself, if it does not."""
    os.read(asked, 1)
    if callable(handler):
        # Apart, since it may wait for a lock that is never given back.
        threading.Thread(target=handler, args=(signal.SIGTERM, None), daemon=True).start()
    told, alone_since = set(), None
    while True:
        jobs = _running()
        for job in jobs:
            if job.pid not in told:
                told.add(job.pid)
                with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                    job.terminate()
        now = time.monotonic()
        alone_since = None if jobs else alone_since or now
        if alone_since is not None and now > alone_since + GRACE:
            print(f"Snakemake is ended {GRACE} s after its jobs, since it waits: run it again", file=sys.stderr)
            sys.stderr.flush()
            os._exit(128 + signal.SIGTERM)
        time.sleep(0.1)


def _running():
    """Processes that this one has started, and theirs."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
