"""How Snakemake ends when it is told to by SIGTERM: its jobs save their state, and then it ends, whatever it waits for.

Its own handler (9.27) takes a lock in the main thread, which that thread may hold at the moment of the signal: then it
waits for itself for good. It also lets jobs run to their end, be that hours, where the signal was for Snakemake alone.
"""

import contextlib
import os
import signal
import sys
import threading
import time

import psutil

# Seconds that Snakemake gets to end by itself once its jobs have.
GRACE = 20


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
