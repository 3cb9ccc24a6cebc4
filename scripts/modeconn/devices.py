"""Give each job a GPU of its own on a machine with several, by locks, without importing torch."""

import contextlib
import fcntl
import glob
import os
import tempfile
import time
from pathlib import Path

# How many jobs may share one GPU; the default profile multiplies by it too.
SLOTS = "GPU_SLOTS"
_held: list[int] = []  # descriptors of the locks of this process, which end with it


def present():
    """Names of the GPUs that this process may choose from: those that a scheduler or the user has left it, or all."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    # CUDA counts those that it sees from 0, whatever their files are called, as in a container that was given some.
    return [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def claim(names, slots=None, folder=None):
    """Take one slot of the least used of `names` until this process ends, and show the process no other GPU.

    slots: how many jobs share a GPU (default: the environment's GPU_SLOTS, or 1). folder: where the locks are
    (default: one a machine). A single name is another's choice, a scheduler's say, and is not locked.
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
        folder.chmod(0o1777)  # other users of the machine take turns with us
    told = False
    while True:
        for slot in range(slots or _slots()):  # slot by slot: a second job on a GPU only when each has one
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
    """A descriptor to lock, for reading: the file may be another user's, who alone could create or write it."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)


def _slots():
    text = os.environ.get(SLOTS, "1")
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{SLOTS}={text}: it is how many jobs may share a GPU, a number from 1")
    return int(text)
