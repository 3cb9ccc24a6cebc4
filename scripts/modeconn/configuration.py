"""The config: checked against its schema, completed with defaults, its names resolved to values.

Every mistake that can be found before work starts is one line: where, what, what is allowed.
"""

import copy
import difflib
import json
import math
import re
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import ClassVar

import yaml
from jsonschema import Draft202012Validator, exceptions, validators

from modeconn import own_code
from modeconn.dispatch import augments, reduces, torchvision_models
from modeconn.identity import digest, plain

SCHEMA = Path(__file__).parents[2] / "workflow/schemas/config.schema.yaml"
KINDS = {
    "dataset": "datasets",
    "network": "networks",
    "recipe": "recipes",
    "alignment": "alignments",
    "curve": "curves",
}

# What claims and the paper's table mean by a name: an alignment's method and the method that it starts from, a curve's
# kind. Anything else under that name would be judged by claims that do not apply to it.
CLAIMED = {
    "alignment": {
        "activation": ("activation", None),
        "weight": ("weight", None),
        "random": ("random", None),
        "pam": ("pam", None),
        "pam_aligned": ("pam", "activation"),
    },
    "curve": {"linear": "linear", "bezier": "bezier"},
}


# Folders of results/ that all configs share: these names are not allowed for runs.
SHARED_FOLDERS = (
    *["activations", "alignments", "archive", "averages", "barriers", "benchmarks", "best", "boundaries", "connected"],
    *["curves", "data", "disagreements", "downloads", "evaluations", "grids", "iterates", "logs", "masked", "measures"],
    *["moments", "networks", "planes", "populations", "pruned", "report", "signatures", "triangles"],
)
# Sources of points in the plane: they have no pixels.
POINTS = ("moons", "blobs", "gaussian_quantiles")
# Sections of the config, one for each kind of measurement; the first has the settings that all share.
MEASURES = ("evaluation", "plane", "activations", "barriers", "averages", "boundary", "triangles", "grid")
LEAST_NU = 1e-6  # of a proximal term; smaller values overflow


def _set_defaults(validator, properties, instance, schema):
    if isinstance(instance, dict):
        for key, subschema in properties.items():
            if "default" in subschema and key not in instance:
                instance[key] = copy.deepcopy(subschema["default"])
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)


def _drop_neutral(validator, properties, instance, schema):
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)
    if isinstance(instance, dict):
        for key, subschema in properties.items():
            if "neutral" in subschema and key in instance and plain(instance[key]) == plain(subschema["neutral"]):
                del instance[key]


def _is_number(checker, value):
    return Draft202012Validator.TYPE_CHECKER.is_type(value, "number") and math.isfinite(value)


_Validator = validators.extend(
    Draft202012Validator,
    {"properties": _set_defaults},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number),
)
_Deciding = validators.extend(Draft202012Validator, {"properties": _drop_neutral})


class _Strict(yaml.SafeLoader):
    """Read plain scalars as YAML 1.2 and JSON do, keys as text; refuse repeated keys and ambiguous scalars.

    YAML 1.1, PyYAML's own, reads 1e-4 as text, 010 for 8, 1:30 for 90, and no, off, on and yes for booleans.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key has to be text", key)
            if key.tag == MERGE:
                continue
            if key.value in seen:
                _refuse(f"{key.value} is there twice", key)
            if key.value in YTE:
                _refuse(f"{key.value} would let the config run code: a config holds values only", key)
            key.tag = TEXT
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node):
        text = node.value
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        number = float(text)
        if not math.isfinite(number):
            _refuse(f"{text} is no finite number", node)
        return number

    def refuse_number(self, node):
        _refuse(
            f"{node.value} can be read in more than one way: write a decimal number without leading zeros, underscores "
            "and colons, or quotes around it if it is text",
            node,
        )


MERGE, TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
# With these Snakemake would evaluate a config as a template (YTE).
YTE = ("__use_yte__", "__definitions__", "__variables__")
# Tag -> pattern of its plain scalars. YAML 1.2.2, core schema, without forms that JSON does not have.
SCALARS = {
    "tag:yaml.org,2002:null": r"~|null|Null|NULL|",
    "tag:yaml.org,2002:bool": r"true|True|TRUE|false|False|FALSE",
    "!number": r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?",
    "!unclear": r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9_]+)?|0[xob][0-9a-fA-F_]+"
    r"|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?|\.inf|\.Inf|\.INF|\.nan|\.NaN|\.NAN)",
    MERGE: r"<<",
}
for tag, pattern in SCALARS.items():
    _Strict.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), None)
_Strict.add_constructor("!number", _Strict.construct_number)
_Strict.add_constructor("!unclear", _Strict.refuse_number)
for tag in ("int", "float", "timestamp", "binary", "omap", "pairs", "set"):
    _Strict.add_constructor(f"tag:yaml.org,2002:{tag}", _Strict.construct_undefined)


def _refuse(problem, node):
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def read(path):
    """The config at `path`, YAML or JSON: a dict of JSON values.

    Numbers are read as in YAML 1.2 and JSON. Raises ValueError, one line with the place, where the file is absent, is
    no mapping in YAML, or holds an ambiguous value or a tag that would run code.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is no file: give the path of a config, such as CONFIG=config/config.yaml")
    try:
        config = yaml.load(Path(path).read_text(encoding="utf-8-sig"), _Strict)
        json.dumps(config)  # an anchor may refer to the node that contains it
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark
        raise ValueError(f"{path}, line {place.line + 1}, column {place.column + 1}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is empty, or no mapping of keys to values: config/README.md explains them")
    return config


def schema():
    """The schema of configs, as a dict."""
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def complete(config, schema):
    """Check `config` (a dict) against `schema` (a dict) and fill in defaults, in place.

    Raises ValueError, one line, for the most specific mistake.
    """
    errors = list(_Validator(schema).iter_errors(config))
    # Which keys are allowed may depend on another key that is wrong itself.
    unclear = {tuple(error.absolute_path)[:-1] for error in errors if error.validator == "enum"}
    errors = [error for error in errors if _is_own(error, unclear)]
    if errors:
        raise ValueError(_explain(exceptions.best_match(errors)))
    config.update(plain(config))
    _no_attack(config)
    _check_values(config)
    _check_models(config)
    _check_splits(config)
    _check_schedules(config)
    _check_kept(config)
    _check_names(config)
    _check_reduced(config)
    _check_across(config)
    _check_iterates(config)


def completed(path):
    """The complete config at `path`. Raises ValueError, one line that names the file, for a mistake in it."""
    config = read(path)
    try:
        complete(config, schema())
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('config, ')}") from None
    return config


def of_run(path, meaning, expected):
    """`meaning(config)` of a run's complete config at `path`, its config.json.

    expected: the digest that this has to have, or None. Raises ValueError where it is another, or the file is damaged.
    """
    try:
        found = meaning(json.loads(Path(path).read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, AttributeError):
        found = None
    if found is None or expected not in (None, digest(found)):
        raise ValueError(f"{path} is damaged, or of another config: delete it and run rule write_config again")
    return found


def _is_own(error, unclear):
    """Whether the error is not only a consequence of another: a known key with a wrong value also counts as
    unevaluated."""
    if error.validator != "unevaluatedProperties":
        return True
    return tuple(error.absolute_path) not in unclear and bool(_unknown_keys(error))


def _explain(error):
    """One line for a schema error: the key's path, what is wrong, what is allowed."""
    where = ".".join(map(str, error.absolute_path)) or "top level"
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        unknown, known = _unknown_keys(error), sorted(_known_keys(error.schema, error.instance))
        near = difflib.get_close_matches(str(unknown[0]), known, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"config, {where}: unknown key {', '.join(map(repr, unknown))}; allowed: {', '.join(known)}{hint}"
    if error.validator == "required":
        return f"config, {where}: {error.message}"
    if error.validator == "not":
        return f"config, {where}: {error.instance!r} is a reserved name: take another name"
    hint = f" ({error.schema['description']})" if "description" in error.schema else ""
    if error.validator == "type" and error.schema.get("type") == "boolean":
        hint = " (write true or false)"
    if error.validator == "type" and error.absolute_path and list(error.absolute_path)[-2:-1] == ["pairs"]:
        hint = " (a list of pairs of seeds, such as [[1, 2], [3, 4]])"
    return f"config, {where}: {error.message}{hint}"


def _unknown_keys(error):
    return [key for key in error.instance if key not in _known_keys(error.schema, error.instance)]


def _known_keys(schema, instance):
    """Keys that `schema` knows for `instance`, through its conditions."""
    known = set(schema.get("properties", {}))
    for part in [schema, *schema.get("allOf", [])]:
        if "if" in part:
            branch = "then" if Draft202012Validator(part["if"]).is_valid(instance) else "else"
            known |= set(part.get(branch, {}).get("properties", {}))
    return known


def _no_attack(config):
    """Replace attacks called none by None, as if they were left out."""
    studies = [entry for entries in config["studies"].values() for entry in entries]
    best = [entry["best"] for entry in studies if entry.get("best") is not None]
    for values in (*config["recipes"].values(), *config["alignments"].values(), *studies, *best):
        if values.get("attack") == "none":
            values["attack"] = None


def _check_values(config):
    """Check conditions on values that a schema cannot express."""
    if config["name"] in SHARED_FOLDERS:
        raise ValueError(
            f"config, name: results/{config['name']}/ holds what all configs share: take another name than "
            f"{', '.join(SHARED_FOLDERS)}"
        )
    for axis in ("x", "y", "y_curve"):
        first, last = config["plane"][axis]
        if first >= last:
            raise ValueError(f"config, plane.{axis}: [{first}, {last}] has to ascend")
    if config["averages"]["sizes"] != sorted(config["averages"]["sizes"]):
        raise ValueError(f"config, averages.sizes: {config['averages']['sizes']} have to ascend")
    for name, network in config["networks"].items():
        for key, value in (("precision", "bfloat16"), ("compile", True)):
            if config["instructions"] == "portable" and network[key] == value:
                raise ValueError(
                    f"config, networks.{name}.{key}: the bits of {json.dumps(value)} depend on the CPU: leave it out, "
                    "or set instructions to native"
                )
    for name, recipe in config["recipes"].items():
        least, most = recipe["augmentation"]["scale"]
        if least > most:
            raise ValueError(f"config, recipes.{name}.augmentation.scale: [{least}, {most}] has to ascend")
    for name, alignment in config["alignments"].items():
        for key, value in (("kernel", "linear"), ("order", "random"), ("restarts", 1)):
            if alignment.get("frame", "first") != "first" and alignment[key] != value:
                raise ValueError(
                    f"config, alignments.{name}.{key}: frame {alignment['frame']} matches by {key} {value} only: leave "
                    f"{key} out, or take the frame first"
                )
    for name, curve in config["curves"].items():
        if 0 < curve.get("proximal", 0) < LEAST_NU:
            raise ValueError(f"config, curves.{name}.proximal: {curve['proximal']} is neither 0 nor {LEAST_NU} or more")
    for where, path in [("downloads", config["downloads"])] + [
        (f"datasets.{name}.path", dataset["path"]) for name, dataset in config["datasets"].items() if "path" in dataset
    ]:
        if "\0" in path:
            raise ValueError(f"config, {where}: {path!r} cannot be a path")
    _check_fused(config)
    for where, _, entry in _entries(config):
        if "boundaries" in entry.get("measures", []):
            _check_plane(config, entry, f"{where}.measures")
        if "triangles" in entry.get("measures", []) and entry["seeds"] < 3:
            raise ValueError(f"config, {where}.seeds: {entry['seeds']} networks form no triangle: take three")
        for recipe in entry.get("recipes", [entry.get("recipe")]):
            _check_images(config, entry, recipe, where)


def _entries(config, *studies):
    """(where it stands, study, entry) of each entry of these studies, or of all."""
    for study, entries in config["studies"].items():
        for position, entry in enumerate(entries if not studies or study in studies else []):
            yield f"studies.{study}.{position}", study, entry


def _check_fused(config):
    """Fused networks need batch normalization and the averaging study; corrections need none, or fused."""
    for name, network in config["networks"].items():
        if network.get("fused") and network["norm"] != "batch":
            raise ValueError(f"config, networks.{name}.fused: norm {network['norm']} cannot be fused: take norm batch")
    fused = {name for name, network in config["networks"].items() if network.get("fused")}
    for where, study, entry in _entries(config):
        key = "network" if "network" in entry else "networks"
        taken = fused & {*entry.get("networks", []), entry.get("network")}
        if taken and study != "averaging":
            raise ValueError(
                f"config, {where}.{key}: {min(taken)} is fused, which only averaging takes: leave fused out"
            )
    for section in ("barriers", "averages"):
        for entry in config["studies"].get("averaging", []) if config[section]["corrections"] else []:
            _check_statistics(config, entry, f"{section}.corrections")


def _check_statistics(config, entry, where):
    """Some measurements need fully connected networks without statistics to re-estimate."""
    for name in entry["networks"]:
        # Undefined names are reported by `_check_names`.
        network = config["networks"].get(name, {"family": "mlp", "norm": "none"})
        if network["family"] != "mlp" or (network["norm"] == "batch" and not network["fused"]):
            raise ValueError(
                f"config, {where}: {name} is no fully connected network, or one whose statistics are re-estimated: "
                "take family mlp, with norm none or layer, or fused"
            )


def _check_models(config):
    """A model of torchvision has to be one of its classifiers; a user's file has to define its function.

    Where torchvision is not installed, only the first job checks it.
    """
    for name, network in config["networks"].items():
        if network["family"] == "file":
            _own_source(name, network)
        known = torchvision_models() if network["family"] == "torchvision" else ()
        if known and network["model"] not in known:
            near = ", ".join(difflib.get_close_matches(network["model"], sorted(known), cutoff=0.5))
            raise ValueError(
                f"config, networks.{name}.model: torchvision has no classifier {network['model']!r}: did you mean "
                f"{near or 'resnet18 or densenet121'}?"
            )


def _own_source(name, network):
    """The digest of the source file of a user's network. Raises ValueError where there is none."""
    try:
        return own_code.digest(network["path"])
    except (ValueError, OSError) as error:
        raise ValueError(f"config, networks.{name}.path: {error}") from None


def _check_images(config, entry, named, where):
    """Points in the plane can be neither augmented nor attacked, and images can be shifted by less than their size."""
    dataset, recipe = config["datasets"].get(entry["dataset"], {}), config["recipes"].get(named, {})
    augmentation = recipe.get("augmentation", {})
    if dataset.get("source") in POINTS:
        attacks = [recipe.get("attack"), entry.get("attack")]
        if augments(augmentation) or any(attacks):
            raise ValueError(
                f"config, {where}: {entry['dataset']} are points, not images: take a recipe without augmentation and "
                "attack, and no attack"
            )
    size = dataset.get("size")
    if size and augmentation.get("shift", 0) >= size:
        raise ValueError(
            f"config, {where}: recipe {named} shifts by {augmentation['shift']} pixels, and images of "
            f"{entry['dataset']} have {size} along a side"
        )


def _check_plane(config, entry, where):
    """Boundaries need fully connected networks and points in the plane."""
    if config["datasets"].get(entry["dataset"], {"source": "moons"})["source"] not in POINTS:
        raise ValueError(
            f"config, {where}: boundaries are of points in the plane, and {entry['dataset']} are none: take a data set "
            f"with source {', '.join(POINTS)}, or leave boundaries out"
        )
    _check_statistics(config, entry, where)


def _check_splits(config):
    """Held-out images are taken from the training images that remain after `train_images`."""
    for name, dataset in config["datasets"].items():
        if 0 < dataset["train_images"] <= dataset["hold_out"]:
            raise ValueError(
                f"config, datasets.{name}.hold_out: {dataset['hold_out']} of {dataset['train_images']} training images "
                "leave none to train on: lower it, or raise train_images"
            )


def _check_schedules(config):
    """Warm-up and milestones have to fit the schedule and the number of epochs."""
    trained = [(f"recipes.{name}", recipe) for name, recipe in config["recipes"].items()]
    trained += [(f"curves.{name}", curve) for name, curve in config["curves"].items() if "schedule" in curve]
    for where, training in trained:
        schedule, milestones, epochs = training["schedule"], training["milestones"], training["epochs"]
        if (schedule == "milestones") != bool(milestones):
            raise ValueError(f"config, {where}: schedule milestones goes with a list milestones: give both or neither")
        if milestones != sorted(milestones) or (milestones and milestones[-1] >= epochs):
            raise ValueError(f"config, {where}.milestones: {milestones} must ascend, and stay below epochs, {epochs}")
        if training["warmup"] >= epochs:
            raise ValueError(f"config, {where}.warmup: {training['warmup']} of {epochs} epochs: lower it")
        if training["warmup"] and schedule == "one_cycle":
            raise ValueError(f"config, {where}.warmup: one_cycle has a warm-up of its own: leave one of them out")


def _check_kept(config):
    """Kept epochs have to exist, and `rewind` of pruning has to be one of them."""
    for name, recipe in config["recipes"].items():
        keep, epochs, pruning = recipe["keep"], recipe["epochs"], recipe["pruning"]
        if keep != sorted(keep) or (keep and keep[-1] >= epochs):
            raise ValueError(
                f"config, recipes.{name}.keep: {keep} must ascend, and stay below epochs, {epochs}: the last epoch "
                "is always kept"
            )
        if pruning is not None and pruning["rewind"] not in keep:
            raise ValueError(
                f"config, recipes.{name}.pruning.rewind: epoch {pruning['rewind']} is not kept: add it to keep, {keep}"
            )


def _check_reduced(config):
    """Units are merged and padded in fully connected networks without normalization, after the last epoch."""
    reduced = {name: recipe for name, recipe in config["recipes"].items() if reduces(recipe)}
    for name, recipe in reduced.items():
        if recipe["keep"]:
            key = "units" if "units" in recipe else "merge"
            raise ValueError(f"config, recipes.{name}.keep: {key} changes the last epoch only: leave keep out")
    for where, _, entry in _entries(config):
        networks, recipes = entry.get("networks", [entry.get("network")]), entry.get("recipes", [entry.get("recipe")])
        for of, name in product(networks, [name for name in recipes if name in reduced]):
            network, units = config["networks"][of], reduced[name].get("units", 0)
            if network["family"] != "mlp" or network["norm"] != "none":
                raise ValueError(
                    f"config, {where}: recipe {name} merges or pads units, and {of} is no fully connected network "
                    "without normalization: take family mlp and norm none"
                )
            if units > (least := round(network["width"] * min(network["hidden"]))):
                raise ValueError(
                    f"config, recipes.{name}.units: {of} has layers of {least} units, too few to be padded to from "
                    f"{units}: lower it"
                )


def epochs_of(entry, recipe):
    """The epochs at which an entry of the simultaneous study compares networks of a recipe, 0 for untrained ones."""
    return entry.get("epochs", [*recipe.get("keep", []), recipe["epochs"]])


def shown_recipes(entry):
    """The recipes of an entry as tables and figures name them; for a population across recipes, its name."""
    return [entry["across"]] if "across" in entry else entry["recipes"]


def _across(config):
    """(where it stands, entry) of the entries of the averaging study whose populations are of several recipes."""
    return [(f"{where}.across", entry) for where, _, entry in _entries(config, "averaging") if "across" in entry]


def _check_across(config):
    """A population across recipes needs a name of its own, and recipes by which statistics are re-estimated alike."""
    seen: dict[str, list] = {}
    for where, entry in _across(config):
        name, recipes = entry["across"], entry["recipes"]
        if name in config["recipes"] or seen.setdefault(name, recipes) != recipes:
            raise ValueError(f"config, {where}: {name!r} is the name of other networks already: take another name")
        if len(recipes) < 2:
            raise ValueError(f"config, {where}: there is one recipe: give several, or leave across out")
        for key, changed in (("augmentation", "augmented"), ("attack", "attacked")):
            if config["evaluation"]["recalibration"][changed] and any(
                config["recipes"][recipe][key] != config["recipes"][recipes[0]][key] for recipe in recipes
            ):
                raise ValueError(
                    f"config, {where}: {', '.join(recipes)} differ in {key}, and statistics are re-estimated by it: "
                    f"set evaluation.recalibration.{changed} to false"
                )


def _check_iterates(config):
    """Iterates need recipes that keep epochs, one recipe for each population, and networks that are not fused."""
    fused = {name for name, network in config["networks"].items() if network.get("fused")}
    for place, _, entry in _entries(config, "averaging"):
        if "iterates" not in entry["measures"]:
            continue
        where = f"config, {place}.measures: iterates are"
        for name in entry["recipes"]:
            if not config["recipes"][name]["keep"]:
                raise ValueError(f"{where} of kept epochs, and recipe {name} keeps none: give it keep")
        if "across" in entry:
            raise ValueError(f"{where} of one run each, and so of one recipe: leave across out, or iterates")
        if taken := fused & {*entry["networks"]}:
            raise ValueError(f"{where} not measured of fused networks: leave fused out of {min(taken)}, or iterates")


def _check_moments(config, entry, where):
    """The recipes of the simultaneous study have to keep its epochs, and prune if it has levels."""
    if entry["levels"] != sorted(entry["levels"]):
        raise ValueError(f"config, {where}.levels: {entry['levels']} have to ascend")
    for name in entry["recipes"]:
        recipe = config["recipes"][name]
        found, kept = epochs_of(entry, recipe), [*recipe["keep"], recipe["epochs"]]
        if found != sorted(found) or not set(found) <= set(kept):
            raise ValueError(
                f"config, {where}.epochs: {found} have to ascend, and be kept by recipe {name}, which keeps {kept}"
            )
        stacked = entry["stacked"]
        if stacked != sorted(stacked) or not set(stacked) <= set(found):
            raise ValueError(f"config, {where}.stacked: {stacked} have to ascend, and be among the epochs, {found}")
        if len(stacked) == 1:
            raise ValueError(
                f"config, {where}.stacked: networks are matched at epoch {stacked[0]} by itself anyway: give several "
                "epochs, or []"
            )
        for alignment in entry["alignments"] if stacked else []:
            if config["alignments"].get(alignment, {}).get("symmetry", "none") != "none":
                raise ValueError(
                    f"config, {where}.stacked: {alignment} divides out the scales of one epoch: take symmetry none"
                )
        if entry["levels"] and recipe["pruning"] is None:
            raise ValueError(f"config, {where}.levels: recipe {name} does not prune: give it pruning, or no levels")
    if entry["masks"] and not any(entry["levels"]):
        raise ValueError(f"config, {where}.masks: masks are of levels of pruning: give levels, or no masks")
    for mask in entry["masks"]:
        moved = mask == "transported"
        if not any((name != "none") == moved for name in entry["alignments"]):
            needed = "an alignment that moves it" if moved else "none, since no permutation moves it"
            raise ValueError(f"config, {where}.masks: {mask} needs {needed}: add that to alignments, or leave it out")


def _check_grids(config):
    """A pair and alignment may have only one grid of epochs and one of levels, or rows would be repeated."""
    seen: dict[tuple, list] = {}
    for where, _, entry in _entries(config, "simultaneous"):
        named = product(entry["networks"], entry["recipes"], entry["alignments"], map(tuple, entry["pairs"]))
        for (network, recipe, *between), along in product(named, ("epochs", "levels")):
            at = entry["levels"] if along == "levels" else epochs_of(entry, config["recipes"][recipe])
            at = [at, entry["stacked"]] if along == "epochs" else [at]
            if at[0] and seen.setdefault((entry["dataset"], network, recipe, *between, along), at) != at:
                raise ValueError(
                    f"config, {where}.{along}: another entry has other {along} of {network} by "
                    f"{recipe}, pair {list(between[1])}, or stacks others: give one list, or [] here"
                )
            # In any order, and also of entries that have no alignment in common.
            masks = sorted(entry["masks"])
            if masks and seen.setdefault((entry["dataset"], network, recipe, between[1], "masks"), masks) != masks:
                raise ValueError(
                    f"config, {where}.masks: another entry has other masks of {network} by "
                    f"{recipe}, pair {list(between[1])}: give one list, or [] here"
                )


def _check_names(config):
    """Every name that a recipe or a study uses has to be defined."""
    for section in ("recipes", "alignments"):
        for name, values in config[section].items():
            if values.get("attack") is not None:
                where = f"{section}.{name}.attack"
                _defined(config, "attacks", values["attack"], where)
                if config["attacks"][values["attack"]]["method"] == "autoattack":
                    raise ValueError(
                        f"config, {where}: {values['attack']!r} is autoattack, which only measures: take pgd"
                    )
    for name, attack in config["attacks"].items():
        if attack.get("restarts", 1) > 1 and not attack["random_start"]:
            raise ValueError(
                f"config, attacks.{name}.restarts: from the same start every attempt is the same: set random_start"
            )
    for name, alignment in config["alignments"].items():
        if alignment.get("symmetry", "none") != "none" and alignment["frame"] != "first":
            raise ValueError(
                f"config, alignments.{name}.symmetry: frame {alignment['frame']} compares weights as they are: take "
                "the frame first, or symmetry none"
            )
        if alignment.get("symmetry", "none") != "none" and alignment["kernel"] != "linear":
            raise ValueError(
                f"config, alignments.{name}.symmetry: signs are turned by the linear kernel, not by "
                f"{alignment['kernel']}: take kernel linear, or symmetry none"
            )
        if alignment.get("start", "none") != "none":
            where = f"alignments.{name}.start"
            _defined(config, "alignments", alignment["start"], where)
            if config["alignments"][alignment["start"]]["method"] == "pam":
                raise ValueError(
                    f"config, {where}: {alignment['start']!r} is pam too: start from another method, or none"
                )
    for where, study, entry in _entries(config):
        for key in ("dataset", "network", "recipe"):
            if key in entry:
                _defined(config, KINDS[key], entry[key], f"{where}.{key}")
        for section in ("networks", "recipes", "alignments", "curves"):
            for name in entry.get(section, []):
                if (section, name) != ("alignments", "none"):
                    _defined(config, section, name, f"{where}.{section}")
        if study == "alignment" and not entry.get("curves", config["curves"]):
            raise ValueError(f"config, {where}: there are no curves: define some under curves")
        if entry.get("attack") is not None:
            _defined(config, "attacks", entry["attack"], f"{where}.attack")
        if entry.get("best") is not None:
            _check_best(config, entry, f"{where}.best")
        for name in entry["alignments"]:
            if study != "alignment" and name != "none" and config["alignments"][name]["method"] == "pam":
                raise ValueError(
                    f"config, {where}.alignments: {name!r} is pam, which refines pairs: take a method that matches"
                )
        if study == "simultaneous":
            _check_moments(config, entry, where)
    _check_cells(config)
    _check_grids(config)
    _check_shown(config)
    _check_claimed(config)


def _check_cells(config):
    """A pair is named in one order, with one selection on each curve; networks are one population.

    A pair in both orders would count as two observations, and rows of two selections, or of two populations that share
    networks, could not be told apart.
    """
    orders, selections = {}, {}
    for where, _, entry in _entries(config, "alignment"):
        fixed = tuple(entry[kind] for kind in ("dataset", "network", "recipe"))
        for pair in entry["pairs"]:
            if orders.setdefault((*fixed, *sorted(pair)), pair) != pair:
                raise ValueError(f"config, {where}.pairs: {pair} is there in the other order: give it once")
        if entry["best"] is None:
            continue
        chosen = {**entry["best"], "from": entry["attack"]}
        for (*pair,), *path in product(entry["pairs"], entry["alignments"], entry.get("curves", config["curves"])):
            if selections.setdefault((*fixed, *pair, *path), chosen) != chosen:
                raise ValueError(
                    f"config, {where}.best: on {' with '.join(path)} of pair {pair} another one is selected too, under "
                    "another attack or in another ensemble: take one of them"
                )

    populations = {}
    for where, _, entry in _entries(config, "averaging"):
        for network, recipe in product(entry["networks"], shown_recipes(entry)):
            first, seeds = populations.setdefault((entry["dataset"], network, recipe), (where, entry["seeds"]))
            if entry["seeds"] != seeds:
                raise ValueError(
                    f"config, {where}.seeds: {network} by {recipe} are {seeds} networks in {first}, and "
                    f"{entry['seeds']} here: give both the same number"
                )


def _check_best(config, cell, where):
    """Further conditions of the selection of a best network."""
    best, dataset = cell["best"], cell["dataset"]
    if best["attack"] is not None:
        _defined(config, "attacks", best["attack"], f"{where}.attack")
    if not config["datasets"][dataset]["hold_out"]:
        raise ValueError(
            f"config, {where}: a network is selected on images held out, and {dataset!r} holds out none: "
            f"set datasets.{dataset}.hold_out"
        )
    if best["ensemble"] > config["evaluation"]["points"]:
        raise ValueError(
            f"config, {where}.ensemble: {best['ensemble']} networks, and only {config['evaluation']['points']} points "
            "of the curve are evaluated: lower it, or raise evaluation.points"
        )


def _check_shown(config):
    """Two alignments, or two curves, of one pair of networks must not be shown under the same name.

    The same holds for an alignment and its start, since permutations are compared with the start too.
    """
    seen = {}
    for where, _, entry in _entries(config, "alignment"):
        for start in {config["alignments"].get(name, {}).get("start", "none") for name in entry["alignments"]}:
            shown = shown_as(config, "alignment", start)
            for other in entry["alignments"]:
                if other != start and shown_as(config, "alignment", other) == shown:
                    raise ValueError(
                        f"config, {where}: {other} and {start}, from which another one starts, "
                        f"are both shown as {shown}: give one of them another shown_as"
                    )
        fixed = tuple(entry[kind] for kind in ("dataset", "network", "recipe"))
        for pair, *path in product(entry["pairs"], entry["alignments"], entry.get("curves", config["curves"])):
            shown = [shown_as(config, kind, name) for kind, name in zip(("alignment", "curve"), path)]
            other = seen.setdefault((*fixed, *pair, *shown), path)
            if other != path:
                raise ValueError(
                    f"config, {where}: {' with '.join(path)} and {' with '.join(other)}"
                    f" are both shown as {' with '.join(shown)}: give one of them another shown_as"
                )


def _check_claimed(config):
    """An alignment or curve shown under a name that claims use has to be what the claims mean by it."""

    def method(name):
        return config["alignments"][name]["method"] if name in config["alignments"] else None

    for name, alignment in config["alignments"].items():
        start = method(alignment.get("start"))
        words = f"{alignment['method']} from {start}" if start else alignment["method"]
        _means(config, "alignment", name, (alignment["method"], start), words)
    for name, curve in config["curves"].items():
        _means(config, "curve", name, curve["kind"], curve["kind"])


def _means(config, kind, name, found, words):
    shown = shown_as(config, kind, name)
    if CLAIMED[kind].get(shown, found) != found:
        raise ValueError(
            f"config, {KINDS[kind]}.{name}: claims mean something else than {words} by {shown!r}: "
            "take another name, or another shown_as"
        )


def _defined(config, section, name, where):
    if name not in config[section]:
        names = ", ".join(sorted(config[section])) or "nothing"
        raise ValueError(f"config, {where}: {name!r} is not defined; {section} defines {names}")


def deciding(config, schema):
    """The complete config without keys at their `neutral` value: results from before a key existed keep their identity.

    A key's neutral value is fixed when the key is added, and is the value that programs use where the key is absent.
    So adding a key to the schema reruns nothing, while changing a default reruns the jobs that used it.
    """
    result = copy.deepcopy(config)
    list(_Deciding(schema).iter_errors(result))
    return result


def meanings(config, schema):
    """kind -> name -> (identity, values): the values behind each name of this config, as far as they decide results.

    An identity is the name and eight hex digits of the hash of its values, so two meanings of one name lie
    side by side on disk, and configs with the same meaning share its results. The attacks that recipes
    and alignments name, and the start of an alignment, are replaced by their values; a network of one's own has the
    digest of its source. Planes, activations and barriers are measured with `batch` and `recalibration` of the
    evaluation.
    """
    config = deciding(config, schema)
    resolved = {kind: dict(config[section]) for kind, section in KINDS.items()}
    resolved["attack"] = dict(config["attacks"])
    resolved["recipe"] = {
        name: {**recipe, "attack": config["attacks"].get(recipe["attack"])}
        for name, recipe in config["recipes"].items()
    }
    # The recipes of each population across recipes.
    resolved["recipe"] |= {
        entry["across"]: {"across": [[name, resolved["recipe"][name]] for name in entry["recipes"]]}
        for _, entry in _across(config)
    }
    resolved["network"] = {
        name: network | ({"content": _own_source(name, network)} if network["family"] == "file" else {})
        for name, network in config["networks"].items()
    }
    resolved["alignment"] = {name: _alignment(config, alignment) for name, alignment in config["alignments"].items()}
    resolved["evaluation"] = {"evaluation": config["evaluation"]}
    for measure in MEASURES[1:]:
        taken = {key: config["evaluation"][key] for key in ("batch", "recalibration") if measure != "boundary"}
        if measure == "activations":  # in the batches of matching
            del taken["batch"]
        resolved[measure] = {measure: config[measure] | taken}
    return {
        kind: {name: (f"{name}-{digest(values)}", values) for name, values in of_kind.items()}
        for kind, of_kind in resolved.items()
    }


def _alignment(config, alignment):
    """An alignment with the attack and the start that it names replaced by their values."""
    values = dict(alignment)
    if "attack" in alignment:
        values["attack"] = config["attacks"][alignment["attack"]]
    if "start" in alignment:
        start = config["alignments"].get(alignment["start"])
        values["start"] = start and _alignment(config, start)
    return values


def cells(config, schema):
    """(dataset, network, alignment, curve) -> the recipe's name, and the values that decide the cell's numbers.

    The cells of the alignment study without attack, by their names; alignment and curve as they are shown. Of several
    entries on one cell all pairs count, as they do in the summary.
    """
    of_kind = meanings(config, schema)
    meaning = {kind: {name: values for name, (_, values) in names.items()} for kind, names in of_kind.items()}
    found, pairs = {}, defaultdict(set)
    for entry in config["studies"].get("alignment", []):
        if config["recipes"][entry["recipe"]]["attack"] is not None:
            continue
        fixed = {kind: meaning[kind][entry[kind]] for kind in ("dataset", "network", "recipe")}
        fixed["evaluation"] = _without_attack(meaning["evaluation"]["evaluation"])
        for alignment, curve in product(entry["alignments"], entry.get("curves", config["curves"])):
            shown = shown_as(config, "alignment", alignment), shown_as(config, "curve", curve)
            between = {"alignment": meaning["alignment"].get(alignment), "curve": meaning["curve"][curve]}
            cell = entry["dataset"], entry["network"], *shown
            pairs[cell, entry["recipe"]].update(map(tuple, entry["pairs"]))
            found[cell] = entry["recipe"], fixed | between | {"pairs": len(pairs[cell, entry["recipe"]])}
    return found


def _without_attack(evaluation):
    """The part of an evaluation that decides the numbers of networks that are not trained against an attack."""
    recalibration = {key: value for key, value in evaluation["recalibration"].items() if key != "attacked"}
    return evaluation | {"recalibration": recalibration}


def shown_as(config, kind, name):
    """The name of an alignment or curve of the config, or of no alignment, in tables, figures and claims."""
    return config[KINDS[kind]].get(name, {}).get("shown_as", name)
