"""The workflow as a module of another one, from a folder and as snakedeploy names it: by its host, owner and tag."""

import os
import subprocess

import pytest
import yaml

import preloaded
from workflow.checkout import PARTS, TINY, Checkout, jobs_in
from workflow.test_run import JOBS

# As snakedeploy writes it.
SNAKEFILE = """
configfile: "config/config.yaml"


module modeconn:
    snakefile:
        {place}
    config:
        {config}


use rule * from modeconn
"""
BEGIN = "\n\nonstart:\n    modeconn.begin()\n"
DRY = ("--dry-run", "--printshellcmds")


@pytest.fixture
def project(tmp_path):
    """Plan in a folder that holds a Snakefile and a config only: returns a function that does, and the folder."""
    folder = tmp_path / "elsewhere"

    def plan(place, values=TINY, config="config", more="", arguments=DRY, **environment):
        for name, text in {
            "workflow/Snakefile": SNAKEFILE.format(place=place, config=config) + more,
            "config/config.yaml": yaml.safe_dump(values),
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        command = [preloaded.python(), "-m", "snakemake", *arguments, "--resources", "gpu=0"]
        variables = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)

    return plan, folder


def test_a_module_in_another_folder_plans_every_phase_there(project, tmp_path):
    plan, folder = project
    checkout = Checkout(tmp_path / "project")
    done = plan(f'"{checkout.path}/workflow/Snakefile"')
    assert jobs_in(done.stdout + done.stderr) == JOBS
    assert "python ../project/scripts/train.py" in done.stdout
    assert not (checkout.path / "results").exists()
    assert not (checkout.path / ".snakemake").exists()
    assert not (folder / ".snakemake/sources").exists()


def test_a_module_takes_the_config_that_it_is_given(project, tmp_path):
    plan, _ = project
    checkout = Checkout(tmp_path / "project")
    place = f'"{checkout.path}/workflow/Snakefile"'
    config = TINY | {"name": "ours", "studies": {"alignment": TINY["studies"]["alignment"][:1]}}
    done = plan(place, {"mine": config}, 'config["mine"]')
    jobs = jobs_in(done.stdout + done.stderr)
    assert jobs["train"] == 2
    assert "refine" not in jobs
    assert "results/ours/report.html" in done.stdout
    done = plan(place, {"mine": TINY | {"nmae": "tiny"}}, 'config["mine"]')
    assert done.returncode == 1
    assert "nmae" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_checks_at_the_start_what_its_snakefile_lets_it_check(project, tmp_path):
    plan, folder = project
    checkout = Checkout(tmp_path / "project")
    place = f'"{checkout.path}/workflow/Snakefile"'
    config = TINY | {"device": "cuda"}
    done = plan(place, config, more=BEGIN, arguments=("--cores", "1"), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "config, device: cuda needs a GPU, and none is found here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "results/data").exists()


def test_a_module_on_a_host_is_planned_from_its_tag(project, tmp_path):
    """Git is told to read the host's repositories from a folder: nothing is asked of a network."""
    plan, folder = project
    checkout = Checkout(tmp_path / "project")
    host = tmp_path / "host"
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (
        ["init", "--quiet"],
        ["add", *PARTS],
        [*identity, "commit", "--quiet", "--message", "state"],
        ["tag", "v1"],
        ["clone", "--quiet", "--bare", ".", f"{host}/lab/modeconn"],
    ):
        subprocess.run(["git", *command], cwd=checkout.path, check=True)
    done = plan(
        'github("lab/modeconn", path="workflow/Snakefile", tag="v1")',
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0=f"url.file://{host}/.insteadOf",
        GIT_CONFIG_VALUE_0="https://github.com/",
    )
    assert jobs_in(done.stdout + done.stderr) == JOBS
    (sources,) = (folder / ".snakemake/sources").iterdir()
    assert f"python .snakemake/sources/{sources.name}/scripts/train.py" in done.stdout
    for name in ("scripts/train.py", "workflow/schemas/config.schema.yaml", "config/claims.csv"):
        assert (sources / name).read_bytes() == (checkout.path / name).read_bytes()
