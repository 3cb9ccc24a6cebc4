"""Tables from names in the config to the modules that implement them.

The workflow uses them too, so that a job's fingerprint holds the modules that its own values name, and editing one
family or method does not rerun jobs of the others. Does not import torch.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# Family -> module of `modeconn.networks`, class or function in it, fixed arguments.
FAMILIES = {
    "tinyten": ("tinyten", "TinyTen", {}),
    "resnet20": ("resnet", "ResNet", {"blocks": 3}),
    "resnet32": ("resnet", "ResNet", {"blocks": 5}),
    "googlenet": ("googlenet", "GoogLeNet", {}),
    "vgg16": ("vgg", "VGG16", {}),
    "mlp": ("mlp", "MLP", {}),
    "torchvision": ("torchvision", "classifier", {}),
    "file": ("own", "network", {}),
}

# Source of a data set -> module of `modeconn.datasets`.
SOURCES = {
    "digits": "digits",
    "mnist_5k": "mnist_5k",
    "moons": "moons",
    "blobs": "blobs",
    "gaussian_quantiles": "gaussian_quantiles",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "mnist": "mnist",
    "fashion_mnist": "mnist",
    "tiny_imagenet": "tiny_imagenet",
    "image_folder": "image_folder",
    "npz": "npz",
}

# Method of an alignment that matches two networks -> module of `modeconn.matching`.
MATCHING = {"activation": "activation", "weight": "weight", "random": "chance"}

# Method of an attack -> module of `modeconn`.
ATTACKS = {"pgd": "attacks", "autoattack": "autoattack"}


@cache
def torchvision_models() -> frozenset[str]:
    """The names of torchvision's classifiers, read from its source files; empty where it is not installed.

    Importing it takes seconds, and the workflow may run where it is not installed.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.submodule_search_locations is None:
        return frozenset()
    sources = Path(spec.submodule_search_locations[0], "models").glob("*.py")
    registered = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)", re.MULTILINE)
    return frozenset(name for source in sources for name in registered.findall(source.read_text(encoding="utf-8")))


def entries(values):
    """The entries of these tables for a job's values. The others do not decide the job's result."""
    found = {}
    if "network" in values:
        found["family"] = FAMILIES[values["network"]["family"]]
    if "dataset" in values:
        found["source"] = SOURCES[values["dataset"]["source"]]
    if augments(_augmentation(values)):
        found["augments"] = True
    return found


def augments(augmentation):
    """Whether a recipe's augmentation changes anything: a key differs from its neutral value."""
    return any(value not in (0, [1, 1]) for value in augmentation.values())


def reduces(recipe):
    """Whether a recipe changes the number of units of the networks that it trains (`reduction`)."""
    return "merge" in recipe or "units" in recipe


def _augmentation(values):
    """The augmentation in a job's values, its own or its recipe's."""
    return values.get("recipe", values).get("augmentation", {})


def modules(values):
    """Modules of `modeconn` that a job's values name and that are imported only for them."""
    found = []
    if "dataset" in values:
        found.append(f"datasets.{SOURCES[values['dataset']['source']]}")
    if augments(_augmentation(values)):
        found.append("datasets.augmentation")
    if "network" in values:
        found.append(f"networks.{FAMILIES[values['network']['family']][0]}")
        if values["network"].get("exact"):
            found.append("normalization")
        if values["network"].get("fused") and "members" in values:
            found.append("fusing")
        if "seeds" in values and reduces(values.get("recipe", {})):
            found.append("reduction")
    if any("corrections" in values.get(kind, {}) for kind in ("barriers", "averages")):
        found.append("corrections")
    alignment = values.get("alignment", {})
    if "recipe" in values:  # a job that trains: a curve, a permutation (which names no optimizer: sgd) or networks
        trained = values.get("curve") or alignment or values["recipe"]
        found.append(f"optimizers.{trained.get('optimizer', {}).get('method', 'sgd')}")
    attacks = [part.get("attack") for part in (values, values.get("recipe", {}), alignment)]
    attacks += [attack for key in ("attacks", "tested") for attack in values.get(key, {}).values()]
    found += dict.fromkeys(ATTACKS[attack.get("method", "pgd")] for attack in attacks if attack)
    if alignment.get("method") in MATCHING:
        found.append(f"matching.{MATCHING[alignment['method']]}")
    if alignment.get("frame", "first") != "first":
        found.append("matching.frames")
    if alignment.get("attack"):
        found.append("matching.adversarial")
    if alignment.get("symmetry", "none") != "none":
        found.append("matching.scaled")
    return found
