"""Explain why jobs would run: the number of jobs by rule and cause, and which source modules were edited.

Reads what `snakemake --dry-run --printshellcmds --quiet host` prints.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from modeconn import errors
from modeconn.text import aligned

# Snakemake's reason -> what it means here; the first that matches counts.
CAUSES = {
    "Missing output files": "not there yet",
    "Params have changed": "other values",
    "Input files updated by another job": "follows",
    "Code has changed": "its rule was edited, or Snakemake's record of it lost",
}
JOB = r"^Job \d+: .*\nReasons?:\s*(?P<reason>.*)\n(?:Shell command: .*> results/logs/(?P<rule>\w+)/.*)?"
MODULE = r"([\w.]+):([0-9a-f]{8})\b"


def edited(reason):
    """Modules whose hash in the job's params differs between then and now."""
    before, _, now = reason.partition(" now: ")
    changed = set(re.findall(MODULE, before)) ^ set(re.findall(MODULE, now))
    return sorted({module for module, _ in changed})


def cause(reason):
    if modules := edited(reason):
        return f"source of {', '.join(modules)}"
    return next((meaning for words, meaning in CAUSES.items() if words in reason), reason.partition(":")[0])


def rows(text):
    """[rule, number of jobs, cause] in the order of the plan; jobs that run no program are left out."""
    found = Counter((job["rule"], cause(job["reason"])) for job in re.finditer(JOB, text, re.MULTILINE) if job["rule"])
    return [[rule, str(count), why] for (rule, why), count in found.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--plan", required=True, metavar="FILE", help="the output of Snakemake")
    found = rows(Path(parser.parse_args().plan).read_text(encoding="utf-8"))
    print(aligned([["rule", "jobs", "why"], *found], left=3) if found else "Nothing to be done.")


if __name__ == "__main__":
    with errors.in_one_line():
        main()
