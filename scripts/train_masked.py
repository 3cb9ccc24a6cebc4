"""Train the second network of a pair again, from its kept epoch on, under several masks of one level of pruning.

Each mask keeps as many weights as the first network's at that level (Sharma et al. 2024, mask transport):

own            the second network's own; training repeats the network of that level
transported    the first network's, moved with its neurons by the permutation that aligns the second network to it
untransported  the first network's as it is
one_shot       the largest weights of the second network at the end of its dense training
random         drawn at random, in each layer as many as the first network's keeps
"""

from modeconn import (
    artifacts,
    manifests,
    moments,
    optimization,
    permutation,
    populations,
    programs,
    pruning,
    retraining,
)
from modeconn.randomness import generator

parser = populations.parser(__doc__)
parser.add_argument(
    "--sparse", required=True, nargs="+", **artifacts.INPUT, help="files, from prune, that hold both at this level"
)
parser.add_argument("--history", required=True, **manifests.OUTPUT, help="loss and accuracy per epoch (CSV)")
parser.add_argument("--points", required=True, **manifests.OUTPUT, help="test loss and accuracy by mask (CSV)")


def main(arguments, job):
    values = arguments.job
    names, kinds, level, second = values["names"], values["masks"], values["level"], values["members"][1]
    dataset, functional = populations.architecture(arguments, job.device)
    found = masks(arguments, job.device, permutation.discover(functional.network, dataset.example()))

    rewind = values["recipe"]["pruning"]["rewind"]
    rewound = moments.read(arguments.networks, [("epochs", rewind, second)], job.device) * len(kinds)
    what, lanes = f"train level {level} by masks", {f"seed {second}, mask {kind}": second for kind in kinds}
    trained = retraining.retrain(job, dataset, functional, rewound, found, what, lanes)
    artifacts.save(arguments.output, trained.tensors, job.provenance("train_masked"), lanes=True)

    history = []
    for lane, kind in enumerate(kinds):
        own = [row | {name: [row[name][lane]] for name in ("loss", "accuracy")} for row in trained.history]
        history += optimization.history_rows(own, f"level {level}, {kind}", names, [names["pair"]], names["alignment"])
    artifacts.write_rows(arguments.history, history)
    facts = names | {"width": functional.width, "level": level, "split": "test", "attack": "none"}
    measured = zip(kinds, map(left, found), trained.loss.tolist(), trained.accuracy.tolist(), strict=True)
    rows = [facts | dict(zip(("mask", "left", "loss", "accuracy"), row)) for row in measured]
    artifacts.write_rows(arguments.points, rows)


def masks(arguments, device, spec) -> list[pruning.Mask]:
    """The masks that the job asks for, in its order; spec: of the networks."""
    values = arguments.job
    (first, second), level = values["members"], values["level"]
    wanted = [("levels", level, first), ("levels", level, second), ("levels", 0, second)]
    sparse, other, dense = moments.read([*arguments.networks, *arguments.sparse], wanted, device)
    mask = moments.masks(sparse)

    def transported():
        orders, _ = artifacts.load(arguments.permutation, device, "align")
        return permutation.apply(spec, permutation.invert(permutation.member(orders, 1)), mask)

    of_kind = {
        "own": lambda: moments.masks(other),
        "transported": transported,
        "untransported": lambda: mask,
        "one_shot": lambda: pruning.one_shot(dense, mask),
        "random": lambda: pruning.random(mask, generator("mask", first, second, level), by_layer=True),
    }
    return [of_kind[kind]() for kind in values["masks"]]


def left(mask: pruning.Mask) -> float:
    """The share of the weights that a mask keeps, of those that may be pruned."""
    return pruning.remaining(mask) / sum(kept.numel() for kept in mask.values())


if __name__ == "__main__":
    programs.run(parser, main)
