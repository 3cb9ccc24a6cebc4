"""How a run starts and ends: its environment, its config, how it is stopped, and what is said last."""

import json
import os
import pty
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import run_workflow
from modeconn import manifests

FAILED = """\
rule train:
    output: results/networks/a.safetensors
[Thu Nov 26 23:46:30 2026]
Error in rule train:
    message: train a
    jobid: 2
    input: results/data/digits.safetensors
    output: results/networks/a.safetensors
    log: {first} (check log file(s) for error details)
    shell:
        python scripts/train.py --job '{{}}'
        (command exited with non-zero exit code)
[Thu Nov 26 23:46:31 2026]
Error in rule align:
    jobid: 3
    log: {second} (check log file(s) for error details)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_would_change_results_in_silence_is_left_out(checkout):
    given = {
        "SNAKEMAKE_PROFILE": "site",
        "SNAKEMAKE_OUTPUT_CACHE": "old",
        "OMP_NUM_THREADS": "7",
        "MKL_CBWR": "AVX2",
        "PYTHONSAFEPATH": "1",
        "PYTHONOPTIMIZE": "2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "TORCH_HOME": "x",
        "LC_ALL": "ja_JP.eucJP",
        "PYTHONUTF8": "0",
        "PATH": "/bin",
        "HOME": str(checkout),
        "CUDA_VISIBLE_DEVICES": "1",
        "GPU_SLOTS": "2",
        "PYTHONPATH": "mine",
    }
    kept, removed = run_workflow.environment(given)
    assert removed == [
        *["MKL_CBWR", "OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "PYTHONOPTIMIZE", "PYTHONSAFEPATH"],
        *["SNAKEMAKE_OUTPUT_CACHE", "SNAKEMAKE_PROFILE", "TORCH_HOME"],
    ]
    path = kept.pop("PATH").split(":")
    assert path[-1] == "/bin" and len(path) == 2
    assert kept == {
        "CUDA_VISIBLE_DEVICES": "1",
        "GPU_SLOTS": "2",
        "PYTHONPATH": "mine",
        "HOME": str(checkout),
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
    assert run_workflow.environment(given, "shared")[0]["SNAKEMAKE_OUTPUT_CACHE"] == "shared"


@pytest.mark.parametrize(
    "given", [{"XDG_CACHE_HOME": "/dev/null/cache"}, {"HOME": "/dev/null"}, {"HOME": "/proc/nobody"}]
)
def test_without_a_home_snakemake_keeps_its_cache_here(checkout, given):
    assert run_workflow.environment(given)[0]["XDG_CACHE_HOME"] == str(checkout / ".snakemake/cache")


def test_a_mistake_in_a_config_names_its_file(checkout, one_line):
    (checkout / "my own.yaml").write_text("name: one\n")
    with one_line(ValueError, "my own.yaml: top level: 'datasets' is a required property"):
        run_workflow.checked("my own.yaml")


@pytest.mark.parametrize("folder", [".snakemake", ".snakemake/configs"])
def test_the_folder_of_another_user_is_one_line(checkout, monkeypatch, one_line, folder):
    """Also where a run of the owner has left all that is written first."""
    shutil.copy(run_workflow.configuration.SCHEMA.parents[2] / "config/config.yaml", "config.yaml")
    run_workflow.checked("config.yaml")
    access = os.access
    closed = checkout / folder
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).absolute() != closed and access(path, mode))
    with one_line(OSError, closed, "cannot be written: run in a checkout of your own"):
        run_workflow.checked("config.yaml")


def test_snakemake_is_given_what_was_checked(checkout):
    text = (run_workflow.configuration.SCHEMA.parents[2] / "config/config.yaml").read_text()
    (checkout / "my.yaml").write_text(text.replace("epsilon: 0.0314", "epsilon: 314e-4"))
    config, copy = run_workflow.checked("my.yaml")
    assert config["attacks"]["pgd"]["epsilon"] == 0.0314
    given = json.loads(copy.read_text())
    assert given["attacks"]["pgd"]["epsilon"] == 0.0314
    # Another config of that name has another file.
    (checkout / "my.yaml").write_text(text.replace("points: 17", "points: 5"))
    assert run_workflow.checked("my.yaml")[1] != copy


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        *[([], True), (["--cores", "1"], True), (["-k", "--resources", "gpu=0"], True), (["--forceall"], True)],
        *[(["networks"], False), (["-n"], False), (["--dag"], False), (["--cores", "1", "curves"], False)],
        *[(["--until", "train"], False), (["--summary"], False), (["--unlock"], False), (["--", "a.csv"], False)],
    ],
)
def test_only_a_whole_run_ends_with_its_summary(arguments, whole):
    assert run_workflow.is_whole(arguments) == whole


def test_what_is_said_last_of_a_failure(checkout):
    reason = "train.py: results/data/d.safetensors is damaged: delete it"
    for name in ("first", "second"):
        (checkout / f"{name}.log").write_text(f"epoch 1\n{reason.replace('train', name)}\n")
    failed = run_workflow.failures(FAILED.format(first="first.log", second="second.log"))
    assert failed == [("train", "first.log"), ("align", "second.log")]
    said = run_workflow.explain(failed).splitlines()
    assert said[0].startswith("2 jobs failed")
    # One cause is said once.
    assert said[1:3] == [f"  train, and 1 more: {reason.replace('train', 'first')}", "      log: first.log"]
    assert "same command" in said[-1]
    assert "it left no message: was it killed?" in run_workflow.explain([("train", "absent.log")])


def test_a_full_disk_is_the_reason_where_no_log_could_be_written(checkout, monkeypatch):
    monkeypatch.setattr(run_workflow.files, "is_full", lambda folder: True)
    (checkout / "empty.log").write_text("")
    for log in ("empty.log", "logs/absent.log"):
        said = run_workflow.explain([("train", log)])
        assert "is full: free some space, and run the same command again" in said
    (checkout / "report.log").write_text("Traceback\nOSError: [Errno 28] No space left on device\n")
    said = run_workflow.explain([("write_report", "report.log")])
    assert "write_report: OSError: [Errno 28] No space left on device: free some space, and run" in said


def test_the_disk_of_a_folder_that_is_not_there_yet_has_room(checkout):
    assert not run_workflow.files.is_full("results/logs/train")


def test_a_whole_run_ends_what_was_shown_of_a_part(checkout, capsys):
    (checkout / "results/mine/partial/tables").mkdir(parents=True)
    made = {"results/mine/tables/claims.csv": b"", "results/mine/summary.txt": b"all of it"}
    manifests.write_all("judge_claims", made, {})
    run_workflow.show({"name": "mine"}, "mine.yaml")
    assert capsys.readouterr().out == "\nall of it\n\n"
    assert not (checkout / "results/mine/partial").exists()


def test_a_summary_that_no_run_has_made_is_not_shown(checkout, capsys, one_line):
    manifests.write_all("judge_claims", {"results/mine/summary.txt": b"accuracy 9.1"}, {})
    Path("results/mine/summary.txt").write_text("accuracy 91", encoding="utf-8")
    with one_line(ValueError, "results/mine/summary.txt is damaged", "judge_claims"):
        run_workflow.show({"name": "mine"}, "mine.yaml")
    assert capsys.readouterr().out == ""


HANGS = """
import signal, subprocess, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1) or print(len(asked), flush=True))
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_snakemake_that_hangs_is_ended_once_its_jobs_have(checkout, monkeypatch):
    """It is asked once, however often we are: a second signal is what makes it hang."""
    monkeypatch.setattr(run_workflow.stopping, "GRACE", 0)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    (checkout / "hangs.py").write_text(HANGS)
    said = checkout / "said.txt"
    run = run_workflow.Run(["sh", "-c", f"exec {sys.executable} hangs.py > said.txt"], {"PATH": "/bin:/usr/bin"})
    try:
        while not said.exists() or "ready" not in said.read_text():
            assert run.process.poll() is None
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert run.wait() == -signal.SIGKILL
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), handlers):
            signal.signal(number, handler)
    assert run.stopping == "by SIGTERM"
    assert said.read_text().split() == ["ready", "1"]
    assert not run._others()


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_ctrl_c_while_snakemake_is_started_ends_it_too(checkout, monkeypatch):
    start, before = run_workflow.subprocess.Popen, handlers()

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return start(*arguments, **options)

    monkeypatch.setattr(run_workflow.subprocess, "Popen", interrupted)
    run = run_workflow.Run([sys.executable, "-c", "import signal; signal.pause()"], {})
    assert run.wait() == -signal.SIGTERM
    assert (run.stopping, run.code) == ("by SIGINT", 128 + signal.SIGINT)
    assert handlers() == before


def test_a_signal_after_the_end_finds_nobody_to_tell(checkout):
    run = run_workflow.Run([sys.executable, "-c", ""], {})
    run.process.wait()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert run.wait() == 0
    assert run.code == 128 + signal.SIGTERM


def test_on_a_terminal_what_is_said_goes_above_one_line_of_progress(checkout, monkeypatch):
    """The process ends once the line was asked for, so it is drawn at least once."""
    asked = checkout / "asked"

    def status(plan):
        asked.touch()
        return SimpleNamespace(line="curves: 1 of 2 jobs done")

    code = f"import os, time\nprint('Job 1', flush=True)\nwhile not os.path.exists({str(asked)!r}): time.sleep(0.01)"
    reader, terminal = pty.openpty()
    monkeypatch.setattr(run_workflow, "OFTEN", 0)
    monkeypatch.setattr(run_workflow.progress, "status", status)
    with os.fdopen(terminal, "w") as stderr, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stderr)
        assert run_workflow.Run([sys.executable, "-c", code], dict(os.environ), plan=object()).wait() == 0
        said = os.read(reader, 4096).decode()
    os.close(reader)
    assert said.count("Job 1") == 1
    assert "\r\033[Kcurves: 1 of 2 jobs done" in said
    # It is erased at the end: what follows begins on a line of its own.
    assert said.rpartition("jobs done")[2].startswith("\r\033[K")
