"""The common parts of all programs: help, one line for a mistake, the cost file, names that hide no module."""

import csv
import importlib.metadata
import json
import os
import platform
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import preloaded
from modeconn import artifacts, devices, files, programs, resume

SCRIPTS = Path(__file__).parents[2] / "scripts"
PROGRAMS = sorted(SCRIPTS.glob("*.py"))
COST = {
    "program": str,
    "seconds": float,
    "cpu_seconds": float,
    "peak_memory_mb": int,
    "device": str,
    "threads": int,
    "images_per_second": int | None,
    "resumed": bool,
    "state": str,
    "finished": str,
    "host": str,
    "commit": str | None,
}


def arguments_of(job, **options):
    words = ["--job", json.dumps({"threads": 1, **job})]
    for name, value in options.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def run_program(monkeypatch, name, job, **options):
    """Run a program of scripts/ in this process, as if from the command line."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / f"{name}.py"), *arguments_of(job, **options)])
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


def test_no_program_hides_a_module():
    """A program's folder comes first on the path of all that it imports: a tabulate.py would stand for the package."""
    importable = set(importlib.metadata.packages_distributions()) | sys.stdlib_module_names
    assert {"torch", "json"} <= importable
    assert PROGRAMS
    assert {path.stem for path in PROGRAMS} & importable == set()


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_help_says_what_a_program_is_for_and_explains_each_option(monkeypatch, capsys, path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(path), run_name="__main__")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    purpose = re.search(r'"""(.*?\.)(\s|""")', path.read_text(), re.DOTALL).group(1)
    assert " ".join(purpose.split()) in " ".join(text.split())
    options = set(re.findall(r"(--[\w-]+)", text.partition("\n\n")[0]))
    explained = set(re.findall(r"^  (?:-\w, )?(--[\w-]+).*?(?:  |\n {10,})\S", text, re.MULTILINE))
    # Some read a plan or a config and print; all others read something and write something.
    assert len(options) >= (1 if options in ({"--plan"}, {"--config"}) else 2)
    assert options <= explained


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run `main(arguments, job)` as a program that writes tmp_path/result.safetensors."""

    def run(main, **options):
        output = tmp_path / "result.safetensors"
        monkeypatch.setattr(sys, "argv", ["/some/where/example.py", *arguments_of({}, output=output, **options)])
        programs.run(programs.parser("An example."), main)

    return run


def test_the_cost_of_a_run_lies_beside_its_output(run, tmp_path):
    def main(arguments, job):
        job.progress(1, "train")({"epoch": 1, "images": 500, "loss": [0.5, 0.7], "accuracy": [0.9, 0.7]})
        files.write_text(arguments.output, "result")

    run(main)
    assert sorted(os.listdir(tmp_path)) == ["result.cost.json", "result.manifest.json", "result.safetensors"]
    cost = json.loads((tmp_path / "result.cost.json").read_text())
    assert cost.keys() == COST.keys()
    assert all(isinstance(cost[key], kind) for key, kind in COST.items())
    assert (cost["program"], cost["device"], cost["threads"], cost["resumed"]) == ("example", "cpu", 1, False)
    assert cost["images_per_second"] > 0
    assert cost["peak_memory_mb"] > 50


def test_a_run_without_training_has_no_speed(run, tmp_path):
    run(lambda arguments, job: None)
    assert json.loads((tmp_path / "result.cost.json").read_text())["images_per_second"] is None


@pytest.mark.parametrize("error", [ValueError("the loss is odd"), OSError("the loss is odd")])
def test_a_mistake_is_one_line_that_names_the_program(run, tmp_path, error):
    def main(arguments, job):
        raise error

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == "example.py: the loss is odd"
    assert not (tmp_path / "result.cost.json").exists()


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, TypeError])
def test_our_own_mistakes_keep_their_traceback(run, kind):
    def main(arguments, job):
        raise kind("unforeseen")

    with pytest.raises(kind, match="unforeseen"):
        run(main)


def test_a_hopeless_job_is_not_tried_again(run, tmp_path):
    tries = []

    def main(arguments, job):
        tries.append(job)
        raise resume.Hopeless("the loss is not finite")

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit, match=r"^example\.py: the loss is not finite$"):
        run(main)
    with pytest.raises(SystemExit, match=r"^example\.py: the loss is not finite \(as before: .*\)$"):
        run(main)
    assert len(tries) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".failed"]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_the_state_of_a_job_is_of_what_it_reads(tmp_path):
    """An input that was made anew, by other source say, has other content under the same name."""
    path = tmp_path / "data.safetensors"
    parser = programs.parser("An example.")
    parser.add_argument("--data", nargs="+", type=artifacts.Input)

    def state(content):
        artifacts.save(path, {"numbers": torch.tensor(content)}, {"rule": "prepare_data"})
        options = arguments_of({}, output=tmp_path / "result.safetensors", data=path)
        return programs.Job(parser.parse_args(options)).state.path

    assert state([1, 2]) == state([1, 2]) != state([1, 3])


def test_every_artifact_that_a_program_reads_is_among_its_inputs():
    """Those that it makes are no inputs: `--statistics` of evaluate_curve, `--checkpoint`, tables."""
    for path in PROGRAMS:
        text = path.read_text()
        if "programs.run(parser" not in text:
            continue
        parser = runpy.run_path(str(path))["parser"]
        files = {action.dest for action in parser._actions if action.type is artifacts.Input}
        read = {"data", "networks", "sparse", "permutation", "curve"} & {action.dest for action in parser._actions}
        if "statistics" in {action.dest for action in parser._actions} and path.stem != "evaluate_curve":
            read.add("statistics")
        assert files == read


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")], ids=str
)
def test_memory_that_the_machine_lacks_is_one_line(run, error):
    def main(arguments, job):
        raise error

    with pytest.raises(SystemExit, match=r"^example\.py: not enough memory on this machine"):
        run(main)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_promised_and_not_there_is_one_line(run):
    with pytest.raises(SystemExit) as caught:
        run(lambda arguments, job: pytest.fail("the work began"), device="cuda")
    assert re.fullmatch(r"example\.py: device cuda is asked for, and no GPU is seen here.*", caught.value.code)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_given_and_not_there_is_one_line(run):
    with pytest.raises(SystemExit) as caught:
        run(lambda arguments, job: pytest.fail("the work began"), device="auto", gpus=1)
    assert re.fullmatch(r"example\.py: this job was given a GPU, and no GPU is seen here.*", caught.value.code)


def test_a_gpu_that_torch_cannot_use_is_one_line(run, monkeypatch):
    monkeypatch.setattr(programs.devices, "present", lambda: ["0"])
    monkeypatch.setattr(programs.devices, "claim", lambda names: names[0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        run(lambda arguments, job: pytest.fail("the work began"), device="auto", gpus=1)
    assert re.fullmatch(
        r"example\.py: this job was given a GPU, and torch.* is the driver too old\?.*", caught.value.code
    )


def test_on_a_gpu_equal_bits_are_asked_for(run, monkeypatch):
    """Seen without one: what torch is told before the work begins."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(programs, "choose_device", lambda wanted, gpus: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    told = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, warn_only: told.append((on, warn_only)))
    torch.backends.cuda.matmul.allow_tf32 = True
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):  # and put back afterwards
        run(lambda arguments, job: None, device="cuda")
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    torch.utils.deterministic.fill_uninitialized_memory = True  # torch's default
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"
    assert told == [(True, True)]


def test_memory_that_a_gpu_lacks_is_one_line(run):
    def main(arguments, job):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has ...")

    with pytest.raises(SystemExit, match=r"^example\.py: CUDA out of memory: lower the batch.*GPU_SLOTS$"):
        run(main)


def test_a_job_that_is_given_no_gpu_says_that_it_computes_on_the_cpu(run, capsys):
    run(lambda arguments, job: print(job.device), device="auto", gpus=0)
    assert capsys.readouterr().out.splitlines()[:2] == ["given no GPU: computing on the CPU", "cpu"]
    run(lambda arguments, job: print(job.device), device="cpu", gpus=0)
    assert capsys.readouterr().out.splitlines()[0] == "cpu"


def test_a_run_that_gives_no_gpu_where_one_is_promised_is_one_line(run):
    with pytest.raises(SystemExit) as caught:
        run(lambda arguments, job: pytest.fail("the work began"), device="cuda", gpus=0)
    assert re.fullmatch(r"example\.py: device cuda is asked for, and this run gives jobs no GPU.*", caught.value.code)


def test_an_unknown_device_is_refused(run):
    with pytest.raises(SystemExit) as caught:
        run(lambda arguments, job: pytest.fail("the work began"), device="gpu")
    assert caught.value.code not in (0, None)


@pytest.mark.parametrize(("present", "device"), [(["7"], "cuda"), ([], "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, present, device):
    """Of made-up GPUs: a real one would stay locked for as long as the tests run."""
    claimed = []
    monkeypatch.setattr(devices, "present", lambda: present)
    monkeypatch.setattr(devices, "claim", claimed.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert programs.choose_device("cpu") == "cpu" and claimed == []
    assert programs.choose_device("auto") == device
    assert claimed == ([present] if present else [])


def test_points_that_are_done_are_left_out_and_the_rest_announced(run, capsys):
    seen = []

    def main(arguments, job):
        seen.extend(job.points(iter("abcde"), 5, "evaluate", done=2))

    run(main)
    assert seen == ["c", "d", "e"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" points")[0] for line in lines] == [f"evaluate: {number}/5" for number in (3, 4, 5)]


def test_epochs_are_announced(run, capsys):
    def main(arguments, job):
        report = job.progress(2, "train standard")
        for epoch in (1, 2):
            report({"epoch": epoch, "images": 100, "loss": [0.5, 1.5], "accuracy": [0.25, 0.75]})

    run(main)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("train standard: epoch 1/2, loss 1.0000, accuracy 50.00%, ")
    assert last.startswith("train standard: epoch 2/2, ")
    assert last.endswith(" 0 s left")


NETWORK = {"family": "mlp", "hidden": [12], "width": 1, "norm": "batch"}
RECIPE = {
    "epochs": 1,
    "batch": 256,
    "schedule": "constant",
    "optimizer": {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0},
    "augmentation": {"shift": 0},
    "attack": None,
}
NAMES = {"dataset": "digits", "network": "mlp", "recipe": "standard"}
LINE = {"kind": "linear"}
EVALUATION = {"points": 3, "batch": 512, "recalibration": {"images": 300, "batch": 100}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with digits and two small networks, made by the programs themselves."""
    folder = tmp_path_factory.mktemp("made")
    source = {"source": "digits", "size": 8, "test_fraction": 0.2, "alignment_fraction": 0.2, "seed": 0}
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_program(monkeypatch, "prepare_data", {"dataset": source}, output=folder / "data.safetensors")
        run_program(
            monkeypatch,
            "train",
            {"names": NAMES, "network": NETWORK, "recipe": RECIPE, "seeds": [1, 2]},
            data=folder / "data.safetensors",
            output=folder / "networks.safetensors",
            history=folder / "history.csv",
        )
    return folder


@pytest.fixture
def evaluate(made, monkeypatch, tmp_path):
    def evaluate(pair=(1, 2), data=made / "data.safetensors", networks=made / "networks.safetensors", **more):
        alignment = more["permutation"].stem if "permutation" in more else "none"
        names = {**NAMES, "pair": f"{pair[0]}-{pair[1]}", "alignment": alignment, "curve": "linear"}
        job = {"names": names, "network": NETWORK, "members": pair, "curve": LINE, "evaluation": EVALUATION}
        outputs = {"output": tmp_path / "points.csv", "statistics": tmp_path / "statistics.safetensors"}
        run_program(monkeypatch, "evaluate_curve", job, data=data, networks=networks, **outputs, **more)
        return (tmp_path / "points.csv").read_text().splitlines()

    return evaluate


def test_a_curve_between_two_trained_networks_is_evaluated(evaluate, made):
    header, *rows = evaluate()
    assert header == "dataset,network,recipe,pair,alignment,curve,t,length,split,attack,loss,accuracy"
    assert [row.split(",")[6:9:2] for row in rows] == [[t, s] for t in ("0", "0.5", "1") for s in ("train", "test")]
    assert (made / "history.csv").read_text().startswith("kind,dataset,network,recipe,seeds,alignment,curve,epoch,")


@pytest.mark.parametrize("missing", ["data", "networks"])
def test_an_absent_input_is_named(evaluate, tmp_path, missing):
    with pytest.raises(SystemExit) as caught:
        evaluate(**{missing: tmp_path / "absent"})
    assert caught.value.code.startswith(f"evaluate_curve.py: {tmp_path / 'absent'} does not exist")
    assert not (tmp_path / "points.csv").exists()


def test_a_seed_that_no_file_holds_is_named(evaluate, made):
    with pytest.raises(SystemExit) as caught:
        evaluate(pair=(1, 9))
    assert caught.value.code == f"evaluate_curve.py: no network of seed 9 in {made / 'networks.safetensors'}"


@pytest.mark.parametrize(
    ("option", "given"),
    [("data", "networks"), ("networks", "data"), ("curve", "networks"), ("permutation", "networks")],
)
def test_a_file_of_another_kind_is_refused_in_one_line(evaluate, made, option, given):
    path = made / f"{given}.safetensors"
    with pytest.raises(SystemExit) as caught:
        evaluate(**{option: path})
    assert re.fullmatch(rf"evaluate_curve\.py: .*{re.escape(str(path))}.*", caught.value.code)


def test_a_permutation_of_another_network_is_refused_in_one_line(evaluate, tmp_path):
    artifacts.save(
        tmp_path / "permutation", {"network.layers.0.linear": torch.arange(5).repeat(2, 1).flip(1)}, {"rule": "align"}
    )
    with pytest.raises(SystemExit) as caught:
        evaluate(permutation=tmp_path / "permutation")
    assert re.fullmatch(r"evaluate_curve\.py: .*network\.layers\.0\.linear.*", caught.value.code)


PAM = {
    "method": "pam",
    "start": None,
    "epochs": 2,
    "batch": 256,
    "learning_rate": 2,
    "nu": 1000,
    "projections": 20,
    "terms": 11,
    "samples": 6,
    "seed": 0,
}


@pytest.fixture(scope="module")
def permutations(made):
    """The folder with the permutations of the networks by random.safetensors and, refining it, pam.safetensors too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for program, name, values, more in (
            ("align", "random", {"method": "random", "seed": 0}, {}),
            (
                "refine",
                "pam",
                PAM,
                {
                    **{name: made / f"pam.{name}.csv" for name in ("history", "scores")},
                    "permutation": made / "random.safetensors",
                },
            ),
        ):
            names = {**NAMES, "pair": "1-2", "alignment": name}
            run_program(
                monkeypatch,
                program,
                {"names": names, "network": NETWORK, "recipe": RECIPE, "members": [1, 2], "alignment": values},
                data=made / "data.safetensors",
                networks=made / "networks.safetensors",
                output=made / f"{name}.safetensors",
                **more,
            )
            run_program(
                monkeypatch,
                "evaluate_signature",
                {"names": names, "network": NETWORK, "members": [1, 2], "alignment": values},
                data=made / "data.safetensors",
                networks=made / "networks.safetensors",
                permutation=made / f"{name}.safetensors",
                output=made / f"signature-{name}.csv",
            )
    return made


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_permutation_is_refined(permutations):
    """What is written is of the network as it was trained, and consistent with itself."""
    (start, _), (found, metadata) = (artifacts.load(permutations / f"{n}.safetensors") for n in ("random", "pam"))
    assert metadata["rule"] == "refine" and metadata["job"]["alignment"] == PAM
    (group,) = found
    assert found[group][0].tolist() == sorted(found[group][1].tolist()) == list(range(12))
    scores = {row["candidate"]: float(row["loss"]) for row in table(permutations / "pam.scores.csv")}
    assert list(scores) == ["start", "nearest", *(f"sample {number}" for number in range(1, 7))]
    # Something was found that is better than the start: a random permutation is easily improved.
    assert min(scores.values()) < scores["start"] and (found[group] != start[group]).any()
    history = table(permutations / "pam.history.csv")
    assert [(row["kind"], row["seeds"], row["alignment"], row["epoch"]) for row in history] == [
        ("alignment", "1-2", "pam", "1"),
        ("alignment", "1-2", "pam", "2"),
    ]
    # Before any permutation all alignments of a pair are the same.
    signatures = [table(permutations / f"signature-{name}.csv") for name in ("random", "pam")]
    befores, afters = ([[row[key] for row in rows] for rows in signatures] for key in ("before", "after"))
    assert befores[0] == befores[1] and afters[0] != afters[1]


def test_a_refined_permutation_is_taken_as_any_other(evaluate, permutations):
    plain, refined = (evaluate(**more) for more in ({}, {"permutation": permutations / "pam.safetensors"}))
    # The ends compute the same, what lies between does not.
    losses = [[float(row.split(",")[-2]) for row in rows[1:]] for rows in (plain, refined)]
    assert [losses[1][row] for row in (0, 1, 4, 5)] == pytest.approx([losses[0][row] for row in (0, 1, 4, 5)], rel=1e-4)
    assert losses[0][2] != pytest.approx(losses[1][2], rel=1e-2)


def test_a_refinement_does_not_start_from_a_refinement(permutations, monkeypatch, tmp_path):
    files = {name: tmp_path / name for name in ("output", "history", "scores")}
    job = {
        "names": {**NAMES, "pair": "1-2", "alignment": "pam"},
        "network": NETWORK,
        "recipe": RECIPE,
        "members": [1, 2],
    }
    inputs = {"data": permutations / "data.safetensors", "networks": permutations / "networks.safetensors"}
    with pytest.raises(SystemExit) as caught:
        start = permutations / "pam.safetensors"
        run_program(monkeypatch, "refine", {**job, "alignment": PAM}, permutation=start, **inputs, **files)
    assert caught.value.code == f"refine.py: {start} comes from rule refine: give a file from rule align"


def test_bends_are_held_near_their_start_by_a_proximal_term(made, monkeypatch, tmp_path):
    optimizer = RECIPE["optimizer"]
    curve = {"kind": "bezier", "bends": 1, "epochs": 1, "batch": 256, "schedule": "constant", "weight_decay": 0}
    bends = []
    for more in ({}, {"proximal": 1e-9}):
        names = {**NAMES, "pair": "1-2", "alignment": "none", "curve": "bezier"}
        job = {"names": names, "network": NETWORK, "recipe": RECIPE, "members": [1, 2]}
        run_program(
            monkeypatch,
            "fit_curve",
            {**job, "curve": {**curve, "optimizer": optimizer, **more}},
            data=made / "data.safetensors",
            networks=made / "networks.safetensors",
            output=tmp_path / "bends.safetensors",
            history=tmp_path / "history.csv",
        )
        bends.append(artifacts.load(tmp_path / "bends.safetensors")[0]["bends"])
    tensors, _ = artifacts.load(made / "networks.safetensors")
    shapes = [name for name in tensors if "running" not in name and "tracked" not in name]
    midpoint = torch.cat([tensors[name].mean(0).flatten() for name in shapes])
    free, held = ((bend[0].sort().values - midpoint.sort().values).abs().max() for bend in bends)
    assert held < 1e-6 < 1e-3 < free


def test_from_the_command_line_a_mistake_is_one_line_and_exit_code_one(tmp_path):
    words = arguments_of({"dataset": {}}, output=tmp_path / "file" / "data.safetensors")
    (tmp_path / "file").write_text("in the way")
    process = subprocess.run(
        [preloaded.python(), SCRIPTS / "prepare_data.py", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert process.returncode == 1
    assert process.stdout == ""
    assert re.fullmatch(r"prepare_data\.py: .*file.*\n", process.stderr)


MEMORY = """
import os
import sys
import torch
from modeconn import programs

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if sys.argv[1] == "kept":
    programs.keep_memory()
tensor = torch.ones(2**24)
held = resident()
del tensor
print(held - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="says what GNU's C library does")
@pytest.mark.parametrize("setting", ["kept", "given back"])
def test_memory_that_is_freed_is_kept(setting):
    command = [sys.executable, "-c", MEMORY, setting]
    freed = int(subprocess.check_output(command, env=os.environ | {"PYTHONPATH": str(SCRIPTS)}))
    assert (freed < 2**22) == (setting == "kept")


@pytest.mark.parametrize("learns", [True, False])
def test_a_network_that_has_learned_nothing_is_said(made, monkeypatch, capsys, tmp_path, learns):
    """On labels drawn at random nothing can be learned."""
    tensors, metadata = artifacts.load(made / "data.safetensors")
    if not learns:
        labels = tensors["test_labels"]
        tensors["test_labels"] = labels[torch.randperm(len(labels))]
    artifacts.save(tmp_path / "data", tensors, {**metadata, "rule": "prepare_data"})
    run_program(
        monkeypatch,
        "train",
        {"names": NAMES, "network": NETWORK, "recipe": {**RECIPE, "epochs": 2}, "seeds": [1]},
        data=tmp_path / "data",
        output=tmp_path / "networks",
        history=tmp_path / "history.csv",
    )
    assert ("no better than always predicting the most frequent class" in capsys.readouterr().out) != learns


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_ctrl_c_while_importing_is_no_traceback(tmp_path, program):
    for imported in ("torch", "numpy", "pandas", "yaml", "jsonschema", "psutil"):
        (tmp_path / f"{imported}.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
    stopped = done.returncode == -signal.SIGINT and done.stderr == f"{program.name}: stopped\n"
    # Some import nothing before they read their arguments.
    assert stopped or (done.returncode == 2 and done.stderr.startswith("usage: "))
