"""Find the permutations that bring the networks of a population into one frame; of a pair, the second to the first."""

from modeconn import artifacts, matching, permutation, populations, programs
from modeconn.permutation import proof, verdict
from modeconn.randomness import generator

parser = programs.parser(__doc__)
populations.add_arguments(parser)


def main(arguments, job):
    alignment = arguments.job["alignment"]
    population = populations.unaligned(arguments, job.device)
    network, whole = population.functional.network, population.spec()
    spec, _ = proof.prove(network, whole, population.dataset.example(), generator("verify"))
    print(verdict.report(spec, network), flush=True)
    match = matching.method_of(alignment["method"])
    still = permutation.identity(whole)
    found = [
        still,
        *(still | match(population, 0, place, spec, alignment) for place in range(1, len(population.members))),
    ]
    artifacts.save(arguments.output, permutation.stacked(found), job.provenance("align"))


if __name__ == "__main__":
    programs.run(parser, main)
