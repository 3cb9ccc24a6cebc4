"""Mode connectivity modulo permutation: pure functions on tensors.

No module of the project is imported here, so that a program loads only the modules that it names. The public interface
(`interface`) is imported on first use.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.interface import Curve, apply, barrier, connect, discover, match, merge, verify

__all__ = ["Curve", "apply", "barrier", "connect", "discover", "match", "merge", "verify"]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("modeconn.interface"), name)


def _end(kind, error, trace):
    """Handle an uncaught exception. Ctrl-C, also during imports, ends the program without a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"{Path(sys.argv[0]).name}: stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# Only for programs of this project: Snakemake and pytest, which import it too, keep their own handlers.
if Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parents[1]:
    sys.excepthook = _end
