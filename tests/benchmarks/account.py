"""How the time of a run is spent, by program: python tests/benchmarks/account.py [FOLDER] --cores 2.

Reads what Snakemake has recorded of each job (its start and end) and the cost row that each program leaves. Useful is
what a program does once it has been imported; start is what is left of its job. Jobs without a program of ours
(templates, the report) have no start. The rest of cores × wall clock is scheduling, and cores without work.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "folder", nargs="?", type=Path, default=Path(), help="where make reproduce was run, from a clean start"
)
parser.add_argument("--cores", type=int, default=2, help="cores of the run (default: 2)")


def jobs(folder):
    """A row for each job: program, when it started and ended, seconds that its program worked by its cost row."""
    found = {}
    for path in (folder / ".snakemake/metadata").iterdir():
        record = json.loads(path.read_text())
        found[record["rule"], *record["log"]] = record  # each output of a job has one, with the same log
    rows = []
    for (rule, *_), record in found.items():
        program = "make_tables" if rule.startswith("tabulate_") else rule
        row = {"program": rule, "started": record["starttime"], "ended": record["endtime"]}
        costs = [
            Path(word).with_suffix(".cost.json")
            for word in (record["shellcmd"] or "").replace("'", "").split()
            if word.startswith("results/") and word.endswith((".safetensors", ".csv", ".svg"))
        ]
        costs = [folder / cost for cost in costs if (folder / cost).exists()]
        own = [cost for path in costs if (cost := json.loads(path.read_text()))["program"] == program]
        row["worked"] = own[0]["seconds"] if own else None
        rows.append(row)
    return pd.DataFrame(rows)


def main():
    arguments = parser.parse_args()
    table = jobs(arguments.folder)
    seconds = table.ended - table.started
    table["useful"] = table.worked.fillna(seconds)
    table["start"] = seconds - table.useful
    wall = table.ended.max() - table.started.min()
    grouped = table.groupby("program").agg(jobs=("start", "size"), useful=("useful", "sum"), start=("start", "sum"))
    print(grouped.sort_values("useful", ascending=False).round(1).to_string())
    available = wall * arguments.cores
    useful, start = grouped.useful.sum(), grouped.start.sum()
    print(f"\n{wall:.0f} s on {arguments.cores} cores, {available:.0f} core-seconds:")
    print(
        f"useful {useful / available:.0%}, start of programs {start / available:.0%}, "
        f"scheduling and waiting {1 - (useful + start) / available:.0%}"
    )


if __name__ == "__main__":
    main()
