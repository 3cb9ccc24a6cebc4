"""Whether two results folders hold the same numbers: the guard of every change that must not change results.

Run the same config from both sources on the same machine, then compare: tensors of artifacts bit by bit, tables byte by
byte. Files are matched by their place; what is in one folder alone is listed.
"""

import argparse
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("before", type=Path, help="a results folder")
parser.add_argument("after", type=Path, help="the other one")
parser.add_argument(
    "--rename", nargs=2, action="append", default=[], metavar=("REGEX", "NEW"), help="of places in the first folder"
)


def places(folder, renames=()):
    """Place in a results folder, renamed -> path, of artifacts and tables."""
    found = {}
    for path in sorted([*folder.rglob("*.safetensors"), *folder.glob("*/tables/*.csv")]):
        place = str(path.relative_to(folder))
        for pattern, new in renames:
            place = re.sub(pattern, new, place)
        found[place] = path
    return found


def same(one, other):
    """Whether two files hold the same numbers. A pair's permutation may be written for its second network alone."""
    if one.suffix == ".csv":
        return one.read_bytes() == other.read_bytes()
    a, b = load_file(one), load_file(other)
    if a.keys() != b.keys():
        return False
    return all(torch.equal(a[name], b[name] if a[name].shape == b[name].shape else b[name][-1]) for name in a)


def main():
    arguments = parser.parse_args()
    before, after = places(arguments.before, arguments.rename), places(arguments.after)
    both = sorted(before.keys() & after.keys())
    different = [place for place in both if not same(before[place], after[place])]
    for place in different:
        print(f"different: {place}")
    for name, alone in (("before", before.keys() - after.keys()), ("after", after.keys() - before.keys())):
        for place in sorted(alone):
            print(f"only {name}: {place}")
    print(f"{len(both) - len(different)} of {len(both)} files hold the same numbers")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
