"""Print the status of a config's run from another terminal: jobs done, running, failed and waiting, and time left."""

import argparse
import shlex

from modeconn import configuration, errors, progress
from modeconn.plan import Plan


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="YAML", help="what is run")
    arguments = parser.parse_args()
    plan = Plan(configuration.completed(arguments.config), configuration.schema())
    found = progress.status(plan)
    print("\n".join(progress.report(found)))
    if (found.waiting or found.failed) and not found.holder:
        print(f"  start    make reproduce CONFIG={shlex.quote(arguments.config)}")


if __name__ == "__main__":
    with errors.in_one_line():
        main()
