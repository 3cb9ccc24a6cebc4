"""Write the cost of a job (seconds, memory, device) to a file beside its output, which no rule reads."""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from modeconn import files

STARTED = time.monotonic()


def write(output, device="cpu", **more):
    """Write the cost of this process beside `output`: seconds, memory, device, date, host, commit of the source."""
    row = {
        "program": Path(sys.argv[0]).stem,
        "seconds": round(time.monotonic() - STARTED, 2),
        "cpu_seconds": round(time.process_time(), 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "device": device,
        **more,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "commit": _commit(),
    }
    files.write_text(_path(output), json.dumps(row, indent=1) + "\n")


def read(output):
    """The cost that `write` has written beside `output`; empty where it has not."""
    path = _path(output)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() and Path(output).exists() else {}


def _path(output):
    return Path(output).with_suffix(".cost.json")


def _commit():
    """The commit of the source, marked where files differ from it; None outside version control."""
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    return found.stdout.strip() or None
