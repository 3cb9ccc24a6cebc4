"""Read the config, make the plan (`scripts/modeconn/plan.py`, which explains wildcards), and helpers of the rules."""

import csv
import errno
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from snakemake.sourcecache import HostingProviderFile, LocalSourceFile
from snakemake.utils import update_config


def project():
    """The folder of the project that this file belongs to, also if another workflow uses it as a module.

    If it is a module on a Git host (`github(...)`), Snakemake reads single files from a bare clone. Programs and their
    library need a folder: they are copied from the clone to .snakemake/sources/<commit>.
    """
    here = workflow.current_basedir
    if isinstance(here, LocalSourceFile):
        return Path(here.path).parent.parent
    if not isinstance(here, HostingProviderFile):
        sys.exit(f"{here}: name the module's snakefile by a path, or by github(...) or gitlab(...)")
    clone = here.hosted_repo.repo
    folder = Path(".snakemake/sources", clone.commit(here.ref).hexsha).absolute()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder.parent) as temporary,
            tempfile.TemporaryFile() as file,
        ):
            clone.archive(file, here.ref, path=["config", "scripts", "workflow"])
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                archive.extractall(f"{temporary}/project", filter="data")
            try:
                os.rename(f"{temporary}/project", folder)
            except OSError:
                if not folder.exists():  # it exists if another process was faster
                    raise
    return folder


ROOT = project()
if {"{", "}"} & set(str(ROOT)):
    sys.exit(
        f"{ROOT}: Snakemake reads braces in a path as wildcards: move the project to a path without braces"
    )
sys.path.insert(0, str(ROOT / "scripts"))
# Jobs run in the environment that Snakemake runs in, activated or not; --sdm conda puts its own before it.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

from modeconn import (
    run_lock,
    bits,
    configuration,
    devices,
    files,
    manifests,
    errors,
    plan,
    records,
    stopping,
)
from modeconn.figures import registry
from modeconn.fingerprint import fingerprint
from modeconn.identity import canonical, digest
from modeconn.studies import STUDIES

# Whether another workflow uses this one as a module; and whether it gives it a config.
IS_MODULE = not workflow.modifier.is_main_snakefile()
HAS_CONFIG = IS_MODULE and workflow.modifier.skip_configfile

# Only in the main process: Snakemake's jobs read this file too. Not in a module: Snakemake does not call its `onstart`,
# which ends this.
if workflow.is_main_process and not IS_MODULE:
    stopping.end_at_once()

SCHEMA = configuration.schema()
# Configs are read again, since Snakemake reads numbers as in YAML 1.1 and accepts repeated keys; then, as in Snakemake,
# later files and --config override earlier values.
FILES = [os.path.relpath(path) for path in workflow.overwrite_configfiles] or [
    workflow.source_path("../../config/config.yaml")
]
try:
    found = {}
    read = [config] if HAS_CONFIG else [*map(configuration.read, FILES), workflow.config_settings.config]
    for values in read:
        update_config(found, values)
    config.clear()
    config.update(found)
    configuration.complete(config, SCHEMA)
except ValueError as error:
    sys.exit(str(error))

# On SIGTERM a job saves its state, and its shell has to wait for it: SLURM kills all processes when the shell ends.
shell.prefix(f"set -euo pipefail; trap : TERM; {bits.shell(config['instructions'])}")

PLAN = plan.Plan(config, SCHEMA)
# After a failure run_workflow asks for the tables and figures that can be made, in a folder of their own.
PARTIAL = "MODECONN_PARTIAL" in os.environ
RUN = os.path.join("results", config["name"], *(["partial"] if PARTIAL else []))
SCRIPTS = ROOT / "scripts"


def begin():
    """Check before the first job: no other run works here, folders can be written, and a required GPU is present."""
    stopping.answer()
    try:
        run_lock.hold(".snakemake/running")
        Path("results").mkdir(exist_ok=True)
        if not os.access("results", os.W_OK):
            raise ValueError(f"{Path('results').absolute()} cannot be written: remount it, or run elsewhere")
        logs = Path("results/logs")
        if logs.exists() and not os.access(logs, os.W_OK):
            raise ValueError(f"{logs.absolute()} cannot be written: {errors.ADVICE[errno.EACCES]}")
        for folder in needed():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ValueError(f"{folder} cannot be written: {errors.ADVICE[errno.EACCES]}")
        if config["device"] == "cuda" and workflow.local_exec and not devices.present():
            raise ValueError(
                "config, device: cuda needs a GPU, and none is found here: set it to auto or cpu, or run on a machine with one"
            )
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    if cache := workflow.output_file_cache:
        # Snakemake would make the cache writable for everybody.
        cache.file_permissions &= ~files.umask()
        cache.dir_permissions &= ~files.umask()
    if late := files.date_now("results"):
        print(
            f"{late} results were dated in the future, as after a clock that was set back: dated now",
            file=sys.stderr,
        )
    stopping.go_on()


def needed():
    """The existing folders in which jobs of this run create files or folders."""
    paths = {os.path.dirname(path) for job in workflow.dag.needrun_jobs() for path in (*job.output, *job.log)}
    return sorted(
        {next(str(path) for path in (Path(place), *Path(place).parents) if path.exists()) for place in paths}
    )


wildcard_constraints:
    **{kind: PLAN.identities(kind) for kind in ("dataset", "network", "recipe", "curve")},
    **{kind: PLAN.identities(kind) + "|none" for kind in ("alignment", "attack")},
    **{kind: PLAN.identities(kind) for kind in configuration.MEASURES},
    strong=PLAN.identities("attack") + "|none",
    attacks=f"({PLAN.identities('attack')})(\\+({PLAN.identities('attack')}))*|none",
    ensemble=r"\d+",
    level=r"\d+",
    moments=r"(epochs|levels)\d+(-\d+)*(\+\d+(-\d+)*)?",
    masks=r"[a-z_]+(\+[a-z_]+)*",
    block=r"\d+(-\d+)?",
    population=r"\d+(-\d+)+|\d+to\d+",


def inputs(rule):
    """Name -> function of wildcards: the inputs of a rule's jobs."""

    def of(name):
        def read(wildcards):
            found = [made.path for made in asked(PLAN.inputs, rule, wildcards)[name]]
            return found[0] if len(found) == 1 else found

        return read

    return {name: of(name) for name in plan.RULES[rule].inputs}


def asked(ask, rule, wildcards):
    """Ask the plan about a job; end with one line where it raises an error."""
    try:
        return ask(rule, dict(wildcards.items()))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


def log(rule):
    """The log files of a rule's jobs."""
    return f"<logs>/{rule}/{plan.RULES[rule].stem.partition('/')[2]}.log"


def job_params(rule):
    """The params that decide a job's result, and so whether it has to run again.

    job: canonical JSON of its values and of the names of wildcards, for tables. code: fingerprint of the source.
    program, device: as its program takes them.
    """
    return {
        "job": lambda wildcards: canonical(asked(PLAN.job, rule, wildcards)),
        "code": lambda wildcards: asked(PLAN.code, rule, wildcards),
        "program": program(rule),
        "device": config["device"],
    }


def call(options):
    """The command of a computing program, with its own options."""
    return (
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device}"
        f" --gpus {{resources.gpu}} --data {{input.data:q}} {options}"
    )


# A process with torch in it, measured: 0.62 GB on a CPU; CUDA's own libraries take about 2 GB more.
PROCESS_MB = 1000 if config["device"] == "cpu" else 3000


def computing(minutes, gpu=config["device"] != "cpu"):
    """The resources of a computing job; each retry doubles memory and time.

    minutes: the time limit of an attempt. A job that is stopped at the limit resumes in the next attempt.
    gpu: whether the job can use one. Memory is that of the process, and of the data as bytes and as copies.
    """
    return {
        "gpu": int(gpu),
        "mem_mb": lambda wildcards, input, attempt: (PROCESS_MB + 4 * data_mb(input)) * 2 ** (attempt - 1),
        "runtime": lambda wildcards, attempt: minutes * 2 ** (attempt - 1),
    }


def data_mb(input):
    """Size of a job's data set in megabytes; 0 while it is still to be made, or where there is none."""
    path = Path(input.get("data", ""))
    return path.stat().st_size // 2**20 if path.is_file() else 0


def program(rule):
    """The rule's program, relative to the working directory: moving a checkout reruns nothing."""
    return os.path.relpath(SCRIPTS / f"{rule}.py")


def option(flag, item):
    """A function that returns `flag` with the input `item`, or an empty text where the job has no such input."""

    def of(wildcards, input):
        return f"{flag} {input[item]}" if input.get(item) else ""

    return of


def paths(found):
    """Paths of outputs of the plan."""
    return plan.unique(made.path for made in found)


def measured(study):
    """Name -> files that the tables of a study are made from."""
    return {name: of(PLAN) for name, of in STUDIES[study].measured.items()}


def listed(study):
    """The options that name them for make_tables."""
    return [word for name, paths in measured(study).items() for word in (f"--{name}", *paths)]


def table(study, name):
    """The path of a table, marked with `report` where Snakemake's report shows it."""
    path = f"{RUN}/tables/{name}.csv"
    category = STUDIES[study].shown.get(name)
    return report(path, caption=f"../report/{name}.rst", category=category) if category else path


def tables(study):
    """The tables of a study, name -> path."""
    return {name: table(study, name) for name in STUDIES[study].tables}


def tables_of(study):
    """The tables of a study as inputs, if the config has the study."""
    return {name: f"{RUN}/tables/{name}.csv" for name in STUDIES[study].tables if study in TABULATED}


def targeted(path):
    """Whether this run has networks by the names of published numbers at `path`."""
    kinds = ("dataset", "network", "recipe")
    found = {tuple(PLAN.names[cell[kind]] for kind in kinds) for cell in PLAN.cells}
    with open(path, encoding="utf-8") as file:
        return any(tuple(row[kind] for kind in kinds) in found for row in csv.DictReader(file))


def drawn_from(wildcards):
    """The tables that a figure is drawn from."""
    return [f"{RUN}/tables/{table}.csv" for table in registry.FIGURES[wildcards.figure].tables]


def page(wildcards):
    """Figures of one alignment have a page of their own, with a switch between unaligned and aligned."""
    alignment = registry.parts_of(wildcards.figure, wildcards.part).get("alignment", registry.ALL)
    return "all alignments" if alignment == registry.ALL else "switch"


def labels(wildcards):
    """The labels of a figure in Snakemake's report."""
    parts = registry.parts_of(wildcards.figure, wildcards.part)
    if (alignment := parts.pop("alignment", registry.ALL)) != registry.ALL:
        # Those of one alignment are of the test split.
        parts = {key: value for key, value in parts.items() if key != "split"}
        parts["alignment"] = {"none": "unaligned", "activation": "aligned by activations"}.get(
            alignment, alignment
        )
    return {"figure": registry.FIGURES[wildcards.figure].label, **parts}


def figure_options(wildcards):
    """The options that select what a figure shows from its tables."""
    chosen = dict(zip(("dataset", "network", "recipe"), wildcards.studied.split("-")))
    chosen |= registry.parts_of(wildcards.figure, wildcards.part)
    return " ".join(f"--{key} {value}" for key, value in chosen.items() if value != registry.ALL)


def caption(wildcards):
    return Path(ROOT, "workflow/report", f"{wildcards.figure}.rst").read_text(encoding="utf-8")


def deleted(*drawn):
    """Deleted files of a finished run of this name, which Snakemake would not make again by itself.

    drawn: figures, if they are asked for. Of an unfinished run the report needs all files anyway.
    """
    if not any(os.path.exists(f"{RUN}/{end}") for end in ("report.html", "summary.txt", "figures")):
        return []
    made = [*drawn, *SHOWN_FILES, *computed(), *(str(manifests.beside(path)) for path in computed())]
    return [path for path in plan.unique(made) if not os.path.exists(path)]


def computed():
    """Every file that is computed for this config."""
    return [plan.Made(job, output).path for job in PLAN.jobs for output in plan.RULES[job.rule].outputs]


def check_readable():
    """End with one line if a result cannot be read: Snakemake, which compares contents, would print a traceback."""
    for path in computed():
        if os.path.exists(path) and not os.access(path, os.R_OK):
            sys.exit(f"{path} cannot be read: {errors.ADVICE[errno.EACCES]}")


def remember():
    """Restore lost records of Snakemake, without which it would keep outputs even if their source was edited.

    Manifests of measurements record values and source. Tables, figures and the report take seconds and are made again.
    Files made by hand, without `--code`, are kept.
    """
    for manifest, path in {str(manifests.beside(path)): path for path in computed()}.items():
        if os.path.exists(path) and not records.is_known(path):
            try:
                made = manifests.find(path)
            except (ValueError, OSError):
                continue  # reported when it is read
            if made.get("code") is None:
                continue
            params = [canonical(made["job"]), made["code"], program(made["rule"]), config["device"]]
            for output in (manifest, *(f"results/{place}" for place in made["files"])):
                records.restore(output, made["rule"], params)
    shown = [*SHOWING, "write_config", "write_report"]
    made_by = {path: maker for maker in shown for path in getattr(rules, maker).output}
    made_by |= {LISTING.format(study=study): "list_measurements" for study in TABULATED}
    for path, maker in (made_by | dict.fromkeys(FIGURES, "draw")).items():
        if os.path.exists(path) and not records.is_known(path):
            records.restore(path, maker, params=None, code="lost")
