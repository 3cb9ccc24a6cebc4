"""Find the permutations of a population of networks into a common frame; for a pair, of the second into the first."""

from modeconn import artifacts, matching, permutation, populations, programs
from modeconn.permutation import proof, verdict
from modeconn.randomness import generator

# isort: split
import torch  # after ours, which installs the handler of Ctrl-C

parser = populations.parser(__doc__, permuted=False)


def main(arguments, job):
    alignment = arguments.job["alignment"]
    population = populations.unaligned(arguments, job.device)
    network, whole = population.functional.network, population.spec()
    spec, _ = proof.prove(network, whole, population.dataset.example(), generator("verify"))
    print(verdict.report(spec, network), flush=True)
    spec = matching.symmetric(network, spec, population.dataset.example(), alignment)
    still = permutation.stacked([permutation.identity(whole)] * len(population.members))
    frame = alignment.get("frame", "first")
    found = to_first(population, spec, alignment) if frame == "first" else in_frame(population, spec, alignment)
    artifacts.save(arguments.output, still | found, job.provenance("align"))


def to_first(population, spec, alignment):
    """Match each member to the first one by the alignment's method: group -> (N, n)."""
    match = matching.method_of(alignment["method"])
    others = range(1, len(population.members))
    return permutation.stacked(
        [permutation.identity(spec), *(match(population, 0, other, spec, alignment) for other in others)]
    )


def in_frame(population, spec, alignment):
    """Match all members by weights to a common frame (`mean` or `cycle`): group -> (N, n)."""
    from modeconn.matching import (
        frames,
        weight,
    )  # imported here: its source is part of the fingerprint of such alignments only

    names = weight.without(population.functional.shapes, alignment.get("leave_out", []))
    tensors = {name: torch.stack([tensors[name] for tensors in population.members]) for name in names}
    return frames.METHODS[alignment["frame"]](spec, tensors, names, alignment["seed"])


if __name__ == "__main__":
    programs.run(parser, main)
