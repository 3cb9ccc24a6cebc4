"""Find the permutation of the second network that brings it to the first, and how alike their activations are."""

from modeconn import artifacts, manifests, pairs, permutation, programs, signatures
from modeconn.matching import activation
from modeconn.permutation import proof, verdict
from modeconn.randomness import generator

parser = programs.parser(__doc__)
pairs.add_arguments(parser)
parser.add_argument("--signature", required=True, **manifests.OUTPUT, help="correlation and L2 distance by group (CSV)")


def main(arguments, job):
    values = arguments.job
    alignment = values["alignment"]
    match = method_of(alignment)
    pair = pairs.load(arguments, job.device)
    network, whole = pair.functional.network, pair.spec()
    spec, _ = proof.prove(network, whole, pair.dataset.example(), generator("verify"))
    print(verdict.report(spec, network), flush=True)
    correlations = signatures.correlate(pair, spec, alignment)
    matched = match(alignment, pair, spec, correlations["alignment", alignment.get("site", "post")])
    found = permutation.identity(whole) | matched
    artifacts.save(
        arguments.output,
        found,
        job.provenance("align"),
    )
    signatures.write(arguments.signature, values["names"], alignment, correlations, found)


def by_activation(alignment, pair, spec, correlations):
    kernel = alignment.get("kernel", "correlation")
    return activation.match_correlations(spec, correlations, alignment["statistic"], kernel)


def by_weight(alignment, pair, spec, correlations):
    from modeconn.matching import weight  # here, so that its source decides only its own alignments

    seed, restarts = alignment["seed"], alignment.get("restarts", 1)
    return weight.match_weights(spec, pair.first, pair.second, pair.functional.shapes, seed, restarts)


def at_random(alignment, pair, spec, correlations):
    return permutation.random(spec, generator("random permutation", alignment["seed"]))


# How an alignment finds the permutation of the pair's second network.
METHODS = {"activation": by_activation, "weight": by_weight, "random": at_random}


def method_of(alignment):
    """The function of METHODS that `alignment` names. Raises ValueError where there is none."""
    name = alignment["method"]
    if name not in METHODS:
        raise ValueError(f"alignment method {name!r} is unknown to align, which knows {', '.join(METHODS)}")
    return METHODS[name]


if __name__ == "__main__":
    programs.run(parser, main)
