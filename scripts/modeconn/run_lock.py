"""A lock: only one Snakemake at a time runs in a folder. The kernel releases it when the process that holds it ends."""

import fcntl
import os
import platform
from datetime import datetime
from pathlib import Path

_held: list[int] = []


def hold(path):
    """Hold the lock at `path` until this process ends. Raises ValueError that says who holds it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        holder = path.read_text(encoding="utf-8").strip()
        raise ValueError(f"another run is at work in this folder ({holder}): let it end, or stop it") from None
    os.ftruncate(descriptor, 0)
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    os.write(descriptor, f"process {os.getpid()} on {platform.node()}, since {now}\n".encode())
    _held.append(descriptor)


def holder(path):
    """The holder of the lock at `path`, as `hold` has written it; None if it is not held."""
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return Path(path).read_text(encoding="utf-8").strip()
    return None
