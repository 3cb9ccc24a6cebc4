"""Find the permutation of the second network that brings it to the first, and how alike their activations are."""

from modeconn import artifacts, datasets, pairs, permutation, programs
from modeconn.matching import activation
from modeconn.randomness import generator

BATCH = 64  # images: the quickest on a CPU

parser = programs.parser(__doc__)
pairs.add_arguments(parser)
parser.add_argument("--signature", required=True, metavar="FILE", help="correlation and L2 distance by group (CSV)")


def main(arguments, job):
    values = arguments.job
    alignment = values["alignment"]
    pair = pairs.load(arguments, job.device)
    spec = pair.spec()
    permutation.verify(pair.functional.network, spec, pair.dataset.example(), generator("verify"))
    site, attack = alignment.get("site", "post"), alignment.get("attack")
    # What it is matched on; the same on images never seen; and what any two alignments can be compared by.
    places = dict.fromkeys([("alignment", site), ("test", site), ("test", "post")])
    correlations = {
        (split, site): activation.correlate(
            pair.functional.network,
            spec,
            pair.first,
            pair.second,
            inputs(pair, split, attack if split == "alignment" else None),
            site,
            alignment.get("subsample", 0),
        )
        for split, site in places
    }
    found = match(alignment, pair, spec, correlations["alignment", site])
    artifacts.save(
        arguments.output, found, {"rule": "align", "job": values, "versions": artifacts.versions(job.device)}
    )
    artifacts.write_rows(
        arguments.signature,
        [
            {
                **values["names"],
                "group": group,
                "position": position,
                "split": split,
                "site": site,
                "images": "attacked" if attack and split == "alignment" else "clean",
                "before": before,
                "after": after,
                "distance_before": distance_before,
                "distance_after": distance_after,
            }
            for (split, site), measured in correlations.items()
            for position, ((group, before, after), (_, distance_before, distance_after)) in enumerate(
                zip(activation.signature(measured, found), activation.distances(measured, found), strict=True)
            )
        ],
    )


def inputs(pair, split, attack):
    """Batches of the images of `split`; under `attack` pairs of them, each network's own adversarial examples."""
    images, labels = pair.dataset.split(split)
    if attack is None:
        return (datasets.to_float(part) for part in images.split(BATCH))
    from modeconn.matching import adversarial  # here, so that its source decides only the alignments under attack

    return adversarial.batches(pair.functional, pair.first, pair.second, images, labels, attack, BATCH)


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
