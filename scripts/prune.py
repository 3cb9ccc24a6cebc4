"""Prune a block of networks by one level: leave out the smallest weights, go back to a kept epoch, train from there.

Iterative magnitude pruning with rewinding (Frankle et al. 2020; Sharma et al. 2024): the weights of least magnitude at
the end of the previous level's training are pruned, over all layers together.
"""

from modeconn import (
    artifacts,
    classification,
    datasets,
    manifests,
    moments,
    networks,
    optimization,
    programs,
    pruning,
    training,
)
from modeconn.functional import Functional

# isort: split
import torch  # after ours, which installs the handler of Ctrl-C

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
    vectors, buffers = functional.stack(pruning.apply(mask, tensors) for mask, tensors in zip(found, dense))
    vectors.requires_grad_(True)
    kept = torch.stack([pruning.vector(mask, functional.shapes) for mask in found])
    history, _ = training.fit(
        job,
        dataset,
        functional,
        vectors,
        buffers,
        f"prune {values['names']['recipe']}, level {level}",
        first=settings["rewind"],
        after_step=pruning.hold([vectors], [kept]),
    )

    images, labels = dataset.split("test")
    _, accuracy = classification.evaluate(functional, vectors.detach(), buffers, images, labels, recipe["batch"])
    for seed, mask, value in zip(seeds, found, accuracy.tolist(), strict=True):
        total = sum(of_layer.numel() for of_layer in mask.values())
        print(f"seed {seed}: {pruning.remaining(mask):,} of {total:,} weights left, test accuracy {value:.2%}")
    stacked = {name + moments.MASK: torch.stack([mask[name] for mask in found]) for name in names}
    artifacts.save(arguments.output, functional.named(vectors, buffers) | stacked, job.provenance("prune"), lanes=True)
    rows = optimization.history_rows(history, f"level {level}", values["names"], seeds)
    artifacts.write_rows(arguments.history, rows)


if __name__ == "__main__":
    programs.run(parser, main)
