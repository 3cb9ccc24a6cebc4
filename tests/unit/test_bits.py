"""Settings that decide bits besides values and sources; `portable` gives the same bits on this CPU as on others."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeconn import artifacts, bits

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TORCH = "2.15.0"  # with which the checksums were made


def shell_variables(instructions, given):
    """The variables that choose kernels, as a job's shell has them where the user's shell has `given`."""
    command = f"{bits.shell(instructions)}{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    found = json.loads(subprocess.check_output(["bash", "-euc", command], env=os.environ | given))
    return {name: value for name, value in found.items() if name in (*bits.PORTABLE, *bits.OTHERS)}


def test_a_jobs_shell_chooses_kernels_whatever_the_users_shell_has():
    given = dict.fromkeys((*bits.PORTABLE, *bits.OTHERS), "other")
    for instructions, expected in (("native", {}), ("portable", bits.PORTABLE)):
        assert shell_variables(instructions, {}) == shell_variables(instructions, given) == expected


@pytest.fixture
def portable(monkeypatch):
    """This process as if it had been started with the variables."""
    for name, value in bits.PORTABLE.items():
        monkeypatch.setenv(name, value)


def test_provenance_says_what_is_portable(portable, monkeypatch):
    network = {"family": "tinyten"}
    known = torch.backends.cpu.get_cpu_capability()
    assert artifacts.versions("cpu", network)["instructions"] == f"portable {known}"
    monkeypatch.setenv("MKL_CBWR", "AVX2")  # on which vendors differ
    assert artifacts.versions("cpu", network)["instructions"] == known


def test_a_portable_job_started_otherwise_is_one_line(monkeypatch, one_line):
    for name in bits.PORTABLE:
        monkeypatch.delenv(name, raising=False)
    bits.settle({"threads": 1}, "cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: True)
    with one_line(ValueError, "portable", "MKL_CBWR=COMPATIBLE", "ATEN_CPU_CAPABILITY=avx2"):
        bits.settle({"threads": 1, "instructions": "portable"}, "cpu")


def test_a_portable_job_on_another_cpu_is_one_line(portable, monkeypatch, one_line):
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: True)
    bits.settle({"threads": 1, "instructions": "portable"}, "cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    with one_line(ValueError, "AVX2", "native"):
        bits.settle({"threads": 1, "instructions": "portable"}, "cpu")


def run(program, job, folder, **files):
    command = [sys.executable, SCRIPTS / f"{program}.py", "--job", json.dumps(job)]
    command += [part for name, path in files.items() for part in (f"--{name}", path)]
    subprocess.run(command, env=os.environ | bits.PORTABLE, cwd=folder, check=True, capture_output=True)


def checksum(path):
    """First 16 hex digits of SHA-256 over the names and bytes of an artifact's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="portable kernels need a CPU with AVX2")
@pytest.mark.skipif(torch.__version__.partition("+")[0] != TORCH, reason=f"the bits are those of torch {TORCH}")
def test_a_portable_training_ends_with_the_bytes_of_other_cpus(tmp_path):
    """Those of an AMD EPYC with AVX2 alone, and of an Intel Xeon with AVX-512 and AMX."""
    common = {"names": {"dataset": "digits"}, "threads": 1, "instructions": "portable"}
    digits = {"source": "digits", "size": 16, "test_fraction": 0.2, "alignment_fraction": 0.2, "seed": 0}
    data, networks = tmp_path / "data.safetensors", tmp_path / "networks.safetensors"
    run("prepare_data", common | {"dataset": digits}, tmp_path, output=data)
    assert checksum(data) == "21e37bc96c278645"
    optimizer = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005}
    recipe = {"epochs": 8, "batch": 128, "schedule": "cosine", "optimizer": optimizer}
    recipe |= {"augmentation": {"shift": 1}, "attack": None, "population": 1}
    job = common | {"names": {"dataset": "digits", "network": "tinyten", "recipe": "standard"}, "recipe": recipe}
    job |= {"network": {"family": "tinyten", "width": 1, "norm": "batch"}, "seeds": [1]}
    run("train", job, tmp_path, data=data, output=networks, history=tmp_path / "history.csv")
    assert checksum(networks) == "dc3e362020b292e9"
