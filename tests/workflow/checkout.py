"""A checkout of the project in a folder of its own, and Snakemake run in it as a user would."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import yaml

import preloaded

PROJECT = Path(__file__).resolve().parents[2]
PARTS = ("config", "envs", "scripts", "workflow", "pyproject.toml")
TINY = yaml.safe_load((PROJECT / "tests/workflow/tiny.yaml").read_text())
# Jobs that draw the figures of the tiny config.
FIGURES = {"draw": 39}


class Checkout:
    """The sources of the project, copied to `path`; the config is `path/tiny.yaml`."""

    def __init__(self, path, config=TINY):
        self.path = Path(path)
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source = PROJECT / part
            if source.is_dir():
                shutil.copytree(source, self.path / part, ignore=ignore)
            else:
                shutil.copy2(source, self.path / part)
        self.write_config(config)

    def write_config(self, config):
        (self.path / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def copy(self, path):
        """Another checkout with everything in it, results and Snakemake's records too."""
        shutil.copytree(self.path, path, symlinks=True)
        return Checkout.at(path)

    @classmethod
    def at(cls, path):
        """The checkout that is at `path` already."""
        checkout = object.__new__(cls)
        checkout.path = Path(path)
        return checkout

    @property
    def environment(self):
        """This process's, but that Snakemake keeps here what it caches."""
        return os.environ | {"XDG_CACHE_HOME": str(self.path / ".cache")}

    def command(self, *arguments, python=sys.executable):
        config = ["--configfile", "tiny.yaml"]
        return [python, "-m", "snakemake", *config, *arguments]

    def snakemake(self, *arguments, python=None, env=MappingProxyType({})):
        """Run Snakemake here, and its jobs, and return the finished process, its output as text.

        python: the preloaded one where none is given.
        """
        command, environment = self.command(*arguments, python=python or preloaded.python()), self.environment | env
        return subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True)

    def start(self, *arguments, **options):
        """Start Snakemake here, by real Python, and return the process; options are those of Popen."""
        return subprocess.Popen(self.command(*arguments), cwd=self.path, env=self.environment, **options)

    def run(self, *arguments, python=None):
        """As `snakemake`; fails with its output unless it succeeds."""
        done = self.snakemake(*arguments, python=python)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def planned(self, *arguments):
        """Rule -> number of jobs that a run would do now."""
        done = self.run("--dry-run", *arguments)
        return jobs_in(done.stdout + done.stderr)

    @contextlib.contextmanager
    def edited(self, name, old, new):
        """The file `name` with `old` replaced by `new`, put back afterwards, times and all."""
        path = self.path / name
        before, times = path.read_text(), path.stat()
        assert before.count(old) == 1, f"{name} holds {old!r} {before.count(old)} times"
        path.write_text(before.replace(old, new))
        try:
            yield self
        finally:
            path.write_text(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    @contextlib.contextmanager
    def configured(self, change):
        """The config changed by `change(config)`, put back afterwards."""
        path = self.path / "tiny.yaml"
        before = path.read_text()
        config = yaml.safe_load(before)
        change(config)
        self.write_config(config)
        try:
            yield self
        finally:
            path.write_text(before)

    def files(self):
        """Relative path -> bytes of everything but records, caches and logs, which every run may add to."""
        left_out = {".snakemake", ".cache", "__pycache__", "logs"}
        names = {path.relative_to(self.path): path for path in self.path.rglob("*") if path.is_file()}
        return {str(name): path.read_bytes() for name, path in names.items() if not left_out & set(name.parts)}

    def artifacts(self):
        """Relative path -> bytes of everything that has to be reproducible: not logs, costs and the report."""
        results = self.path / "results"
        return {
            str(path.relative_to(results)): path.read_bytes()
            for path in sorted(results.rglob("*"))
            if path.is_file() and "logs" not in path.parts and not path.name.endswith((".cost.json", "report.html"))
        }


def jobs_in(plan):
    """Rule -> number of jobs, of the output of a dry run."""
    rows = re.findall(r"^(\w+) +(\d+)$", plan.rpartition("Job stats:")[2], re.MULTILINE)
    counts = {rule: int(number) for rule, number in rows if rule != "total"}
    assert counts or "Nothing to be done" in plan, plan
    return counts
