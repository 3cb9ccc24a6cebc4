"""The peak memory of a piece of work, as Linux counts it."""

import ctypes
import gc
from pathlib import Path


def peak_mb(kernel):
    """Megabytes that `kernel` takes at most, besides what was there before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is what it is now
    before = _status("VmRSS")
    kernel()
    return _status("VmHWM") - before


def _status(field):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
