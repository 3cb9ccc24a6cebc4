"""Signatures: correlations of a pair's activations before and after its permutation, as rows of a table."""

from modeconn.matching import activation


def correlate(pair, spec, alignment):
    """(split, site) -> correlations of the two networks' activations there.

    They are computed on the images and at the site that `alignment` (its values) matches on; at the same site on test
    images; and, to compare any two alignments, after the nonlinearity on the test split.
    """
    site, attack = alignment.get("site", "post"), alignment.get("attack")
    places = dict.fromkeys([("alignment", site), ("test", site), ("test", "post")])
    return {
        (split, site): activation.of_members(
            pair, 0, 1, spec, split, site, attack if split == "alignment" else None, alignment.get("subsample", 0)
        )
        for split, site in places
    }


def rows(names, alignment, correlations, found):
    """Rows of a table: correlation and L2 distance of matched neurons before and after the permutation `found`.

    names: columns that name the pair and its alignment. correlations: from `correlate`, of the pair as it was trained.
    """
    return [
        {
            **names,
            "group": group,
            "position": position,
            "split": split,
            "site": site,
            "images": "attacked" if alignment.get("attack") and split == "alignment" else "clean",
            "before": before,
            "after": after,
            "distance_before": distance_before,
            "distance_after": distance_after,
        }
        for (split, site), measured in correlations.items()
        for position, ((group, before, after), (_, distance_before, distance_after)) in enumerate(
            zip(activation.signature(measured, found), activation.distances(measured, found), strict=True)
        )
    ]
