"""Artifacts that do not belong together are refused in one line that names both."""

import shutil
from argparse import Namespace

import pytest
import torch

from modeconn import artifacts, inputs, manifests

NAMES = {"dataset": "digits", "network": "tinyten", "recipe": "standard"}
PAIR = {**NAMES, "pair": "1-2", "alignment": "activation"}
NETWORK, RECIPE = {"family": "tinyten", "width": 1}, {"epochs": 3, "attack": None}


class Study:
    """Artifacts of a small study in a folder, each made by a job that read those before it."""

    def __init__(self, folder, **changes):
        self.folder, self.number = folder, 0
        names, values = {**NAMES, **changes}, {"network": NETWORK, "recipe": {**RECIPE, **changes}}
        pair = {**PAIR, **changes}
        self.data = self.make("prepare_data", {"names": {"dataset": "digits"}, **changes})
        self.networks = self.make("train", {"names": names, **values}, data=self.data)
        matched = {"names": pair, "network": NETWORK}
        self.permutation = self.make("align", matched, data=self.data, networks=self.networks, permutation=None)
        self.curve = self.make(
            "fit_curve",
            {"names": {**pair, "curve": "bezier"}, **values},
            data=self.data,
            networks=self.networks,
            permutation=self.permutation,
        )

    def make(self, rule, job, **read):
        self.number += 1
        path = artifacts.Input(self.folder / f"{rule}{self.number}.safetensors")
        given = artifacts.checksums(Namespace(job=job, **read))
        tensors = {"tensor": torch.full((2,), float(len(str(job))))}
        artifacts.save(path, tensors, {"rule": rule, "job": job, "inputs": given})
        return path


@pytest.fixture
def study(tmp_path):
    (tmp_path / "one").mkdir()
    return Study(tmp_path / "one")


@pytest.fixture
def other(tmp_path):
    """Another study of the same names: another recipe by its values."""
    (tmp_path / "two").mkdir()
    return Study(tmp_path / "two", epochs=4)


def check(study, job=None, **changes):
    job = job or {"names": {**PAIR, "curve": "bezier"}, "network": NETWORK}
    read = {name: getattr(study, name) for name in ("data", "networks", "permutation", "curve")}
    arguments = Namespace(job=job, output="a.csv", statistics=None, **{**read, **changes})
    inputs.check(arguments, artifacts.checksums(arguments))


def test_what_belongs_together_passes(study, other):
    check(study)
    check(other)
    check(study, curve=None)
    # What was made by hand records nothing.
    plain = artifacts.Input(study.folder / "plain.safetensors")
    artifacts.save(plain, {"bends": torch.ones(1)}, {"rule": "fit_curve"})
    check(study, curve=plain)


@pytest.mark.parametrize("name", ["data", "networks", "permutation", "curve"])
def test_one_of_another_study_is_refused(study, other, one_line, name):
    with one_line(ValueError, "was made from other", "run rule", "again"):
        check(study, **{name: getattr(other, name)})


def test_bends_of_an_unaligned_pair_are_refused_for_an_aligned_one(study, one_line):
    bends = study.make("fit_curve", {"names": PAIR}, data=study.data, networks=study.networks, permutation=None)
    with one_line(ValueError, bends, "was made from no permutation", study.permutation):
        check(study, curve=bends)
    with one_line(ValueError, study.curve, "was made from a permutation, and none is given"):
        check(study, permutation=None)


@pytest.mark.parametrize(
    ("kind", "value"), [("recipe", "robust"), ("pair", "3-4"), ("alignment", "weight"), ("dataset", "moons")]
)
def test_what_another_job_made_is_refused_by_its_names(study, one_line, kind, value):
    job = {"names": {**PAIR, "curve": "bezier", kind: value}, "network": NETWORK}
    with one_line(ValueError, f"is of {kind} {PAIR[kind]}, and this job of {value}", "run rule"):
        check(study, job)


def test_networks_of_other_values_are_refused(study, one_line):
    job = {"names": {**PAIR, "curve": "bezier"}, "network": NETWORK, "recipe": {**RECIPE, "attack": {"steps": 5}}}
    with one_line(ValueError, study.networks, "is of another recipe than this job, by its values"):
        check(study, job, permutation=None, curve=None)


def test_pam_starts_from_another_alignment(study):
    job = {"names": {**PAIR, "alignment": "pam_aligned"}, "network": NETWORK, "alignment": {"method": "pam"}}
    check(study, job, curve=None)


def place(kind, recipe="standard", alignment="activation", name="one"):
    """Where a file of a study lies, as the workflow names folders."""
    network = f"digits-1/tinyten-2/{recipe}"
    return {
        "networks": f"networks/{network}/seeds1.safetensors",
        "permutation": f"alignments/{network}/1-2/{alignment}.safetensors",
        "curve": f"curves/{network}/1-2/{alignment}/{name}.safetensors",
        "statistics": f"evaluations/{network}/1-2/{alignment}/bezier-5/{name}.safetensors",
    }[kind]


# What is copied over a file of the standard recipe, aligned by activations. Job values and names are equal: what tells
# them apart decided an input, or stands in the identities of folders alone.
SWAPS = [
    *(("networks", {"recipe": recipe}) for recipe in ("robust-4", "standard-5")),
    *(
        ("permutation", values)
        for values in ({"alignment": "weight"}, {"recipe": "robust-4"}, {"recipe": "standard-5"})
    ),
    *(("curve", values) for values in ({"alignment": "weight"}, {"recipe": "robust-4"})),
    *(("statistics", values) for values in ({"alignment": "weight"}, {"recipe": "robust-4"})),
]


@pytest.mark.parametrize("with_manifest", [False, True])
@pytest.mark.parametrize(("kind", "values"), SWAPS)
def test_a_file_that_was_copied_over_another_is_refused_by_its_place(tmp_path, one_line, kind, values, with_manifest):
    job = {"names": {"pair": "1-2"}, "network": NETWORK}

    def make(number, **values):
        path = artifacts.Input(tmp_path / "results" / place(kind, **values))
        artifacts.save(path, {"tensor": torch.full((2,), float(number))}, {"rule": "maker", "job": job})
        manifests.write(manifests.beside(path), [path], {"rule": "maker", "job": job})
        return path

    ours, theirs = make(1), make(2, **values)
    arguments = Namespace(job=job, **{kind: ours})
    inputs.check(arguments, artifacts.checksums(arguments))
    shutil.copy2(theirs, ours)
    if with_manifest:
        shutil.copy2(manifests.beside(theirs), manifests.beside(ours))
    with one_line(ValueError, ours, "of another job", "delete", "again"):
        inputs.check(arguments, artifacts.checksums(arguments))
