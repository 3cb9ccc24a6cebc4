"""The plan of a run: the list of jobs that a config asks for, with their values, inputs and files.

Imports neither Snakemake nor torch, so that thousands of jobs are planned, counted and tested quickly; the workflow's
rules call it. A job is a rule and its wildcards. Wildcards are identities (a name and eight hex digits of the hash of
its values), except {block}, the seeds that are trained together (1-4, or 1 alone), {population}, the seeds of the
networks that are compared (1-2, a pair; 1to50), {attacks} (identities joined by +, or none), {ensemble} and {level},
numbers, {moments}, the epochs or levels of pruning of the compared networks (epochs1-10-30, levels0-1-2; with those
that are matched at once behind a plus, epochs1-10-30+10-30), and {masks}, their names joined by + (own+random).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from itertools import product
from typing import NamedTuple

from modeconn import configuration, dispatch, own_data
from modeconn.fingerprint import fingerprint
from modeconn.identity import digest

RESULTS = "results"
NONE = "none"
SCOPE = "{dataset}/{network}/{recipe}"
BETWEEN = SCOPE + "/{population}/{alignment}"
ALONG = BETWEEN + "/{curve}"


class Rule(NamedTuple):
    """The outputs and inputs of one kind of job, and the wildcards and values that decide its result.

    stem: the path of its files under results, without endings. outputs: name -> ending; a manifest is made beside.
    inputs: each a method of `Plan`, `<name>_of`. kinds: the wildcards whose values are among the job's values, unless
    the wildcard is none. values: further values, each a method of `Plan`, `<name>_of`; None is left out.
    """

    stem: str
    outputs: dict[str, str]
    inputs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def wildcards(self) -> list[str]:
        return [part.partition("}")[0] for part in self.stem.split("{")[1:]]


PAIR = ("data", "networks", "permutation")
CURVE = (*PAIR, "bends")
# The recipe's augmentation and attack, if statistics are estimated on augmented or attacked images.
RECALIBRATED = ("members", "augmentation", "attack")

RULES = {
    "prepare_data": Rule(
        "data/{dataset}", {"data": ".safetensors", "remarks": ".remarks.txt"}, (), ("dataset",), ("content",)
    ),
    "train": Rule(
        f"networks/{SCOPE}/seeds{{block}}",
        {"networks": ".safetensors", "history": ".history.csv"},
        ("data",),
        ("network", "recipe"),
        ("seeds",),
    ),
    "align": Rule(
        f"alignments/{BETWEEN}",
        {"permutation": ".safetensors"},
        ("data", "networks"),
        ("network", "alignment"),
        ("members",),
    ),
    "refine": Rule(
        f"alignments/{BETWEEN}",
        {"permutation": ".safetensors", "history": ".history.csv", "scores": ".scores.csv"},
        ("data", "networks", "start"),
        ("network", "recipe", "alignment"),
        ("members",),
    ),
    "fit_curve": Rule(
        f"curves/{ALONG}",
        {"bends": ".safetensors", "history": ".history.csv"},
        PAIR,
        ("network", "recipe", "curve"),
        ("members",),
    ),
    "evaluate_signature": Rule(
        f"signatures/{BETWEEN}", {"signature": ".csv"}, PAIR, ("network", "alignment"), ("members",)
    ),
    "evaluate_curve": Rule(
        f"evaluations/{ALONG}/{{evaluation}}-{{attacks}}",
        {"points": ".csv", "statistics": ".safetensors"},
        CURVE,
        ("network", "curve", "evaluation"),
        (*RECALIBRATED, "attacks"),
    ),
    "select_network": Rule(
        f"best/{ALONG}/{{evaluation}}-{{attack}}-{{strong}}-{{ensemble}}",
        {"rows": ".csv", "checkpoint": ".safetensors"},
        (*CURVE, "statistics"),
        ("network", "curve", "evaluation"),
        ("members", "tested", "selection", "ensemble"),
    ),
    "evaluate_plane": Rule(
        f"planes/{ALONG}/{{plane}}",
        {"points": ".csv", "marks": ".marks.csv"},
        CURVE,
        ("network", "curve", "plane"),
        RECALIBRATED,
    ),
    "evaluate_activations": Rule(
        f"activations/{ALONG}/{{activations}}",
        {"activations": ".csv"},
        CURVE,
        ("network", "curve", "activations"),
        RECALIBRATED,
    ),
    "evaluate_averages": Rule(
        f"averages/{BETWEEN}/{{averages}}", {"points": ".csv"}, PAIR, ("network", "averages"), RECALIBRATED
    ),
    "evaluate_barriers": Rule(
        f"barriers/{BETWEEN}/{{barriers}}", {"points": ".csv"}, PAIR, ("network", "barriers"), RECALIBRATED
    ),
    "evaluate_triangles": Rule(
        f"triangles/{BETWEEN}/{{triangles}}", {"points": ".csv"}, PAIR, ("network", "triangles"), RECALIBRATED
    ),
    "evaluate_boundary": Rule(
        f"boundaries/{BETWEEN}/{{boundary}}",
        {"points": ".csv", "units": ".units.csv"},
        PAIR,
        ("network", "boundary"),
        ("members",),
    ),
    "evaluate_disagreement": Rule(
        f"disagreements/{SCOPE}/{{population}}/{{barriers}}",
        {"points": ".csv", "norms": ".norms.csv"},
        ("data", "networks"),
        ("network", "barriers"),
        RECALIBRATED,
    ),
    "evaluate_iterates": Rule(
        f"iterates/{SCOPE}/{{population}}/{{moments}}/{{barriers}}",
        {"points": ".csv", "averages": ".averages.csv"},
        ("data", "checkpoints"),
        ("network", "barriers"),
        (*RECALIBRATED, "moments"),
    ),
    "prune": Rule(
        f"pruned/{SCOPE}/seeds{{block}}-level{{level}}",
        {"networks": ".safetensors", "history": ".history.csv"},
        ("data", "ancestors"),
        ("network", "recipe"),
        ("seeds", "level"),
    ),
    "train_masked": Rule(
        f"masked/{BETWEEN}/level{{level}}-{{masks}}",
        {"networks": ".safetensors", "history": ".history.csv", "points": ".csv"},
        ("data", "networks", "sparse", "permutation"),
        ("network", "recipe"),
        ("members", "level", "masks"),
    ),
    "align_moments": Rule(
        f"moments/{BETWEEN}/{{moments}}",
        {"permutation": ".safetensors"},
        ("data", "checkpoints"),
        ("network", "alignment"),
        ("members", "moments"),
    ),
    "evaluate_grid": Rule(
        f"grids/{BETWEEN}/{{moments}}/{{grid}}",
        {"points": ".csv"},
        ("data", "checkpoints", "permutation"),
        ("network", "grid"),
        (*RECALIBRATED, "moments"),
    ),
}

# Wildcards that are not among a job's names, or that its values hold already.
HIDDEN = frozenset(
    [*["block", "attacks", "attack", "strong", "ensemble", "level", "moments", "masks"], *configuration.MEASURES]
)


class Job(NamedTuple):
    """A rule and its wildcards, name and value in the order of the rule's stem."""

    rule: str
    wildcards: tuple[tuple[str, str], ...]


class Made(NamedTuple):
    """One output of a job."""

    job: Job
    output: str

    @property
    def path(self) -> str:
        rule = RULES[self.job.rule]
        return f"{RESULTS}/{rule.stem.format(**dict(self.job.wildcards))}{rule.outputs[self.output]}"


def made(rule: str, output: str, wildcards: Mapping[str, str]) -> Made:
    """An output of the job of `rule` with these wildcards; wildcards that the rule does not have are ignored."""
    return Made(Job(rule, tuple((name, wildcards[name]) for name in RULES[rule].wildcards)), output)


def patterns(rule: str) -> dict[str, str]:
    """The outputs of a rule, name -> pattern of its path, with the manifest of each job."""
    endings = RULES[rule].outputs | {"manifest": ".manifest.json"}
    return {name: f"{RESULTS}/{RULES[rule].stem}{ending}" for name, ending in endings.items()}


def named(seeds: list[int]) -> str:
    """The wildcard {population} of these seeds, in the given order."""
    if len(seeds) > 3 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}to{seeds[-1]}"
    return "-".join(map(str, seeds))


def seeds_in(population: str) -> list[int]:
    """The seeds that a wildcard {population} names."""
    first, to, last = population.partition("to")
    return list(range(int(first), int(last) + 1)) if to else [int(seed) for seed in population.split("-")]


def named_moments(along: str, at: list[int]) -> str:
    """The wildcard {moments} of these epochs or levels."""
    return f"{along}{'-'.join(map(str, at))}"


def block_of(seed: int, size: int) -> str:
    """The wildcard {block} of a seed. Blocks are fixed, so that one more seed trains only its own block."""
    first = (seed - 1) // size * size + 1
    return f"{first}-{first + size - 1}" if size > 1 else str(seed)


@cache
def _code(rule, modules):
    """The fingerprint of a rule's program, cached: ten thousand jobs share a dozen."""
    return fingerprint(rule, modules)


class Plan:
    """The jobs of a complete config.

    cells: one dict for each (population, alignment, curve) that an entry of a study names: wildcards, and "measures",
    its measurements. The jobs are derived from the cells.
    """

    def __init__(self, config: dict, schema: dict):
        self.config, self.schema = config, schema
        self.meanings = configuration.meanings(config, schema)
        found = [(name, *meaning) for of_kind in self.meanings.values() for name, meaning in of_kind.items()]
        self.values = {identity: values for _, identity, values in found}
        self.names = {identity: name for name, identity, _ in found} | {NONE: NONE}
        for kind in ("alignment", "curve"):
            for name, (identity, _) in self.meanings[kind].items():
                self.names[identity] = configuration.shown_as(config, kind, name)
        # Values of all computing jobs.
        deciding = configuration.deciding(config, schema)
        self.bits = {key: deciding[key] for key in ("threads", "instructions") if key in deciding}
        self.cells = [
            {**cell, "study": study, "entry": position}
            for study, entries in config["studies"].items()
            for position, entry in enumerate(entries)
            for cell in getattr(self, f"_{study}")(entry)
        ]

    # --- cells of the studies ---

    def _scope(self, entry, network, recipe):
        return {
            "dataset": self.identity("dataset", entry["dataset"]),
            "network": self.identity("network", network),
            "recipe": self.identity("recipe", recipe),
            **{kind: self.identity(kind, kind) for kind in configuration.MEASURES},
        }

    def _alignment(self, entry):
        """Cells of pairs, each with one alignment and one curve."""
        fixed = self._scope(entry, entry["network"], entry["recipe"])
        fixed |= {"attack": self.identity("attack", entry["attack"]), "measures": entry["measures"]}
        if best := entry["best"]:
            fixed |= {"strong": self.identity("attack", best["attack"]), "ensemble": str(best["ensemble"])}
        curves = entry.get("curves", self.config["curves"])
        for pair, alignment, curve in product(entry["pairs"], entry["alignments"], curves):
            between = {"alignment": self.identity("alignment", alignment), "curve": self.identity("curve", curve)}
            yield {**fixed, "population": named(pair), **between}

    def _averaging(self, entry):
        """Cells of populations: one network by one recipe, or by all recipes (`across`), and one alignment."""
        seeds, recipes = named(list(range(1, entry["seeds"] + 1))), configuration.shown_recipes(entry)
        for network, recipe, alignment in product(entry["networks"], recipes, entry["alignments"]):
            scope = self._scope(entry, network, recipe)
            scope |= {"alignment": self.identity("alignment", alignment), "measures": entry["measures"]}
            yield {**scope, "population": seeds}

    def _simultaneous(self, entry):
        """Cells of pairs at the moments of their training and, where levels are asked for, of their pruning.

        Transported masks belong to the cells of the alignment that permutes them, others to those without an alignment.
        """
        moved = set(entry["masks"]) & {"transported"}
        for network, recipe in product(entry["networks"], entry["recipes"]):
            scope = self._scope(entry, network, recipe)
            along = {
                "epochs": configuration.epochs_of(entry, self.config["recipes"][recipe]),
                "levels": entry["levels"],
            }
            for pair, alignment, (kind, at) in product(entry["pairs"], entry["alignments"], along.items()):
                if at:
                    moments = named_moments(kind, at)
                    if kind == "epochs" and entry["stacked"] and alignment != NONE:
                        moments += f"+{'-'.join(map(str, entry['stacked']))}"
                    between = {"alignment": self.identity("alignment", alignment), "moments": moments}
                    masks = (moved if alignment != NONE else set(entry["masks"]) - moved) if kind == "levels" else ()
                    yield {**scope, "population": named(pair), **between, "masks": sorted(masks)}

    def of(self, study: str) -> list[dict]:
        """The cells of a study."""
        return [cell for cell in self.cells if cell["study"] == study]

    @cached_property
    def studies(self) -> list[str]:
        """The studies that have entries in the config."""
        return list(dict.fromkeys(cell["study"] for cell in self.cells))

    def only(self, study: str) -> "Plan":
        """The plan of the cells of a study."""
        known = self.__dict__.setdefault("_only", {})
        if study not in known:
            known[study] = self.narrowed(lambda cell: cell["study"] == study)
        return known[study]

    def narrowed(self, keep) -> "Plan":
        """The plan of the cells for which `keep(cell)` is true."""
        narrow = object.__new__(Plan)
        # A curve is measured under the attacks of all entries, including those that are left out.
        narrow.__dict__ |= self.__dict__ | {"_attacked": self._attacked}
        narrow.cells = [cell for cell in self.cells if keep(cell)]
        for cached in ("studies", "jobs", "_only"):
            narrow.__dict__.pop(cached, None)
        return narrow

    @property
    def shown(self) -> dict:
        """The config with only the entries, networks, recipes, alignments and curves that occur in a cell."""
        studies: dict[str, list] = {}
        for study, entries in self.config["studies"].items():
            for position, entry in enumerate(entries):
                cells = [cell for cell in self.of(study) if cell["entry"] == position]
                kept: dict[str, list] = {}
                named = {"curves": list(self.config["curves"])} if study == "alignment" else {}
                for kind in ("network", "recipe", "alignment", "curve"):
                    there = {cell.get(kind) for cell in cells}
                    if kind == "recipe" and "across" in entry:
                        continue  # all of them are one population
                    names = (named | entry).get(f"{kind}s", [])
                    kept |= (
                        {f"{kind}s": [name for name in names if self.identity(kind, name) in there]} if names else {}
                    )
                if cells:
                    studies.setdefault(study, []).append(entry | kept)
        return self.config | {"studies": studies}

    # --- names and identities ---

    def identity(self, kind: str, name: str | None) -> str:
        """The identity of a name of the config; none stays none."""
        return NONE if name in (NONE, None) else self.meanings[kind][name][0]

    def identities(self, kind: str, keep=lambda identity: True) -> str:
        """A regular expression of the identities of a kind."""
        return "|".join(identity for identity, _ in self.meanings[kind].values() if keep(identity)) or NONE

    def recipes_in(self, recipe: str) -> list[str]:
        """The identities of the recipes of a population across recipes, or of the single recipe that is given."""
        return [self.identity("recipe", name) for name, _ in self.values[recipe].get("across", [])] or [recipe]

    def is_refined(self, alignment: str) -> bool:
        """Whether an alignment, by its identity or none, is made by the rule refine."""
        return alignment != NONE and self.values[alignment]["method"] == "pam"

    def is_matched(self, alignment: str) -> bool:
        """Whether an alignment, by its identity or none, is made by the rule align."""
        return alignment != NONE and not self.is_refined(alignment)

    def is_bent(self, curve: str) -> bool:
        """Whether a curve, by its identity or none, has bends."""
        return curve != NONE and self.values[curve]["kind"] != "linear"

    # --- inputs of jobs ---

    def data_of(self, wildcards):
        return [made("prepare_data", "data", wildcards)]

    def networks_of(self, wildcards):
        found = []
        for recipe in self.recipes_in(wildcards["recipe"]):
            size = self.values[recipe]["population"]
            blocks = dict.fromkeys(block_of(seed, size) for seed in seeds_in(wildcards["population"]))
            found += [made("train", "networks", wildcards | {"recipe": recipe, "block": block}) for block in blocks]
        return found

    def ancestors_of(self, wildcards):
        """The inputs of a level of pruning: the trained networks with their kept epochs, and the previous level."""
        level = int(wildcards["level"])
        before = [made("prune", "networks", wildcards | {"level": str(level - 1)})] if level > 1 else []
        return [made("train", "networks", wildcards), *before]

    def checkpoints_of(self, wildcards):
        """The networks of a population at its moments."""
        trained, moments = self.networks_of(wildcards), self.moments_of(wildcards)
        levels = [level for level in moments["at"] if level] if moments["along"] == "levels" else []
        blocks = [dict(one.job.wildcards)["block"] for one in trained]
        pruned = [wildcards | {"block": block, "level": str(level)} for level, block in product(levels, blocks)]
        return trained + [made("prune", "networks", one) for one in pruned]

    def sparse_of(self, wildcards):
        """Both networks of a pair at one level of pruning."""
        blocks = [dict(one.job.wildcards)["block"] for one in self.networks_of(wildcards)]
        return [made("prune", "networks", wildcards | {"block": block}) for block in blocks]

    def permutation_of(self, wildcards):
        """The permutation of a population, empty where it is not aligned."""
        if wildcards["alignment"] == NONE:
            return []
        if "moments" in wildcards:
            return [made("align_moments", "permutation", wildcards)]
        maker = "refine" if self.is_refined(wildcards["alignment"]) else "align"
        return [made(maker, "permutation", wildcards)]

    def start_of(self, wildcards):
        """The permutation that an alignment refines, empty where it starts from the networks as they are."""
        named = wildcards["alignment"].rpartition("-")[0]
        start = self.config["alignments"][named]["start"]
        return self.permutation_of(wildcards | {"alignment": self.identity("alignment", start)})

    def bends_of(self, wildcards):
        """The trained bends of a curve, empty for the straight line or no curve."""
        return [made("fit_curve", "bends", wildcards)] if self.is_bent(wildcards["curve"]) else []

    def statistics_of(self, wildcards):
        return [made("evaluate_curve", "statistics", self._with_attacks(wildcards))]

    # --- values of jobs ---

    def seeds_of(self, wildcards):
        first, _, last = wildcards["block"].partition("-")
        return list(range(int(first), int(last or first) + 1))

    def members_of(self, wildcards):
        """The seeds of the networks that are compared, or <recipe>:<seed> where they are of several recipes."""
        seeds, across = seeds_in(wildcards["population"]), self.values[wildcards["recipe"]].get("across")
        return [f"{name}:{seed}" for name, _ in across for seed in seeds] if across else seeds

    def level_of(self, wildcards):
        return int(wildcards["level"])

    def masks_of(self, wildcards):
        return wildcards["masks"].split("+")

    def moments_of(self, wildcards):
        """Whether moments are epochs of training or levels of pruning, which ones, and which of them are stacked."""
        along = "levels" if wildcards["moments"].startswith("levels") else "epochs"
        at, *stacked = (
            [int(moment) for moment in listed.split("-")]
            for listed in wildcards["moments"].removeprefix(along).split("+")
        )
        return {"along": along, "at": at} | ({"stacked": stacked[0]} if stacked else {})

    def augmentation_of(self, wildcards):
        augmented = self.config["evaluation"]["recalibration"]["augmented"]
        return self.values[self.recipes_in(wildcards["recipe"])[0]]["augmentation"] if augmented else None

    def attack_of(self, wildcards):
        attacked = self.config["evaluation"]["recalibration"]["attacked"]
        return self.values[self.recipes_in(wildcards["recipe"])[0]]["attack"] if attacked else None

    def attacks_of(self, wildcards):
        """Name -> values of the attacks under which a curve is measured, None where there is none."""
        found = [attack for attack in wildcards["attacks"].split("+") if attack != NONE]
        return {self.names[attack]: self.values[attack] for attack in found} or None

    def tested_of(self, wildcards):
        """Name -> values of the attacks under which a selected network is measured, and none."""
        attacks = (NONE, wildcards["attack"], wildcards["strong"])
        return {self.names[attack]: self.values.get(attack) for attack in attacks}

    def selection_of(self, wildcards):
        return self.names[wildcards["attack"]]

    def ensemble_of(self, wildcards):
        return int(wildcards["ensemble"])

    def content_of(self, wildcards):
        """A digest of the user's files that a data set is read from, None for other sources."""
        dataset = wildcards["dataset"]
        if "path" not in self.values[dataset]:
            return None
        try:
            return own_data.digest(self.values[dataset], made("prepare_data", "data", wildcards).path)
        except (ValueError, OSError) as error:
            raise ValueError(f"config, datasets.{self.names[dataset]}.path: {error}") from None

    def statistics(self, dataset: str, network: str) -> list:
        """The `statistic` of each alignment of a network on a data set."""
        return [alignment.get("statistic", "sum") for alignment in self._alignments_of(dataset, network)]

    def left_out(self, dataset: str, network: str) -> list:
        """Lists of patterns of the parameters that alignments of a network on a data set leave out."""
        found = [alignment.get("leave_out") for alignment in self._alignments_of(dataset, network)]
        return [patterns for patterns in found if patterns]

    def _alignments_of(self, dataset, network):
        """The values of each alignment of a network on a data set."""
        of = [cell["alignment"] for cell in self.cells if (cell["dataset"], cell["network"]) == (dataset, network)]
        return [self.values[alignment] for alignment in unique(of) if alignment != NONE]

    # --- jobs ---

    def inputs(self, rule: str, wildcards: Mapping[str, str]) -> dict[str, list[Made]]:
        """The files that a job reads, by the name of the input."""
        return {name: getattr(self, f"{name}_of")(dict(wildcards)) for name in RULES[rule].inputs}

    def job(self, rule: str, wildcards: Mapping[str, str]) -> dict:
        """The values that decide a job's result, and its names for tables."""
        found, about = dict(wildcards), RULES[rule]
        own = {kind: self.values[found[kind]] for kind in about.kinds if found[kind] != NONE}
        more = {name: getattr(self, f"{name}_of")(found) for name in about.values}
        names = {}
        for kind in about.wildcards:
            if kind == "population":
                names["pair" if len(seeds_in(found[kind])) == 2 else kind] = found[kind]
            elif kind not in HIDDEN:
                names[kind] = self.names[found[kind]]
        return {
            "names": names,
            **self.bits,
            **own,
            **{name: value for name, value in more.items() if value is not None},
        }

    def code(self, rule: str, wildcards: Mapping[str, str]) -> str:
        """The fingerprint of the source that decides a job's result."""
        job = self.job(rule, wildcards)
        return f"{_code(rule, tuple(dispatch.modules(job)))} entries:{digest(dispatch.entries(job))}"

    @cached_property
    def jobs(self) -> dict[Job, dict[str, list[Made]]]:
        """All jobs that measure or make what is measured; each comes after the jobs that make its inputs."""
        found: dict[Job, dict[str, list[Made]]] = {}

        def add(job):
            if job not in found:
                inputs = self.inputs(job.rule, dict(job.wildcards))
                for read in inputs.values():
                    for one in read:
                        add(one.job)
                found[job] = inputs

        for one in self.targets():
            add(one.job)
        return found

    # --- measurements of the cells ---

    def targets(self) -> Iterator[Made]:
        """The measurements of all cells."""
        for cell in self.cells:
            yield from self.measured(cell)

    def measured(self, cell: dict) -> list[Made]:
        """The measurements of one cell."""
        if cell["study"] == "averaging":
            besides = {
                "averages": "evaluate_averages",
                "boundaries": "evaluate_boundary",
                "triangles": "evaluate_triangles",
                "disagreement": "evaluate_disagreement",
                "iterates": "evaluate_iterates",
            }
            rules = ["evaluate_barriers", *(rule for name, rule in besides.items() if name in cell["measures"])]
            if "evaluate_iterates" in rules:
                recipe = self.values[cell["recipe"]]
                cell = cell | {"moments": named_moments("epochs", [*recipe.get("keep", []), recipe["epochs"]])}
            return [made(rule, "points", cell) for rule in rules]
        if cell["study"] == "simultaneous":
            levels = [{"level": str(level)} for level in self.moments_of(cell)["at"] if level]
            places = product(levels, self._together(cell["masks"], cell["recipe"]))
            masked = [made("train_masked", "points", cell | level | {"masks": masks}) for level, masks in places]
            return [made("evaluate_grid", "points", cell), *masked]
        found = [self.evaluation(cell)]
        if cell["alignment"] != NONE:
            found.append(made("evaluate_signature", "signature", cell))
        if "strong" in cell:
            found.append(made("select_network", "rows", cell))
        if "activations" in cell["measures"]:
            found.append(made("evaluate_activations", "activations", cell))
        return found + [made("evaluate_plane", "points", plane) for plane in self.planes(cell)]

    def _together(self, masks, recipe):
        """The wildcards {masks}: as many masks are trained in one job as the recipe's `population`."""
        size = self.values[recipe]["population"]
        return ["+".join(masks[first : first + size]) for first in range(0, len(masks), size)]

    def evaluation(self, cell: dict) -> Made:
        """The evaluation of a cell's curve, clean and under the attacks of all entries."""
        return made("evaluate_curve", "points", self._with_attacks(cell))

    def planes(self, cell: dict) -> list[dict]:
        """The plane of the cell's curve and, as curve none, the plane of an alignment that matches neurons.

        Refinements have no plane: one may stay at its start, where the three networks span none.
        """
        if "planes" not in cell["measures"]:
            return []
        of_curve = [cell] if self.is_bent(cell["curve"]) else []
        return of_curve + ([cell | {"curve": NONE}] if self.is_matched(cell["alignment"]) else [])

    @cached_property
    def _attacked(self):
        """The wildcards of a curve -> the attacks that any entry measures it under, sorted."""
        found: dict[tuple, set] = {}
        for cell in self.of("alignment"):
            found.setdefault(_path_of(cell), set()).update({cell["attack"]} - {NONE})
        return {path: "+".join(sorted(attacks)) or NONE for path, attacks in found.items()}

    def _with_attacks(self, wildcards):
        return wildcards | {"attacks": self._attacked[_path_of(wildcards)]}

    def whole(self, cell: dict) -> bool:
        """Whether all files that the numbers of a cell are made from exist, so that no job of it has failed."""
        waiting, seen = [one.job for one in self.measured(cell)], set()
        while waiting:
            job = waiting.pop()
            if job in seen:
                continue
            seen.add(job)
            if not all(os.path.exists(Made(job, output).path) for output in RULES[job.rule].outputs):
                return False
            waiting += [one.job for read in self.jobs[job].values() for one in read]
        return True

    def outputs(self, rule: str, output: str) -> list[str]:
        """The paths of one output of all jobs of a rule, in the order of the plan."""
        return [Made(job, output).path for job in self.jobs if job.rule == rule]


def _path_of(wildcards):
    return tuple(wildcards[name] for name in ("dataset", "network", "recipe", "population", "alignment", "curve"))


def unique(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
