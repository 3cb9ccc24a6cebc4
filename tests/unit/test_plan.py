"""The plan: what a config asks for, and edit by edit which jobs run again, without Snakemake."""

import copy
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from modeconn import configuration, fingerprint, plan
from modeconn.identity import digest
from workflow.edits import CONFIG_EDITS, SOURCE_EDITS

ROOT = Path(__file__).parents[2]
SCHEMA = configuration.schema()
TINY = configuration.read(ROOT / "tests/workflow/tiny.yaml")


def planned(config=TINY, schema=SCHEMA):
    complete = copy.deepcopy(config)
    configuration.complete(complete, schema)
    return plan.Plan(complete, schema)


def digests(one):
    """Path of a job's first output -> a digest of all that decides it, that of its inputs included."""
    known = {}
    for job, inputs in one.jobs.items():
        wildcards = dict(job.wildcards)
        read = {name: [known[of.job] for of in made] for name, made in inputs.items()}
        known[job] = digest([one.job(job.rule, wildcards), one.code(job.rule, wildcards), read])
    return {plan.Made(job, next(iter(plan.RULES[job.rule].outputs))).path: of for job, of in known.items()}


def changed(before, after):
    """Rule -> how many of the jobs planned after an edit would run where those before it are done."""
    known = set(before.values())
    again = [path for path, digest in after.items() if digest not in known]
    folders = {about.stem.partition("/")[0]: rule for rule, about in plan.RULES.items() if rule != "refine"}
    rules = Counter(folders[path.split("/")[1]] for path in again)
    refined = sum(rule == "align" and "/pam" in path for path in again for rule in [folders[path.split("/")[1]]])
    return dict(rules | {"align": rules["align"] - refined, "refine": refined})


def without_zeros(counts):
    return {rule: number for rule, number in counts.items() if number}


@pytest.fixture(scope="module")
def before():
    return digests(planned())


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the programs that may be edited, from which fingerprints are taken."""
    copied = tmp_path / "scripts"
    shutil.copytree(ROOT / "scripts", copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "SCRIPTS", copied)
    for cached in (plan._code, fingerprint._read):
        cached.cache_clear()
    yield tmp_path
    for cached in (plan._code, fingerprint._read):
        cached.cache_clear()


@pytest.mark.parametrize("name", SOURCE_EDITS)
def test_source(before, sources, name):
    path, old, new, expected = SOURCE_EDITS[name]
    text = (sources / path).read_text(encoding="utf-8")
    assert old in text
    (sources / path).write_text(text.replace(old, new), encoding="utf-8")
    assert without_zeros(changed(before, digests(planned()))) == expected


@pytest.mark.parametrize("name", CONFIG_EDITS)
def test_config(before, name):
    change, expected = CONFIG_EDITS[name]
    config = copy.deepcopy(TINY)
    change(config)
    assert without_zeros(changed(before, digests(planned(config)))) == expected


def test_each_module_that_says_how_a_job_runs_has_its_row():
    rows = {path for path, _, _, jobs in SOURCE_EDITS.values() if jobs == {}}
    assert {f"scripts/modeconn/{module.replace('.', '/')}.py" for module in fingerprint.RUNNING} <= rows


def test_jobs_come_after_those_that_they_read():
    jobs = planned().jobs
    order = {job: number for number, job in enumerate(jobs)}
    assert len(jobs) == 61
    for job, inputs in jobs.items():
        assert all(order[one.job] < order[job] for read in inputs.values() for one in read)


def test_a_curve_that_two_entries_ask_for_is_measured_once_under_all_their_attacks():
    config = copy.deepcopy(TINY)
    robust = config["studies"]["alignment"][1]
    config["studies"]["alignment"] += [
        robust | {"attack": None, "best": None},
        robust | {"attack": "strong", "best": None},
    ]
    one, two = planned(), planned(config)
    assert len(one.outputs("evaluate_curve", "points")) == len(two.outputs("evaluate_curve", "points"))
    curves = [job for job in two.jobs if job.rule == "evaluate_curve"]
    under = {tuple(sorted(two.job(job.rule, dict(job.wildcards)).get("attacks", {}))) for job in curves}
    assert under == {(), ("pgd", "strong")}


def test_what_is_left_of_a_plan_asks_for_the_files_that_the_whole_one_makes():
    """Where the selection on a curve has failed, say, its evaluation under all attacks is there."""
    config = copy.deepcopy(TINY)
    config["studies"]["alignment"].append(config["studies"]["alignment"][1] | {"attack": "strong", "best": None})
    whole = planned(config)
    part = whole.narrowed(
        lambda cell: cell["study"] == "alignment" and cell["attack"] != whole.identity("attack", "strong")
    )
    assert set(part.outputs("evaluate_curve", "points")) <= set(whole.outputs("evaluate_curve", "points"))
    assert part.shown["studies"].keys() == {"alignment"} and "averaging" in whole.shown["studies"]
    assert "curves" not in whole.shown["studies"]["averaging"][0]


@pytest.mark.parametrize(
    ("seeds", "name"), [([1, 2], "1-2"), ([3, 1], "3-1"), ([1, 2, 3], "1-2-3"), (list(range(1, 51)), "1to50")]
)
def test_a_population_has_one_name(seeds, name):
    assert plan.named(seeds) == name and plan.seeds_in(name) == seeds


@pytest.mark.parametrize(("seed", "size", "block"), [(3, 1, "3"), (4, 4, "1-4"), (5, 4, "5-8"), (50, 50, "1-50")])
def test_blocks_of_seeds_are_fixed(seed, size, block):
    assert plan.block_of(seed, size) == block


def test_a_population_reads_the_blocks_that_hold_it():
    config = copy.deepcopy(TINY)
    config["recipes"]["together"]["population"] = 2
    (align,) = [job for job in planned(config).jobs if job.rule == "align" and "1-2-3" in dict(job.wildcards).values()]
    networks = planned(config).inputs(align.rule, dict(align.wildcards))["networks"]
    assert [dict(one.job.wildcards)["block"] for one in networks] == ["1-2", "3-4"]


def test_moons_is_a_job_a_width_and_kind_of_work():
    config = configuration.read(ROOT / "config/moons.yaml")
    jobs = Counter(job.rule for job in planned(config).jobs)
    assert jobs == {"prepare_data": 1, "train": 9, "align": 9, "evaluate_barriers": 18, "evaluate_boundary": 4}


def test_the_plan_is_made_without_torch_or_snakemake():
    import subprocess
    import sys

    check = "import sys; sys.path.insert(0, 'scripts'); from modeconn import plan, studies; " + (
        "assert not {'torch', 'snakemake', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_values_of_jobs_are_plain_json():
    one = planned()
    for job in one.jobs:
        values = one.job(job.rule, dict(job.wildcards))
        assert json.loads(json.dumps(values)) == values
    assert yaml.safe_load(yaml.safe_dump(one.shown)) == one.shown


# --- networks of one's own ---

OWN = """
from torch import nn

def build(inputs, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, classes))
"""


@pytest.fixture
def own(tmp_path):
    """(the file of a network of one's own, the tiny config with an entry more, on that network)."""
    path = tmp_path / "my networks" / "own.py"
    path.parent.mkdir()
    path.write_text(OWN, encoding="utf-8")
    config = copy.deepcopy(TINY)
    config["networks"]["own"] = {"family": "file", "path": f"{path}:build"}
    entry = {"dataset": "digits", "network": "own", "recipe": "standard", "pairs": [[1, 2]]}
    config["studies"]["alignment"].append(entry | {"alignments": ["none", "weight"], "curves": ["linear"]})
    return path, config


def test_editing_the_source_of_an_own_network_runs_its_jobs_again(own):
    path, config = own
    first = digests(planned(config))
    path.write_text(f'"""Mine."""\n# A comment.\n{OWN}', encoding="utf-8")
    assert digests(planned(config)) == first
    path.write_text(OWN.replace("8", "9"), encoding="utf-8")
    expected = {"train": 2, "align": 1, "evaluate_signature": 1, "evaluate_curve": 2}
    assert without_zeros(changed(first, digests(planned(config)))) == expected


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "own.py is no file"),
        ("def other(): pass", "own.py defines no build: it defines other"),
        ("def build(:", r"own.py is no Python that can be read: invalid syntax"),
    ],
)
def test_an_own_network_that_is_not_there_is_one_line(own, source, words):
    path, config = own
    path.unlink() if source is None else path.write_text(source, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^config, networks.own.path: .*{words}") as raised:
        planned(config)
    assert "\n" not in str(raised.value)


def test_the_path_of_an_own_network_names_a_function(own):
    _, config = own
    config["networks"]["own"]["path"] = "own.py"
    with pytest.raises(ValueError, match=r"own\.py names no function in a file: write it as network.py:build"):
        planned(config)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('no such luck')", "build raises RuntimeError in line 2: no such luck"),
        ("return 3", "returns a int: let it return a torch.nn.Module"),
        ("from torch import nn; return nn.Linear(7, 2)", r"does not run on images of shape \(1, 4, 4\)"),
        (
            "from torch import nn; return nn.Flatten()",
            r"let it return logits, \(N, 2\), .* a Tensor of shape \(2, 16\)",
        ),
    ],
)
def test_an_own_network_that_cannot_be_built_says_why(tmp_path, body, words):
    from modeconn import networks, own_code

    path = tmp_path / "own.py"
    path.write_text(f"def build():\n    {body}\n", encoding="utf-8")
    values = {"family": "file", "path": f"{path}:build", "content": own_code.digest(f"{path}:build")}
    facts = {"shape": (1, 4, 4), "classes": 2, "mean": [0.0], "std": [1.0]}
    with pytest.raises(ValueError, match=words):
        networks.build(values, **facts)
    path.write_text("def build(classes): return None", encoding="utf-8")
    with pytest.raises(ValueError, match="was edited after this job was planned: run again"):
        networks.build(values, **facts)


def test_an_own_network_that_imports_a_file_beside_it_is_refused(tmp_path):
    """The edits of that file would not be noticed. A module that is nowhere is another mistake."""
    from modeconn import own_code

    path = tmp_path / "own.py"
    (tmp_path / "its_layers.py").touch()
    for module, words in (
        ("its_layers", "put their code into this file$"),
        ("its_absent", "No module named .its_absent."),
    ):
        path.write_text(f"import {module}\ndef build(): pass\n", encoding="utf-8")
        with pytest.raises(
            ValueError, match=f"own.py cannot be run: ModuleNotFoundError in line 1: .*{words}"
        ) as caught:
            own_code.load(f"{path}:build")
        assert ("put their code" in str(caught.value)) == (module == "its_layers")
