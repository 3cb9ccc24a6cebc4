"""Checkpoints of long jobs: a state file beside the output, from which a stopped job resumes with the same bits.

The state file is named by a hash of everything that decides the result, so that the state of another
recipe, source or input is never resumed from, and undoing an edit resumes the old state. It is written atomically,
and removed when the output is complete.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path

from modeconn import artifacts, files
from modeconn.identity import digest


class Stopped(Exception):
    """The process was asked to stop, and has saved its state."""


class Hopeless(ValueError):
    """The job cannot succeed by a retry: its recipe has to change."""


class State:
    """The checkpoint of one job. Used as a context, it holds the job's lock and handles SIGTERM and SIGINT.

    output: the job's main output; identity: everything that decides it (JSON values).
    On entering, a line says whether the job resumes, starts anew beside another recipe's state, or
    waits for another process that works on the same output.
    """

    # Saving may take this share of the time: saves are rare where they take long.
    SHARE = 0.02

    def __init__(self, output, identity):
        self.output = Path(output)
        self.path = self.output.with_suffix(f".{digest(identity)}.state")
        self.failure = self.path.with_suffix(".failed")
        self.resumed = False
        self.signal = None
        self._handlers = {}

    def __enter__(self):
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self.waited = _locked(self.output.with_suffix(".lock"))
        self._saved = time.monotonic()
        self._cost = 0.0
        for temporary in self.output.parent.glob(f".{self.output.stem}.*"):
            temporary.unlink()  # temporary file of a killed run: nobody else writes while we hold the lock
        if self.failure.exists():
            self._unlock()
            reason = self.failure.read_text(encoding="utf-8").strip()
            raise ValueError(f"{reason} (as before: {self.failure})")
        others = [path for path in self.output.parent.glob(f"{self.output.stem}.*.state") if path != self.path]
        if others and not self.path.exists():
            print(f"starting anew: {others[0]} is of another recipe, source or input and stays as it is", flush=True)
        return self

    def __exit__(self, kind, error, trace):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is None:
            self.path.unlink(missing_ok=True)
        self._unlock()

    def _unlock(self):
        self.output.with_suffix(".lock").unlink(missing_ok=True)
        os.close(self._lock)

    def load(self, device="cpu"):
        """(tensors, facts) of the last save, or None. Raises ValueError for a damaged file.

        From here on SIGTERM and SIGINT are handled by `offer`; a job without a checkpoint ends at once.
        """
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        if not self.path.exists():
            return None
        try:
            tensors, metadata = artifacts.load(self.path, device)
        except ValueError as error:
            raise ValueError(f"{error}, or put back a copy of it: work since the start is lost without") from None
        self.resumed = True
        return tensors, json.loads(metadata["facts"])

    def offer(self, snapshot):
        """Save `snapshot()`, (tensors, facts), if it is time for it, and stop if the process was asked to.

        Raises Stopped after saving.
        """
        started = time.monotonic()
        if self.signal is None and started - self._saved < self._cost / self.SHARE:
            return
        tensors, facts = snapshot()
        # As text, since keys of metadata are sorted, and the order of a row's keys is that of the table's columns.
        artifacts.save(self.path, tensors, {"rule": "that was interrupted", "facts": json.dumps(facts)})
        self._saved = time.monotonic()
        self._cost = self._saved - started
        self.answer()

    def answer(self):
        """Raise Stopped if the process was asked to stop: for work that saves no state, after work that did."""
        if self.signal is not None:
            raise Stopped(f"stopped by {self.signal.name}; {self.path} is kept, and the same command resumes from it")

    def fail(self, message):
        """Record for the next attempt that this recipe cannot succeed."""
        files.write_text(self.failure, message + "\n")

    def _note(self, number, frame):
        self.signal = signal.Signals(number)


def _locked(path):
    """(a file descriptor that holds the exclusive lock on `path`, whether another process had it).

    Waits, and says so, while another process has it.
    """
    waited = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting: another process is at work on {path.with_suffix('')}", flush=True)
            waited = True
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The previous holder removes the file: the locked file may be deleted or replaced by now.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor, waited
        os.close(descriptor)
