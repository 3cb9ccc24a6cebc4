"""Read a config as YAML, strictly, and print the name of its run.

Snakemake reads it again. It takes a key that stands twice for its last value, and says of a file that is no YAML not
which one, nor where.
"""

import argparse
from pathlib import Path

import yaml

from modeconn import mistakes


class Strict(yaml.SafeLoader):
    """YAML in which a key stands once."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read(path):
    """The config at `path`. Raises ValueError or OSError, one line, where it is absent or no mapping in YAML."""
    if not Path(path).is_file():
        raise ValueError(f"{path} is no file: give the path of a config, such as CONFIG=config/config.yaml")
    try:
        config = yaml.load(Path(path).read_text(), Strict)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark
        raise ValueError(f"{path}, line {place.line + 1}, column {place.column + 1}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is empty, or no mapping of keys to values: config/README.md explains them")
    return config


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the config")
    print(read(parser.parse_args().config).get("name"))


if __name__ == "__main__":
    with mistakes.in_one_line():
        main()
