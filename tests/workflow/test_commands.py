"""Every command in the documents: run as it stands where that is cheap, planned where it computes, else listed here."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from snakemake.cli import get_argument_parser

import run_workflow
from modeconn import configuration
from workflow.checkout import PROJECT, Checkout

FOLDERS = ("config", "envs", "results", "scripts", "tests", "workflow")
PAGES = sorted(PROJECT.glob("*.md")) + sorted(page for folder in FOLDERS for page in (PROJECT / folder).rglob("*.md"))
# What a command in the text begins with; a name alone, such as `make`, is none.
COMMAND = re.compile(
    r"`((?:[A-Z_]+=\S+ )*(?:make|python|pip|snakemake|snakedeploy|pre-commit|apt-get|git|uv|modeconn) [^`]+"
    r"|\.(?:venv|ci)/[^`]+)`"
)
# Cheap commands, and a word of what they print.
RUN = {
    "make help": "make reproduce",
    "make status": "",
    "make why": "evaluate_curve",
    "make cost": "passes",
    "make cost CONFIG=...": "passes",
    "python scripts/train.py --help": "usage: train.py",
}
# What cannot be run here: the test that runs the same program, and by which words, or why there is none.
ELSEWHERE = {
    "make connect A=a.pt B=b.pt NETWORK=my_network.py:build DATA=my_images": (
        "tests/unit/test_connecting.py",
        "--data",
    ),
    ".venv/bin/python config/examples/own_network.py results/example": (
        "tests/unit/test_connecting.py",
        "config/examples/own_network.py",
    ),
    "make connect A=results/example/a.pt B=results/example/b.pt"
    " NETWORK=config/examples/own_network.py:build DATA=config/examples/own_network.py:data": (
        "tests/unit/test_connecting.py",
        "config/examples/own_network.py",
    ),
    "make connect": ("tests/unit/test_connecting.py", "--data"),
    "modeconn connect --help": ("tests/unit/test_connecting.py", "--data"),
    "modeconn connect": ("tests/unit/test_connecting.py", "--data"),
    "modeconn connect --symmetry scale": ("tests/unit/test_connecting.py", "--symmetry"),
    "modeconn connect --symmetry orthogonal": ("tests/unit/test_connecting.py", "--symmetry"),
    "make archive CONFIG=...": ("tests/workflow/test_archive.py", "scripts/archive.py"),
    "make archive": ("tests/workflow/test_archive.py", "scripts/archive.py"),
    "make bench": ("tests/unit/test_benchmarks.py", "run"),
    "snakemake --cores all --resources gpu=0": ("tests/workflow/test_module.py", '"--resources", "gpu=0"'),
    "snakedeploy deploy-workflow <address of the repository> . --tag <version>": (
        "tests/workflow/test_module.py",
        "As snakedeploy writes it",
    ),
    "python tests/write_reference.py": ("tests/unit/test_write_reference.py", "page()"),
    "make lint": (".ci/run", "make lint"),
    "make test": (".ci/run", "make test"),
    "make test-cluster": (".ci/run", "make test-cluster"),
    ".venv/bin/python -m pytest tests/unit/test_curves.py": ("tests/unit/test_curves.py", "def test_"),
}
NOT_RUN = {
    "python tests/benchmarks/weights.py --widths 1 4": "matches whole networks for minutes",
    "python tests/benchmarks/populations.py": "trains fifty networks one after another, for minutes",
    "python tests/benchmarks/populations.py --rates --widths 8 32 128 512": "measures products for a minute",
    ".ci/run": "it runs these tests",
    "make lock": "asks a package index",
    "make clean": "removes the environment that the tests run in",
    "pip install .": "asks a package index",
    "pip install '.[images]'": "asks a package index",
    "modeconn connect a.pt b.pt --network ... --data ...": "stands for the user's own files",
    "pip install 'pyautoattack>=0.2'": "asks a package index",
    "apt-get install slurm-wlm munge": "asks a package index",
    "pre-commit install": "changes the hooks of the checkout that is tested",
    "python tests/benchmarks/account.py": "reads the costs of a whole run, on an idle machine",
    "python tests/benchmarks/stop.py": "stops 150 trainings, which takes minutes",
}


def commands():
    """Each command of the documents: a line of a `console` block without its comment, or a code span in the text."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            found |= {re.sub(r"\s+#.*", "", line) for line in block.splitlines()}
        found |= set(COMMAND.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    return sorted(found)


def computes(command):
    return re.match(r"(?:\w+=\S+ )*make reproduce\b", command) is not None


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout where the commands of the documents can be given: its configs, its Makefile and the environment."""
    checkout = Checkout(tmp_path_factory.mktemp("project"))
    shutil.copy(PROJECT / "Makefile", checkout.path)
    shutil.copy(checkout.path / "config/config.yaml", checkout.path / "config/my.yaml")
    (checkout.path / ".venv/bin").mkdir(parents=True)
    python = checkout.path / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    shutil.copy(PROJECT / "envs/requirements.txt", checkout.path / ".venv/installed")
    return checkout


def shell(checkout, command):
    """Give a command in the checkout, where `...` stands for a config of one's own; returns what it printed."""
    command = command.replace("CONFIG=...", "CONFIG=tiny.yaml")
    # As from a user's shell, also where these tests are run by make.
    variables = {name: value for name, value in checkout.environment.items() if not name.startswith(("MAKE", "MFLAGS"))}
    variables["PATH"] = f"{checkout.path / '.venv/bin'}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", command], cwd=checkout.path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_command_of_the_documents_is_run_or_planned_or_listed():
    found = commands()
    assert {"make reproduce", "make test", "make status", "make reproduce ARGS=-n"} <= set(found)
    listed = RUN.keys() | ELSEWHERE.keys() | NOT_RUN.keys()
    assert [command for command in found if command not in listed and not computes(command)] == []
    assert listed - set(found) == set(), "no document has these any more"


@pytest.mark.parametrize("command", RUN)
def test_a_cheap_command_succeeds_as_it_stands(command, checkout):
    assert RUN[command] in shell(checkout, command)


@pytest.mark.parametrize("command", [command for command in commands() if computes(command)])
def test_a_command_that_computes_is_understood_as_it_stands(command, checkout):
    """What make would start has a config that can be read, a profile, and arguments and targets that Snakemake knows.

    That each config of the project can be planned is in `test_configs`.
    """
    planned = shell(checkout, command.replace("make ", "make --dry-run ")).splitlines()[-1]
    program, given = planned.partition(" --config ")[0], shlex.split(planned)
    assert program == "python scripts/run_workflow.py"
    options = dict(itertools.pairwise(given[2:]))
    config = checkout.path / options["--config"]
    configuration.completed(str(config))
    assert list((checkout.path / "workflow/profiles" / options["--profile"]).glob("profile*.yaml"))
    assert run_workflow._seconds(options["--minutes"]) != 0
    arguments = get_argument_parser().parse_args(given[given.index("--") + 1 :])
    rules = re.findall(r"^rule (\w+):", (PROJECT / "workflow/Snakefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*arguments.targets} <= {*rules}


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_cannot_be_run_here_is_tested_elsewhere(command):
    file, words = ELSEWHERE[command]
    assert words in (PROJECT / file).read_text(encoding="utf-8")


def test_the_help_lists_every_target_of_the_documents(checkout):
    said = shell(checkout, "make help")
    for target in {*re.findall(r"\bmake ([a-z-]+)", " ".join(commands()))}:
        assert f"make {target} " in said


def test_what_a_listed_command_names_is_there():
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for command in (*ELSEWHERE, *NOT_RUN):
        assert {*re.findall(r"\bmake ([a-z-]+)", command)} <= {*targets}, command
        for place in re.findall(r"(?<!\S)((?:tests|scripts|\.ci)/\S+)", command):
            assert (PROJECT / place).is_file(), place
