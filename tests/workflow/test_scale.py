"""Studies with thousands of files."""

import copy

import pandas as pd
from safetensors.numpy import save

from modeconn import manifests, tables
from workflow.checkout import TINY, Checkout

PAIRS = 1400
# Linux's limit on one argument, and a shell command is one.
ARGUMENT_BYTES = 128 * 1024
EVALUATION = """\
digits,tinyten,standard,{pair},none,linear,0,0,test,none,1,0.9
digits,tinyten,standard,{pair},none,linear,1,2,test,none,1,0.8
"""


def stub(option, path):
    """The bytes of a measurement that nobody took, or of an artifact that nobody made."""
    if option == "--artifacts":
        return save({}, metadata={"modeconn": '{"rule":"stub"}'})
    table = {"--evaluations": tables.EVALUATION, "--histories": tables.HISTORY}[option]
    rows = EVALUATION.format(pair=path.parts[-4]) if option == "--evaluations" else ""
    return (",".join(table.columns) + "\n" + rows).encode()


def test_tables_are_made_of_more_files_than_a_shell_command_can_name(tmp_path):
    config = copy.deepcopy(TINY)
    config["recipes"]["standard"]["population"] = 100
    entry = {
        **TINY["studies"]["alignment"][0],
        "pairs": [[2 * number + 1, 2 * number + 2] for number in range(PAIRS)],
        "alignments": ["none"],
        "curves": ["linear"],
    }
    config["studies"] = {"alignment": [entry]}
    checkout = Checkout(tmp_path / "project", config)
    checkout.run("--cores", "1", "results/tiny/tables/measurements-alignment.txt")
    listed = (checkout.path / "results/tiny/tables/measurements-alignment.txt").read_text()
    assert len(listed) > ARGUMENT_BYTES

    made = {}  # manifest -> the files that it names
    for word in listed.splitlines():
        if word.startswith("--"):
            option = word
            continue
        path = checkout.path / word
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stub(option, path))
        made.setdefault(manifests.beside(path), []).append(path)
    for manifest, paths in made.items():
        manifests.write(manifest, paths, {"rule": "stub", "job": {}})
    checkout.run(
        "--cores", "1", "results/tiny/tables/pairs.csv", "--allowed-rules", "list_measurements", "tabulate_alignment"
    )
    pairs = pd.read_csv(checkout.path / "results/tiny/tables/pairs.csv")
    assert len(pairs) == PAIRS
    assert set(pairs["minimum_accuracy"]) == {0.8}
