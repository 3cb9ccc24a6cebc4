"""The config: each mistake is one line with the key's path, defaults are filled in, identities follow the meaning."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from modeconn import configuration, dispatch
from modeconn.identity import canonical, digest
from modeconn.plan import RULES

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
CONFIG = yaml.safe_load("""
name: small
datasets:
  digits: {source: digits}
networks:
  tinyten: {family: tinyten}
  mlp: {family: mlp}
attacks:
  pgd: {epsilon: 0.1, step: 0.02, steps: 5}
recipes:
  standard: {epochs: 3}
  robust: {epochs: 3, attack: pgd}
alignments:
  activation: {method: activation}
  weight: {method: weight}
curves:
  linear: {kind: linear}
  bezier: {kind: bezier, epochs: 2}
studies:
  alignment:
    - {dataset: digits, network: tinyten, recipe: standard, pairs: [[1, 2]], alignments: [none, weight]}
""")
DELETED = object()


def changed(*changes):
    """A copy of CONFIG with (path, value) set, each path with dots."""
    config = deepcopy(CONFIG)
    for path, value in changes:
        *parents, key = (int(part) if part.isdigit() else part for part in path.split("."))
        place = config
        for parent in parents:
            place = place[parent]
        if value is DELETED:
            del place[key]
        else:
            place[key] = value
    return config


def completed(*changes):
    config = changed(*changes)
    configuration.complete(config, SCHEMA)
    return config


# path of the change, its value, words of the message: where, what, and what would be right
MISTAKES = {
    "unknown key at the top": ("datsets", {}, ["top level", "'datsets'", "did you mean datasets?"]),
    "a correction of another kind": (
        "barriers",
        {"corrections": ["reset"]},
        ["barriers.corrections.0", "'reset'", "temperature"],
    ),
    "missing section": ("networks", DELETED, ["top level", "'networks'", "required"]),
    "no curves": ("curves", DELETED, ["studies.alignment.0", "no curves", "define some"]),
    "unknown key of a recipe": ("recipes.standard.epoch", 5, ["recipes.standard", "'epoch'", "did you mean epochs?"]),
    "unknown key deeper down": (
        "recipes.standard.optimizer",
        {"lr": 0.1},
        ["recipes.standard.optimizer", "'lr'", "learning_rate"],
    ),
    "unknown key of a study": ("studies.alignment.0.pair", [[1, 2]], ["studies.alignment.0", "'pair'", "pairs"]),
    "unknown study": ("studies.aligment", [], ["studies", "'aligment'", "did you mean alignment?"]),
    "missing key": ("recipes.standard.epochs", DELETED, ["recipes.standard", "'epochs'", "required"]),
    "missing key of a kind": ("curves.bezier.epochs", DELETED, ["curves.bezier", "'epochs'", "required"]),
    "text for a number": ("recipes.standard.batch", "many", ["recipes.standard.batch", "'many'", "integer"]),
    "fraction for an integer": ("recipes.standard.epochs", 2.5, ["recipes.standard.epochs", "2.5", "integer"]),
    "number for a mapping": ("recipes.standard.optimizer", 0.1, ["recipes.standard.optimizer", "0.1", "object"]),
    "nothing for a section": ("networks", None, ["networks", "None", "object"]),
    "empty section": ("networks", {}, ["networks", "{}"]),
    "zero epochs": ("recipes.standard.epochs", 0, ["recipes.standard.epochs", "0", "minimum"]),
    "share above one": ("datasets.digits.test_fraction", 1.5, ["datasets.digits.test_fraction", "1.5", "maximum"]),
    "too small images": ("datasets.digits.size", 4, ["datasets.digits.size", "4", "minimum", "pixels"]),
    "images of digits larger than sensible": ("datasets.digits.size", 100, ["datasets.digits.size", "100", "maximum"]),
    "key of another source": (
        "datasets.digits",
        {"source": "cifar10", "size": 32},
        ["datasets.digits", "'size'", "train_images"],
    ),
    "share of a source with its own test split": (
        "datasets.digits",
        {"source": "mnist", "test_fraction": 0.2},
        ["datasets.digits", "'test_fraction'", "did you mean alignment_fraction?"],
    ),
    "folder without a path": ("datasets.digits", {"source": "image_folder"}, ["datasets.digits", "'path'", "required"]),
    "unknown source": ("datasets.digits.source", "cifar", ["datasets.digits.source", "'cifar'", "cifar10"]),
    "one number for a range": (
        "recipes.standard.augmentation",
        {"scale": [0.8]},
        ["recipes.standard.augmentation.scale", "[0.8]"],
    ),
    "flip that is no yes or no": (
        "recipes.standard.augmentation",
        {"flip": 1},
        ["recipes.standard.augmentation.flip", "1", "boolean"],
    ),
    "unknown family": ("networks.tinyten.family", "tiny", ["networks.tinyten.family", "'tiny'", "tinyten", "mlp"]),
    "unknown schedule": ("recipes.standard.schedule", "step", ["recipes.standard.schedule", "'step'", "halving"]),
    "key of another optimizer": (
        "recipes.standard.optimizer",
        {"method": "adamw", "nesterov": True},
        ["recipes.standard.optimizer", "'nesterov'", "beta2"],
    ),
    "milestones of another schedule": (
        "recipes.standard.milestones",
        [1],
        ["recipes.standard", "schedule milestones", "both or neither"],
    ),
    "more seeds together than a command can name": (
        "recipes.standard.population",
        10**6,
        ["recipes.standard.population", "1000000", "maximum of 1000"],
    ),
    "a pair that is no list of pairs": (
        "studies.alignment.0.pairs",
        [1, 2],
        ["studies.alignment.0.pairs.1", "[[1, 2], [3, 4]]"],
    ),
    "the name of a shared folder": ("name", "networks", ["name", "results/networks/", "take another name"]),
    "a name that ends in a newline": ("name", "digits\n", ["name", "Letters"]),
    "a recipe's name that ends in a newline": ("recipes.standard\n", {"epochs": 1}, ["recipes", "Letters"]),
    "a word for a truth value": ("datasets.digits.source", "digit", ["datasets.digits.source", "'digit'"]),
    "yes for true": (
        "recipes.standard.optimizer",
        {"nesterov": "yes"},
        ["recipes.standard.optimizer.nesterov", "write true or false"],
    ),
    "a plane from right to left": ("plane", {"x": [1, 0]}, ["plane.x", "[1, 0]", "ascend"]),
    "a scale from large to small": (
        "recipes.standard.augmentation",
        {"scale": [1.2, 0.8]},
        ["recipes.standard.augmentation.scale", "ascend"],
    ),
    "a shift out of the image": (
        "recipes.standard.augmentation",
        {"shift": 100},
        ["studies.alignment.0", "shifts by 100 pixels", "16"],
    ),
    "a path that is none": ("downloads", "a\0b", ["downloads", "cannot be a path"]),
    "too many bends": ("curves.bezier.bends", 200, ["curves.bezier.bends", "200", "maximum of 30"]),
    "a tiny proximal term": ("curves.bezier.proximal", 1e-300, ["curves.bezier.proximal", "neither 0 nor"]),
    "a huge weight decay": ("curves.bezier.weight_decay", 1e300, ["curves.bezier.weight_decay", "maximum"]),
    "warm-up as long as the training": ("curves.bezier.warmup", 4, ["curves.bezier.warmup", "lower it"]),
    "unknown device": ("device", "gpu", ["device", "'gpu'", "cuda"]),
    "unusable name": ("datasets.my data", {"source": "digits"}, ["datasets", "'my data'", "Letters"]),
    "alignment called none": (
        "alignments.none",
        {"method": "weight"},
        ["alignments", "'none' is a reserved name: take another name"],
    ),
    "attack called none": (
        "attacks.none",
        {"epsilon": 0.1, "step": 0.02, "steps": 5},
        ["attacks", "'none' is a reserved name: take another name"],
    ),
    "pair of one seed": ("studies.alignment.0.pairs", [[1]], ["studies.alignment.0.pairs.0", "[1]"]),
    "pair of a seed with itself": ("studies.alignment.0.pairs", [[3, 3]], ["studies.alignment.0.pairs.0", "[3, 3]"]),
    "undefined attack of a recipe": ("recipes.robust.attack", "fgsm", ["recipes.robust.attack", "'fgsm'", "pgd"]),
    "undefined data set": (
        "studies.alignment.0.dataset",
        "cifar",
        ["studies.alignment.0.dataset", "'cifar'", "digits"],
    ),
    "undefined network": ("studies.alignment.0.network", "vgg", ["studies.alignment.0.network", "'vgg'", "tinyten"]),
    "undefined recipe": ("studies.alignment.0.recipe", "sam", ["studies.alignment.0.recipe", "'sam'", "standard"]),
    "undefined alignment": (
        "studies.alignment.0.alignments",
        ["none", "pam"],
        ["studies.alignment.0.alignments", "'pam'", "activation, weight"],
    ),
    "undefined curve": (
        "studies.alignment.0.curves",
        ["chain"],
        ["studies.alignment.0.curves", "'chain'", "bezier, linear"],
    ),
    "undefined attack of a study": ("studies.alignment.0.attack", "fgsm", ["studies.alignment.0.attack", "'fgsm'"]),
    "attack of another kind": ("attacks.pgd.method", "fgsm", ["attacks.pgd.method", "'fgsm'", "autoattack"]),
    "steps of autoattack": (
        "attacks.pgd",
        {"method": "autoattack", "epsilon": 0.1, "steps": 3},
        ["attacks.pgd", "'steps'", "allowed: epsilon, method"],
    ),
    "training against autoattack": (
        "attacks.pgd",
        {"method": "autoattack", "epsilon": 0.1},
        ["recipes.robust.attack", "'pgd' is autoattack", "only measures"],
    ),
    "pgd without steps": ("attacks.pgd", {"epsilon": 0.1, "step": 0.1}, ["attacks.pgd", "'steps'", "required"]),
    "no restart": ("attacks.pgd.restarts", 0, ["attacks.pgd.restarts", "0", "minimum"]),
    "restarts from one start": (
        "attacks.pgd",
        {"epsilon": 0.1, "step": 0.1, "steps": 3, "random_start": False, "restarts": 2},
        ["attacks.pgd.restarts", "set random_start"],
    ),
    "all training images held out": (
        "datasets.digits",
        {"source": "digits", "train_images": 100, "hold_out": 100},
        ["datasets.digits.hold_out", "100 of 100 training images", "lower it"],
    ),
    "a background of two numbers": (
        "datasets.digits",
        {"source": "image_folder", "path": "pictures", "background": [255, 255]},
        ["datasets.digits.background", "too short"],
    ),
    "a background brighter than white": (
        "datasets.digits",
        {"source": "image_folder", "path": "pictures", "background": [0, 0, 256]},
        ["datasets.digits.background.2", "256", "maximum"],
    ),
    "selection without held-out images": (
        "studies.alignment.0.best",
        {},
        ["studies.alignment.0.best", "images held out", "set datasets.digits.hold_out"],
    ),
    "unknown key of a selection": (
        "studies.alignment.0.best",
        {"atack": "pgd"},
        ["studies.alignment.0.best", "'atack'", "did you mean attack?"],
    ),
    "undefined attack of a selection": (
        "studies.alignment.0.best",
        {"attack": "fgsm"},
        ["studies.alignment.0.best.attack", "'fgsm'", "pgd"],
    ),
    "ensemble of two": ("studies.alignment.0.best", {"ensemble": 2}, ["studies.alignment.0.best.ensemble", "minimum"]),
    "undefined attack of an alignment": (
        "alignments.activation.attack",
        "fgsm",
        ["alignments.activation.attack", "'fgsm'", "pgd"],
    ),
    "unknown kernel": ("alignments.activation.kernel", "l2", ["alignments.activation.kernel", "'l2'", "inner"]),
    "kernel of the other method": (
        "alignments.weight.kernel",
        "inner",
        ["alignments.weight.kernel", "'inner'", "cosine"],
    ),
    "kernel in a frame that has one": (
        "alignments.weight",
        {"method": "weight", "frame": "mean", "kernel": "cosine"},
        ["alignments.weight.kernel", "frame mean matches by kernel linear only"],
    ),
    "restarts in a frame of many": (
        "alignments.weight",
        {"method": "weight", "frame": "cycle", "restarts": 8},
        ["alignments.weight.restarts", "frame cycle matches by restarts 1 only", "leave restarts out"],
    ),
    "unknown site": ("alignments.activation.site", "both", ["alignments.activation.site", "'both'", "pre"]),
    "unknown statistic": (
        "alignments.activation.statistic",
        "last",
        ["alignments.activation.statistic", "'last'", "first"],
    ),
    "statistic of no group": ("alignments.activation.statistic", {}, ["alignments.activation.statistic", "{}"]),
    "unknown statistic of a group": (
        "alignments.activation.statistic",
        {"stem": "last"},
        ["alignments.activation.statistic.stem", "'last'", "first"],
    ),
    "key of another method": ("alignments.weight.statistic", "sum", ["alignments.weight", "'statistic'", "seed"]),
    "key of yet another method": ("alignments.activation.seed", 1, ["alignments.activation", "'seed'", "statistic"]),
    "undefined start of a refinement": (
        "alignments.pam",
        {"method": "pam", "start": "colour"},
        ["alignments.pam.start", "'colour'", "activation, pam, weight"],
    ),
    "refinement of a refinement": (
        "alignments.pam",
        {"method": "pam", "start": "pam"},
        ["alignments.pam.start", "'pam'", "another method, or none"],
    ),
    "another method by a claimed name": (
        "alignments.random",
        {"method": "weight"},
        ["alignments.random", "claims mean", "weight", "another name"],
    ),
    "another start by a claimed name": (
        "alignments.pam",
        {"method": "pam", "start": "activation"},
        ["alignments.pam", "pam from activation", "another shown_as"],
    ),
    "another kind by a claimed name": (
        "curves.bezier",
        {"kind": "chain", "epochs": 2},
        ["curves.bezier", "chain by 'bezier'", "another shown_as"],
    ),
    "another method shown by a claimed name": (
        "alignments.mine",
        {"method": "random", "shown_as": "pam_aligned"},
        ["alignments.mine", "random by 'pam_aligned'", "another shown_as"],
    ),
    "pair in both orders": (
        "studies.alignment.0.pairs",
        [[1, 2], [2, 1]],
        ["studies.alignment.0.pairs", "[2, 1]", "other order"],
    ),
    "seed without a name of its own": (
        "studies.alignment.0.pairs",
        [[1, 2**40]],
        ["studies.alignment.0.pairs.0.1", "maximum"],
    ),
    "no study": ("studies", {}, ["studies", "non-empty"]),
    "long name": ("alignments." + "a" * 41, {"method": "random"}, ["alignments", "too long"]),
    "alignment shown as none": (
        "alignments.mine",
        {"method": "random", "shown_as": "none"},
        ["alignments.mine.shown_as", "'none'", "another name"],
    ),
    "curve called none": ("curves.none", {"kind": "linear"}, ["curves", "'none'", "another name"]),
    "misspelled kind": (
        "curves.bezier",
        {"kind": "beziers", "epochs": 2},
        ["curves.bezier.kind", "'beziers'", "chain"],
    ),
    "misspelled source": ("datasets.digits", {"source": "digit", "size": 12}, ["datasets.digits.source", "'digit'"]),
    "no samples of a refinement": (
        "alignments.pam",
        {"method": "pam", "samples": 0},
        ["alignments.pam.samples", "0", "minimum"],
    ),
    "start of a matching": ("alignments.weight.start", "activation", ["alignments.weight", "'start'", "seed"]),
    "refinement without a step": (
        "alignments.pam",
        {"method": "pam", "learning_rate": 0},
        ["alignments.pam.learning_rate", "0", "minimum"],
    ),
    "key of another kind": ("curves.linear.epochs", 3, ["curves.linear", "'epochs'", "allowed: kind"]),
    "key of another family": ("networks.tinyten.hidden", [64], ["networks.tinyten", "'hidden'", "width"]),
    "torchvision without a model": ("networks.tinyten", {"family": "torchvision"}, ["networks.tinyten", "'model'"]),
    "width of torchvision's": (
        "networks.tinyten",
        {"family": "torchvision", "model": "resnet18", "width": 2},
        ["networks.tinyten", "'width'", "allowed: compile, exact, family, model"],
    ),
    "model that torchvision has not": (
        "networks.tinyten",
        {"family": "torchvision", "model": "resnet81"},
        ["networks.tinyten.model", "no classifier 'resnet81'", "resnet18"],
    ),
    "model that is no classifier": (
        "networks.tinyten",
        {"family": "torchvision", "model": "fcn_resnet50"},
        ["networks.tinyten.model", "no classifier 'fcn_resnet50'", "resnet50"],
    ),
    "model of another family": ("networks.tinyten.model", "resnet18", ["networks.tinyten", "'model'", "width"]),
    "no family": ("networks.tinyten", {}, ["networks.tinyten", "'family'", "required"]),
    "symmetry in a frame of many": (
        "alignments.weight",
        {"method": "weight", "frame": "mean", "symmetry": "scale"},
        ["alignments.weight.symmetry", "frame mean", "take the frame first"],
    ),
    "symmetry that is no permutation": (
        "alignments.weight",
        {"method": "weight", "symmetry": "orthogonal"},
        ["alignments.weight.symmetry", "'orthogonal'", "none", "scale"],
    ),
    "wrong value of a key of one kind": ("curves.bezier.bends", 0, ["curves.bezier.bends", "0", "minimum"]),
    "wrong value of a key of one family": ("networks.mlp.hidden", [], ["networks.mlp.hidden", "[]"]),
}


@pytest.mark.parametrize(("path", "value", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(one_line, path, value, words):
    with one_line(ValueError, *words):
        completed((path, value))


@pytest.mark.parametrize(("path", "value", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_introduced_by_its_place(path, value, words):
    with pytest.raises(ValueError, match=r"^config, ") as caught:
        completed((path, value))
    assert str(caught.value).startswith(f"config, {words[0]}: ")


def test_an_undefined_attack_says_so_where_none_is_defined(one_line):
    with one_line(ValueError, "recipes.robust.attack", "attacks defines nothing"):
        completed(("attacks", {}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(one_line, value):
    with one_line(ValueError, "recipes.standard.optimizer.learning_rate"):
        completed(("recipes.standard.optimizer", {"learning_rate": value}))


def test_defaults_are_filled_in_at_every_depth():
    config = completed()
    assert config["device"] == "auto"
    assert config["recipes"]["standard"] == {
        "epochs": 3,
        "batch": 128,
        "schedule": "cosine",
        "warmup": 0,
        "milestones": [],
        "initialization": "default",
        "optimizer": {
            "method": "sgd",
            "learning_rate": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 0.0005,
        },
        "augmentation": {
            "shift": 0,
            "flip": False,
            "rotation": 0,
            "scale": [1, 1],
            "contrast": 0,
            "saturation": 0,
        },
        "attack": None,
        "population": 1,
        "keep": [],
        "pruning": None,
    }
    assert config["networks"]["mlp"]["hidden"] == [512, 512, 512]
    assert "hidden" not in config["networks"]["tinyten"]
    torchvision = {
        "family": "torchvision",
        "model": "resnet18",
        "precision": "float32",
        "compile": False,
        "exact": False,
    }
    assert completed(("networks.other", torchvision.copy()))["networks"]["other"] == torchvision
    assert config["evaluation"]["recalibration"] == {"images": 0, "batch": 512, "augmented": False, "attacked": False}
    assert config["alignments"] == {
        "activation": {
            "method": "activation",
            "kernel": "correlation",
            "site": "post",
            "statistic": "sum",
            "subsample": 0,
            "attack": None,
        },
        "weight": {
            "method": "weight",
            "seed": 0,
            "kernel": "linear",
            "leave_out": [],
            "order": "random",
            "restarts": 1,
            "frame": "first",
            "symmetry": "none",
        },
    }
    assert config["curves"]["linear"] == {"kind": "linear"}
    assert config["curves"]["bezier"]["optimizer"]["learning_rate"] == 0.01


def test_each_optimizer_has_keys_and_defaults_of_its_own():
    def optimizer(where, **values):
        section, name = where.split(".")
        return completed((f"{where}.optimizer", values))[section][name]["optimizer"]

    adamw = {"method": "adamw", "learning_rate": 0.001, "momentum": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    assert optimizer("recipes.standard", method="adamw") == adamw | {"weight_decay": 0.01}
    assert optimizer("recipes.standard", method="adam") == adamw | {"method": "adam", "weight_decay": 0}
    # On a curve decay acts on its point, not on its bends.
    assert optimizer("curves.bezier", method="adamw") == adamw | {"learning_rate": 0.01, "weight_decay": 0}
    rmsprop = {"method": "rmsprop", "momentum": 0, "alpha": 0.99, "epsilon": 1e-8, "weight_decay": 0}
    assert optimizer("recipes.standard", method="rmsprop") == rmsprop | {"learning_rate": 0.01}
    adagrad = {"method": "adagrad", "learning_rate": 0.01, "epsilon": 1e-10, "weight_decay": 0}
    assert optimizer("recipes.standard", method="adagrad") == adagrad


@pytest.mark.parametrize(
    "change", [("studies.alignment.0.recipe", "robust"), ("recipes.standard.augmentation", {"shift": 1})]
)
@pytest.mark.parametrize("source", ["moons", "blobs", "gaussian_quantiles"])
def test_points_in_the_plane_are_neither_augmented_nor_attacked(one_line, source, change):
    with one_line(ValueError, "studies.alignment.0: digits are points, not images"):
        completed(("datasets.digits", {"source": source}), change)


@pytest.mark.parametrize(
    ("source", "own"),
    [
        ("moons", {"count": 512, "noise": 0.1}),
        ("blobs", {"count": 512, "noise": 1}),
        ("gaussian_quantiles", {"count": 512}),
    ],
)
def test_each_source_of_points_has_keys_and_defaults_of_its_own(source, own):
    common = {"source": source, "alignment_fraction": 0.2, "seed": 0, "test_fraction": 0.2}
    common |= {"train_images": 0, "test_images": 0, "hold_out": 0}
    assert completed(("datasets.digits", {"source": source}))["datasets"]["digits"] == common | own


@pytest.mark.parametrize(("key", "value"), [("precision", "bfloat16"), ("compile", True)])
def test_what_hangs_on_the_cpu_is_not_portable(one_line, key, value):
    completed((f"networks.tinyten.{key}", value))
    with one_line(ValueError, f"networks.tinyten.{key}", "instructions"):
        completed((f"networks.tinyten.{key}", value), ("instructions", "portable"))


def test_every_number_has_a_range():
    """Of both ends something was tried; what lies outside overflows, or means nothing."""

    def unbounded(schema, where=""):
        if isinstance(schema, list):
            return [found for number, part in enumerate(schema) for found in unbounded(part, f"{where}.{number}")]
        if not isinstance(schema, dict):
            return []
        ends = {"minimum", "exclusiveMinimum"} & schema.keys(), {"maximum", "exclusiveMaximum"} & schema.keys()
        own = [where] if schema.get("type") in ("number", "integer") and not all(ends) else []
        return own + [found for key, part in schema.items() for found in unbounded(part, f"{where}.{key}")]

    assert unbounded({"a": {"type": "integer", "minimum": 1}}) == [".a"]
    assert unbounded(SCHEMA) == []


def test_no_run_has_the_name_of_a_folder_that_all_share():
    folders = {rule.stem.partition("/")[0] for rule in RULES.values()} | {"logs", "downloads"}
    assert {"data", "networks", "curves"} < folders <= set(configuration.SHARED_FOLDERS)


@pytest.mark.parametrize("milestones", [[2, 1], [1, 5]])
def test_milestones_ascend_within_the_epochs(one_line, milestones):
    with one_line(ValueError, "recipes.standard.milestones", milestones, "ascend", "below epochs, 3"):
        completed(("recipes.standard.schedule", "milestones"), ("recipes.standard.milestones", milestones))


def test_what_is_given_is_not_overwritten_by_defaults():
    config = completed(("recipes.standard.optimizer", {"learning_rate": 0.3}), ("networks.mlp.hidden", [8]))
    assert config["recipes"]["standard"]["optimizer"]["learning_rate"] == 0.3
    assert config["recipes"]["robust"]["optimizer"]["learning_rate"] == 0.1
    assert config["networks"]["mlp"]["hidden"] == [8]


def test_a_part_of_a_curves_optimizer_keeps_the_rest_of_its_defaults():
    whole = completed()["curves"]["bezier"]["optimizer"]
    part = completed(("curves.bezier.optimizer", {"momentum": 0.5}))["curves"]["bezier"]["optimizer"]
    assert part == {**whole, "momentum": 0.5}


def test_defaults_of_two_entries_are_not_one_object():
    config = completed()
    assert config["recipes"]["standard"]["optimizer"] is not config["recipes"]["robust"]["optimizer"]
    config["recipes"]["standard"]["augmentation"]["shift"] = 5
    assert completed()["recipes"]["standard"]["augmentation"]["shift"] == 0


def test_completing_twice_changes_nothing():
    once = completed()
    twice = deepcopy(once)
    configuration.complete(twice, SCHEMA)
    assert twice == once


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("barriers", {"corrections": ["repair"]})], ["barriers.corrections", "tinyten", "family mlp"]),
        ([("studies.averaging.0.measures", ["boundaries"])], ["studies.averaging.0.measures", "digits", "moons"]),
        ([("networks.tinyten", {"family": "mlp", "norm": "none", "fused": True})], ["tinyten.fused", "norm batch"]),
        (
            [("networks.tinyten", {"family": "mlp", "fused": True})],
            ["studies.alignment.0.network", "tinyten is fused", "leave fused out"],
        ),
        (
            [("recipes.standard.merge", 0.99)],
            ["studies.alignment.0", "standard merges or pads units", "tinyten", "norm none"],
        ),
        ([("recipes.standard.merge", 1)], ["recipes.standard.merge", "1"]),
        (
            [("recipes.standard.units", 4), ("recipes.standard.keep", [0])],
            ["recipes.standard.keep", "units changes the last epoch only", "leave keep out"],
        ),
        (
            [("recipes.standard.units", 9), ("networks.tinyten", {"family": "mlp", "norm": "none", "hidden": [8]})],
            ["recipes.standard.units", "tinyten has layers of 8", "lower it"],
        ),
    ],
)
def test_what_is_of_fully_connected_networks_is_refused_of_others(one_line, changes, words):
    entry = {"dataset": "digits", "networks": ["tinyten"], "recipes": ["standard"], "seeds": 3}
    with one_line(ValueError, *words):
        completed(("studies.averaging", [entry]), *changes)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_of_the_project_are_complete(path):
    config = yaml.safe_load(path.read_text())
    configuration.complete(config, SCHEMA)
    assert configuration.meanings(config, SCHEMA)


def every_key(schema, path=""):
    """(path, schema) of each key that the schema names, through its conditions."""
    for key, value in schema.items():
        if isinstance(value, dict):
            if key == "properties":
                yield from ((f"{path}.{name}", of) for name, of in value.items())
            yield from every_key(value, f"{path}.{key}")
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, dict):
                    yield from every_key(part, path)


def test_defaults_of_the_schema_are_valid():
    for path, of in every_key({"properties": SCHEMA["properties"]}):
        if "default" in of:
            schema = {"$defs": SCHEMA["$defs"], **of}
            assert configuration.Draft202012Validator(schema).is_valid(of["default"]), path


def test_the_schema_knows_every_family():
    families = SCHEMA["properties"]["networks"]["additionalProperties"]["properties"]["family"]["enum"]
    assert sorted(families) == sorted(dispatch.FAMILIES)


def identity(kind, name, *changes):
    return configuration.meanings(completed(*changes), SCHEMA)[kind][name][0]


def test_an_identity_is_a_name_and_eight_hex_digits_of_its_values():
    of, values = configuration.meanings(completed(), SCHEMA)["network"]["mlp"]
    assert values == {"family": "mlp", "width": 1, "norm": "batch", "hidden": [512, 512, 512]}
    assert of == f"mlp-{digest(values)}"
    assert len(digest(values)) == 8
    assert int(digest(values), 16) >= 0


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("recipe", "standard", "recipes.standard.batch", 128),
        ("recipe", "standard", "recipes.standard.initialization", "default"),
        ("recipe", "standard", "recipes.standard.attack", None),
        ("recipe", "standard", "recipes.standard.epochs", 3.0),
        ("recipe", "standard", "recipes.standard.augmentation", {"flip": False, "scale": [1.0, 1.0], "rotation": 0}),
        ("dataset", "digits", "datasets.digits.hold_out", 0),
        ("dataset", "digits", "downloads", "elsewhere"),
        ("network", "tinyten", "networks.tinyten.width", 1.0),
        ("recipe", "standard", "attacks.pgd.epsilon", 0.3),
        ("recipe", "robust", "recipes.robust", {"attack": "pgd", "schedule": "cosine", "epochs": 3}),
        ("network", "mlp", "networks.other", {"family": "mlp", "width": 2}),
    ],
)
def test_the_same_meaning_has_the_same_identity(kind, name, path, value):
    assert identity(kind, name, (path, value)) == identity(kind, name)


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("dataset", "digits", "datasets.digits.seed", 1),
        ("dataset", "digits", "datasets.digits.hold_out", 100),
        ("dataset", "digits", "datasets.digits.train_images", 100),
        ("recipe", "standard", "recipes.standard.augmentation", {"flip": True}),
        ("recipe", "standard", "recipes.standard.augmentation", {"scale": [0.8, 1.2]}),
        ("network", "tinyten", "networks.tinyten.norm", "layer"),
        ("recipe", "standard", "recipes.standard.epochs", 4),
        ("recipe", "standard", "recipes.standard.initialization", "kaiming_normal"),
        ("recipe", "standard", "recipes.standard.optimizer", {"nesterov": False}),
        ("recipe", "standard", "recipes.standard.population", 2),
        ("recipe", "robust", "attacks.pgd.epsilon", 0.3),
        ("recipe", "robust", "recipes.robust.attack", None),
        ("attack", "pgd", "attacks.pgd.random_start", False),
        ("alignment", "weight", "alignments.weight.seed", 1),
        ("alignment", "weight", "alignments.weight.kernel", "cosine"),
        ("alignment", "weight", "alignments.weight.leave_out", ["*bias*"]),
        ("alignment", "weight", "alignments.weight.order", "forward"),
        ("alignment", "activation", "alignments.activation.kernel", "inner"),
        ("alignment", "activation", "alignments.activation.site", "pre"),
        ("alignment", "activation", "alignments.activation.subsample", 32),
        ("alignment", "activation", "alignments.activation.statistic", {"network.stem.conv": "first"}),
        ("alignment", "activation", "alignments.activation.attack", "pgd"),
        ("curve", "bezier", "curves.bezier.bends", 2),
        ("evaluation", "evaluation", "evaluation", {"points": 9}),
    ],
)
def test_another_meaning_has_another_identity(kind, name, path, value):
    assert identity(kind, name, (path, value)) != identity(kind, name)


def test_identities_of_published_results_stay():
    """What made config/published/mnist.csv: keys that joined since mean nothing at their neutral values."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    configuration.complete(config, SCHEMA)
    found = configuration.meanings(config, SCHEMA)
    names = {"dataset": "mnist", "network": "tinyten", "evaluation": "evaluation"}
    assert [found[kind][name][0] for kind, name in names.items()] == [
        "mnist-d2a7da4b",
        "tinyten-a0252bf0",
        "evaluation-6002b41a",
    ]
    assert [found["recipe"][name][0] for name in ("standard", "robust")] == ["standard-67cf38fa", "robust-aabebe2b"]


def test_a_recipe_means_its_attacks_values():
    values = configuration.meanings(completed(), SCHEMA)["recipe"]["robust"][1]
    assert values["attack"] == {"epsilon": 0.1, "step": 0.02, "steps": 5, "random_start": True}
    # The name of the attack means nothing.
    renamed = identity(
        "recipe", "robust", ("attacks.other", CONFIG["attacks"]["pgd"]), ("recipes.robust.attack", "other")
    )
    assert renamed == identity("recipe", "robust")


def test_two_selections_on_one_curve_are_refused(one_line):
    held = ("datasets.digits.hold_out", 100)
    cell = {**CONFIG["studies"]["alignment"][0], "curves": ["bezier"]}
    cells = [cell | {"best": {}}, cell | {"best": {"attack": "pgd"}}]
    with one_line(ValueError, "studies.alignment.1.best", "none with bezier", "pair [1, 2]"):
        completed(held, ("studies.alignment", cells))
    completed(held, ("studies.alignment", [cell | {"best": {}}] * 2))


def test_a_start_shown_as_another_alignment_is_refused(one_line):
    mine = ("alignments.mine", {"method": "activation", "site": "pre", "shown_as": "activation"})
    trained = ("alignments.trained", {"method": "pam", "start": "mine"})
    with one_line(ValueError, "studies.alignment.0", "activation and mine", "another shown_as"):
        completed(mine, trained, ("studies.alignment.0.alignments", ["activation", "trained"]))
    completed(mine, trained, ("studies.alignment.0.alignments", ["mine", "trained"]))


def test_no_attack_may_be_called_none():
    named = completed(("recipes.standard.attack", "none"), ("studies.alignment.0.attack", "none"))
    assert named == completed()


def test_more_networks_than_points_are_no_ensemble(one_line):
    held = ("datasets.digits.hold_out", 100)
    best = ("studies.alignment.0.best", {"ensemble": 9})
    assert completed(held, best, ("evaluation", {"points": 9}))["studies"]["alignment"][0]["best"]["attack"] is None
    with one_line(ValueError, "studies.alignment.0.best.ensemble", "9 networks, and only 8 points"):
        completed(held, best, ("evaluation", {"points": 8}))


def test_what_was_added_to_attacks_leaves_older_results_alone():
    written_out = [("attacks.pgd.method", "pgd"), ("attacks.pgd.restarts", 1)]
    for kind, name in (("attack", "pgd"), ("recipe", "robust")):
        assert identity(kind, name, *written_out) == identity(kind, name)
        assert identity(kind, name, ("attacks.pgd.restarts", 2)) != identity(kind, name)
    suite = configuration.meanings(completed(("attacks.suite", {"method": "autoattack", "epsilon": 0.1})), SCHEMA)
    assert suite["attack"]["suite"][1] == {"method": "autoattack", "epsilon": 0.1}


@pytest.mark.parametrize("changed", ["augmented", "attacked"])
def test_statistics_on_changed_images_are_another_meaning_of_all_that_is_measured(changed):
    off, on = (meaning(SCHEMA, ("evaluation", {"recalibration": {changed: value}})) for value in (False, True))
    assert off == meaning(SCHEMA)
    # Answers in the plane are of networks without statistics.
    assert {kind for kind in off if off[kind] != on[kind]} == set(configuration.MEASURES) - {"boundary"}


def test_a_refinement_means_its_starts_values():
    pam, other = {"method": "pam", "start": "weight"}, {"method": "weight", "seed": 3}
    values = configuration.meanings(completed(("alignments.trained", pam)), SCHEMA)["alignment"]["trained"][1]
    assert values["start"] == {"method": "weight", "seed": 0}
    aligned = identity("alignment", "trained", ("alignments.trained", pam))
    # The name of the start means nothing, its values do.
    again = ("alignments.again", CONFIG["alignments"]["weight"])
    assert identity("alignment", "trained", again, ("alignments.trained", {**pam, "start": "again"})) == aligned
    assert identity("alignment", "trained", ("alignments.weight", other), ("alignments.trained", pam)) != aligned
    plain = {"method": "pam"}
    unaligned = [
        identity("alignment", "trained", ("alignments.trained", values))
        for values in (plain, {**plain, "start": "none"})
    ]
    assert unaligned[0] == unaligned[1] != aligned


def test_an_alignment_means_its_attacks_values_and_what_was_added_to_it_leaves_older_results_alone():
    def meaning(**alignment):
        config = completed(("alignments.activation", {"method": "activation", **alignment}))
        return configuration.meanings(config, SCHEMA)["alignment"]["activation"][1]

    assert meaning() == {"method": "activation", "statistic": "sum"}
    assert meaning(attack="pgd", site="pre") == {
        "method": "activation",
        "statistic": "sum",
        "site": "pre",
        "attack": {"epsilon": 0.1, "step": 0.02, "steps": 5, "random_start": True},
    }


def test_resolving_leaves_the_config_as_it_is():
    config = completed()
    before = deepcopy(config)
    configuration.meanings(config, SCHEMA)
    assert config == before


def test_the_canonical_spelling_is_one_for_one_value():
    assert canonical({"b": [1.0, 0.1], "a": {"y": None, "x": "ü"}}) == '{"a":{"x":"ü","y":null},"b":[1,0.1]}'
    assert canonical((1, 2)) == canonical([1.0, 2.0])
    assert canonical(1e-3) == canonical(0.001)


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (0, None), ("1", 1), ([], {}), (0.1, 0.2)])
def test_different_values_are_spelled_differently(one, other):
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_a_spelling_are_refused(one_line, value):
    with one_line(ValueError, "Out of range"):
        canonical({"a": value})


def schema_with(path, key, of):
    """The schema with one more key, `of`, in the object at `path`, where some results were made without it."""
    schema = deepcopy(SCHEMA)
    place = schema
    for part in path.split("."):
        place = place[part]
    place["properties"][key] = of
    return schema


def meaning(schema, *changes):
    config = changed(*changes)
    configuration.complete(config, schema)
    return configuration.meanings(config, schema)


RECIPE = "properties.recipes.additionalProperties"
ADDED = {
    "plain": (RECIPE, {"type": "number", "default": 0, "neutral": 0}, "recipes.standard.added", 0.5),
    "nested": (
        f"{RECIPE}.properties.augmentation",
        {"type": "boolean", "default": False, "neutral": False},
        "recipes.standard.augmentation",
        {"added": True},
    ),
    "null": (RECIPE, {"type": ["string", "null"], "default": None, "neutral": None}, "recipes.standard.added", "x"),
    "in a condition": (
        "properties.curves.additionalProperties.then",
        {"type": "number", "default": 0, "neutral": 0},
        "curves.bezier.added",
        2,
    ),
}


@pytest.mark.parametrize("name", ADDED)
def test_a_key_added_with_its_neutral_value_changes_no_identity(name):
    path, of, key, other = ADDED[name]
    schema = schema_with(path, "added", of)
    assert meaning(schema) == meaning(SCHEMA)
    before, after = meaning(schema), meaning(schema, (key, other))
    moved = {(kind, n) for kind in before for n in before[kind] if before[kind][n] != after[kind][n]}
    assert moved == {(key.split(".")[0].removesuffix("s"), key.split(".")[1])}


def test_a_changed_default_of_such_a_key_is_another_meaning():
    path, of, *_ = ADDED["plain"]
    schema = schema_with(path, "added", of | {"default": 1})
    values = meaning(schema)["recipe"]["standard"][1]
    assert values["added"] == 1
    assert meaning(schema)["recipe"] != meaning(SCHEMA)["recipe"]


def test_neutral_values_are_valid():
    for path, of in every_key({"properties": SCHEMA["properties"]}):
        if "neutral" in of:
            schema = {"$defs": SCHEMA["$defs"], **of}
            assert configuration.Draft202012Validator(schema).is_valid(of["neutral"]), path
