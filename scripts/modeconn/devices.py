"""Assign each job a GPU of its own on a machine with several, by locks, without importing torch."""

import contextlib
import fcntl
import glob
import os
import tempfile
import time
from pathlib import Path

# Environment variable: how many jobs may share one GPU; the default profile multiplies by it too.
SLOTS = "GPU_SLOTS"
_held: list[int] = []  # descriptors of this process's locks, which are released when it ends


def present():
    """Names of the GPUs that this process may choose from: those that a scheduler or the user allows, or all."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    # CUDA numbers visible GPUs from 0, whatever their device files are called, as in a container with some of them.
    return [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def claim(names, slots=None, folder=None):
    """Lock one slot of the least used of `names` until this process ends, and hide all other GPUs from the process.

    slots: how many jobs share a GPU (default: the environment's GPU_SLOTS, or 1). folder: where the locks are
    (default: one a machine). A single name, for example chosen by a scheduler, is not locked.
    Waits, and says so, while all slots are taken. Returns the name.
    Raises ValueError where GPU_SLOTS is not a positive number.
    """
    chosen = names[0] if len(names) == 1 and "CUDA_VISIBLE_DEVICES" in os.environ else _lock(names, slots, folder)
    os.environ["CUDA_VISIBLE_DEVICES"] = chosen
    return chosen


def _lock(names, slots, folder):
    folder = Path(folder or Path(tempfile.gettempdir(), "modeconn-gpus"))
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)  # so that other users of the machine can lock too
    told = False
    while True:
        for slot in range(slots or _slots()):  # slot by slot: a GPU gets a second job only when each has one
            for name in names:
                descriptor = _open(folder / f"{name.replace('/', '-')}.{slot}")
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                _held.append(descriptor)
                return name
        if not told:
            print(f"waiting: the GPUs {', '.join(names)} are taken by other jobs", flush=True)
            told = True
        time.sleep(1)


def _open(path):
    """A descriptor to lock, opened for reading: the file may belong to another user, who alone may write it."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)


def _slots():
    text = os.environ.get(SLOTS, "1")
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{SLOTS}={text}: it is how many jobs may share a GPU, a number from 1")
    return int(text)
