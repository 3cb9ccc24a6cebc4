"""Measure how similar the activations of a pair are, layer by layer, before and after its permutation."""

from modeconn import artifacts, populations, programs, signatures
from modeconn.permutation import member, proof
from modeconn.randomness import generator

parser = populations.parser(__doc__)


def main(arguments, job):
    values = arguments.job
    if arguments.permutation is None:
        raise ValueError("a signature is that of a permutation: give its --permutation")
    pair = populations.unaligned(arguments, job.device)
    spec, _ = proof.prove(pair.functional.network, pair.spec(), pair.dataset.example(), generator("verify"))
    correlations = signatures.correlate(pair, spec, values["alignment"])
    found, _ = artifacts.load(arguments.permutation, rule=("align", "refine"))
    rows = signatures.rows(values["names"], values["alignment"], correlations, member(found, 1))
    artifacts.write_rows(arguments.output, rows)


if __name__ == "__main__":
    programs.run(parser, main)
