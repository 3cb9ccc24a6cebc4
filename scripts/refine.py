"""Train the permutation of the second network on the loss along the line between both, and round it (PAM).

It starts from the identity or from the permutation of another alignment. The permutation that is written applies to the
second network as it was trained.
"""

from modeconn import artifacts, manifests, optimization, permutation, populations, programs, refinement
from modeconn.permutation import proof, verdict
from modeconn.randomness import generator

parser = populations.parser(__doc__)
parser.add_argument("--history", required=True, **manifests.OUTPUT, help="loss and accuracy per epoch (CSV)")
parser.add_argument("--scores", required=True, **manifests.OUTPUT, help="loss of each candidate of the rounding (CSV)")


def main(arguments, job):
    values = arguments.job
    settings, recipe, names = values["alignment"], values["recipe"], values["names"]
    original = populations.unaligned(arguments, job.device)
    network, whole = original.functional.network, original.spec()
    spec, _ = proof.prove(network, whole, original.dataset.example(), generator("verify"))
    spec = permutation.pin(spec, spec.blocks, "refinement mixes channels, and would separate those of a block")
    print(verdict.report(spec, network), flush=True)
    still = permutation.identity(whole)
    start = permutation.stacked([still, still])
    if arguments.permutation is not None:
        start, _ = artifacts.load(arguments.permutation, rule="align")
    pair = original.permuted(start)

    matrices, history = refinement.relax(
        pair,
        spec,
        settings,
        recipe,
        lane=f"refinement {settings['seed']} of pair {names['pair']}",
        report=job.progress(settings["epochs"], f"refine {names['alignment']}"),
        state=job.state,
    )
    candidates = refinement.candidates(spec, matrices, settings)
    found, scores = refinement.choose(pair, spec, candidates, settings["batch"], recipe["attack"], job.state)
    composed = permutation.compose(permutation.member(start, 1), still | found)

    artifacts.save(
        arguments.output,
        permutation.stacked([permutation.member(start, 0), composed]),
        job.provenance("refine"),
    )
    artifacts.write_rows(
        arguments.history,
        optimization.history_rows(history, "alignment", names, [names["pair"]], names["alignment"]),
    )
    artifacts.write_rows(
        arguments.scores, [{**names, "candidate": candidate, "loss": loss} for candidate, loss in scores.items()]
    )


if __name__ == "__main__":
    programs.run(parser, main)
