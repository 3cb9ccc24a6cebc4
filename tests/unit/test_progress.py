"""The progress of a run, from outputs, manifests, costs, logs and the run lock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeconn import configuration, progress, run_lock
from modeconn.identity import canonical
from modeconn.plan import RULES, Job, Made, Plan

PROJECT = Path(__file__).parents[2]
TINY = PROJECT / "tests/workflow/tiny.yaml"
FAILED = """Error in rule align:
    jobid: 3
    log: {log} (check log file(s) for error details)
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Plan(configuration.completed(str(TINY)), configuration.schema())


def finish(plan, job, seconds):
    """Leave what a finished job leaves: outputs, a manifest of what it was made from, and its cost."""
    outputs = [Path(Made(job, output).path) for output in RULES[job.rule].outputs]
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    wildcards = dict(job.wildcards)
    made = {"job": plan.job(job.rule, wildcards), "code": plan.code(job.rule, wildcards)}
    outputs[0].with_suffix(".manifest.json").write_text(canonical(made))
    outputs[0].with_suffix(".cost.json").write_text(json.dumps({"seconds": seconds, "resumed": False}))


def write_log(job, text):
    path = Path(progress.log_of(job))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def of(plan, rule):
    return [job for job in plan.jobs if job.rule == rule]


def test_nothing_is_done_in_an_empty_folder(plan):
    found = progress.status(plan)
    assert found.waiting == list(plan.jobs) and found.holder is None
    assert found.line.startswith(f"data: 0 of {len(plan.jobs)} jobs done, {len(plan.jobs)} waiting, ")
    assert found.unknown == len(plan.jobs)


def test_each_job_is_in_one_state_and_the_time_left_is_that_of_its_kind(plan, monkeypatch):
    (data,), (first, second, *_), (match, *_) = (of(plan, rule) for rule in ("prepare_data", "train", "align"))
    finish(plan, data, 1)
    finish(plan, first, 30)
    Path(".snakemake/log").mkdir(parents=True)
    monkeypatch.setattr(run_lock, "_held", [])
    run_lock.hold(".snakemake/running")
    write_log(second, "epoch 1/2\nepoch 2/2, 4 s left\n")
    write_log(match, "align.py: no\n")
    Path(".snakemake/log/1.snakemake.log").write_text(FAILED.format(log=progress.log_of(match)))
    found = progress.status(plan)
    for descriptor in run_lock._held:
        os.close(descriptor)
    assert (found.done, found.running, found.failed) == ([data, first], [second], {match: "align.py: no"})
    assert len(found.waiting) == len(plan.jobs) - 4
    trainings = len(of(plan, "train")) - 1
    assert found.seconds == 30 * trainings
    assert found.unknown == len(plan.jobs) - 3 - trainings
    assert found.line.startswith(f"networks: 2 of {len(plan.jobs)} jobs done, 1 running, 1 failed, ")
    said = "\n".join(progress.report(found))
    assert f"process {os.getpid()}" in said and "epoch 2/2, 4 s left" in said and "align.py: no" in said
    # Without the lock nobody is at work.
    assert second in progress.status(plan).waiting


@pytest.mark.parametrize("said", ["train.py: stopped", "train.py: stopped by SIGTERM; x.state is kept, go on"])
def test_a_job_that_was_asked_to_stop_waits_and_has_not_failed(plan, said):
    job, *_ = of(plan, "train")
    Path(".snakemake/log").mkdir(parents=True)
    Path(".snakemake/log/1.snakemake.log").write_text(FAILED.format(log=progress.log_of(job)))
    write_log(job, f"epoch 1/2\n{said}\n")
    assert job in progress.status(plan).waiting
    write_log(job, "train.py: the disk is full, so it was stopped\n")
    assert job in progress.status(plan).failed


def test_what_was_made_by_other_source_or_values_is_not_done(plan):
    (data,) = of(plan, "prepare_data")
    finish(plan, data, 1)
    assert progress.is_done(plan, data)
    manifest = Path(Made(data, "data").path).with_suffix(".manifest.json")
    made = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(made | {"code": "prepare_data:00000000"}))
    assert not progress.is_done(plan, data)
    manifest.write_text(json.dumps(made | {"job": {}}))
    assert not progress.is_done(plan, data)
    manifest.unlink()
    assert not progress.is_done(plan, data)


def test_logs_are_those_of_the_rules(plan):
    rules = (PROJECT / "workflow/rules/common.smk").read_text(encoding="utf-8")
    assert """return f"<logs>/{rule}/{plan.RULES[rule].stem.partition('/')[2]}.log\"""" in rules
    job = Job("prepare_data", (("dataset", "d-12345678"),))
    assert progress.log_of(job) == "results/logs/prepare_data/d-12345678.log"


def test_the_status_is_told_without_torch(plan):
    shown = "import runpy, sys; sys.argv = ['show_status.py', '--config', sys.argv[1]];"
    shown += f"runpy.run_path({str(PROJECT / 'scripts/show_status.py')!r}, run_name='__main__');"
    shown += "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'snakemake')))"
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "scripts")}
    done = subprocess.run([sys.executable, "-c", shown, TINY], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no run is at work\ndata: 0 of ")
    assert done.stdout.endswith(f"  start    make reproduce CONFIG={TINY}\n")


@pytest.mark.parametrize(("seconds", "said"), [(4, "4 s"), (300, "5 min"), (9000, "2.5 h")])
def test_durations(seconds, said):
    assert progress.duration(seconds) == said
