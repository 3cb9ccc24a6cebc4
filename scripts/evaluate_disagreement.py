"""Measure on what share of images each two networks of a population disagree, and the size of each: norms, units.

Neither depends on the order of neurons. Statistics of normalization layers are re-estimated, as between networks.
"""

from itertools import combinations

from modeconn import artifacts, batchnorm, disagreements, manifests, populations, programs, reduction

parser = populations.parser(__doc__, permuted=False)
parser.add_argument("--norms", required=True, **manifests.OUTPUT, help="output: norms of the weights, and units")


def main(arguments, job):
    values = arguments.job
    population = populations.unaligned(arguments, job.device)
    settings, functional, members = values["barriers"], population.functional, values["members"]
    vectors = population.vectors()

    def statistics(chunk):
        dataset, about = population.dataset, settings["recalibration"]
        return batchnorm.recalibrated(functional, chunk, dataset, about, values)

    names = {name: value for name, value in values["names"].items() if name not in ("population", "pair")}
    names["width"] = functional.width
    rows = []
    for split in settings["splits"]:
        images, _ = population.dataset.split(split)
        differing = disagreements.shares(
            disagreements.answers(functional, vectors, statistics, images, settings["batch"])
        )
        for first, second in combinations(range(len(members)), 2):
            place = {"pair": f"{members[first]}-{members[second]}", "split": split, "attack": "none"}
            rows.append({**names, **place, "disagreement": differing[first, second].item()})
    artifacts.write_rows(arguments.output, rows)
    spec, norms = population.spec(), []
    for member, tensors, vector in zip(members, population.members, vectors):
        sizes = {"norm": vector.double().norm().item(), "largest": vector.abs().max().item()}
        norms.append({**names, "member": member, **sizes, "units": reduction.units_left(spec, tensors)})
    artifacts.write_rows(arguments.norms, norms)


if __name__ == "__main__":
    programs.run(parser, main)
