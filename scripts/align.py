"""Find the permutation of the second network that brings it to the first, and how alike their activations are."""

from modeconn import artifacts, pairs, permutation, programs, signatures
from modeconn.matching import activation
from modeconn.permutation import proof
from modeconn.randomness import generator

parser = programs.parser(__doc__)
pairs.add_arguments(parser)
parser.add_argument("--signature", required=True, metavar="FILE", help="correlation and L2 distance by group (CSV)")


def main(arguments, job):
    values = arguments.job
    alignment = values["alignment"]
    pair = pairs.load(arguments, job.device)
    spec = pair.spec()
    proof.verify(pair.functional.network, spec, pair.dataset.example(), generator("verify"))
    correlations = signatures.correlate(pair, spec, alignment)
    found = match(alignment, pair, spec, correlations["alignment", alignment.get("site", "post")])
    artifacts.save(
        arguments.output,
        found,
        {"rule": "align", "job": values, "versions": artifacts.versions(job.device, values["network"])},
    )
    signatures.write(arguments.signature, values["names"], alignment, correlations, found)


def match(alignment, pair, spec, correlations):
    """The permutation of the pair's second network by the method that `alignment` names."""
    method = alignment["method"]
    if method == "activation":
        kernel = alignment.get("kernel", "correlation")
        return activation.match_correlations(spec, correlations, alignment["statistic"], kernel)
    if method == "weight":
        from modeconn.matching import weight  # here, so that its source decides only its own alignments

        return weight.match_weights(spec, pair.first, pair.second, pair.functional.shapes, alignment["seed"])
    return permutation.random(spec, generator("random permutation", alignment["seed"]))


if __name__ == "__main__":
    programs.run(parser, main)
