"""Run Snakemake on a config, and print the summary or the reasons of failures: `make reproduce` and `make why`.

The config is read once and checked strictly, and Snakemake is given the checked values as JSON. Variables of the user's
shell that would change results or hide edits are removed (`environment`). On a signal, or when the time is up, jobs
save their state and Snakemake ends. After a failure the last lines on the screen say which jobs failed, why, and what
to do; after a whole run they are its summary.
"""

import argparse
import contextlib
import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from modeconn import configuration, errors, files, manifests, progress, stopping
from modeconn.figures import registry
from modeconn.identity import digest
from modeconn.plan import Plan
from modeconn.progress import RECORDS, failures, newest_log, reason
from modeconn.studies import STUDIES

# isort: split
import psutil  # after ours, which installs the handler of Ctrl-C

# The rules that make tables, verdicts and figures from measurements.
SHOWING = (
    *["list_measurements", *(f"tabulate_{study}" for study in STUDIES)],
    *["write_config", "compare_paper", "compare_targets", "judge_claims", "draw"],
)

# Seconds between two lines of progress: on a terminal, where the line is overwritten, and elsewhere.
OFTEN, SELDOM = 5, 300

# Prefixes of variables that are removed, with a line that names them: those that would change results, which the config
# decides, or how jobs run, which the profile decides, and those that make Python find or read other sources.
REMOVED = (
    *["SNAKEMAKE_", "PYTHONSAFEPATH", "PYTHONOPTIMIZE", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONWARNINGS"],
    *["MODECONN_", "OMP_", "GOMP_", "KMP_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "TORCH_", "PYTORCH_"],
)
# Text is read and written as UTF-8, and other programs' messages are in English, in which they are searched for.
SET = {"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
# All others are kept, such as CUDA_VISIBLE_DEVICES and GPU_SLOTS, which choose GPUs, and PYTHONPATH.


def environment(given: Mapping[str, str], cache: str | None = None) -> tuple[dict[str, str], list[str]]:
    """The variables that Snakemake and its jobs get, and the names of those that were removed.

    given: those of the user. cache: the folder of results that checkouts share, if there is one.
    """
    removed = sorted(name for name in given if name.startswith(REMOVED))
    kept = {name: value for name, value in given.items() if name not in removed}
    kept |= SET
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    if cache:
        kept["SNAKEMAKE_OUTPUT_CACHE"] = cache
    # Snakemake caches sources in the user's cache folder, and cannot start without one.
    home = kept.get("XDG_CACHE_HOME") or os.path.join(kept.get("HOME") or "/", ".cache")
    if not _can_be_written(Path(home)):
        kept["XDG_CACHE_HOME"] = str((RECORDS / "cache").absolute())
    return kept, removed


def _can_be_written(folder):
    """Whether files can be created in `folder`, which is created if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def checked(path: str) -> tuple[dict, Path]:
    """The complete config at `path`, and a JSON file of the values that were read.

    Raises ValueError, one line that names the file, for a mistake in it; OSError where this folder cannot be written.
    """
    values, config = configuration.read(path), configuration.completed(path)
    copy = RECORDS / "configs" / f"{Path(path).stem}-{digest(values)}.json"
    for folder in (RECORDS, copy.parent):
        if not _can_be_written(folder):
            raise OSError(f"{folder.absolute()} cannot be written: run in a checkout of your own")
    if not copy.exists():
        files.write_text(copy, json.dumps(values, indent=1) + "\n")
    return config, copy


class Run:
    """A running Snakemake and the processes that it started, in a session of their own."""

    def __init__(self, command: list[str], variables: dict[str, str], silent: bool = False, plan: Plan | None = None):
        """silent: its output is not shown. plan: of the jobs whose progress is shown, if any."""
        self.plan = plan
        self.line, self.drawn, self.drawn_at, self.held = "", "", time.monotonic(), b""
        self.stopping: str | None = None  # the reason, once it was asked to stop
        self.code = 1  # our exit code where it was stopped
        self.process = None
        # Handlers first: a signal between start and handlers would leave Snakemake running.
        self.handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        # On a terminal Snakemake's output goes above the line of progress.
        piped = plan is not None and not silent and sys.stderr.isatty()
        output = subprocess.DEVNULL if silent else subprocess.PIPE if piped else None
        error = subprocess.STDOUT if piped else output
        self.process = subprocess.Popen(
            command, env=variables, stdout=output, stderr=error, start_new_session=True, bufsize=0
        )
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), False)
        if self.stopping is not None:
            self._tell(signal.SIGTERM)

    def wait(self, seconds: float | None = None) -> int:
        """Wait until all its processes have ended, and return its exit code. After `seconds` it is asked to stop.

        Afterwards the previous signal handlers are back.
        """
        try:
            return self._wait(seconds)
        finally:
            for number, handler in self.handlers.items():
                signal.signal(number, handler)

    def _wait(self, seconds):
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        alone_since = None
        while self.process.poll() is None:
            now = time.monotonic()
            self._show(now)
            if seconds is not None and now > deadline and self.stopping is None:
                self.stop(f"after {seconds / 60:g} minutes")
            if self.stopping is not None:
                alone_since = None if self._others() else alone_since or now
                if alone_since is not None and now > alone_since + stopping.GRACE:
                    self.process.kill()
            time.sleep(0.1)
        while self._others():  # jobs that are still saving their state
            time.sleep(0.1)
        self.line = ""
        self._forward()
        return self.process.returncode

    def _show(self, now):
        """Pass on Snakemake's output, and print the line of progress from time to time."""
        if self.plan is not None and now > self.drawn_at + (OFTEN if self.process.stdout else SELDOM):
            self.drawn_at = now
            with contextlib.suppress(OSError, ValueError):  # files appear and disappear while they are read
                self.line = progress.status(self.plan).line
            if self.process.stdout is None:
                print(self.line, file=sys.stderr, flush=True)
        self._forward()

    def _forward(self):
        """On a terminal: whole lines of Snakemake above, the line of progress below them."""
        if self.process.stdout is None:
            return
        lines, newline, self.held = (self.held + (self.process.stdout.read() or b"")).rpartition(b"\n")
        if newline or self.line != self.drawn:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.buffer.write(b"\r\033[K" + lines + newline + self.line[:width].encode())
            sys.stderr.flush()
            self.drawn = self.line

    def stop(self, why: str) -> None:
        """Ask Snakemake and its jobs to stop, once: a second signal could meet Snakemake while it handles the first."""
        if self.stopping is None:
            self.stopping = why
            self._tell(signal.SIGTERM)

    def _tell(self, number):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # all processes have ended
                os.killpg(self.process.pid, number)

    def _on_signal(self, number, frame):
        if self.stopping is None:
            self.code = 128 + number
            self.stop(f"by {signal.Signals(number).name}")
        elif number == signal.SIGINT:  # a second signal, from an impatient user
            self._tell(signal.SIGKILL)

    def _others(self):
        """Whether any process that Snakemake has started is still running."""
        for process in psutil.process_iter(["status"]):
            with contextlib.suppress(OSError):  # the process has ended, or belongs to another user
                session = os.getsid(process.pid)
                if session == self.process.pid != process.pid and process.info["status"] != psutil.STATUS_ZOMBIE:
                    return True
        return False


def protected(text: str) -> str | None:
    """A message on write-protected results that have to be made again, from Snakemake's log; None if there are none."""
    pattern = r"^Write-protected output files[^\n]*\n(?: +\w+: [^\n]*\n)* +affected files:\n((?: +[^\n]+\n?)+)"
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        return None
    first, *others = (line.strip() for line in found[1].splitlines())
    more = f" and {len(others)} more" if others else ""
    return f"run_workflow.py: {first}{more} cannot be written: {errors.ADVICE[errno.EACCES]}"


def explain(failed: list[tuple[str, str]]) -> str:
    """The last lines after failures: each reason once, with its first job and log, and the number of its other jobs."""
    reasons: dict = {}
    for rule, log in failed:
        why = reason(log)
        # Messages of several programs about one file are one reason.
        what = re.sub(r"^\w+\.py: ", "", why)
        reasons.setdefault(what, []).append((rule, log, why))
    lines = [f"{len(failed)} job{'s' * (len(failed) > 1)} failed; all jobs that do not depend on them are done."]
    for jobs in reasons.values():
        (rule, log, why), *others = jobs
        more = f", and {len(others)} more" if others else ""
        lines += [f"  {rule}{more}: {why}", f"      log: {log}"]
    return "\n".join([*lines, "Fix the cause and run the same command again: it resumes from here."])


def is_whole(arguments: list[str]) -> bool:
    """Whether with these further arguments Snakemake really runs everything that the config asks for."""
    from snakemake.cli import get_argument_parser  # the import takes a second

    parser = get_argument_parser()
    given, plain = vars(parser.parse_args(arguments)), vars(parser.parse_args([]))
    partial = "targets|dryrun|until|omit|touch|unlock|lint|list|summary|dag|graph|report|archive|clean|delete"
    return all(value == plain[name] for name, value in given.items() if re.search(partial, name))


def show(config: dict, path: str) -> None:
    """Print the summary of the whole run of a complete config, read from `path`, and where the other results are.

    Raises ValueError where the summary does not match its manifest.
    """
    results = Path("results") / config["name"]
    shutil.rmtree(results / "partial", ignore_errors=True)
    if (summary := results / "summary.txt").is_file():
        print(f"\n{manifests.read_text(summary)}\n")
    if (results / "report.html").is_file():
        if Path(path) == Path("config/config.yaml"):
            link = Path("results/report.html")
            link.unlink(missing_ok=True)
            link.symlink_to(f"{config['name']}/report.html")
        print(f"Report   {results}/report.html\nTables   {results}/tables/\nFigures  {results}/figures/")
        drawn = {f"{path}.svg" for path in registry.of(config)}
        folder = results / "figures"
        old = sorted(str(path) for path in folder.rglob("*.svg") if str(path.relative_to(folder)) not in drawn)
        if old:
            print(f"         {len(old)} of them, such as {old[0]}, are of earlier settings: delete them as you like")


def show_whole(command: list[str], arguments: list[str], variables: dict[str, str], folder: Path) -> list[str]:
    """After jobs have failed, make the tables and figures that do not need them, in `folder`; returns lines on it.

    command: of Snakemake; arguments: its further ones. Nothing is measured, and no file of the whole run is changed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    targets = ["tables", "figures"]
    shown = [*command, *targets, "--allowed-rules", *targets, *SHOWING, *arguments]
    run = Run(shown, variables | {"MODECONN_PARTIAL": "1"}, silent=True)
    run.wait()
    summary = folder / "summary.txt"
    if not summary.is_file():
        return []
    first = manifests.read_text(summary).splitlines()[0]
    return [f"{first} Their tables and figures are in {folder}/ until a run is complete."]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="what to run")
    parser.add_argument("--profile", default="default", help="how to run: a folder of workflow/profiles")
    parser.add_argument("--minutes", default="", help="stop after so many, to go on later")
    parser.add_argument("--cache", default="", metavar="FOLDER", help="results that several checkouts share")
    parser.add_argument("arguments", nargs="*", help="further ones for Snakemake, behind --")
    given = parser.parse_args()
    config, copy = checked(given.config)
    seconds = _seconds(given.minutes)
    profiles = sorted(path.parent.name for path in Path("workflow/profiles").glob("*/profile*.yaml"))
    if given.profile not in profiles:
        raise ValueError(f"no profile {given.profile} in workflow/profiles, but {', '.join(profiles)}")
    variables, removed = environment(os.environ, given.cache and os.path.abspath(given.cache))
    if removed:
        print(f"left out of the run, from your environment: {', '.join(removed)}", file=sys.stderr)
    if given.cache:
        Path(given.cache).mkdir(parents=True, exist_ok=True)
        if not _can_be_written(Path(given.cache)):
            raise OSError(errno.EACCES, "the cache cannot be written", given.cache)

    command = [sys.executable, "-m", "snakemake", *(["--cache"] if given.cache else [])]
    command += ["--configfile", str(copy), "--workflow-profile", f"workflow/profiles/{given.profile}"]
    started = time.time()
    run = Run([*command, *given.arguments], variables, plan=Plan(config, configuration.schema()))
    code = run.wait(seconds)
    if run.stopping is not None:
        print(
            f"Stopped {run.stopping}, not yet done: long jobs have saved their state. Run the same command again to "
            "resume.",
            file=sys.stderr,
        )
        sys.exit(run.code)
    if code:
        log = newest_log(started)
        failed = failures(log)
        if not failed:
            sys.exit(protected(log) or 1)
        said = [explain(failed)]
        if is_whole(given.arguments) and any(rule not in (*SHOWING, "write_report") for rule, _ in failed):
            said += show_whole(command, given.arguments, variables, Path("results") / config["name"] / "partial")
        sys.exit("\n".join(said))
    if is_whole(given.arguments):
        show(config, given.config)


def _seconds(minutes):
    """The time limit of a run, None for no limit. Raises ValueError for anything but a number above 0."""
    if not minutes:
        return None
    try:
        seconds = 60 * float(minutes)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"MINUTES={minutes} is no number of minutes: write for example MINUTES=30")
    return seconds


if __name__ == "__main__":
    with errors.in_one_line():
        main()
