"""What each job asks for, and what is promised and not there."""

import re

import pytest

from workflow.checkout import Checkout

COMPUTING = {
    "prepare_data",
    "train",
    "align",
    "refine",
    "fit_curve",
    "evaluate_curve",
    "evaluate_robustness",
    "evaluate_plane",
    "evaluate_activations",
    "select_network",
}


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "project")


def test_every_computing_job_says_what_it_needs(checkout):
    # A job with a message shows that alone.
    for path in (checkout.path / "workflow/rules").glob("*.smk"):
        path.write_text(re.sub(r"^    message:\n.*\n", "", path.read_text(), flags=re.MULTILINE))
    with checkout.configured(lambda c: c.update(threads=2)):
        done = checkout.run("--dry-run", "--cores", "2", "--resources", "gpu=1", "--quiet", "host")
    asked = {}
    for block in (done.stdout + done.stderr).split("\nrule ")[1:]:
        rule, _, text = block.partition(":")
        if rule in COMPUTING:
            resources = {key: int(value) for key, value in re.findall(r"(gpu|mem_mb|runtime)=(\d+)", text)}
            assert resources["runtime"] >= 60
            # A process with CUDA in it, and no data yet.
            assert resources["mem_mb"] == 3000
            assert "threads: 2" in text
            asked[rule] = resources["gpu"]
    # All but the one that only reads images.
    assert asked == dict.fromkeys(COMPUTING, 1) | {"prepare_data": 0}


def test_a_gpu_that_is_promised_and_not_there_ends_before_the_first_job(checkout):
    with checkout.configured(lambda c: c.update(device="cuda")):
        done = checkout.snakemake("--cores", "1", env={"CUDA_VISIBLE_DEVICES": ""})
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "config, device: cuda is promised, and no GPU is seen here" in output and "Traceback" not in output
    assert not list((checkout.path / "results").rglob("*.log"))
