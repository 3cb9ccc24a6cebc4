"""Fingerprints: what changes them, what does not, and that they are the same on every Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modeconn import dispatch, fingerprint

SCRIPTS = Path(fingerprint.__file__).resolve().parents[1]

# A source with what has differed between versions of Python: generics, f-strings, defaults, empty fields.
SAMPLE = '''"""Docstring."""
import modeconn.identity

def f(a, /, b=1, *c, d: int = 2, **e) -> str:
    """Docstring."""
    return f"{a!r:>{b}} {c}" + "".join(x async for x in e)

class C(dict, metaclass=type):
    """Docstring."""
    x: int = 1_000

    async def g(self):
        match self:
            case {"a": 1, **rest}:
                return lambda: (yield rest)
'''
PINNED = "70bda21c"


def digest(source, tmp_path, name="sample.py"):
    path = tmp_path / name
    path.write_text(source)
    return fingerprint._read.__wrapped__(path)[0]


def test_one_known_hash(tmp_path):
    assert digest(SAMPLE, tmp_path) == PINNED


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_same_hash_on_every_python(tmp_path, version):
    python = shutil.which(f"python{version}")
    # Where pyenv manages versions, this is how it is told which one is meant.
    environment = os.environ | {"PYENV_VERSION": version}
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, env=environment).returncode:
        pytest.skip(f"no Python {version} here")
    (tmp_path / "sample.py").write_text(SAMPLE)
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from modeconn import fingerprint;"
        "print(fingerprint._read(pathlib.Path(sys.argv[2]))[0])"
    )
    done = subprocess.run(
        [python, "-c", code, SCRIPTS, tmp_path / "sample.py"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.strip() == PINNED


@pytest.mark.parametrize(
    "old, new",
    [
        ("import modeconn", "# A comment.\nimport modeconn"),
        ('"""Docstring."""\nimport', '"""Another."""\nimport'),
        ('    """Docstring."""\n    return', "    return"),
        ("b=1, *c", "b = 1,   *c"),
        ("1_000", "1000"),
    ],
)
def test_what_decides_nothing_changes_nothing(tmp_path, old, new):
    assert SAMPLE.count(old) == 1
    assert digest(SAMPLE.replace(old, new), tmp_path) == PINNED


@pytest.mark.parametrize("old, new", [("b=1", "b=2"), ("b=1", "b=1.0"), ("b=1", "b=True"), ("int = 2", "float = 2")])
def test_what_decides_changes_it(tmp_path, old, new):
    assert digest(SAMPLE.replace(old, new), tmp_path) != PINNED


def names(program, uses=()):
    return {item.partition(":")[0] for item in fingerprint.fingerprint(program, uses).split()}


def test_a_job_counts_what_it_runs_and_nothing_else():
    plain = names("train", ["networks.tinyten"])
    assert {"train", "optimization", "classification", "functional", "networks", "networks.layers"} <= plain
    assert not plain & {"attacks", "curves", "matching.activation", "networks.resnet", "drawing", "batchnorm"}
    assert names("train", ["networks.tinyten", "attacks"]) == plain | {"attacks"}
    assert "torch" not in names("draw", ["figures.curves"]) and "optimization" not in names("draw", ["figures.curves"])


def test_the_values_of_a_job_name_its_modules():
    network, attack = {"family": "resnet32"}, {"epsilon": 1}
    assert dispatch.modules({"network": network}) == ["networks.resnet"]
    assert dispatch.modules({"network": {"family": "torchvision", "model": "resnet18"}}) == ["networks.torchvision"]
    assert dispatch.modules({"recipe": {"attack": attack}}) == ["optimizers.sgd", "attacks"]
    assert dispatch.modules({"recipe": {"attack": None}}) == ["optimizers.sgd"]
    # A curve is trained by its own optimizer, PAM by sgd, whatever trained the networks.
    recipe, curve = {"optimizer": {"method": "adamw"}}, {"optimizer": {"method": "rmsprop"}}
    assert dispatch.modules({"recipe": recipe}) == ["optimizers.adamw"]
    assert dispatch.modules({"recipe": recipe, "curve": curve}) == ["optimizers.rmsprop"]
    assert dispatch.modules({"recipe": recipe, "alignment": {"method": "pam"}}) == ["optimizers.sgd"]
    assert dispatch.modules({"curve": curve}) == []
    suite = {"method": "autoattack", "epsilon": 1}
    assert dispatch.modules({"attacks": {"none": None, "weak": attack, "strong": attack}}) == ["attacks"]
    assert dispatch.modules({"attack": attack, "attacks": {"strong": suite}}) == ["attacks", "autoattack"]
    assert "autoattack" in names("select_network", ["autoattack"]) and "autoattack" not in names("select_network")
    assert dispatch.modules({"alignment": {"method": "weight"}}) == ["matching.weight"]
    assert dispatch.modules({"alignment": {"method": "activation"}}) == []


def test_refining_counts_for_refined_permutations_only():
    assert {"refinement", "optimization", "curves"} <= names("refine", ["networks.tinyten"])
    assert "refinement" not in names("align") | names("fit_curve") | names("evaluate_curve")


def test_a_proof_counts_where_it_is_made_and_decides_no_other_result():
    assert "permutation.proof" in names("align") & names("refine")
    for program in ("train", "fit_curve", "evaluate_curve", "evaluate_plane", "select_network"):
        assert "permutation.proof" not in names(program)


def test_a_data_set_names_the_module_of_its_source():
    assert dispatch.modules({"dataset": {"source": "cifar100"}}) == ["datasets.cifar"]
    for module in dispatch.SOURCES.values():
        assert f"datasets.{module}" in names("prepare_data", [f"datasets.{module}"])
    assert "datasets.downloads" in names("prepare_data", ["datasets.mnist"])
    assert not names("prepare_data", ["datasets.digits"]) & {"datasets.downloads", "datasets.augmentation"}


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        ({"shift": 0}, []),
        ({"shift": 0, "flip": False, "rotation": 0, "scale": [1, 1], "contrast": 0.0}, []),
        ({"shift": 1}, ["datasets.augmentation"]),
        ({"shift": 0, "flip": True}, ["datasets.augmentation"]),
        ({"shift": 0, "scale": [1, 1.2]}, ["datasets.augmentation"]),
    ],
)
def test_a_recipe_names_the_augmentation_where_it_changes_anything(augmentation, expected):
    found = dispatch.modules({"recipe": {"augmentation": augmentation}})
    assert [name for name in found if name.startswith("datasets")] == expected
    # What measures has no recipe, and its augmentation where statistics are estimated on augmented images.
    assert dispatch.modules({"augmentation": augmentation}) == expected


def test_an_unknown_module_is_one_line(one_line):
    with one_line(ValueError, "modeconn.nothing"):
        fingerprint.fingerprint("train", ["nothing"])


@pytest.fixture
def sources(tmp_path):
    """A copy of the programs, to edit."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "scripts"


def edit(sources, module, old, new):
    path = sources.joinpath("modeconn", *module.split(".")).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# An edit of each module that only says how a job runs: what a line says, what a cost holds, where a lock lies.
RUNNING_EDITS = {
    "programs": ("s left", "seconds left"),
    "cost": ("time.process_time(), 2)", "time.process_time(), 1)"),
    "devices": ("modeconn-gpus", "modeconn-gpu-locks"),
    "files": ('prefix=f".{path.name}."', 'prefix=f".new-{path.name}."'),
    "fingerprint": ("run again", "run it again"),
    "inputs": ("give what belongs to it", "give what belongs together"),
    "manifests": ("indent=1", "indent=2"),
    "mistakes": ("free some space", "make some room"),
    "resume": ("starting anew", "beginning anew"),
    "datasets.progress": (" of {total:,} ", "/{total:,} "),
}


def fingerprints(sources):
    """Of every program, as these sources say."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from modeconn import fingerprint as f;"
    code += "print([f.fingerprint(name, ['datasets.mnist']) for name in sys.argv[2:]])"
    programs = sorted(path.stem for path in SCRIPTS.glob("*.py"))
    command = [sys.executable, "-c", code, sources, *programs]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("module", sorted(fingerprint.RUNNING))
def test_a_module_that_says_how_a_job_runs_is_in_no_fingerprint(sources, module):
    before = fingerprints(sources)
    edit(sources, module, *RUNNING_EDITS[module])
    assert fingerprints(sources) == before


def test_what_a_running_module_imports_counts(sources):
    """Threads and determinism lie in `bits`, which the programs reach through `programs`."""
    before = fingerprints(sources)
    edit(sources, "bits", 'job["threads"]', 'job["threads"] + 0')
    assert fingerprints(sources) != before


def test_edits_of_what_says_how_a_job_runs_change_no_bytes(sources, tmp_path):
    """Data and a network from edited sources are those of unedited ones, and the plan's fingerprint fits both."""
    made, code = [], planned(sources)
    for name in ("as they are", "edited"):
        out = tmp_path / name
        dataset = {"source": "digits", "size": 8, "seed": 0, "test_fraction": 0.2, "alignment_fraction": 0.2}
        values = {"threads": 1, "names": {"dataset": "d"}, "dataset": dataset}
        run(sources, "prepare_data", values, "--code", code, "--output", out / "data.safetensors")
        recipe = {"epochs": 1, "batch": 256, "optimizer": OPTIMIZER, "schedule": "constant", "augmentation": {}}
        values = {"threads": 1, "names": {"dataset": "d", "network": "n", "recipe": "r"}, "seeds": [1, 2]}
        values |= {"network": {"family": "mlp", "hidden": [8]}, "recipe": recipe | {"attack": None}}
        files = ["--data", out / "data.safetensors", "--history", out / "seeds.history.csv"]
        run(sources, "train", values, *files, "--output", out / "seeds.safetensors")
        made.append({path.name: path.read_bytes() for path in out.glob("*") if path.suffix in (".safetensors", ".csv")})
        for module, edited in RUNNING_EDITS.items():
            if name == "as they are":
                edit(sources, module, *edited)
    assert made[0].keys() == {"data.safetensors", "seeds.safetensors", "seeds.history.csv"}
    assert made[0] == made[1]


OPTIMIZER = {"method": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005}


def run(sources, program, job, *arguments):
    command = [sys.executable, sources / f"{program}.py", "--job", json.dumps(job), *arguments]
    subprocess.run(command, check=True, capture_output=True)


def prepare(sources, code):
    job = (
        '{"threads":1,"names":{"dataset":"d"},"dataset":{"source":"digits","size":8,"seed":0,'
        '"test_fraction":0.2,"alignment_fraction":0.2}}'
    )
    output = sources.parent / "out" / "data.safetensors"
    command = [sys.executable, sources / "prepare_data.py", "--job", job, "--code", code, "--output", output]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


def planned(sources):
    code = "import sys; sys.path.insert(0, sys.argv[1]); from modeconn import fingerprint as f;"
    code += "print(f.fingerprint('prepare_data', ['datasets.digits']))"
    return subprocess.run(
        [sys.executable, "-c", code, sources], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_program_checks_what_it_really_loaded(sources):
    code = planned(sources)
    assert prepare(sources, code).returncode == 0

    without = " ".join(item for item in code.split() if not item.startswith("datasets:"))
    done = prepare(sources, without)
    assert done.returncode == 1 and "datasets was loaded" in done.stderr and "Traceback" not in done.stderr

    path = sources / "modeconn/datasets/__init__.py"
    path.write_text(path.read_text() + "\nEDITED = True\n")
    done = prepare(sources, code)
    assert done.returncode == 1 and "modeconn/datasets/__init__.py was edited after this job was planned" in done.stderr
