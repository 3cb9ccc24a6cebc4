"""Studies with thousands of files."""

import copy

import pandas as pd

from modeconn import tables
from workflow.checkout import TINY, Checkout

PAIRS = 1400
# Linux's limit on one argument, and a shell command is one.
ARGUMENT_BYTES = 128 * 1024
# What the files that an option names hold: their header, and rows.
STUBS = {
    "--evaluations": (
        tables.EVALUATION,
        "digits,tinyten,standard,{pair},none,linear,0,0,test,none,1,0.9\n"
        "digits,tinyten,standard,{pair},none,linear,1,2,test,none,1,0.8\n",
    ),
    "--histories": (tables.HISTORY, ""),
    "--signatures": (tables.SIGNATURE, ""),
}


def test_tables_are_made_of_more_files_than_a_shell_command_can_name(tmp_path):
    config = copy.deepcopy(TINY)
    config["recipes"]["standard"]["population"] = 100
    config["studies"]["alignment"] = [
        {
            **TINY["studies"]["alignment"][0],
            "pairs": [[2 * number + 1, 2 * number + 2] for number in range(PAIRS)],
            "alignments": ["none"],
            "curves": ["linear"],
        },
    ]
    checkout = Checkout(tmp_path / "project", config)
    checkout.run("--cores", "1", "results/tiny/tables/measurements.txt")
    listed = (checkout.path / "results/tiny/tables/measurements.txt").read_text()
    assert len(listed) > ARGUMENT_BYTES

    for word in listed.splitlines():
        if word.startswith("--"):
            table, rows = STUBS[word]
            continue
        path = checkout.path / word
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(table.columns) + "\n" + rows.format(pair=path.parts[-4]))
    checkout.run("--cores", "1", "results/tiny/tables/pairs.csv", "--allowed-rules", "list_measurements", "make_tables")
    pairs = pd.read_csv(checkout.path / "results/tiny/tables/pairs.csv")
    assert len(pairs) == PAIRS
    assert set(pairs["minimum_accuracy"]) == {0.8}
