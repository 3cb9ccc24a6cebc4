"""Find the permutation that aligns the second network of a pair with the first, at each of several moments.

All moments are one job, since starting a program and proving the network take as long as matching weights, and so a
checkpoint is read once. The result is group -> (P, 2, n): the permutations of both networks at each of the P moments;
if some moments are stacked, one more follows, matched on all of these at once.
"""

from modeconn import artifacts, matching, moments, permutation, populations, programs
from modeconn.permutation import proof, verdict
from modeconn.randomness import generator

# isort: split
import torch  # after ours, which installs the handler of Ctrl-C

parser = populations.parser(__doc__, permuted=False)


def main(arguments, job):
    alignment = arguments.job["alignment"]
    found = moments.of_population(arguments, job.device)
    network, whole = found[0].functional.network, found[0].spec()
    spec, _ = proof.prove(network, whole, found[0].dataset.example(), generator("verify"))
    print(verdict.report(spec, network), flush=True)
    spec = matching.symmetric(network, spec, found[0].dataset.example(), alignment)
    match = matching.method_of(alignment["method"])
    still = permutation.identity(whole)
    along = arguments.job["moments"]
    taken = [(pair, []) for pair in found]
    if "stacked" in along:
        first, *further = (found[along["at"].index(moment)] for moment in along["stacked"])
        taken.append((first, further))
    matched = [
        permutation.stacked([still, still | match(pair, 0, 1, spec, alignment, further)]) for pair, further in taken
    ]
    orders = {group: torch.stack([of_moment[group] for of_moment in matched]) for group in whole.groups}
    # Tensors are in alphabetical order in a file.
    artifacts.save(arguments.output, orders, job.provenance("align_moments") | {"groups": list(whole.groups)})


if __name__ == "__main__":
    programs.run(parser, main)
