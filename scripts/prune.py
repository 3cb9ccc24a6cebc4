"""Prune a block of networks by one level: remove the smallest weights, rewind to a kept epoch, train from there.

Iterative magnitude pruning with rewinding (Frankle et al. 2020; Sharma et al. 2024): the weights of least magnitude at
the end of the previous level's training are pruned, over all layers together.
"""

from modeconn import artifacts, datasets, manifests, moments, networks, optimization, programs, pruning, retraining
from modeconn.functional import Functional

parser = programs.parser(__doc__)
parser.add_argument("--data", required=True, **artifacts.INPUT, help="the data set, from prepare_data")
parser.add_argument(
    "--networks", required=True, nargs="+", **artifacts.INPUT, help="from train and, of later levels, the level before"
)
parser.add_argument("--history", required=True, **manifests.OUTPUT, help="loss and accuracy per epoch (CSV)")


def main(arguments, job):
    values = arguments.job
    dataset = datasets.Dataset.of(*artifacts.load(arguments.data, rule="prepare_data"), job.device)
    recipe, seeds, level = values["recipe"], values["seeds"], values["level"]
    settings = recipe["pruning"]
    functional = Functional(networks.of(values["network"], dataset).to(job.device))
    exclude = [pruning.output_of(functional.network, dataset.classes)] if settings["keep_output"] else []
    names = pruning.prunable(functional.network, exclude)

    before = moments.read(arguments.networks, [("levels", level - 1, seed) for seed in seeds], job.device)
    dense = moments.read(arguments.networks, [("epochs", settings["rewind"], seed) for seed in seeds], job.device)
    found = [
        pruning.prune(tensors, moments.masks(tensors) or pruning.full(tensors, names), settings["fraction"])
        for tensors in before
    ]
    what, lanes = f"prune {values['names']['recipe']}, level {level}", {f"seed {seed}": seed for seed in seeds}
    trained = retraining.retrain(job, dataset, functional, dense, found, what, lanes)
    artifacts.save(arguments.output, trained.tensors, job.provenance("prune"), lanes=True)
    rows = optimization.history_rows(trained.history, f"level {level}", values["names"], seeds)
    artifacts.write_rows(arguments.history, rows)


if __name__ == "__main__":
    programs.run(parser, main)
