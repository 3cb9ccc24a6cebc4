"""End a program with one line and no traceback on a user's mistake or an error of the operating system."""

import contextlib
import errno
import signal
import sys
from pathlib import Path

# What to do, by the number of the operating system's error.
ADVICE = {
    errno.ENOSPC: "free some space, and run the same command again",
    errno.EDQUOT: "your share of the disk is full: free some of it, and run the same command again",
    errno.EACCES: "allow it (chmod, chown), or run as its owner",
}


@contextlib.contextmanager
def in_one_line():
    """Within this context ValueError and OSError end the program with one line that names it, and exit code 1.

    These are users' mistakes and errors of the operating system; other exceptions are bugs and keep their traceback.
    Ctrl-C ends the program too.
    """
    name = Path(sys.argv[0]).name
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"{name}: {explained(error)}")
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def explained(error: Exception) -> str:
    """The message of `error`, with advice where the operating system's error is in `ADVICE`."""
    advice = ADVICE.get(getattr(error, "errno", None) or 0)
    return f"{error}: {advice}" if advice else str(error)
