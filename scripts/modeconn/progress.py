"""Progress of a config's run: which of its planned jobs are done, running, failed or waiting, and the time left.

Jobs are those of the plan. A job is done if its outputs and manifests say so, failed if Snakemake's log says so, and
running if it has begun its log since the run lock was taken. Imports neither torch nor Snakemake.
"""

import errno
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modeconn import cost, errors, files, manifests, run_lock
from modeconn.identity import canonical
from modeconn.plan import RESULTS, RULES, Job, Made, Plan

RECORDS = Path(".snakemake")
LOCK = RECORDS / "running"
PHASES = {
    "prepare_data": "data",
    **dict.fromkeys(["train", "prune", "train_masked"], "networks"),
    **dict.fromkeys(["align", "align_moments", "refine"], "alignments"),
    "fit_curve": "curves",
}
MEASURING = "measurements"
SHOWING = "tables, figures and report"
STOPPED = re.compile(r"\S+: stopped($| by SIG)")  # `resume` and `errors`: the same command goes on from there


class Status(NamedTuple):
    """The planned jobs by their state, and the time that those not done are expected to take.

    failed: job -> reason. seconds: expected for jobs whose kind has a finished job, divided by the number that run at
    once. unknown: number of jobs whose kind has none. holder: the run that holds the lock, or None.
    """

    done: list[Job]
    running: list[Job]
    failed: dict[Job, str]
    waiting: list[Job]
    seconds: float
    unknown: int
    holder: str | None

    @property
    def phase(self) -> str:
        """The phase of the run: the kind of the first running job, or else of the first that waits."""
        ahead = [*self.running, *self.waiting, *self.failed]
        return PHASES.get(ahead[0].rule, MEASURING) if ahead else SHOWING

    @property
    def line(self) -> str:
        """All of it in one line."""
        total = sum(map(len, (self.done, self.running, self.failed, self.waiting)))
        counts = {"running": len(self.running), "failed": len(self.failed), "waiting": len(self.waiting)}
        said = [f"{len(self.done)} of {total} jobs done", *(f"{n} {state}" for state, n in counts.items() if n)]
        if self.running or self.waiting:
            known = f"about {duration(self.seconds)}" if self.seconds else ""
            more = f"{self.unknown} jobs of unknown cost" if self.unknown else ""
            said += [f"{' and '.join(filter(None, [known, more]))} left"]
        return f"{self.phase}: {', '.join(said)}"


def duration(seconds: float) -> str:
    """ "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def status(plan: Plan) -> Status:
    """The `Status` of a plan in the working directory."""
    holder = run_lock.holder(LOCK)
    since = LOCK.stat().st_mtime if holder else float("inf")
    reasons = {log: reason(log) for _, log in failures(newest_log(0))}
    # Snakemake's log calls a job that was asked to stop, as by MINUTES, a failure too.
    reasons = {log: said for log, said in reasons.items() if not STOPPED.match(said)}
    done, running, waiting, failed = [], [], [], {}
    for job in plan.jobs:
        log = log_of(job)
        if is_done(plan, job):
            done.append(job)
        elif log in reasons:
            failed[job] = reasons[log]
        elif os.path.exists(log) and os.path.getmtime(log) >= since:
            running.append(job)
        else:
            waiting.append(job)
    costs = _costs(done)
    expected = [_expected(job, costs) for job in (*running, *waiting)]
    known = [seconds for seconds in expected if seconds is not None]
    left = sum(known) / max(len(running), 1)
    return Status(done, running, failed, waiting, left, len(expected) - len(known), holder)


def is_done(plan: Plan, job: Job) -> bool:
    """Whether all outputs of a job exist and were made from the plan's present values and source."""
    paths = [Made(job, output).path for output in RULES[job.rule].outputs]
    if not all(map(os.path.exists, paths)):
        return False
    try:
        made = json.loads(manifests.beside(paths[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wildcards = dict(job.wildcards)
    code = made.get("code")  # None if made by hand: such outputs count as done
    return code is None or (
        code == plan.code(job.rule, wildcards)
        and canonical(made.get("job")) == canonical(plan.job(job.rule, wildcards))
    )


def log_of(job: Job) -> str:
    """The path of a job's log."""
    place = RULES[job.rule].stem.partition("/")[2].format(**dict(job.wildcards))
    return f"{RESULTS}/logs/{job.rule}/{place}.log"


def last_line(log: str) -> str:
    """The last line of a log that is not empty; of a progress bar its last state."""
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def report(found: Status) -> Iterator[str]:
    """Lines for a terminal: the summary, running jobs with the last line of their logs, failures, waiting jobs."""
    yield f"{'a run is at work: ' + found.holder if found.holder else 'no run is at work'}"
    yield found.line
    for job in found.running:
        yield f"  running  {log_of(job)}"
        yield f"           {last_line(log_of(job)) or 'no line yet'}"
    for job, why in found.failed.items():
        yield f"  failed   {log_of(job)}"
        yield f"           {why}"
    counts = Counter(job.rule for job in found.waiting)
    if counts:
        yield "  waiting  " + ", ".join(f"{count} {rule}" for rule, count in counts.items())


def _kinds(job):
    """The kinds of a job that estimate its cost, the closest first: all its values but seeds, or its rule alone."""
    wildcards = dict(job.wildcards)
    alike = tuple(value for name, value in wildcards.items() if name not in ("block", "population"))
    return [(job.rule, *alike), (job.rule, *(wildcards.get(name) for name in ("dataset", "network"))), (job.rule,)]


def _costs(done):
    """Kind -> seconds of each of its finished jobs; of a resumed job only those since it was resumed."""
    costs = defaultdict(list)
    for job in done:
        row = cost.read(Made(job, next(iter(RULES[job.rule].outputs))).path)
        if row and not row.get("resumed"):
            for kind in _kinds(job):
                costs[kind].append(row["seconds"])
    return costs


def _expected(job, costs):
    """Seconds that a job is expected to take; None where no job of its kind has finished."""
    found = next((costs[kind] for kind in _kinds(job) if kind in costs), None)
    return sum(found) / len(found) if found else None


def failures(text: str) -> list[tuple[str, str]]:
    """(rule, log) of each failed job in the order of failure, from Snakemake's log."""
    found = re.findall(r"^Error in rule (\w+)[^\n]*\n((?:[ \t]+[^\n]*\n)+)", text, re.MULTILINE)
    logs = [(rule, re.search(r"^ *log: (.+?)(?: \(check log file.*)?$", block, re.MULTILINE)) for rule, block in found]
    return list(dict.fromkeys((rule, log[1]) for rule, log in logs if log))


def reason(log: str) -> str:
    """Why a job failed: the last line of its log; if there is none, a full disk or a kill."""
    if _is_file(log):
        try:
            lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError as error:
            return f"its log cannot be read: {errors.explained(error)}"
        if lines:
            full = os.strerror(errno.ENOSPC)
            return f"{lines[-1]}: {errors.ADVICE[errno.ENOSPC]}" if lines[-1].endswith(full) else lines[-1]
    folder = Path(log).parent
    if files.is_full(folder):
        return f"the disk of {folder} is full: {errors.ADVICE[errno.ENOSPC]}"
    return "it left no message: was it killed?"


def _is_file(path):
    try:
        return Path(path).is_file()
    except OSError:
        return False


def newest_log(since: float) -> str:
    """Snakemake's own log of the run that started at `since` (seconds since the epoch)."""
    logs = [path for path in (RECORDS / "log").glob("*.snakemake.log") if path.stat().st_mtime >= since - 1]
    return max(logs, key=lambda path: path.stat().st_mtime).read_text(encoding="utf-8") if logs else ""
