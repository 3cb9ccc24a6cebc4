"""How programs that compute nothing on networks end at a mistake; those that do have it from `programs`."""

import contextlib
import sys
from pathlib import Path


@contextlib.contextmanager
def in_one_line():
    """Within this context ValueError and OSError end the program with one line that names it, and exit code 1.

    A user's mistake, and whatever the machine refuses: a traceback is left for our own mistakes.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
