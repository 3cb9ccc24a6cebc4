"""The config resolved, and the few functions that turn wildcards into values.

Wildcards: {dataset} {network} {recipe} {alignment} {curve} {attack} {evaluation} {plane} {activations} are identities, a
name and eight hex digits of its meaning; {block} is a range of seeds, 1 or 1-4; {pair} two seeds, 1-2.
"""

import errno
import os
import sys
import tarfile
import tempfile
from functools import lru_cache
from itertools import product
from pathlib import Path

from snakemake.sourcecache import HostingProviderFile, LocalSourceFile
from snakemake.utils import update_config


def project():
    """The folder of the project that this file belongs to, whatever workflow uses it.

    Of a module on a Git host (`github(...)`) Snakemake reads single files out of a bare clone. Programs and their
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
                if not folder.exists():  # where another process was faster it is there
                    raise
    return folder


ROOT = project()
if {"{", "}"} & set(str(ROOT)):
    sys.exit(f"{ROOT}: Snakemake takes braces in a path for a name's: move the project to a path without")
sys.path.insert(0, str(ROOT / "scripts"))
# Jobs run in the environment that Snakemake runs in, activated or not; --sdm conda puts its own before it.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

from modeconn import (
    alone,
    bits,
    configuration,
    devices,
    dispatch,
    files,
    manifests,
    mistakes,
    own_data,
    records,
    stopping,
)
from modeconn.figures import registry
from modeconn.fingerprint import fingerprint
from modeconn.identity import canonical, digest

# Whether another workflow uses this one as a module; and whether it gives it a config.
IS_MODULE = not workflow.modifier.is_main_snakefile()
HAS_CONFIG = IS_MODULE and workflow.modifier.skip_configfile

# Of jobs that Snakemake itself has started the plan is made already. Of a module's handlers, such as the one that ends
# this, Snakemake calls none.
if workflow.is_main_process and not IS_MODULE:
    stopping.end_at_once()

SCHEMA = configuration.schema()
# Read again, since Snakemake reads numbers as YAML 1.1 and a key that stands twice as its last value; then, as it does,
# later files and --config change what is there.
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

# Told to end, a job saves its state first, and its shell waits: SLURM kills what is left when the shell has gone.
shell.prefix(f"set -euo pipefail; trap : TERM; {bits.shell(config['instructions'])}")

MEANINGS = configuration.meanings(config, SCHEMA)
NAMES = {identity: name for of_kind in MEANINGS.values() for name, (identity, _) in of_kind.items()}
VALUES = {identity: values for of_kind in MEANINGS.values() for identity, values in of_kind.values()}
NAMES |= {
    MEANINGS[kind][name][0]: configuration.shown_as(config, kind, name)
    for kind in ("alignment", "curve")
    for name in MEANINGS[kind]
}
NAMES["none"] = "none"
# After a failure run_workflow asks for tables and figures of what is whole, in a folder of their own.
PARTIAL = "MODECONN_PARTIAL" in os.environ
RUN = os.path.join("results", config["name"], *(["partial"] if PARTIAL else []))
SCRIPTS = ROOT / "scripts"
EVALUATION, PLANE, ACTIVATIONS = (MEANINGS[kind][kind][0] for kind in ("evaluation", "plane", "activations"))


def begin():
    """What has to hold before the first job of a run starts: nobody else works here, and what is promised is there."""
    stopping.answer()
    try:
        alone.hold(".snakemake/running")
        Path("results").mkdir(exist_ok=True)
        if not os.access("results", os.W_OK):
            raise ValueError(f"{Path('results').absolute()} cannot be written: remount it, or run elsewhere")
        logs = Path("results/logs")
        if logs.exists() and not os.access(logs, os.W_OK):
            raise ValueError(f"{logs.absolute()} cannot be written: {mistakes.ADVICE[errno.EACCES]}")
        for folder in needed():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ValueError(f"{folder} cannot be written: {mistakes.ADVICE[errno.EACCES]}")
        if config["device"] == "cuda" and workflow.local_exec and not devices.present():
            raise ValueError(
                "config, device: cuda is promised, and no GPU is seen here: set it to auto or cpu, or run where one is"
            )
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    if cache := workflow.output_file_cache:
        # Snakemake would let everybody write there, and change the numbers of others.
        cache.file_permissions &= ~files.umask()
        cache.dir_permissions &= ~files.umask()
    if late := files.date_now("results"):
        print(
            f"{late} results were dated in the future, as after a clock that was set back: dated now",
            file=sys.stderr,
        )
    stopping.go_on()


def needed():
    """The folders that jobs of this run write to, or in which they make them."""
    paths = {os.path.dirname(path) for job in workflow.dag.needrun_jobs() for path in (*job.output, *job.log)}
    return sorted(
        {next(str(path) for path in (Path(place), *Path(place).parents) if path.exists()) for place in paths}
    )


def identities(kind, keep=lambda identity: True):
    """A pattern of the identities of a kind, or of those that are to be kept."""
    return "|".join(identity for identity, _ in MEANINGS[kind].values() if keep(identity)) or "none"


def identity_of(kind, name):
    """The identity of a name, none of none."""
    return "none" if name == "none" else MEANINGS[kind][name][0]


def is_matched(alignment):
    """Whether an alignment, by its identity or none, is made by the rule align."""
    return alignment != "none" and not is_refined(alignment)


def is_refined(alignment):
    """Whether an alignment, by its identity or none, is made by the rule refine."""
    return alignment != "none" and VALUES[alignment]["method"] == "pam"


def is_bent(curve):
    """Whether a curve, by its identity or none, has bends."""
    return curve != "none" and VALUES[curve]["kind"] != "linear"


wildcard_constraints:
    dataset=identities("dataset"),
    network=identities("network"),
    recipe=identities("recipe"),
    alignment=identities("alignment") + "|none",
    curve=identities("curve"),
    attack=identities("attack") + "|none",
    strong=identities("attack") + "|none",
    ensemble=r"\d+",
    evaluation=identities("evaluation"),
    plane=identities("plane"),
    activations=identities("activations"),
    block=r"\d+(-\d+)?",
    pair=r"\d+-\d+",


def attack_of(name):
    """The identity of an attack, or none."""
    return MEANINGS["attack"][name][0] if name else "none"


def cells(entry):
    """One dict of wildcards, and the measures, for each (pair, alignment, curve) that an entry of a study names."""
    fixed = {kind: MEANINGS[kind][entry[kind]][0] for kind in ("dataset", "network", "recipe")}
    fixed["attack"] = attack_of(entry["attack"])
    fixed["measures"] = entry["measures"]
    if entry["best"]:
        fixed |= {"strong": attack_of(entry["best"]["attack"]), "ensemble": entry["best"]["ensemble"]}
    for pair, alignment, curve in product(
        entry["pairs"], entry["alignments"], entry.get("curves", config["curves"])
    ):
        yield {
            **fixed,
            "pair": f"{pair[0]}-{pair[1]}",
            "alignment": identity_of("alignment", alignment),
            "curve": identity_of("curve", curve),
        }


CELLS = [cell for entry in config["studies"]["alignment"] for cell in cells(entry)]


def is_whole(cell):
    """Whether all is there that the numbers of a cell are made of; what a failed job should have made is not."""
    made = [
        rules.prepare_data.output.data.format(**cell),
        *networks_of(cell),
        *permutations([cell]),
        *bends_of(cell),
    ]
    made += evaluations([cell]) + robust_evaluations([cell]) + selections([cell])
    return all(map(os.path.exists, made + planes([cell]) + activations([cell])))


def whole_cells():
    """The cells that are whole, and the config with the alignments and curves of which some cell is."""
    entries, whole = [], []
    for entry in config["studies"]["alignment"]:
        of_entry = [cell for cell in cells(entry) if is_whole(cell)]
        whole += of_entry
        names = {"alignments": entry["alignments"], "curves": list(entry.get("curves", config["curves"]))}
        for key, kind in (("alignments", "alignment"), ("curves", "curve")):
            there = {cell[kind] for cell in of_entry}
            names[key] = [name for name in names[key] if identity_of(kind, name) in there]
        entries += [entry | names] if of_entry else []
    if not whole:
        sys.exit("nothing is whole")
    return whole, config | {"studies": {"alignment": entries}}


# Values by which all jobs compute.
BITS = {
    key: value
    for key, value in configuration.deciding(config, SCHEMA).items()
    if key in ("threads", "instructions")
}

# Wildcards that are no name of a job, or that its values say already.
HIDDEN = ("block", "attack", "strong", "ensemble", "evaluation", "plane", "activations")


def decisions(rule, *kinds, **more):
    """The params that decide a job's result, and with them whether it has to run again.

    job: canonical JSON of the values of the wildcards `kinds`, but of none, and of `more` (functions of
    wildcards; what is None is left out), and the names of all wildcards, for tables. code: fingerprint of the
    source. program, device: as its program takes them.
    """
    # Ten thousand jobs have a dozen fingerprints.
    code_of = lru_cache(fingerprint)

    def values(wildcards):
        extra = {key: value(wildcards) for key, value in more.items()}
        extra = {key: value for key, value in extra.items() if value is not None}
        return {kind: VALUES[wildcards[kind]] for kind in kinds if wildcards[kind] != "none"} | extra

    def job(wildcards):
        names = {kind: NAMES.get(value, value) for kind, value in wildcards.items() if kind not in HIDDEN}
        return canonical({"names": names, **BITS, **values(wildcards)})

    def code(wildcards):
        known = values(wildcards)
        return f"{code_of(rule, tuple(dispatch.modules(known)))} entries:{digest(dispatch.entries(known))}"

    return {"job": job, "code": code, "program": program(rule), "device": config["device"]}


# A process with torch in it, measured: 0.62 GB on a CPU; CUDA's own libraries take about 2 GB more.
PROCESS_MB = 1000 if config["device"] == "cpu" else 3000


def computing(minutes, gpu=config["device"] != "cpu"):
    """What a computing job asks for; a scheduler that retries it gives it twice the memory and the time.

    minutes: a slice of time. A job that is stopped at its end goes on in the next one, so it need not suffice.
    gpu: whether it can use one.
    Memory beside the process: the data, which is read as bytes and held again where it is worked on.
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


def seeds(wildcards):
    """Seeds of a block, "1-4" -> [1, 2, 3, 4]."""
    first, _, last = wildcards.block.partition("-")
    return list(range(int(first), int(last or first) + 1))


def pair(wildcards):
    return [int(seed) for seed in wildcards.pair.split("-")]


def block_of(seed, recipe):
    """The block that holds a seed: blocks are fixed, so that one more seed trains only its own."""
    size = VALUES[recipe]["population"]
    first = (seed - 1) // size * size + 1
    return f"{first}-{first + size - 1}" if size > 1 else str(seed)


def networks_of(wildcards):
    """Files that hold both networks of a pair; wildcards as an object or a dict."""
    values = dict(wildcards.items())
    blocks = {block_of(int(seed), values["recipe"]): None for seed in values["pair"].split("-")}
    return [rules.train.output.networks.format(**values, block=block) for block in blocks]


def start_of(wildcards):
    """The permutation that an alignment refines, nothing where it starts from the networks as they are."""
    values = dict(wildcards.items())
    start = config["alignments"][values["alignment"].rpartition("-")[0]]["start"]
    return permutation_of(values | {"alignment": identity_of("alignment", start)})


def permutation_of(wildcards):
    """The permutation of a pair, nothing where it is not aligned."""
    values = dict(wildcards.items())
    return [] if values["alignment"] == "none" else [rules.align.output.permutation.format(**values)]


def bends_of(wildcards):
    """The trained bends of a curve, nothing for the straight line or no curve."""
    values = dict(wildcards.items())
    return [rules.fit_curve.output.bends.format(**values)] if is_bent(values["curve"]) else []


def evaluations(cells):
    return [rules.evaluate_curve.output.points.format(**cell, evaluation=EVALUATION) for cell in cells]


def robust_evaluations(cells):
    return [
        rules.evaluate_robustness.output.points.format(**cell, evaluation=EVALUATION)
        for cell in cells
        if cell["attack"] != "none"
    ]


def planes(cells):
    """Planes of curves, and, with none in their place, of alignments that match neurons.

    A refinement may well stay where it started, and then there is no plane.
    """
    measured = [cell for cell in cells if "planes" in cell["measures"]]
    of_curves = [cell for cell in measured if is_bent(cell["curve"])]
    of_alignments = [cell | {"curve": "none"} for cell in measured if is_matched(cell["alignment"])]
    return [
        rules.evaluate_plane.output.points.format(**cell, plane=PLANE) for cell in of_curves + of_alignments
    ]


def marks(cells):
    return [path.replace(".csv", ".marks.csv") for path in planes(cells)]


def activations(cells):
    return [
        rules.evaluate_activations.output.activations.format(**cell, activations=ACTIVATIONS)
        for cell in cells
        if "activations" in cell["measures"]
    ]


def permutations(cells):
    """Permutations of the cells, and those that they refine."""
    refined = [cell for cell in cells if is_refined(cell["alignment"])]
    return [path for cell in cells for path in permutation_of(cell)] + [
        path for cell in refined for path in start_of(cell)
    ]


def refinements(cells, output):
    """This output of the jobs that refine permutations."""
    return [rules.refine.output[output].format(**cell) for cell in cells if is_refined(cell["alignment"])]


def selections(cells):
    return [
        rules.select_network.output.rows.format(**cell, evaluation=EVALUATION)
        for cell in cells
        if "strong" in cell
    ]


def augmentation_of(wildcards):
    """The recipe's augmentation, where statistics are estimated on images that are augmented."""
    augmented = config["evaluation"]["recalibration"]["augmented"]
    return VALUES[wildcards.recipe]["augmentation"] if augmented else None


def recalibration_attack_of(wildcards):
    """The recipe's attack, where statistics are estimated on its iterates."""
    attacked = config["evaluation"]["recalibration"]["attacked"]
    return VALUES[wildcards.recipe]["attack"] if attacked else None


# On which images statistics are estimated where something is measured: params of the jobs that measure.
RECALIBRATED_ON = {"augmentation": augmentation_of, "attack": recalibration_attack_of}


def attacks_of(wildcards):
    """Name -> values of the attacks under which a selected network is measured, and `none`."""
    return {NAMES[attack]: VALUES.get(attack) for attack in ("none", wildcards.attack, wildcards.strong)}


def program(rule):
    """The rule's program, relative to the working directory: moving a checkout reruns nothing."""
    return os.path.relpath(SCRIPTS / f"{rule}.py")


def option(flag, item):
    """A function that gives `flag` with the input `item`, or nothing where the job has no such input."""

    def of(wildcards, input):
        return f"{flag} {input[item]}" if input.get(item) else ""

    return of


def unique(paths):
    return list(dict.fromkeys(paths))


def artifacts():
    """Networks, permutations, bends and statistics: all that says in which environment it was made."""
    return unique(
        path
        for cell in CELLS
        for path in (
            *networks_of(cell),
            *permutation_of(cell),
            *bends_of(cell),
            rules.evaluate_curve.output.statistics.format(**cell, evaluation=EVALUATION),
        )
    )


def histories():
    """Histories of all trainings, refinements and curve fits."""
    networks = [path.replace(".safetensors", ".history.csv") for cell in CELLS for path in networks_of(cell)]
    bends = [path.replace(".safetensors", ".history.csv") for cell in CELLS for path in bends_of(cell)]
    return unique(networks + refinements(CELLS, "history") + bends)


@lru_cache
def content_of(dataset):
    """A digest of the files of one's own that a data set is read from, nothing for any other source."""
    if "path" not in VALUES[dataset]:
        return None
    try:
        return own_data.digest(VALUES[dataset], rules.prepare_data.output.data.format(dataset=dataset))
    except (ValueError, OSError) as error:
        sys.exit(f"config, datasets.{NAMES[dataset]}.path: {error}")


def statistics(cells):
    """(data set, network) -> identity of each of its alignments -> the statistic that it matches by."""
    found = {}
    for cell in cells:
        of_network = found.setdefault((cell["dataset"], cell["network"]), {})
        if cell["alignment"] != "none":
            of_network[cell["alignment"]] = VALUES[cell["alignment"]].get("statistic", "sum")
    return found


def drawn_from(wildcards):
    """The tables that a figure is drawn from."""
    return [rules.make_tables.output[table] for table in registry.FIGURES[wildcards.figure].tables]


def page(wildcards):
    """Figures of one alignment have a page of their own, with a switch between unaligned and aligned."""
    alignment = registry.parts_of(wildcards.figure, wildcards.part).get("alignment", registry.ALL)
    return "all alignments" if alignment == registry.ALL else "switch"


def labels(wildcards):
    """What names a figure on its page of the report."""
    parts = registry.parts_of(wildcards.figure, wildcards.part)
    if (alignment := parts.pop("alignment", registry.ALL)) != registry.ALL:
        # Those of one alignment are of the test split.
        parts = {key: value for key, value in parts.items() if key != "split"}
        parts["alignment"] = {"none": "unaligned", "activation": "aligned by activations"}.get(
            alignment, alignment
        )
    return {"figure": registry.FIGURES[wildcards.figure].label, **parts}


def selection(wildcards):
    """The options that select what a figure shows from its tables."""
    dataset, network, recipe = wildcards.studied.split("-")
    chosen = {"dataset": dataset, "network": network, "recipe": recipe}
    chosen |= registry.parts_of(wildcards.figure, wildcards.part)
    return " ".join(f"--{key} {value}" for key, value in chosen.items() if value != registry.ALL)


def caption(wildcards):
    return Path(ROOT, "workflow/report", f"{wildcards.figure}.rst").read_text(encoding="utf-8")


def deleted(*drawn):
    """What a finished run of this name has made and is gone: Snakemake makes again only what somebody asks for.

    drawn: figures, where they are asked for. Of a run that has come to no end the report asks for all.
    """
    if not any(os.path.exists(f"{RUN}/{end}") for end in ("report.html", "summary.txt", "figures")):
        return []
    made = [
        *drawn,
        *rules.write_config.output,
        *rules.make_tables.output,
        *rules.compare_paper.output,
        *rules.judge_claims.output,
        *(rules.prepare_data.output.remarks.format(**cell) for cell in CELLS),
        *measured(),
        *(str(manifests.beside(path)) for path in measured()),
        *(path.replace(".csv", ".safetensors") for path in selections(CELLS)),
    ]
    return [path for path in unique(made) if not os.path.exists(path)]


def measured():
    """What is computed for this config: data sets, and all that tables are made from."""
    return unique(
        [rules.prepare_data.output.data.format(**cell) for cell in CELLS]
        + [path for paths in MEASUREMENTS.values() for path in paths]
    )


def check_readable():
    """End in one line where a result cannot be read: Snakemake, which compares contents, would with a traceback."""
    for path in measured():
        if os.path.exists(path) and not os.access(path, os.R_OK):
            sys.exit(f"{path} cannot be read: {mistakes.ADVICE[errno.EACCES]}")


def remember():
    """Restore the records of outputs that Snakemake has lost: it would take them as they are, whatever was edited.

    What was measured says in its manifest from which values and source; tables, figures and the report do not, and
    take seconds: they are made again. What was made by hand, without `--code`, is taken as it is.
    """
    for manifest, path in {str(manifests.beside(path)): path for path in measured()}.items():
        if os.path.exists(path) and not records.is_known(path):
            try:
                made = manifests.find(path)
            except (ValueError, OSError):
                continue  # who reads it will say so
            if made.get("code") is None:
                continue
            params = [canonical(made["job"]), made["code"], program(made["rule"]), config["device"]]
            for output in (manifest, *(f"results/{place}" for place in made["files"])):
                records.restore(output, made["rule"], params)
    shown = (
        "list_measurements",
        "make_tables",
        "write_config",
        "compare_paper",
        "judge_claims",
        "write_report",
    )
    made_by = {path: maker for maker in shown for path in getattr(rules, maker).output}
    for path, maker in (made_by | dict.fromkeys(FIGURES, "draw")).items():
        if os.path.exists(path) and not records.is_known(path):
            records.restore(path, maker, params=None, code="lost")
