"""Read a config as YAML, strictly, and print the name of its run.

Before Snakemake does, which says of a file that is no YAML not which one, nor where.
"""

import argparse

from modeconn import configuration, mistakes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the config")
    print(configuration.read(parser.parse_args().config).get("name"))


if __name__ == "__main__":
    with mistakes.in_one_line():
        main()
