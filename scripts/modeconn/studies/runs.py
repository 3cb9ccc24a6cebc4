"""The tables that all studies share: training histories, and the environments of the artifacts."""

import pandas as pd

from modeconn import provenance, tables


def tabulate(measured: dict[str, list[str]]) -> dict[str, pd.DataFrame]:
    """Loss and accuracy against epoch of networks, curves and refinements, and the environments of artifacts."""
    return {
        "training": tables.joined(measured["histories"], tables.HISTORY),
        "environments": provenance.environments(measured["artifacts"]),
    }
