"""The resources of each job, and a required GPU that is absent."""

import re

import pytest
import yaml

from modeconn.plan import RULES
from workflow.checkout import PROJECT, Checkout


def with_every_rule(config):
    """Two threads, and what the small config does not measure of populations."""
    config["threads"] = 2
    config["datasets"]["moons"] = {"source": "moons"}
    entry = config["studies"]["averaging"][0]
    measures = ["boundaries", "triangles", "disagreement", "iterates"]
    config["studies"]["averaging"].append({**entry, "dataset": "moons", "measures": measures})


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Rule -> what its first attempt asks for, gpu, mem_mb, runtime and threads, of each job that computes."""
    checkout = Checkout(tmp_path_factory.mktemp("asked") / "project")
    # A job with a message shows that alone.
    for path in (checkout.path / "workflow/rules").glob("*.smk"):
        path.write_text(re.sub(r"^    message:\n.*\n", "", path.read_text(), flags=re.MULTILINE))
    with checkout.configured(with_every_rule):
        done = checkout.run("--dry-run", "--cores", "2", "--resources", "gpu=1", "--quiet", "host")
    found = {}
    for block in (done.stdout + done.stderr).split("\nrule ")[1:]:
        rule, _, text = block.partition(":")
        if rule in RULES:
            rows = re.findall(r"\b(gpu|mem_mb|runtime|threads)(?:=|: )(\d+)", text)
            found[rule] = {key: int(value) for key, value in rows}
    return found


def test_every_computing_job_says_what_it_needs(asked):
    for resources in asked.values():
        assert resources["runtime"] >= 60
        # A process with CUDA in it, and no data yet.
        assert resources["mem_mb"] == 3000
        assert resources["threads"] == 2
    # All but the one that only reads images.
    gpus = {rule: resources["gpu"] for rule, resources in asked.items()}
    assert gpus == dict.fromkeys(RULES, 1) | {"prepare_data": 0}


def test_the_cluster_profile_has_every_rule_on_gpus_and_asks_for_a_day_at_most(asked):
    """A partition for GPUs is a line to fill in for each of them, and where a day is the limit no retry exceeds it."""
    text = (PROJECT / "workflow/profiles/slurm/profile.v9+.yaml").read_text()
    # With all that users may fill in filled in.
    profile = yaml.safe_load(re.sub(r"^( *)# ( *[\w-]+:( .*)?)$", r"\1\2", text, flags=re.MULTILINE))
    settings, retries = profile["set-resources"], profile["retries"]
    on_gpus = {rule for rule, resources in asked.items() if resources["gpu"]}
    assert on_gpus == {rule for rule, values in settings.items() if "slurm_partition" in values}
    longest = {rule: resources["runtime"] * 2**retries for rule, resources in asked.items()}
    for rule, values in settings.items():
        if "runtime" in values:
            longest[rule] = eval(values["runtime"], {"attempt": 1 + retries})
    assert {rule: minutes for rule, minutes in longest.items() if minutes > 24 * 60} == {}


def test_a_gpu_that_is_promised_and_not_there_ends_before_the_first_job(tmp_path):
    checkout = Checkout(tmp_path / "project")
    with checkout.configured(lambda c: c.update(device="cuda")):
        done = checkout.snakemake("--cores", "1", env={"CUDA_VISIBLE_DEVICES": ""})
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "config, device: cuda needs a GPU, and none is found here" in output and "Traceback" not in output
    assert not list((checkout.path / "results").rglob("*.log"))
