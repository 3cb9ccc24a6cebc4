"""Train a block of seeds of one network by one recipe, clean or adversarially."""

import math

from modeconn import (
    artifacts,
    classification,
    datasets,
    dispatch,
    manifests,
    networks,
    optimization,
    programs,
    training,
)
from modeconn.functional import Functional

# isort: split
import torch  # after ours, which installs the handler of Ctrl-C

parser = programs.parser(__doc__)
parser.add_argument("--data", required=True, **artifacts.INPUT, help="the data set, from prepare_data")
parser.add_argument("--history", required=True, **manifests.OUTPUT, help="loss and accuracy per epoch (CSV)")


def main(arguments, job):
    values = arguments.job
    dataset = datasets.Dataset.of(*artifacts.load(arguments.data, rule="prepare_data"), job.device)
    recipe, seeds = values["recipe"], values["seeds"]

    network, start = values["network"], recipe.get("initialization", "default")
    if dispatch.reduces(recipe):
        from modeconn import reduction  # here, so that its source decides only the jobs of such recipes

        network = reduction.narrowed(network, recipe)
    population = [networks.of(network, dataset, seed, start).to(job.device) for seed in seeds]
    functional = Functional(population[0])
    vectors, buffers = functional.stack(network.state_dict() for network in population)
    vectors.requires_grad_(True)

    keep, what = recipe.get("keep", []), f"train {values['names']['recipe']}"
    lanes = {f"seed {seed}": seed for seed in seeds}
    history, kept = training.fit(job, dataset, functional, vectors, buffers, what, lanes=lanes, keep=keep)
    if dispatch.reduces(recipe):
        whole = Functional(networks.of(values["network"], dataset).to(job.device))
        vectors, left = reduction.finished(functional, vectors.detach(), whole, recipe, dataset)
        functional = whole
        for seed, units in zip(seeds, left, strict=True):
            print(f"seed {seed}: {units} hidden units")

    images, labels = dataset.split("test")
    _, accuracy = classification.evaluate(functional, vectors.detach(), buffers, images, labels, recipe["batch"])
    chance = by_chance(labels)
    for seed, value in zip(seeds, accuracy.tolist(), strict=True):
        learned = "" if value > chance else ", no better than always predicting the most frequent class"
        print(f"seed {seed}: test accuracy {value:.2%}{learned}")
    # The networks as they were trained come first, then those of each kept epoch (`moments`).
    of_all = [(vectors, buffers), *(kept[epoch] for epoch in keep)]
    stacked = {name: torch.cat([of_moment[name] for _, of_moment in of_all]) for name in buffers}
    artifacts.save(
        arguments.output,
        functional.named(torch.cat([of_moment for of_moment, _ in of_all]), stacked),
        job.provenance("train"),
        lanes=True,
    )
    artifacts.write_rows(arguments.history, optimization.history_rows(history, "network", values["names"], seeds))


def by_chance(labels):
    """The accuracy on `labels` (N,) of always predicting the most frequent class, plus two standard errors."""
    share = labels.bincount().max().item() / len(labels)
    return share + 2 * math.sqrt(share * (1 - share) / len(labels))


if __name__ == "__main__":
    programs.run(parser, main)
