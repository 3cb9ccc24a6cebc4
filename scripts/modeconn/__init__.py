"""Mode connectivity modulo permutation: pure functions on tensors.

No module of the project is imported here, so that a program loads only the modules that it names; what the package
offers (`interface`) is imported when it is first asked for.
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
    """Say what ended this program. Ctrl-C, while it imports too, is no mistake of ours that wants a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"{Path(sys.argv[0]).name}: stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# Of programs of this project only: Snakemake and pytest, which import it too, end as they like.
if Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parents[1]:
    sys.excepthook = _end
