"""Fingerprints: what changes them, what does not, and that they are the same on every Python."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import check_network
import preloaded
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
    # Of recipes that reduce networks, only the trainings.
    merging = {"network": {"family": "mlp"}, "recipe": {"merge": 0.99}}
    assert dispatch.modules(merging | {"seeds": [1]}) == ["networks.mlp", "reduction", "optimizers.sgd"]
    assert dispatch.modules(merging) == ["networks.mlp", "optimizers.sgd"]
    assert "reduction" in names("train", ["reduction"]) - names("train")
    suite = {"method": "autoattack", "epsilon": 1}
    assert dispatch.modules({"attacks": {"none": None, "weak": attack, "strong": attack}}) == ["attacks"]
    assert dispatch.modules({"attack": attack, "attacks": {"strong": suite}}) == ["attacks", "autoattack"]
    assert "autoattack" in names("select_network", ["autoattack"]) and "autoattack" not in names("select_network")
    assert dispatch.modules({"alignment": {"method": "weight"}}) == ["matching.weight"]
    scaled = {"method": "weight", "symmetry": "scale"}
    assert dispatch.modules({"alignment": scaled}) == ["matching.weight", "matching.scaled"]
    assert "permutation.scales" in names("align", ["matching.scaled"]) - names("align", ["matching.weight"])
    assert dispatch.modules({"alignment": {"method": "activation"}}) == ["matching.activation"]


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


def edit(sources, module, old, new, count=-1):
    path = sources.joinpath("modeconn", *module.split(".")).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


# An edit of each module that only says how a job runs, on a path that the jobs below take.
RUNNING_EDITS = {
    "cost": ('"cpu_seconds"', '"seconds_of_cpu"'),
    "datasets.progress": (" of {total:,} ", "/{total:,} "),
    "devices": ("modeconn-gpus", "modeconn-gpu-locks"),
    "files": ('prefix=f".{path.name}."', 'prefix=f".new-{path.name}."'),
    "fingerprint": ("for name, path in _loaded()", "for name, path in reversed([*_loaded()])"),
    "inputs": ('("members", "moments", "network", "recipe")', '("recipe", "moments", "members", "network")'),
    "manifests": ("indent=1", "indent=2"),
    "errors": ("name = Path(sys.argv[0]).name", "name = Path(sys.argv[0]).stem"),
    "permutation.verdict": ("LARGEST_CHANGE = 1e-7", "LARGEST_CHANGE = 1e-6"),
    "programs": ("s left", "seconds left"),
    "resume": ("starting anew", "beginning anew"),
}
# What those edits leave in what the jobs print or write beside their artifacts, where they leave anything.
TRACES = {
    "cost": "seconds_of_cpu",
    "datasets.progress": "decode: 10/20 images",
    "devices": "modeconn-gpu-locks",
    "manifests": '\n  "rule"',
    "programs": " seconds left",
    "resume": "beginning anew",
}
PROGRAMS = sorted(path.stem for path in SCRIPTS.glob("*.py"))


def fingerprints(sources, jobs):
    """Of programs and the modules that their jobs name, as these sources say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "SCRIPTS", sources)
        fingerprint._read.cache_clear()
        found = [fingerprint.fingerprint(*job) for job in jobs]
    fingerprint._read.cache_clear()
    return found


def of_all(sources):
    """Of every program."""
    return fingerprints(sources, [(program, ["datasets.mnist"]) for program in PROGRAMS])


@pytest.mark.parametrize("module", sorted(fingerprint.RUNNING))
def test_a_module_that_says_how_a_job_runs_is_in_no_fingerprint(sources, module):
    before = of_all(sources)
    edit(sources, module, *RUNNING_EDITS[module])
    assert of_all(sources) == before


def test_every_such_module_is_one_that_jobs_load(monkeypatch):
    running = fingerprint.RUNNING
    monkeypatch.setattr(fingerprint, "RUNNING", frozenset())
    rules = set(PROGRAMS) - {"check_network", "check_shown", "estimate_cost", "explain_plan", "run_workflow"}
    assert running <= set().union(*(names(program, ["datasets.mnist"]) for program in rules))


@pytest.mark.parametrize(
    ("module", "programs"),
    [
        # Threads and determinism, which the programs reach through `programs`.
        ("bits", {"prepare_data", "train", "align", "refine", "fit_curve", "select_network"}),
        # What an artifact says of itself.
        ("artifacts", {"prepare_data", "train", "align", "refine", "fit_curve", "select_network"}),
        ("optimization", {"train", "refine", "fit_curve"}),
        ("curves", {"refine", "fit_curve", "select_network"}),
        # What pins a group of neurons.
        ("permutation.proof", {"align", "refine"}),
        # Whether a folder of images has colour, and the remarks, which are a file of the job.
        ("datasets.remarks", {"prepare_data"}),
        # Which tables there are, and from what.
        ("plan", {"make_tables"}),
    ],
)
def test_a_module_that_decides_counts(sources, module, programs):
    before = dict(zip(PROGRAMS, of_all(sources), strict=True))
    path = sources.joinpath("modeconn", *module.split(".")).with_suffix(".py")
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    after = dict(zip(PROGRAMS, of_all(sources), strict=True))
    assert {program for program in PROGRAMS if after[program] != before[program]} >= programs


def test_a_module_that_says_how_a_job_runs_counts_where_it_is_named():
    """The check before training keeps its answer, which hangs on the tolerance of the proof."""
    assert "permutation.verdict" in names("check_network", check_network.MODULES)
    assert "permutation.verdict" not in names("align") | names("refine")


OPTIMIZER = {"method": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005}
RECIPE = {"epochs": 1, "batch": 8, "optimizer": OPTIMIZER, "schedule": "constant", "attack": None, "augmentation": {}}


def test_edits_of_what_says_how_a_job_runs_change_no_bytes(sources, tmp_path):
    """Data, networks and a permutation: the plan's fingerprints fit the edited sources, and the bytes are the same."""
    for number in range(40):
        part, label = ("train", "test")[number % 2], number // 2 % 2
        path = tmp_path / "pictures" / part / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 128, (8, 8, 3), dtype=np.uint8) + np.uint8(127 * label)
        Image.fromarray(pixels).save(path)
    source = {"source": "image_folder", "path": str(tmp_path / "pictures"), "seed": 0, "alignment_fraction": 0.5}
    network = {"family": "mlp", "hidden": [8], "width": 1, "norm": "none"}
    named = {"dataset": "d", "network": "n", "recipe": "r"}
    matched = {"members": [1, 2], "alignment": {"method": "activation", "statistic": "sum"}}
    jobs = {
        "prepare_data": {"names": {"dataset": "d"}, "dataset": source},
        "train": {"names": named, "seeds": [1, 2], "network": network, "recipe": RECIPE},
        "align": {"names": {**named, "pair": "1-2", "alignment": "a"}, "network": network, **matched},
    }
    jobs = {program: {"threads": 1, **values} for program, values in jobs.items()}
    code = fingerprints(sources, [(program, dispatch.modules(values)) for program, values in jobs.items()])
    plan = [(program, values, code) for (program, values), code in zip(jobs.items(), code, strict=True)]

    plain, said = made(sources, plan, tmp_path / "plain")
    for module, edited in RUNNING_EDITS.items():
        edit(sources, module, *edited)
        edit(sources, module, "\n\n\n", f'\n\n\nprint("loaded: {module},", flush=True)\n\n\n', 1)
    again, said_again = made(sources, plan, tmp_path / "edited")
    assert again == plain and len(plain) == 4
    assert {module for module in RUNNING_EDITS if f"loaded: {module}," in said_again} == fingerprint.RUNNING
    assert {module for module, trace in TRACES.items() if trace in said_again} == TRACES.keys()
    assert not [trace for trace in TRACES.values() if trace in said]


def made(sources, plan, out):
    """(the artifacts that the jobs of the plan make, name -> bytes, and all that they say and write besides)."""
    out.mkdir()
    data, networks, found = (out / f"{name}.safetensors" for name in ("data", "seeds", "permutation"))
    networks.with_suffix(".00000000.state").touch()  # of another recipe
    files = {
        "prepare_data": ["--output", data],
        "train": ["--data", data, "--history", out / "seeds.history.csv", "--output", networks],
        "align": ["--data", data, "--networks", networks, "--output", found],
    }
    # GPUs that are not there: one is locked all the same.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "97,98", "TMPDIR": str(out)}
    said = []
    for program, job, code in plan:
        options = ["--job", json.dumps(job), "--code", code, "--device", "auto", *files[program]]
        command = [preloaded.python(), sources / f"{program}.py", *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    said += [path.read_text(encoding="utf-8") for path in sorted(out.glob("*.json"))]
    said += [path.name for path in out.iterdir()]
    return {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in (".safetensors", ".csv")}, "\n".join(said)


def prepare(sources, code):
    job = (
        '{"threads":1,"names":{"dataset":"d"},"dataset":{"source":"digits","size":8,"seed":0,'
        '"test_fraction":0.2,"alignment_fraction":0.2}}'
    )
    output = sources.parent / "out" / "data.safetensors"
    command = [preloaded.python(), sources / "prepare_data.py", "--job", job, "--code", code, "--output", output]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


def test_a_program_checks_what_it_really_loaded(sources):
    (code,) = fingerprints(sources, [("prepare_data", ["datasets.digits"])])
    assert prepare(sources, code).returncode == 0

    without = " ".join(item for item in code.split() if not item.startswith("datasets:"))
    done = prepare(sources, without)
    assert done.returncode == 1 and "datasets was loaded" in done.stderr and "Traceback" not in done.stderr

    path = sources / "modeconn/datasets/__init__.py"
    path.write_text(path.read_text() + "\nEDITED = True\n")
    done = prepare(sources, code)
    assert done.returncode == 1 and "modeconn/datasets/__init__.py was edited after this job was planned" in done.stderr
