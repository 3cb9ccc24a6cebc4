"""Mode connectivity modulo permutation: pure functions on tensors.

No module of the project is imported here, so that a program loads only the modules that it names.
"""

import sys
from pathlib import Path


def _end(kind, error, trace):
    """Say what ended this program. Ctrl-C, while it imports too, is no mistake of ours that wants a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"{Path(sys.argv[0]).name}: stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# Of programs of this project only: Snakemake and pytest, which import it too, end as they like.
if Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parents[1]:
    sys.excepthook = _end
