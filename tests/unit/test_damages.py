"""Damaged, swapped or lost files of jobs: for each kind of file and damage, the file is refused."""

import re
import runpy
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import synthetic_tables
import torch
from synthetic_tables import SCRIPTS, TABLES, options

from modeconn import artifacts, manifests, tables
from modeconn.figures import registry
from modeconn.identity import canonical, digest
from modeconn.studies import STUDIES

CONFIG = Path(__file__).parents[2] / "config"
MEASURED = {kind: make for of_study in synthetic_tables.MEASURED.values() for kind, make in of_study.items()}
# What is measured -> the study whose tables are made from it.
STUDY_OF = {kind: study for study, of_study in synthetic_tables.MEASURED.items() for kind in of_study}
STUDY_OF["permutations"] = "alignment"
STUDIED = "digits-tinyten-standard"
# Of a complete config what its figures are named by.
STUDY = dict(zip(("dataset", "network", "recipe"), STUDIED.split("-")), attack=None, best=None, measures=[])
SHOWN = {
    "curves": {"linear": {"kind": "linear"}},
    "alignments": {},
    "studies": {"alignment": [{**STUDY, "alignments": ["none"], "curves": ["linear"]}]},
}
FIGURES = {"curves": "curves", "marks": "planes"}  # table -> a figure that is drawn from it, as from any other


def run_program(program, *words):
    """Run a program of scripts/ in this process, as if from the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPTS / f"{program}.py"), *map(str, words)])
        runpy.run_path(str(SCRIPTS / f"{program}.py"), run_name="__main__")


class Run:
    """The files of a small run under `folder`/results, each job's with its manifest; `scale` tells two runs apart."""

    def __init__(self, folder, name, scale=1.0):
        self.results = folder / "results"
        self.measured = {kind: self.measure(kind, f"{name}/1-2.csv", make(), scale) for kind, make in MEASURED.items()}
        self.measured["permutations"] = self.permute(name, scale)
        self.data = self.job("prepare_data", f"data/{name}.safetensors", lambda path: self.images(path, scale))
        self.remarks = self.data.with_suffix(".remarks.txt")
        folder = self.results / name / "tables"
        self.tables = {table: folder / f"{table}.csv" for of_study in TABLES.values() for table in of_study}
        for study in TABLES:
            self.make_tables(folder, study)
        self.paper = self.results / name / "tables/paper.txt"
        of_paper = {self.paper: f"The paper's table, {scale}.\n", self.paper.with_suffix(".html"): f"<p>{scale}</p>\n"}
        manifests.write_all("compare_paper", {str(path): text.encode() for path, text in of_paper.items()}, {})
        self.verdicts = self.results / name / "tables/claims.csv"
        manifests.write_all("judge_claims", {str(self.verdicts): f"claim\n{scale}\n{scale}\n".encode()}, {})
        self.config = self.results / name / "config.json"
        self.config.write_text(canonical(SHOWN))
        self.figures = self.results / name / "figures" / STUDIED
        for path in registry.of(SHOWN):
            name = Path(path).name
            self.draw(name.partition("-")[0], self.figures, name)

    def job(self, rule, place, write, **values):
        """Let `write(path)` make the files of a job, and write its manifest; returns the main one."""
        path = self.results / place
        path.parent.mkdir(parents=True, exist_ok=True)
        made = write(path)
        manifests.write(manifests.beside(path), made, {"rule": rule, "job": values, "code": "a:12345678"})
        return path

    def measure(self, kind, place, rows, scale):
        rows = rows.assign(loss=rows["loss"] * scale) if "loss" in rows else rows.assign(**{rows.columns[-1]: scale})

        def write(path):
            path.write_bytes(tables.csv(rows))
            return [path]

        return self.job(f"measure_{kind}", f"{kind}/{place}", write)

    def permute(self, name, scale):
        paths = synthetic_tables.write_permutations(self.results)

        def write(path):
            shutil.move(paths[scale != 1], path)
            return [path]

        made = self.job("align", f"alignments/{name}/1-2.safetensors", write)
        for path in self.results.glob("*.safetensors"):
            path.unlink()
        return made

    def images(self, path, scale):
        labels = torch.arange(int(20 * scale)) % 10
        tensors = {f"{split}_{what}": labels for split in ("train", "test") for what in ("labels", "images")}
        artifacts.save(path, tensors, {"rule": "prepare_data", "classes": 10})
        path.with_suffix(".remarks.txt").write_text(f"{path.stem}: 10 grey images\n")
        return [path, path.with_suffix(".remarks.txt")]

    def inputs(self, study):
        return options({kind: paths for kind, paths in self.measured.items() if STUDY_OF[kind] == study})

    def outputs(self, out, study):
        return options({f"{table}_table": out / f"{table}.csv" for table in TABLES[study]})

    def make_tables(self, out, study="alignment"):
        run_program("make_tables", "--study", study, *self.inputs(study), *self.outputs(out, study))

    def judge(self, out):
        read = {f"{name}_table": self.tables[name] for name in ("pairs", "best", "summary", "signatures", "barriers")}
        read |= {"data": self.data, "remarks": self.remarks, "paper": self.paper, "claims": CONFIG / "claims.csv"}
        made = {name: out / name for name in ("verdicts_table", "comparison_table", "barrier_comparison_table", "text")}
        run_program("judge_claims", *options(read | made))

    def compare(self, out):
        read = {"summary_table": self.tables["summary"], "config": out / "absent", "published": CONFIG / "absent"}
        read |= {"paper_config": CONFIG / "paper.yaml", "schema": CONFIG.parent / "workflow/schemas/config.schema.yaml"}
        read["published"] = CONFIG / "papers/tatro2020.csv"
        run_program(
            "compare_paper", *options(read), *options({name: out / name for name in ("paper_table", "page", "text")})
        )

    def draw(self, figure, out, name="a"):
        drawn_from = [self.tables[table] for table in registry.FIGURES[figure].tables]
        chosen = ["--recipe", "standard", "--curve", "bezier"]
        outputs = ["--svg", out / f"{name}.svg", "--pdf", out / f"{name}.pdf"]
        run_program("draw", "--figure", figure, "--tables", *drawn_from, *chosen, *outputs)

    def report(self, out):
        """What is done before Snakemake's reporter reads what it shows."""
        planned = digest(canonical(SHOWN))
        run_program("check_shown", "--config", self.config, "--planned", planned)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, and another one of other numbers."""
    folder = tmp_path_factory.mktemp("runs")
    return Run(folder, "one"), Run(folder, "two", 0.5)


def of_reader():
    """(how to find the file in a run, what reads it there) by name: each kind of file that a program reads."""
    found = {
        f"measured {kind}": (lambda run, kind=kind: run.measured[kind], partial(Run.make_tables, study=STUDY_OF[kind]))
        for kind in MEASURED
    }
    found["permutation"] = (lambda run: run.measured["permutations"], Run.make_tables)
    for table in ("pairs", "best", "summary", "signatures"):
        found[f"judged {table}"] = (lambda run, table=table: run.tables[table], Run.judge)
    found |= {name: (lambda run, name=name: getattr(run, name), Run.judge) for name in ("data", "remarks", "paper")}
    found["compared summary"] = (lambda run: run.tables["summary"], Run.compare)
    for table, figure in FIGURES.items():
        reader = lambda run, out, figure=figure: run.draw(figure, out)  # noqa: E731
        found[f"drawn {table}"] = (lambda run, table=table: run.tables[table], reader)
    for name in ("curves-test-all.svg", "curves-test-none.pdf"):
        found[f"shown {name}"] = (lambda run, name=name: run.figures / name, Run.report)
    found["shown summary"] = (lambda run: run.tables["summary"], Run.report)
    found["shown verdicts"] = (lambda run: run.verdicts, Run.report)
    found["shown page"] = (lambda run: run.paper.with_suffix(".html"), Run.report)
    return found


FILES = of_reader()


def digit(content):
    """One digit changed, the last but those that are a whole number's only one."""
    place = max(content.rfind(str(number).encode()) for number in range(10))
    return content[:place] + (b"7" if content[place : place + 1] != b"7" else b"3") + content[place + 1 :]


def halved(content):
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: max(1, len(lines) // 2)]) if len(lines) > 1 else content[: len(content) // 2]


DAMAGES = {
    "digit": digit,
    "cut": lambda content: content[:-3],
    "halved": halved,
    "header only": lambda content: content.splitlines(keepends=True)[0][:-1],
    "empty": lambda content: b"",
}


@pytest.fixture
def damage(runs):
    """Change files of the first run for the time of a test."""
    kept = {}

    def change(path, content):
        kept.setdefault(path, path.read_bytes())
        path.write_bytes(content) if content is not None else path.unlink()

    yield change
    for path, content in kept.items():
        path.write_bytes(content)


def refused(read, run, out, *words):
    """That a program ends with one line that holds the words, and has made nothing."""
    with pytest.raises(SystemExit) as caught:
        read(run, out)
    message = str(caught.value.code)
    assert "\n" not in message and all(str(word) in message for word in words), message
    assert not list(out.iterdir())


def test_a_whole_run_is_read(runs, tmp_path):
    for run in runs:
        run.make_tables(tmp_path)
        run.judge(tmp_path)
        run.report(tmp_path)
    assert (tmp_path / "text").read_text().count("10 grey images")
    # Its tables are plain CSV.
    assert "0.5" in (tmp_path / "summary.csv").read_text()


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_refused(runs, damage, tmp_path, file, kind):
    find, read = FILES[file]
    path = find(runs[0])
    content = DAMAGES[kind](path.read_bytes())
    assert content != path.read_bytes()
    damage(path, content)
    refused(read, runs[0], tmp_path, path, "delete", "run rule")


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_run_is_refused(runs, damage, tmp_path, file):
    """With the other run's manifest and without."""
    find, read = FILES[file]
    ours, theirs = find(runs[0]), find(runs[1])
    assert ours.read_bytes() != theirs.read_bytes()
    damage(ours, theirs.read_bytes())
    refused(read, runs[0], tmp_path, ours, "another job", "delete", "run rule")
    for manifest in ours.parent.glob("*.manifest.json"):
        damage(manifest, (theirs.parent / re.sub(r"\bone\b", "two", manifest.name)).read_bytes())
    # Of several files of a job the first that is read is named.
    refused(read, runs[0], tmp_path, f"{ours.parent}/", "delete", "run the rule")


@pytest.mark.parametrize("file", FILES)
def test_a_lost_or_damaged_manifest_is_said(runs, damage, tmp_path, file):
    find, read = FILES[file]
    path = find(runs[0])
    beside = manifests.beside(path)
    manifest = beside if beside.exists() else next(m for m in path.parent.glob("*.json") if path.name in m.read_text())
    damage(manifest, digit(manifest.read_bytes()))
    refused(read, runs[0], tmp_path, manifest, "is damaged", "delete")
    damage(manifest, None)
    refused(read, runs[0], tmp_path, f"{path.parent}/", "no manifest", "delete")


@pytest.mark.parametrize("with_manifest", [False, True])
def test_another_figure_of_the_run_is_refused(runs, damage, tmp_path, with_manifest):
    figures = runs[0].figures
    ours, theirs = figures / "curves-train-all.svg", figures / "spectrum.svg"
    assert ours.read_bytes() != theirs.read_bytes()
    damage(ours, theirs.read_bytes())
    if with_manifest:
        damage(manifests.beside(ours), manifests.beside(theirs).read_bytes())
    refused(Run.report, runs[0], tmp_path, ours, "another job", "delete", "run")


@pytest.mark.parametrize("content", ["", "{", "[]", canonical(SHOWN | {"studies": {"alignment": []}})])
def test_no_report_is_made_by_a_damaged_config(runs, damage, tmp_path, content):
    """It says which figures there are."""
    damage(runs[0].config, content.encode())
    refused(Run.report, runs[0], tmp_path, runs[0].config, "is damaged", "run rule write_config again")


def test_what_the_report_shows_is_what_is_checked():
    rules = (CONFIG.parent / "workflow/rules/figures.smk").read_text(encoding="utf-8")
    shown = re.findall(r'report\(\s*f"\{RUN\}/([^"]+)"', rules)
    checked = runpy.run_path(str(SCRIPTS / "check_shown.py"))["SHOWN"]
    assert {place for study in checked for place in checked[study]} >= {
        f"tables/{name}.csv" for study in STUDIES.values() for name in study.shown
    }
    by_hand = ["tables/paper.html", "tables/claims.csv", "figures/{{studied}}/{{figure}}{{part}}.svg"]
    assert shown == by_hand
    assert rules.count("report(") == len(by_hand)
    common = (CONFIG.parent / "workflow/rules/common.smk").read_text(encoding="utf-8")
    assert common.count("report(") == 1  # for all tables of studies


def test_a_link_into_a_cache_is_named_with_both_paths(runs, damage, tmp_path, one_line):
    path = runs[0].measured["histories"]
    entry = tmp_path / "entry"
    whole = path.read_bytes()
    entry.write_bytes(whole[:-2])
    path.unlink()
    path.symlink_to(entry)
    try:
        with one_line(ValueError, path, entry, "delete"):
            tables.read([path], tables.HISTORY)
    finally:
        path.unlink()
        path.write_bytes(whole)


def test_files_of_ones_own_need_no_manifest(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(tables.csv(synthetic_tables.marks()))
    assert len(tables.read([path], tables.MARKS)) == len(synthetic_tables.marks())


@pytest.mark.parametrize(
    ("column", "value", "limits"),
    [
        ("accuracy", 9.1086351, "from 0 to 1"),
        ("accuracy", -0.1, "from 0 to 1"),
        ("t", 1.5, "from 0 to 1"),
        ("loss", -1, "at least 0"),
        ("length", -1, "at least 0"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_its_line(tmp_path, one_line, column, value, limits):
    rows = synthetic_tables.evaluation("1-2", "none", "linear", 0.5)
    rows.loc[4, column] = value
    path = tmp_path / "a.csv"
    path.write_bytes(tables.csv(rows))
    with one_line(ValueError, f"{path}, line 6: {column} is {value:.9g}, and has to be {limits}"):
        tables.read([path], tables.EVALUATION)


@pytest.mark.parametrize(
    ("make", "table", "job", "columns"),
    [
        (synthetic_tables.evaluations, tables.EVALUATION, {"evaluation": {"points": 18}}, "t"),
        (synthetic_tables.activations, tables.ACTIVATIONS, {"activations": {"points": 4}}, "t"),
        (synthetic_tables.planes, tables.PLANE, {"plane": {"points": 5}}, "x and y"),
        (synthetic_tables.histories, tables.HISTORY, {"recipe": {"epochs": 31}}, "epoch"),
        (synthetic_tables.histories, tables.HISTORY, {"recipe": {"epochs": 30}, "curve": {"epochs": 20}}, "epoch"),
    ],
)
def test_a_job_that_measured_less_than_planned_is_refused(tmp_path, one_line, make, table, job, columns):
    path = tmp_path / "a.csv"
    path.write_bytes(tables.csv(make()))
    manifests.write(manifests.beside(path), [path], {"rule": "evaluate", "job": job})
    with one_line(ValueError, path, f"values of {columns}, and its job was to measure", "run rule evaluate again"):
        tables.read([path], table)


@pytest.mark.parametrize("kind", [*DAMAGES, "swapped"])
def test_a_damaged_list_of_measurements_is_refused(runs, tmp_path, kind):
    """Whether an option, a path or a kind of measurement is lost, and also another run's whole list."""
    one, two = (run.inputs("alignment") for run in runs)
    listed = "".join(f"{word}\n" for word in one).encode()
    content = "".join(f"{word}\n" for word in two).encode() if kind == "swapped" else DAMAGES[kind](listed)
    path, out = tmp_path / "measurements.txt", tmp_path / "out"
    path.write_bytes(content)
    out.mkdir()
    outputs = runs[0].outputs(out, "alignment")

    def read(run, out):
        run_program("make_tables", "--measurements", path, "--listed", digest([str(word) for word in one]), *outputs)

    refused(read, runs[0], out, path, "is damaged", "run list_measurements again")
    path.write_bytes(listed)
    read(runs[0], out)
    assert (out / "curves.csv").read_bytes() == runs[0].tables["curves"].read_bytes()


@pytest.mark.parametrize("content", ["", "{", "[]", canonical({"name": "other"})])
def test_a_damaged_config_of_a_run_is_refused(tmp_path, one_line, content):
    cells = runpy.run_path(str(SCRIPTS / "compare_paper.py"))["cells"]
    path = tmp_path / "config.json"
    path.write_text(content)
    with one_line(ValueError, path, "is damaged", "run rule write_config again"):
        cells(path, {}, "12345678")
