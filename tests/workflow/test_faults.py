"""Faults of the machine: full disks, foreign locks, killed processes. Nothing is lost or half-written."""

import copy
import os
import re
import shlex
import shutil
import subprocess
import sys

import pandas as pd
import psutil
import pytest

import preloaded
from modeconn.studies import STUDIES
from workflow.checkout import PROJECT, TINY, Checkout

# A private view of the file system, where a test may mount what it likes; it vanishes with the last process in it.
NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]


@pytest.fixture
def checkout(finished, tmp_path):
    return finished.copy(tmp_path / "project")


def forget(checkout, pattern):
    """Remove results so that their jobs have to run again; returns their paths relative to the checkout."""
    paths = [path.relative_to(checkout.path) for path in (checkout.path / "results").rglob(pattern)]
    assert paths, pattern
    for path in paths:
        (checkout.path / path).unlink()
    return paths


def mounted(checkout, script):
    """Run a shell script in the checkout, in a name space of its own; returns the process, both outputs as one text."""
    snakemake = shlex.join(checkout.command("--cores", "2"))
    return subprocess.run(
        [*NAMESPACE, f'run() {{ {snakemake} "$@"; }}\n{script}'],
        cwd=checkout.path,
        env=checkout.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_full_disk_and_then_room_again(checkout):
    """The job ends with one line and leaves nothing half-written; with room again the run just goes on."""
    expected = checkout.artifacts()
    networks = forget(checkout, "standard-*/seeds1.safetensors")
    folder = networks[0].parents[1]
    done = mounted(
        checkout,
        f"""
        cp -a {folder} kept
        mount -t tmpfs -o size=2m tmpfs {folder}
        cp -a kept/* {folder}/
        head -c 2m /dev/zero > {folder}/filler 2> /dev/null || true
        run networks && exit 99
        echo "left: $(find {folder} -name '*seeds1*' -size +0 | grep standard | grep -v cost)"
        rm {folder}/filler
        mount -o remount,size=100m {folder}
        run networks
        rm -r kept; cp -a {folder} kept
        """,
    )
    output = done.stdout
    assert done.returncode == 0, output
    assert re.search(r"^train\.py: .*No space left on device.*seeds1", output, re.MULTILINE), output
    assert "Traceback" not in output
    assert re.search(r"^left: $", output, re.MULTILINE), output
    # What was made on the mounted disk went with it, but for the copy.
    made = {path.relative_to(checkout.path / "kept"): path for path in (checkout.path / "kept").rglob("*.safetensors")}
    assert len(made) == 4
    for name, path in made.items():
        assert path.read_bytes() == expected[str(folder.relative_to("results") / name)]


def test_what_is_whole_is_tabled_and_drawn_where_other_jobs_fail(checkout):
    """In a folder of its own, until a run is whole: what that shows is left alone."""
    before = checkout.artifacts()
    wild = {"kind": "bezier", "epochs": 3, "optimizer": {"learning_rate": 10000}}
    command = [preloaded.python(), "scripts/run_workflow.py", "--config", "tiny.yaml", "--", "--cores", "2"]
    options = {"cwd": checkout.path, "env": checkout.environment, "capture_output": True, "text": True}

    def also_wild(config):
        config["curves"]["wild"] = wild
        config["studies"] = {"alignment": config["studies"]["alignment"][:1]}
        config["studies"]["alignment"][0] |= {"curves": ["linear", "wild"], "alignments": ["none", "weight"]}

    with checkout.configured(also_wild):
        done = subprocess.run(command, **options)
    assert done.returncode == 1
    *_, first, reason, _, reason_too, _, _, said = done.stderr.splitlines()
    assert first == "2 jobs failed; all jobs that do not depend on them are done."
    assert reason != reason_too and all(
        line.startswith("  fit_curve: fit_curve.py: loss of curve wild") for line in (reason, reason_too)
    )
    where = "results/tiny/partial"
    assert said == (
        "PARTIAL: jobs failed, and 2 of 4 curves are complete. "
        f"Their tables and figures are in {where}/ until a run is complete."
    )
    assert (
        (checkout.path / where / "summary.txt")
        .read_text()
        .startswith("PARTIAL: jobs failed, and 2 of 4 curves are complete")
    )
    rows = pd.read_csv(checkout.path / where / "tables/pairs.csv", keep_default_na=False)
    assert set(zip(rows["alignment"], rows["curve"])) == {("none", "linear"), ("weight", "linear")}
    drawn = {path.stem for path in (checkout.path / where / "figures").rglob("*.svg")}
    assert {"curves-train-all", "curves-test-weight", "signatures"} <= drawn
    after = checkout.artifacts()
    # Those say what was asked for.
    asked = {"tiny/config.json", *(f"tiny/tables/measurements-{study}.txt" for study in STUDIES)}
    assert {name: after[name] for name in before if name not in asked} == {
        name: content for name, content in before.items() if name not in asked
    }


def test_results_that_cannot_be_written(checkout):
    for pattern in ("tables/*", "summary.txt", "judge_claims.manifest.json"):
        forget(checkout, pattern)
    done = mounted(checkout, "mount --bind results results; mount -o remount,bind,ro results; run tables")
    assert done.returncode != 0
    assert "results cannot be written" in done.stdout and "Traceback" not in done.stdout
    assert checkout.planned("tables") != {}
    checkout.run("--cores", "2", "tables")
    assert checkout.planned() == {}


def test_a_cache_that_cannot_be_written(checkout):
    expected = checkout.artifacts()
    forget(checkout, "standard-*/seeds1.safetensors")
    (checkout.path / "cache").mkdir()
    closed = "mount --bind cache cache; mount -o remount,bind,ro cache"
    done = mounted(checkout, f"{closed}; SNAKEMAKE_OUTPUT_CACHE=$PWD/cache run --cache -- networks")
    assert done.returncode != 0
    assert f"Cannot access cache location {checkout.path / 'cache'}" in done.stdout
    checkout.run("--cores", "2", "networks")
    shutil.rmtree(checkout.path / "cache")
    assert checkout.artifacts() == expected


def test_a_damaged_artifact_is_named_with_the_rule_that_makes_it(checkout):
    """Cut; that one bit has changed is said in the same way (`unit/test_populations.py`)."""
    path = next((checkout.path / "results/networks").rglob("standard-*/seeds2.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    # One of the many that read it.
    (reader,) = (checkout.path / "results").glob("evaluations/*/*/standard-*/1-2/none/linear-*/evaluation-*.csv")
    reader = str(reader.relative_to(checkout.path))
    done = checkout.snakemake("--cores", "2", reader)
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in output
    assert f"{path.relative_to(checkout.path)} is damaged" in output and "run rule train again" in output
    path.unlink()
    checkout.run("--cores", "2", reader)
    assert checkout.planned("curves") == {}


def test_a_damaged_figure_is_not_taken_into_a_report(checkout):
    """One line says what to do, and then the run is whole again. Other damages are in `unit/test_damages.py`."""
    figure = checkout.path / "results/tiny/figures/digits-tinyten-standard/training.svg"
    whole, named = figure.read_bytes(), str(figure.relative_to(checkout.path))
    figure.write_bytes(whole.replace(b"0", b"1", 1))
    (checkout.path / "results/tiny/report.html").unlink()
    done = checkout.snakemake("--cores", "2")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said
    (line,) = {line.strip() for line in said.splitlines() if line.strip().startswith("check_shown.py: ")}
    assert line.startswith(f"check_shown.py: {named} is damaged") and line.endswith("and run rule draw again")
    assert not (checkout.path / "results/tiny/report.html").exists()
    figure.unlink()
    checkout.run("--cores", "2")
    assert figure.read_bytes() == whole
    assert checkout.planned() == {}


@pytest.mark.parametrize(
    ("source", "target", "reader", "words"),
    [
        (
            "robust-*/seeds1.safetensors",
            "standard-*/seeds1.safetensors",
            "none/linear",
            "is of recipe robust, and this job of standard",
        ),
        (
            "1-2/weight-*.safetensors",
            "1-2/activation-*.safetensors",
            "activation-*/linear",
            "is of alignment weight, and this job of activation",
        ),
        (
            "1-2/random-*/bezier-*.safetensors",
            "1-2/weight-*/bezier-*.safetensors",
            "weight-*/bezier",
            "was made from other permutation",
        ),
    ],
)
def test_a_whole_artifact_of_another_job_is_refused(checkout, source, target, reader, words):
    """Copied over the right one it has a checksum that fits; what it records does not."""
    (theirs,), (ours,) = (
        [p for p in (checkout.path / "results").rglob(pattern) if "standard" in str(p) or "seeds" in p.name]
        for pattern in (source, target)
    )
    shutil.copy2(theirs, ours)
    (points,) = forget(checkout, f"evaluations/*/*/standard-*/1-2/{reader}-*/evaluation-????????-none.csv")
    done = checkout.snakemake("--cores", "2", str(points))
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in output
    assert words in output


def started(checkout, *arguments):
    """A run in the background, from the moment that its train job computes; returns it and the job's process."""
    process = checkout.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while True:
        assert process.poll() is None, process.stdout.read()
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                command = child.cmdline()
            except psutil.NoSuchProcess:
                continue
            if any(word.endswith("train.py") for word in command[:3]) and not command[0].endswith("sh"):
                return process, child


def test_two_runs_at_once_in_one_folder(checkout):
    """The second is told who is at work, and changes nothing; the first ends as if alone."""
    expected = checkout.artifacts()
    forget(checkout, "standard-*/seeds1.safetensors")
    first, job = started(checkout, "--cores", "1", "networks")
    job.suspend()  # so that the first is surely at work when the second starts
    try:
        second = checkout.snakemake("--cores", "1", "networks")
    finally:
        job.resume()
    assert second.returncode != 0
    told = f"another run is at work in this folder (process {first.pid} on "
    assert told in second.stderr and "Traceback" not in second.stderr
    output, _ = first.communicate()
    assert first.returncode == 0, output
    assert checkout.artifacts() == expected


def test_a_job_killed_for_memory_is_tried_again_with_twice_the_request(checkout):
    """The kernel kills with SIGKILL; so does the test."""
    expected = checkout.artifacts()
    (first,) = forget(checkout, "networks/*/*/standard-*/seeds1.safetensors")
    shell = '"python {resources.check:q} --data'
    with checkout.edited(
        "workflow/rules/train.smk", shell, shell.replace('"', '"echo asked for {resources.mem_mb} MB; ')
    ):
        # By the edit the second network is made anew too.
        networks = [str(first), str(first.with_name("seeds2.safetensors"))]
        process, job = started(checkout, "--cores", "1", "--retries", "1", "--", *networks)
        job.kill()
        output, _ = process.communicate()
    assert process.returncode == 0, output
    # The first job's two tries come first.
    asked = [int(number) for number in re.findall(r"^asked for (\d+) MB$", output, re.MULTILINE)]
    assert asked == [asked[0], 2 * asked[0], asked[0]] and asked[0] > 0, output
    assert checkout.artifacts() == expected


def test_a_clock_that_was_set_back(checkout):
    """Results from the future: contents decide, so nothing runs without a reason, and what has one runs once."""
    tomorrow = 86400 + max(path.stat().st_mtime for path in (checkout.path / "results").rglob("*"))
    for path in (checkout.path / "results").rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    assert checkout.planned() == {}
    with checkout.configured(lambda config: config["activations"].update(points=2)):
        assert checkout.planned()["evaluate_activations"] == 2
        # Measured, tabled, and drawn in one of the figures.
        targets = ["tables", "results/tiny/figures/digits-tinyten-standard/similarity-bezier.svg"]
        checkout.run("--cores", "2", *targets)
        assert checkout.planned(*targets) == {}
    assert checkout.planned("curves") == {}


def test_a_cache_is_of_one_lock_and_one_kind_of_machine(tmp_path):
    """The folder that make takes the cache from: Snakemake's own keys know neither versions nor devices."""
    for part in ("Makefile", "envs/requirements.txt", "config/config.yaml"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / part, tmp_path / part)

    def key(*variables):
        command = ["make", "--no-print-directory", "--eval", "key: ; @echo $(CACHE_KEY)", "key", *variables]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    here = key("GPUS=")
    assert re.fullmatch(r"[0-9a-f]{12}-cpu", here)
    assert key("GPUS=/dev/nvidia0") == here.replace("cpu", "cuda")
    assert key("PROFILE=slurm") == here.replace("cpu", "slurm")
    with open(tmp_path / "envs/requirements.txt", "a") as lock:
        lock.write("# another\n")
    assert key("GPUS=") != here and key("GPUS=").endswith("-cpu")


def test_a_network_is_checked_before_it_is_trained(tmp_path):
    """And what checks it is no cause to train again."""
    config = copy.deepcopy(TINY)
    config["studies"] = {"alignment": config["studies"]["alignment"][:1]}
    config["alignments"]["activation"]["statistic"] = {"network.nowhere": "first"}
    checkout = Checkout(tmp_path / "project", config)
    done = checkout.snakemake("--cores", "1", "networks")
    assert done.returncode == 1
    assert (
        "check_network.py: statistic 'first' of group 'network.nowhere': the statistics are"
        in done.stdout + done.stderr
    )
    assert not list(checkout.path.glob("results/networks/**/*.safetensors"))

    with checkout.configured(lambda c: c["alignments"]["activation"].pop("statistic")):
        checkout.run("--cores", "1", "networks")
        (found,) = checkout.path.glob("results/logs/check_network/*/*.json")
        assert "8 groups of neurons may be permuted" in found.read_text()
        proof = "scripts/modeconn/permutation/proof.py"
        with checkout.edited(proof, "LEAST_REACTION = 1e-4", "LEAST_REACTION = 1e-5"):
            assert checkout.planned("networks") == {}
            assert "align" in checkout.planned("alignments")


def as_others(checkout, command):
    """Run a command in the checkout by the permissions of files: root may read and write all, but without these."""
    dropped = "-dac_override,-dac_read_search"
    root = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"] if os.geteuid() == 0 else []
    options = {"cwd": checkout.path, "env": checkout.environment, "capture_output": True, "text": True}
    return subprocess.run([*root, *command], **options)


def test_a_result_that_cannot_be_read_is_one_line(checkout):
    path = next((checkout.path / "results/networks").rglob("standard-*/seeds2.safetensors"))
    path.chmod(0)
    done = as_others(checkout, checkout.command("--dry-run"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{path.relative_to(checkout.path)} cannot be read: allow it (chmod, chown)" in done.stderr


@pytest.mark.parametrize("closed", ["files", "folder", "folder of a lost file"])
def test_a_result_that_cannot_be_made_again_is_one_line(checkout, closed):
    """Said before any job starts; what is whole, with nothing to make again, may well be closed."""
    tables = checkout.path / "results/tiny/tables"
    run = [sys.executable, "scripts/run_workflow.py", "--config", "tiny.yaml", "--", "--cores", "1", "tables"]
    if closed == "files":
        for path in tables.iterdir():
            path.chmod(0o444)
    tables.chmod(0o555)
    try:
        done = as_others(checkout, run)
        assert done.returncode == 0, done.stderr
        if closed == "folder of a lost file":
            (tables / "published.csv").unlink()
        before = checkout.artifacts()
        with checkout.edited("scripts/judge_claims.py", "PARTIAL: ", "PARTLY: "):
            done = as_others(checkout, run)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        named = "results/tiny/tables/claims.csv and 3 more" if closed == "files" else "results/tiny/tables"
        (line,) = [line for line in done.stderr.splitlines() if "cannot be written" in line]
        assert f"{named} cannot be written" in line and line.endswith("allow it (chmod, chown), or run as its owner")
        assert checkout.artifacts() == before
    finally:
        tables.chmod(0o755)


def test_a_path_that_snakemake_would_take_for_a_name_is_one_line(tmp_path):
    checkout = Checkout(tmp_path / "pro{x}ject")
    done = checkout.snakemake("--dry-run")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "NameError" not in done.stderr
    assert f"{checkout.path}: Snakemake reads braces in a path as wildcards" in done.stderr
