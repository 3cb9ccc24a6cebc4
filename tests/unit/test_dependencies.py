"""Direct dependencies: each is used, and its licence is stated as the installed package states it."""

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
# Those that nobody imports -> the file that runs them, and the words by which it does.
RUN = {
    "mypy": ("Makefile", "mypy scripts"),
    "pandas-stubs": ("Makefile", "mypy scripts"),
    "pytest-cov": ("Makefile", "--cov-report"),
    "pytest-xdist": ("Makefile", "--numprocesses"),
    "ruff": ("Makefile", "ruff check"),
    "snakefmt": ("Makefile", "snakefmt --check"),
    "snakemake-executor-plugin-slurm": ("workflow/profiles/slurm/profile.v9+.yaml", "executor: slurm"),
    "uv": ("Makefile", "uv pip sync"),
}
# Not in the lock, so not installed.
OPTIONAL = {"pyautoattack"}


def direct():
    """The names of all direct dependencies, of every group."""
    groups = [DECLARED["dependencies"], *DECLARED["optional-dependencies"].values()]
    return sorted({re.match(r"[\w.-]+", line)[0].lower() for group in groups for line in group})


def names(nodes):
    """Top-level names that these nodes of a syntax tree import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def imported():
    """Top-level names that the project's Python and its rules import, at any level."""
    found = set()
    for folder in ("scripts", "tests"):
        for path in (PROJECT / folder).rglob("*.py"):
            found |= names(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    for path in [PROJECT / "workflow/Snakefile", *(PROJECT / "workflow/rules").glob("*.smk")]:
        found |= set(re.findall(r"^ *(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def modules_of(name):
    """The top-level modules of an installed distribution; its own name for one that need not be installed."""
    if name in OPTIONAL:
        return {name}
    return {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if name in {owner.lower() for owner in owners}
    }


def licence_of(name):
    """What the metadata of an installed distribution say: an expression, a short text, or a classifier."""
    metadata = importlib.metadata.metadata(name)
    if expression := metadata.get("License-Expression"):
        return expression
    text = metadata.get("License") or ""
    if text and len(text) < 40:
        return text
    (classifier,) = [line for line in metadata.get_all("Classifier") if line.startswith("License")]
    return classifier.rpartition(" :: ")[2]


def test_each_direct_dependency_is_imported_or_run():
    found = imported()
    assert {"torch", "snakemake"} <= found
    assert [name for name in direct() if name not in RUN and not modules_of(name) & found] == []
    assert RUN.keys() <= set(direct())
    for name, (file, words) in RUN.items():
        assert words in (PROJECT / file).read_text(encoding="utf-8"), name


def vulnerable(answer):
    """The vulnerabilities in the JSON of pip-audit, a line each; None if it could ask about no package."""
    asked = [package for package in json.loads(answer)["dependencies"] if "vulns" in package]
    found = [f"{p['name']} {p['version']}: {vulnerability['id']}" for p in asked for vulnerability in p["vulns"]]
    return found if asked else None


def test_no_locked_version_has_a_known_vulnerability():
    """Where pip-audit is installed and reaches a database; without one it ends as if all were well."""
    if not (program := shutil.which("pip-audit")):
        pytest.skip("pip-audit is not installed")
    options = ["--requirement", "envs/requirements.txt", "--require-hashes", "--disable-pip", "--format", "json"]
    done = subprocess.run([program, *options], cwd=PROJECT, capture_output=True, text=True)
    found = vulnerable(done.stdout) if done.stdout else None
    if found is None:
        pytest.skip("pip-audit reaches no database")
    assert found == []


def test_vulnerabilities_are_told_from_packages_that_could_not_be_asked_about():
    unknown = {"name": "a", "skip_reason": "not found"}
    clean, bad = (
        {"name": name, "version": "1.0", "vulns": [{"id": i} for i in ids]} for name, ids in (("b", []), ("c", "X"))
    )
    answers = ([unknown], [unknown, clean], [unknown, clean, bad])
    assert [vulnerable(json.dumps({"dependencies": given})) for given in answers] == [None, [], ["c 1.0: X"]]


# Run programs without a call, as the import of a module would, and print what Python has loaded.
LOADED = """
import runpy, sys
sys.path.insert(0, "scripts")
for program in sys.argv[1:]:
    runpy.run_path(f"scripts/{program}.py")
print(*(file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))), sep="\\n")
"""


@pytest.mark.parametrize("environment", ["figures", "torch"])
def test_a_conda_environment_holds_what_the_programs_of_its_rules_import(environment):
    rules = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "workflow/rules").glob("*.smk"))
    blocks = [block for block in rules.split("\nrule ") if f"envs/{environment}.yaml" in block]
    programs = {program for block in blocks for program in re.findall(r'(?:program|job_params)\("(\w+)"', block)}
    assert {"compare_paper", "draw", "check_shown"} <= programs or {"train", "align"} <= programs
    command = [sys.executable, "-c", LOADED, *sorted(programs)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in done.stdout.splitlines() if Path(line).is_relative_to(PROJECT / "scripts")}
    assert PROJECT / "scripts/modeconn/manifests.py" in loaded
    sources = loaded | {PROJECT / f"scripts/{program}.py" for program in programs}
    found = set().union(*(names(ast.parse(path.read_text(encoding="utf-8")).body) for path in sources))
    held = set(re.findall(r"- ([\w-]+)==", (PROJECT / f"envs/{environment}.yaml").read_text(encoding="utf-8")))
    assert {name for name in direct() if name not in RUN and modules_of(name) & found} <= held


def test_each_direct_dependency_has_its_licence_in_the_table():
    table = (PROJECT / "envs/README.md").read_text(encoding="utf-8").partition("## Licences")[2]
    rows = re.findall(r"^\| `([\w.-]+)` \| ([^|]+) \|", table, re.MULTILINE)
    stated = dict(rows)
    assert sorted(stated) == direct()
    assert len(rows) == len(stated)
    assert {name: text for name, text in stated.items() if name not in OPTIONAL} == {
        name: licence_of(name) for name in stated if name not in OPTIONAL
    }


@pytest.mark.parametrize("file", ["CITATION.cff", "pyproject.toml"])
def test_the_licence_is_the_same_everywhere(file):
    assert re.search(r'^license(?::| =) "?Apache-2.0"?$', (PROJECT / file).read_text(), re.MULTILINE)
    assert "Apache License" in (PROJECT / "LICENSE").read_text()
    assert f"version: {DECLARED['version']}\n" in (PROJECT / "CITATION.cff").read_text()
